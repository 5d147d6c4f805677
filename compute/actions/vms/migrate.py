"""Moving a running VM to another host, by an administrator."""

from __future__ import annotations

from compute.hosts import placement
from compute.models import VM, Host
from compute.transitions.vms import VMS
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput
from scloud.tenancy.actor import Actor


@action("platform.migrate_vm")
def migrate_vm(*, actor: Actor, vm: VM, host: Host | None = None) -> Job:
    """Move a running VM to ``host``, or to the best one of its cluster, without stopping it.

    The room on the destination is held from now on; the VM's host changes when the hypervisor
    says that it runs there. Raises Conflict (``vm_state``), InvalidInput, NoCapacity.
    """
    VMS.guard(vm, "migrate_vm")
    if vm.host is None:
        raise Conflict(f"{vm.name} is on no host.", code="vm_state")
    if host is None:
        destination = placement.place(
            vm.cluster,
            vm.tenant,
            vcpus=vm.vcpus,
            memory_mib=vm.memory_mib,
            excluded=frozenset({vm.host.pk}),
        )[0]
    else:
        if host.pk == vm.host_id:
            raise InvalidInput(
                f"{vm.name} is on {host.name} already.", code="host_same", field="host"
            )
        if host.cluster_id != vm.cluster_id:
            raise InvalidInput(
                f"{host.name} is in another cluster.", code="cluster_differs", field="host"
            )
        destination = placement.place_on(
            host, vm.cluster, vm.tenant, vcpus=vm.vcpus, memory_mib=vm.memory_mib
        )
    audit.note(vm, before={"host": vm.host.name}, after={"host": destination.name})
    return VMS.begin(
        vm,
        "migrate_vm",
        actor=actor,
        payload={"source": vm.host.pk, "destination": destination.pk},
        destination=destination,
    )
