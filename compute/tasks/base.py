"""What all handlers of a VM's jobs share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import overload

from django.utils.translation import gettext as _

from billing import services
from billing.models import SubscriptionStatus
from compute.hosts import machines
from compute.hypervisor.base import Hypervisor, HypervisorError
from compute.hypervisor.base import PowerState as Power
from compute.hypervisor.cloudinit import digest_of, files
from compute.models import VM, Disk
from compute.rules.refusals import require_sound
from compute.rules.targets import DATA_TARGETS
from compute.states.disks import Damage
from compute.states.vms import VmStatus
from compute.storage.base import (
    DiskSource,
    Storage,
    StorageForeign,
    StorageHanging,
    StorageReadOnly,
    StorageStale,
    StorageUnavailable,
    VolumeBusy,
    VolumeDamaged,
    VolumeMissing,
)
from compute.tasks.build import domain_spec, guests_of, seed_spec
from compute.tasks.drivers import (
    hypervisor_of,
    keep_secrets,
    storage_of,
    translated,
    translated_errors,
)
from compute.transitions.disks import mark_damaged
from compute.transitions.vms import HOST_FAILED, VMS
from network.actions.nics import external_nic
from network.models import Nic, NicKind, SecurityGroup
from network.models.nic import EXTERNAL_INDEX
from network.rules.guest import NicPlan, plan
from network.tasks import plumbing
from scloud.jobs.handlers import Context, Handler, Step
from scloud.jobs.models import Job
from scloud.lib import lease
from scloud.lib.errors import HostError, ScloudError

START_LIMIT_S = 60.0


def vm_of(job: Job) -> VM:
    vm: VM | None = VM.objects.select_related("tenant", "host").filter(pk=job.target_id).first()
    if vm is None:
        raise ScloudError(
            _("There is no VM %(target_id)s.") % {"target_id": job.target_id}, code="vm_gone"
        )
    return vm


def disks_of(vm: VM | str) -> list[Disk]:
    """Return the disks that hang on a VM, the system disk first."""
    vm_id = vm if isinstance(vm, str) else vm.pk
    rows = Disk.objects.select_related("disk_type", "pool", "image").filter(vm=vm_id)
    return sorted(rows, key=lambda disk: (not disk.is_system, disk.target))


def system_disk_of(vm: VM) -> Disk:
    found: Disk = Disk.objects.select_related("disk_type", "pool", "image").get(
        vm=vm, is_system=True
    )
    return found


def nics_of(vm: VM | str) -> list[Nic]:
    vm_id = vm if isinstance(vm, str) else vm.pk
    return list(Nic.objects.select_related("region").filter(vm_id=vm_id).order_by("index"))


def own_nics_of(vm: VM) -> list[Nic]:
    """Return the NICs that live and die with the VM; ENIs outlive it."""
    return [nic for nic in nics_of(vm) if nic.kind == NicKind.DEFAULT]


def ensure_external_nic(vm: VM) -> None:
    """Give a VM of an earlier release its external NIC; its next definition has it.

    Written at once, before anything uses it, so a worker that dies afterwards leaves a VM that has
    it all the same.
    """
    if Nic.objects.filter(vm_id=vm.pk, index=EXTERNAL_INDEX).exists():
        return
    group = SecurityGroup.objects.filter(pk=vm.external_security_group).first()
    external_nic(tenant=vm.tenant, region=vm.region, vm_id=vm.pk, group=group)


def host_of(vm: VM) -> Hypervisor:
    """Return the driver of the VM's host.

    Raises HostError (``no_host``), and ScloudError (``host_failed``) when the host is known to be
    off: nothing waits for it, and nothing is begun there when it comes back.
    """
    if vm.host is None:
        raise HostError(_("%(name)s is on no host.") % {"name": vm.name}, code="no_host")
    if vm.host.is_off:
        raise ScloudError(
            _("The host of %(name)s failed.") % {"name": vm.name},
            code=HOST_FAILED,
            remedy=_("Start the VM: it starts on another host."),
            detail=f"{vm.host.name} is {vm.host.state}.",
        )
    return hypervisor_of(vm.host)


def is_on_host(vm: VM) -> bool:
    """Tell whether the VM has a host on which something of it may be running."""
    return vm.host is not None and not vm.host.is_off


@contextmanager
def placed(vm: VM) -> Iterator[None]:
    """Let nothing be published within the block once the VM was given another host.

    The driver's calls look again right before they act. Raises ScloudError (``vm_moved``).
    """

    def check() -> None:
        rows = VM.objects.filter(pk=vm.pk, host=vm.host_id, epoch=vm.epoch)
        if not rows.exists():
            raise ScloudError(
                _("%(name)s was given another host meanwhile.") % {"name": vm.name},
                code="vm_moved",
                remedy=_("Check its status and try again."),
            )

    with lease.also(check):
        yield


def pool_of(disk: Disk) -> Storage:
    return storage_of(disk.pool)


def source_of(disk: Disk) -> DiskSource:
    """Return what a domain that does not have the disk yet needs to open it, put right for that.

    A disk that is damaged is named, but not put right: no domain that has it is started. Raises
    the storage's errors, and ScloudError (``volume_damaged``, ``volume_missing``) for a volume that
    proves to be damaged now.
    """
    pool = pool_of(disk)
    if not disk.is_damaged:
        try:
            pool.prepare_volume(disk.id)
        except (VolumeDamaged, VolumeMissing) as error:
            mark_damaged(disk.pk, Damage.SUSPECTED)
            said = translated(error)
            raise ScloudError(
                _("%(name)s: %(reason)s") % {"name": disk.name, "reason": said.message},
                code=said.code,
                remedy=said.remedy,
                detail=said.detail,
            ) from error
    return pool.disk_source(disk.id)


def guest_plan(vm_id: str) -> tuple[NicPlan, ...]:
    """Return what the guest of a VM shall configure; needs the tenant's scope."""
    return plan(plumbing.guest_nics(vm_id))


