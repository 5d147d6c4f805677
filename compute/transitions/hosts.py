"""Hosts: the only code that assigns their state."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from compute.models import Host, HostTransition
from compute.models.hosts import LONGEST_REASON
from compute.states.hosts import IN_SERVICE, MOVES, HostMove, HostState
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor


def move(host: Host, name: HostMove, *, actor: Actor | None = None, reason: str = "") -> Host:
    """Change the state of a host as the rule says, with a row of its history; return the host.

    Without an actor it is the platform's own doing. Raises Conflict (``host_state``) when the rule
    does not lead from where the host stands, and when its state has changed since ``host`` was
    read; then nothing has changed.
    """
    rule = MOVES[name]
    if host.state not in rule.allowed_from:
        raise _refused(host, rule.allowed_from)
    with transaction.atomic():
        new = rule.to or _in_service(host)
        now = timezone.now()
        changes = {"state": new, "state_reason": reason[:LONGEST_REASON], "state_since": now}
        # The time too: a state that was left and entered again is another one.
        unchanged = Host.objects.filter(pk=host.pk, state=host.state, state_since=host.state_since)
        if not unchanged.update(**changes):
            host.refresh_from_db(fields=["state", "state_reason", "state_since"])
            raise _refused(host, rule.allowed_from)
        HostTransition.objects.create(
            host=host,
            old=host.state,
            new=new,
            reason=reason[:LONGEST_REASON],
            by=(actor or Actor.system(None)).label,
            at=now,
        )
    for column, value in changes.items():
        setattr(host, column, value)
    return host


def _in_service(host: Host) -> HostState:
    """Return as what a host was used last."""
    states = host.transitions.filter(old__in=IN_SERVICE).values_list("old", flat=True)
    last = states.first()
    return HostState.AVAILABLE if last is None else HostState(last)


def _refused(host: Host, allowed_from: frozenset[HostState]) -> Conflict:
    return Conflict(
        _("%(name)s is %(label)s.") % {"name": host.name, "label": host.get_state_display()},
        code="host_state",
        remedy=_("Check its status and try again."),
        numbers={"state": host.state, "needed": sorted(allowed_from)},
    )
