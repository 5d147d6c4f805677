"""What administrators do with hosts."""

from compute.models import Host
from compute.states.hosts import HostMove
from compute.transitions import hosts as transitions
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.tenancy.actor import Actor


def _move(actor: Actor, host: Host, name: HostMove) -> Host:
    audit.note(host, before={"state": host.state})
    transitions.move(host, name, actor=actor)
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
