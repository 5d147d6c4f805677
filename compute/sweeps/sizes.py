"""Domains that have other vCPUs or memory than their rows.

One that is smaller than what is paid is completed, once; everything else is reported. A running
domain cannot shrink, and nobody pays for what nobody ordered.
"""

from __future__ import annotations

import logging

from compute.hypervisor.base import DomainObservation, HypervisorError
from compute.hypervisor.base import PowerState as Power
from compute.models import VM, Drift
from compute.states.vms import VmStatus
from compute.sweeps.drift import drift
from compute.tasks.drivers import hypervisor_of
from compute.transitions.vms import VMS
from scloud.lib.errors import ScloudError
from scloud.recovery import freezing
from scloud.tenancy.actor import Actor

log = logging.getLogger(__name__)
KIND = "other_size"


def compare_size(vm: VM, domain: DomainObservation) -> list[tuple[str, str, str]]:
    """Compare a running domain's size with its row's; return what stays different.

    A stopped one takes its row's size at its next start.
    """
    on = domain.power_state in (Power.RUNNING, Power.PAUSED)
    if not on or vm.status != VmStatus.RUNNING or vm.host is None or not domain.vcpus:
        return []
    if (domain.vcpus, domain.memory_mib) == (vm.vcpus, vm.memory_mib):
        return []
    try:
        # What all domains were asked for together may be a minute old.
        seen = hypervisor_of(vm.host).growth_headroom(str(vm.uuid))
    except HypervisorError:
        return [(KIND, vm.host.name, vm.pk)]
    if (seen.vcpus, seen.memory_mib) == (vm.vcpus, vm.memory_mib):
        return []
    known = Drift.objects.filter(kind=KIND, resource_id=vm.pk, repaired_at=None).exists()
    key = drift(
        KIND,
        vm.host.name,
        vm.pk,
        f"{vm.name} has {seen.vcpus} vCPU and {seen.memory_mib} MB, its row says {vm.vcpus} vCPU "
        f"and {vm.memory_mib} MB",
    )
    smaller = seen.vcpus <= vm.vcpus and seen.memory_mib <= vm.memory_mib
    fits = vm.vcpus <= seen.max_vcpus and vm.memory_mib <= seen.max_memory_mib
    if smaller and fits and not known and not freezing.is_frozen():
        _complete(vm, {"vcpus": seen.vcpus, "memory_mib": seen.memory_mib})
    return [key]


def _complete(vm: VM, before: dict[str, int]) -> None:
    after = {"vcpus": vm.vcpus, "memory_mib": vm.memory_mib}
    try:
        VMS.begin(
            vm,
            "grow_vm",
            actor=Actor.system(vm.tenant),
            payload={"before": before, "after": after},
        )
    except ScloudError as error:
        log.info("%s is not completed now: %s", vm.pk, error.message)
