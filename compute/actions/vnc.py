"""The verbs about screens."""

from compute.models import VM
from compute.transitions.vms import VMS
from compute.vnc import leases, tickets
from scloud.audit.action import action, note
from scloud.tenancy.actor import Actor


@action("compute.open_vnc")
def open_vnc(*, actor: Actor, vm: VM, session_key: str | None) -> tickets.IssuedTicket:
    """Give a signed-in browser a ticket for the screen of a running VM.

    Raises Conflict when the VM is not running, Unauthenticated without a browser session.
    """
    VMS.guard(vm, "open_vnc")
    return tickets.issue(actor=actor, vm=vm, session_key=session_key)


@action("compute.get_vnc_information")
def get_vnc_information(*, actor: Actor, vm: VM) -> leases.VncInformation:
    """Open a new port with a new password for one VNC client, for 300 seconds.

    Earlier ports of the same VM are closed; who is connected by one stays. Raises Conflict when the
    VM is not running, NoCapacity when all ports are taken.
    """
    # Held until the lease is stored: the VM neither stops nor gets another lease meanwhile.
    now = VM.objects.select_for_update(no_key=True, of=("self",)).get(pk=vm.pk)
    VMS.guard(now, "get_vnc_information")
    information = leases.issue(actor=actor, vm=now)
    note(after={"address": information.address, "port": information.port})
    return information