def keep_machine(vm: VM, machine_type: str) -> None:
    """Have the row of a VM that has no machine type yet say this one, and read it anew.

    Of a VM that was given another host meanwhile nothing is written.
    """
    if not vm.machine_type and machines.version_of(machine_type):
        VM.objects.filter(pk=vm.pk, host=vm.host_id, epoch=vm.epoch, machine_type="").update(
            machine_type=machine_type
        )
        vm.refresh_from_db(fields=["machine_type"])


def keep_machine_of(vm: VM, host: Hypervisor) -> None:
    """Have the row say which machine type that host has defined, where it says none yet."""
    if not vm.machine_type:
        keep_machine(vm, host.observe(str(vm.uuid)).machine_type)


def settle_machine(vm: VM, host: Hypervisor) -> None:
    """Have the row say which machine type the VM has, and see that the host offers it.

    A VM of an earlier release keeps what its host has defined; a new one gets the newest that it
    can keep on every host of its cluster. Raises ScloudError (``machine_type_missing``).
    """
    offered = host.machine_types(guests_of(vm.cluster))
    if vm.status != VmStatus.NEW:
        keep_machine_of(vm, host)
    if not vm.machine_type:
        shared = machines.common_of(vm.cluster)
        keep_machine(vm, machines.first_type(shared, offered.names, offered.default))
    if vm.machine_type and vm.machine_type not in offered.names:
        raise ScloudError(
            _("The host does not offer the machine type %(machine)s.")
            % {"machine": vm.machine_type},
            code="machine_type_missing",
            remedy=_("Update the machine type of the VM while it is stopped, then start it."),
            detail=f"{host.ref.name} offers {', '.join(offered.names) or 'none'}.",
        )


def define(vm: VM) -> None:
    """Write the seed and make the host's definition equal the rows. Not while the domain runs.

    Raises ScloudError (``machine_type_missing``) before anything is changed.
    """
    host = host_of(vm)
    with translated_errors():
        settle_machine(vm, host)
    disks = disks_of(vm)
    close_gaps(disks)
    nics = plumbing.nic_specs(vm.id)
    contents = files(seed_spec(vm, disks, guest_plan(vm.id)))
    with translated_errors():
        # The seed lies beside the system disk, which is the first.
        seed = pool_of(disks[0]).write_seed(vm.id, contents)
        sources = [(disk, source_of(disk)) for disk in disks]
        spec = domain_spec(vm, sources, nics, seed, digest_of(contents))
        with placed(vm):
            keep_secrets(host, disks)
            host.define(spec)


def close_gaps(disks: Sequence[Disk]) -> None:
    """Name data disks without gaps, in their order: a guest that boots counts them so."""
    data = (disk for disk in disks if not disk.is_system)
    for disk, target in zip(data, DATA_TARGETS, strict=False):
        if disk.target != target:
            Disk.objects.filter(pk=disk.pk).update(target=target)
            disk.target = target


def runs_as_defined(vm: VM) -> bool:
    """Tell whether what runs is what the rows say, so that a reboot is as good as a new start."""
    disks = disks_of(vm)
    nics = plumbing.nic_specs(vm.id)
    digest = digest_of(files(seed_spec(vm, disks, guest_plan(vm.id))))
    with translated_errors():
        sources = [(disk, pool_of(disk).disk_source(disk.id)) for disk in disks]
        spec = domain_spec(vm, sources, nics, None, digest)
        return host_of(vm).runs_as(str(vm.uuid), spec)


def is_running(vm: VM) -> bool:
    """Tell whether the domain runs."""
    with translated_errors():
        return host_of(vm).observe(str(vm.uuid)).power_state == Power.RUNNING


def start_and_watch(context: Context, vm: VM) -> None:
    """Start the domain and wait until the hypervisor says that it runs.

    Raises Conflict (``disk_damaged``) where a disk of it is damaged.
    """
    require_sound(disks_of(vm))
    with translated_errors(), placed(vm):
        host_of(vm).start(str(vm.uuid))
    if not context.wait_until(lambda: is_running(vm), timeout_s=START_LIMIT_S, poll_s=0.1):
        raise HostError(
            _("%(name)s did not start within %(seconds)s s.")
            % {"name": vm.name, "seconds": f"{START_LIMIT_S:.0f}"},
            code="start_timeout",
        )


