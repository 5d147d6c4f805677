"""What administrators do with hosts."""

from datetime import timedelta

from django.utils import timezone
from django.utils.translation import gettext as _

from compute.hosts.witnesses import Word, verdict
from compute.models import Host
from compute.queries.hosts import sightings_of
from compute.rules.fencing import check_typed
from compute.states.hosts import MOVES, HostMove
from compute.transitions import hosts as transitions
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor


def _move(actor: Actor, host: Host, name: HostMove, reason: str = "") -> Host:
    audit.note(host, before={"state": host.state})
    transitions.move(host, name, actor=actor, reason=reason)
    audit.note(after={"state": host.state})
    return host


@action("platform.lock_host")
def lock_host(*, actor: Actor, host: Host) -> Host:
    """Let a host take no new VMs; those that it has go on. Raises Conflict."""
    return _move(actor, host, HostMove.LOCK)


@action("platform.unlock_host")
def unlock_host(*, actor: Actor, host: Host) -> Host:
    """Let a locked host take new VMs again. Raises Conflict."""
    return _move(actor, host, HostMove.UNLOCK)


@action("platform.confirm_host_off", confirmed=True)
def confirm_host_off(*, actor: Actor, host: Host, typed: str) -> Host:
    """Take an operator's word that a host is off, where no device says so.

    ``typed`` is the host's name, as the operator has typed it. Its VMs start elsewhere when its
    witnesses are silent too. Raises InvalidInput (``name_differs``), Conflict (``host_state``, and
    ``host_alive`` while a witness hears it).
    """
    audit.note(host)
    check_typed(host, typed)
    transitions.check_state(host, MOVES[HostMove.CONFIRM_OFF].allowed_from)
    seen = sightings_of([host]).get(host.pk, ())
    if verdict(seen, timezone.now(), timedelta()).word is Word.ALIVE:
        raise Conflict(
            _("%(name)s gives signs of life: it is not off.") % {"name": host.name},
            code="host_alive",
            remedy=_("See its witnesses, and switch it off first."),
        )
    reason = _("An operator confirmed that it is off.")
    return _move(actor, host, HostMove.CONFIRM_OFF, reason)


@action("platform.return_host")
def return_host(*, actor: Actor, host: Host) -> Host:
    """Take a host that was off back: it is used when it answers and has been compared.

    Raises Conflict (``host_state``).
    """
    return _move(actor, host, HostMove.RETURN, _("An operator returns it to service."))
