"""Hosts: the only code that assigns their state."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from compute.models import Host, HostTest, HostTransition
from compute.models.hosts import LONGEST_REASON
from compute.states.hosts import MOVES, HostMove, HostState, MoveRule
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor


def move(host: Host, name: HostMove, *, actor: Actor | None = None, reason: str = "") -> Host:
    """Change the state of a host as the rule says, with a row of its history; return the host.

    Without an actor it is the platform's own doing. Raises Conflict (``host_state``) when the rule
    does not lead from where the host stands, and when its state has changed since ``host`` was
    read; then nothing has changed.
    """
    rule = MOVES[name]
    check_state(host, rule.allowed_from)
    with transaction.atomic():
        # The time too: a state that was left and entered again is another one.
        unchanged = Host.objects.filter(pk=host.pk, state=host.state, state_since=host.state_since)
        if rule.to is None:
            # Whoever ends an order for maintenance locks the host first: what is read of it below
            # is so until this ends.
            list(unchanged.select_for_update().values_list("pk"))
        new = rule.to or _last_of(host, rule)
        now = timezone.now()
        changes = {
            "state": new,
            "state_reason": reason[:LONGEST_REASON],
            "state_since": now,
            # What was seen and concluded of the state before says nothing of this one.
            "off_seen_at": None,
            "failover_note": "",
        }
        if not unchanged.update(**changes):
            host.refresh_from_db(fields=list(changes))
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


def add(host: Host) -> Host:
    """Store a new host, which takes no VMs until it is unlocked."""
    host.state = HostState.LOCKED
    host.state_reason = _("It has not passed its connection test.")
    host.state_since = timezone.now()
    host.save(force_insert=True)
    return host


def admit(host: Host, test: HostTest, *, actor: Actor | None = None, reason: str = "") -> Host:
    """Let an added host be in service from now on; unlock it, if it is locked.

    The row of ``host`` is locked by the caller.
    """
    test.admitted_at = timezone.now()
    test.save(update_fields=["admitted_at"])
    if host.state == HostState.LOCKED:
        move(host, HostMove.UNLOCK, actor=actor, reason=reason)
    return host


def _last_of(host: Host, rule: MoveRule) -> HostState:
    """Return in which of the states that a rule leads back to a host was last."""
    back_to = rule.back_to
    if not host.maintenances.filter(ended_at=None).exists():
        back_to -= {HostState.ENTERING_MAINTENANCE}
    states = host.transitions.filter(old__in=back_to).values_list("old", flat=True)
    last = states.first()
    return HostState.AVAILABLE if last is None else HostState(last)


def check_state(host: Host, allowed_from: frozenset[HostState]) -> None:
    """Raise Conflict (``host_state``) unless a host is in one of these states."""
    if host.state not in allowed_from:
        raise _refused(host, allowed_from)


def _refused(host: Host, allowed_from: frozenset[HostState]) -> Conflict:
    return Conflict(
        _("%(name)s is %(label)s.") % {"name": host.name, "label": host.get_state_display()},
        code="host_state",
        remedy=_("Check its status and try again."),
        numbers={"state": host.state, "needed": sorted(allowed_from)},
    )


def note_off(host: Host, at: datetime) -> bool:
    """Write down that no witness has seen a host alive since it was confirmed to be off.

    ``at`` is the time before what they said was read: what they say later comes after it. What the
    host ran is known to have stopped. False when its state has changed meanwhile.
    """
    rows = Host.objects.filter(
        pk=host.pk, state=host.state, state_since=host.state_since, off_seen_at=None
    )
    if not rows.update(off_seen_at=at, failover_note=""):
        return False
    host.off_seen_at = at
    host.failover_note = ""
    return True


def doubt_off() -> int:
    """Forget of all hosts that they were seen to be off; return of how many.

    In a restored database that may be from a time that is over. Where it still holds, witnesses
    say so again.
    """
    return int(Host.objects.exclude(off_seen_at=None).update(off_seen_at=None))


def note_failover(host: Host, words: str) -> None:
    """Write down, for operators, why a host is not fenced or why its VMs do not start elsewhere."""
    words = words[:LONGEST_REASON]
    if host.failover_note != words:
        rows = Host.objects.filter(pk=host.pk, state=host.state, state_since=host.state_since)
        rows.update(failover_note=words)
        host.failover_note = words
