"""Changed limits reach what runs: disk limits of a disk type, CPU weight and limit of a cluster.

A chore compares what is set with what was last applied, so it does not matter who changed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.utils.translation import gettext

from compute.hypervisor.base import DomainNotFound, HypervisorError, Refused
from compute.models import VM, Cluster, Disk, DiskType
from compute.states.vms import VmStatus
from compute.tasks.build import limits_of
from compute.tasks.drivers import hypervisor_of
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.models import Job
from scloud.lib.errors import HostError

_ON_HOSTS = (VmStatus.NEW, VmStatus.RUNNING, VmStatus.STOPPED)


class LimitsHandler(Handler):
    """Set limits on everything that runs; what a host or a busy VM held up is tried again."""

    max_attempts = 20

    def steps(self, job: Job) -> Sequence[Step]:
        return (Step("apply", gettext("Applying the limits"), self.ensure_applied),)

    def targets(self, context: Context) -> Sequence[tuple[VM, Disk | None]]:
        raise AssertionError(f"{type(self).__name__} defines no targets")

    def apply(self, vm: VM, disk: Disk | None) -> None:
        raise AssertionError(f"{type(self).__name__} applies nothing")

    def ensure_applied(self, context: Context) -> None:
        """Go through all of them; raise HostError for those that must be tried again."""
        left = []
        targets = self.targets(context)
        for number, (vm, disk) in enumerate(targets):
            context.check()
            try:
                self.apply(vm, disk)
            except (DomainNotFound, Refused):
                # Not there (yet): its next definition carries the present limits.
                pass
            except HypervisorError:
                left.append(vm.id)
                continue
            if vm.task:
                # It may have been defined with the old limits a moment ago.
                left.append(vm.id)
            if number % 20 == 0:
                context.progress(number / len(targets))
        if left:
            raise HostError(
                gettext("%(left)s of %(count)s could not be set yet, such as %(vm)s.")
                % {"left": len(left), "count": len(targets), "vm": left[0]},
                code="limits_incomplete",
            )


class ApplyDiskLimits(LimitsHandler):
    """IOPS and MB/s of a disk type."""

    def targets(self, context: Context) -> Sequence[tuple[VM, Disk | None]]:
        rows = Disk.objects.select_related("vm", "vm__host", "disk_type").filter(
            disk_type=context.job.target_id, vm__status__in=_ON_HOSTS, vm__host__isnull=False
        )
        return [(disk.vm, disk) for disk in rows if disk.vm is not None]

    def apply(self, vm: VM, disk: Disk | None) -> None:
        if disk is not None and vm.host is not None:
            hypervisor_of(vm.host).set_disk_limits(str(vm.uuid), disk.id, limits_of(disk))

    def on_success(self, context: Context) -> None:
        DiskType.objects.filter(pk=context.job.target_id).update(
            applied_iops_limit=context.payload["iops"],
            applied_throughput_limit_mbps=context.payload["throughput_mbps"],
        )


class ApplyCpuLimits(LimitsHandler):
    """CPU shares and quota of a cluster."""

    def targets(self, context: Context) -> Sequence[tuple[VM, Disk | None]]:
        rows: Iterable[VM] = VM.objects.select_related("host", "cluster").filter(
            cluster=context.job.target_id, status__in=_ON_HOSTS, host__isnull=False
        )
        return [(vm, None) for vm in rows]

    def apply(self, vm: VM, disk: Disk | None) -> None:
        if vm.host is not None:
            hypervisor_of(vm.host).set_cpu_limits(
                str(vm.uuid),
                shares=min(262_144, vm.cluster.cpu_shares_per_vcpu * vm.vcpus),
                quota_percent=vm.cluster.cpu_quota_percent,
            )

    def on_success(self, context: Context) -> None:
        Cluster.objects.filter(pk=context.job.target_id).update(
            applied_cpu_shares_per_vcpu=context.payload["shares"],
            applied_cpu_quota_percent=context.payload["quota_percent"],
        )


def register_all() -> None:
    """Make the handlers known."""
    register("disk_type.apply_limits", ApplyDiskLimits())
    register("cluster.apply_limits", ApplyCpuLimits())
