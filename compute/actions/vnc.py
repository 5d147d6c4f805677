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

    An earlier port of the same VM that nobody has used yet is closed. Raises Conflict when the VM
    is not running, NoCapacity when all ports are taken.
    """
    VMS.guard(vm, "get_vnc_information")
    information = leases.issue(actor=actor, vm=vm)
    note(after={"address": information.address, "port": information.port})
    return information
