"""What an external IP can be bound to: told by the apps that own it.

An app registers a :class:`TargetKind` for each kind of thing that has an external NIC: a VM now,
NAT gateways and load balancers in the same way. The apps that hang something on targets register
how it lets go of one that is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from django.db.models import Model, QuerySet
from django.utils.translation import gettext as _

from network.models import Nic
from scloud.lib.errors import InvalidInput
from scloud.verbs.catalogue import Text


@dataclass(frozen=True, kw_only=True)
class TargetKind:
    """One kind of thing that external IPs are bound to.

    ``rows`` are the tenant's, whatever they are doing; ``offered`` those that people choose from.
    ``guard`` is given the row as it is now and the
    verb, ``bind_external_ip`` or ``unbind_external_ip``, and raises Conflict unless its state
    allows it. ``nic`` returns the interface that gets the addresses, or raises Conflict. ``apply``
    has the inside of the target configure what its NICs have now; it tells whether that was done,
    False where it will be at the next boot. It is called by jobs, may raise a retryable
    ScloudError and may be repeated. ``changed`` has the same done soon for many, given their ids;
    it only notes that, within the caller's transaction. ``gone`` tells whether an id names nothing
    any more that could have addresses. ``most_enis`` says how many ENIs a row can have; ``plug``
    and ``unplug`` put an interface into the machine and take it out, live where it runs, and may be
    repeated: they raise HostError (``vm_busy``) while something else is being done to it.
    """

    kind: str
    label: Text
    rows: Callable[[], QuerySet[Any]]
    offered: Callable[[], QuerySet[Any]]
    guard: Callable[[Any, str], None]
    nic: Callable[[Any], Nic]
    most_enis: Callable[[Any], int]
    plug: Callable[[str, Nic], None]
    unplug: Callable[[str, Nic], None]
    apply: Callable[[str], bool]
    changed: Callable[[Collection[str]], None]
    gone: Callable[[str], bool]


@dataclass(frozen=True)
class Target:
    """One thing that an external IP is bound to, or is to be."""

    kind: TargetKind
    row: Any

    @property
    def id(self) -> str:
        """The id of the thing."""
        return str(self.row.pk)

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self.row.name)


#: ``(kind of target, its id, does it go too?)``; in the transaction that deletes the target.
LetGo = Callable[[str, str, bool], None]

_kinds: dict[str, TargetKind] = {}
_holders: dict[str, LetGo] = {}


def register(kind: TargetKind) -> None:
    """Make a kind of target known."""
    _kinds[kind.kind] = kind


def kind_named(kind: str) -> TargetKind | None:
    """Return a kind of target; None if this release does not know it."""
    return _kinds.get(kind)


def find(kind: str, pk: str) -> Target:
    """Return a target of the open scope by kind and id. Raises InvalidInput."""
    known = _kinds.get(kind)
    if known is None:
        raise InvalidInput(
            _("An external IP cannot be bound to a “%(kind)s”.") % {"kind": kind[:30]},
            code="target_kind_unknown",
            field="target_kind",
            numbers={"allowed": sorted(_kinds)},
        )
    row = known.rows().filter(pk=pk).first()
    if row is None:
        raise InvalidInput(
            _("There is no such %(what)s here.") % {"what": known.label},
            code="target_unknown",
            field="target",
            remedy=_("Choose one that is offered."),
        )
    return Target(known, row)


def of(target: Target | Model) -> Target:
    """Return the target that a row is, as it is now. Raises InvalidInput."""
    if isinstance(target, Target):
        return target
    return find(str(getattr(target, "KIND", "")), str(target.pk))


def on_deletion(name: str, let_go: LetGo) -> None:
    """Have ``let_go`` called when a target is deleted; ``name`` is that of the kind that asks."""
    _holders[name] = let_go


def let_go(kind: str, pk: str, *, along: Collection[str] = ()) -> None:
    """Ask every kind of thing that may hang on a target to let go of it.

    Those of the kinds named in ``along`` are deleted with it. Runs in the transaction that deletes
    the target.
    """
    for name, holder in _holders.items():
        holder(kind, pk, name in along)