def observed(vm: VM) -> Power | None:
    """Return what the hypervisor says of the VM, or None when nobody knows.

    On a host that is known to be off nothing is. What is not there may be on the destination of a
    migration whose end is not known.
    """
    power = _observed_at_home(vm)
    return None if power == Power.ABSENT and vm.destination_id is not None else power


def _observed_at_home(vm: VM) -> Power | None:
    if vm.host is None or vm.host.is_off:
        return Power.ABSENT
    try:
        return hypervisor_of(vm.host).observe(str(vm.uuid)).power_state
    except HypervisorError:
        return None


def may_be_elsewhere(vm: VM) -> bool:
    """Tell whether the VM may be on another host than its row's.

    On that one it is not then, and the other has not answered since it was to be moved there.
    """
    return vm.destination_id is not None and _observed_at_home(vm) == Power.ABSENT


def require_found(vm: VM) -> None:
    """Raise HostError (``migration_unclear``) where the VM may be elsewhere than its row says."""
    if may_be_elsewhere(vm):
        raise HostError(
            _("A migration of %(name)s did not complete.") % {"name": vm.name},
            code="migration_unclear",
            remedy=_("SCloud is checking on which host it runs. Try again later."),
        )


def true_status(vm: VM) -> str | None:
    """Return the status that fits what the hypervisor says.

    None when it is silent: the VM stays as it was, and so does what was ordered of it last.
    """
    power = observed(vm)
    if power in (Power.RUNNING, Power.PAUSED):
        return VmStatus.RUNNING
    if vm.status == VmStatus.EXPIRED:
        return VmStatus.EXPIRED
    return None if power is None else VmStatus.STOPPED


def remember(context: Context, key: str, value: object) -> None:
    """Keep a fact of this job for its later attempts, under the attempt's token."""
    context.result[key] = value
    type(context.job).objects.filter(pk=context.job.pk, attempt=context.job.attempt).update(
        result=context.result
    )


# A copy that shows no progress for so long is given up; how long it takes in all does not matter.
STALL_S = 1800.0
# What storage says while somebody else has a volume open, a copy or a running VM.
BUSY = frozenset({VolumeBusy.code})
# What it says of a volume that nothing can use.
SAYS_DAMAGED = frozenset({VolumeDamaged.code, VolumeMissing.code})
# What it says while its pool cannot be used at all.
AWAY = frozenset(
    kind.code
    for kind in (
        StorageForeign,
        StorageHanging,
        StorageReadOnly,
        StorageStale,
        StorageUnavailable,
    )
)


@overload
def paid_status(vm: VM, status: str) -> str: ...


@overload
def paid_status(vm: VM, status: str | None) -> str | None: ...


def paid_status(vm: VM, status: str | None) -> str | None:
    """Return where a VM lands that its job would land in ``status``: expired only while unpaid.

    Within the transaction that lands it: a renewal that was paid meanwhile found the VM busy and
    changed nothing.
    """
    if status != VmStatus.EXPIRED:
        return status
    paid = services.status_for_landing(vm.tenant, vm.pk) == SubscriptionStatus.ACTIVE
    return VmStatus.STOPPED if paid else VmStatus.EXPIRED


def refuse_if_paid(context: Context, resource: VM | Disk) -> None:
    """End the job of a resource that was to go to the bin unpaid, and was renewed meanwhile.

    Raises ScloudError (``renewed_meanwhile``). For jobs that people ordered it does nothing.
    """
    if not context.payload.get("automatically"):
        return
    if services.subscription_of(resource.tenant, resource.pk).status == SubscriptionStatus.ACTIVE:
        raise renewed_meanwhile(resource)


def renewed_meanwhile(resource: VM | Disk) -> ScloudError:
    """The reason why an automatic deletion ends without one."""
    return ScloudError(
        _("%(name)s was renewed before it went to the recycle bin.") % {"name": resource.name},
        code="renewed_meanwhile",
    )


class VmHandler(Handler):
    """A job on a VM: on success it lands in ``lands_in``, on failure where it truly is."""

    verb = ""
    lands_in: str = VmStatus.RUNNING
    repeatable = False
    waits_for = BUSY | AWAY

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        raise AssertionError(f"{type(self).__name__} defines no steps")

    def steps(self, job: Job) -> Sequence[Step]:
        return self.vm_steps(job.target_id)

    def on_success(self, context: Context) -> None:
        vm = vm_of(context.job)
        VMS.complete(vm, context.job, self.verb, paid_status(vm, self.lands_in))

    def before_failure(self, context: Context, error: ScloudError) -> None:
        # Asked here, outside the transaction that ends the job: no lock waits on a host.
        context.result["true_status"] = true_status(vm_of(context.job))

    def on_failure(self, context: Context, error: ScloudError) -> None:
        vm = vm_of(context.job)
        status = paid_status(vm, context.result.get("true_status"))
        VMS.fail(vm, context.job, self.verb, error, status)
