"""What administrators do with hosts."""

from django.utils.translation import gettext as _

from compute.models import Host
from compute.models.platform import HostState
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor


def _swap(host: Host, old: HostState, new: HostState) -> None:
    """Change the state of a host if it is still the expected one. Raises Conflict."""
    audit.note(host, before={"state": host.state})
    if not Host.objects.filter(pk=host.pk, state=old).update(state=new):
        raise Conflict(
            _("%(name)s is %(label)s.") % {"name": host.name, "label": HostState(host.state).label},
            code="host_state",
            remedy=_("Check its status and try again."),
            numbers={"state": host.state, "needed": old.value},
        )
    host.refresh_from_db(fields=["state"])
    audit.note(after={"state": new.value})


@action("platform.lock_host")
def lock_host(*, actor: Actor, host: Host) -> Host:
    """Let a host take no new VMs; those that it has go on. Raises Conflict."""
    _swap(host, HostState.AVAILABLE, HostState.LOCKED)
    return host


@action("platform.unlock_host")
def unlock_host(*, actor: Actor, host: Host) -> Host:
    """Let a locked host take new VMs again. Raises Conflict."""
    _swap(host, HostState.LOCKED, HostState.AVAILABLE)
    return host
