"""VMs as what external IPs are bound to: see :mod:`network.rules.targets`."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.hypervisor.base import DomainNotFound, NicSpec
from compute.models import VM, GuestNetwork
from compute.queries.vms import UNLISTED
from compute.states.vms import VmStatus
from compute.tasks.base import host_of, is_on_host, require_found
from compute.tasks.drivers import translated_errors
from compute.tasks.guest_network import apply_guest_network
from compute.transitions.vms import VMS
from network.actions.nics import external_nic
from network.models import Nic, SecurityGroup
from network.models.nic import EXTERNAL_INDEX
from network.rules import targets
from network.tasks import plumbing
from scloud.lib.errors import Conflict, HostError

#: A VM in one of these has no machine, and will have none with the addresses that it had.
_GONE = (VmStatus.FAILED, *UNLISTED)


def _rows() -> QuerySet[VM]:
    rows: QuerySet[VM] = VM.objects.exclude(status=VmStatus.DESTROYED)
    return rows


def _offered() -> QuerySet[VM]:
    return _rows().filter(status__in=[VmStatus.RUNNING, VmStatus.STOPPED]).order_by("name", "id")


def _nic(vm: VM) -> Nic:
    """Return the external NIC; a VM that is switched off gets one if it has none yet."""
    found: Nic | None = Nic.objects.filter(vm_id=vm.pk, index=EXTERNAL_INDEX).first()
    if found is not None:
        return found
    if vm.status != VmStatus.STOPPED:
        raise Conflict(
            _("%(name)s has no external network interface yet.") % {"name": vm.name},
            code="external_nic_missing",
            field="target",
            remedy=_("It gets one at its next start: restart it once."),
        )
    group = SecurityGroup.objects.filter(pk=vm.external_security_group).first()
    return external_nic(tenant=vm.tenant, region=vm.region, vm_id=vm.pk, group=group)


def _apply(vm_id: str) -> bool:
    """Configure the guest of a VM that runs; one that is off is told by its seed when it boots."""
    vm: VM | None = VM.objects.filter(pk=vm_id).first()
    if vm is None or vm.status in _GONE:
        return True
    if vm.status != VmStatus.RUNNING:
        # Off, its seed is written when it starts; while that is going on it may be too late.
        return not vm.task
    return apply_guest_network(vm_id)


def _changed(vm_ids: Collection[str]) -> None:
    """Let the sweep tell the guests that run; the others read their seed when they boot."""
    GuestNetwork.objects.filter(pk__in=list(vm_ids)).update(due_at=timezone.now())


def _machine(vm_id: str) -> VM | None:
    """Return a VM that is on a host which is not off, and to which nothing else is being done."""
    vm: VM | None = VM.objects.select_related("host", "cluster").filter(pk=vm_id).first()
    if vm is None or vm.status in _GONE:
        return None
    if vm.task:
        raise HostError(
            _("%(name)s is busy: %(state)s.")
            % {"name": vm.name, "state": VMS.table.label(vm.standing, vm.task).lower()},
            code="vm_busy",
        )
    require_found(vm)
    return vm if is_on_host(vm) else None


def _plug(vm_id: str, nic: Nic) -> None:
    """Attach the interface, live too; a VM that is on no host gets it with its next definition."""
    vm = _machine(vm_id)
    if vm is None:
        return
    wanted = next(
        (one for one in plumbing.nic_specs(vm.pk) if one.port_uuid == str(nic.port_uuid)), None
    )
    if wanted is None:
        return
    spec = NicSpec(
        id=wanted.nic_id, port_uuid=wanted.port_uuid, mac=wanted.mac, mtu=wanted.mtu_bytes
    )
    with translated_errors():
        try:
            host_of(vm).attach_nic(str(vm.uuid), spec)
        except DomainNotFound:
            if vm.status == VmStatus.RUNNING:
                raise


def _unplug(vm_id: str, nic: Nic) -> None:
    """Detach the interface, and forget it in the definition."""
    vm = _machine(vm_id)
    if vm is None:
        return
    with translated_errors(), suppress(DomainNotFound):
        host_of(vm).detach_nic(str(vm.uuid), nic.mac)


def _gone(vm_id: str) -> bool:
    """A VM that failed may still run on a host that was not heard since."""
    there = ~Q(status__in=_GONE) | Q(status=VmStatus.FAILED, host__isnull=False)
    return not VM.objects.filter(there, pk=vm_id).exists()


def register() -> None:
    """Make VMs known as targets."""
    targets.register(
        targets.TargetKind(
            kind=VM.KIND,
            label=gettext_lazy("VM"),
            rows=_rows,
            offered=_offered,
            guard=lambda vm, verb: VMS.guard(vm, verb),
            nic=_nic,
            most_enis=lambda vm: vm.cluster.max_enis,
            plug=_plug,
            unplug=_unplug,
            apply=_apply,
            changed=_changed,
            gone=_gone,
        )
    )
