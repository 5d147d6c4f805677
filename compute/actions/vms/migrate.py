"""Moving a running VM to another host, by an administrator."""

from __future__ import annotations

from django.utils.translation import gettext as _

from compute.hosts import placement
from compute.models import VM, Host
from compute.transitions.vms import VMS
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput
from scloud.tenancy.actor import Actor


@action("platform.migrate_vm")
def migrate_vm(
    *,
    actor: Actor,
    vm: VM,
    host: Host | None = None,
    excluded: frozenset[str] = frozenset(),
    reason: str = "",
) -> Job:
    """Move a running VM to ``host``, or to the best one of its cluster, without stopping it.

    ``excluded`` are ids of hosts that are not chosen now, ``reason`` is for operators.
    The capacity on the destination is held from now on; the VM's host changes when the hypervisor
    says that it runs there. Raises Conflict (``vm_state``), InvalidInput, NoCapacity.
    """
    VMS.guard(vm, "migrate_vm")
    if vm.host is None:
        raise Conflict(_("%(name)s is on no host.") % {"name": vm.name}, code="vm_state")
    if host is None:
        destination = placement.place_vm(vm, excluded=excluded | {vm.host.pk})
    else:
        if host.pk == vm.host_id:
            raise InvalidInput(
                _("%(name)s is already on this host.") % {"name": vm.name},
                code="host_same",
                field="host",
                detail=host.name,
            )
        if host.cluster_id != vm.cluster_id:
            raise InvalidInput(
                _("This host is in another cluster."),
                code="cluster_differs",
                field="host",
                detail=host.name,
            )
        destination = placement.place_on(host, vm)
    audit.note(vm, detail=f"From {vm.host.name} to {destination.name}. {reason}".strip())
    return VMS.begin(
        vm,
        "migrate_vm",
        actor=actor,
        payload={"source": vm.host.pk, "destination": destination.pk},
        destination=destination,
    )
