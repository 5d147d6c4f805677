"""Landing a VM in the recycle bin: the transaction that ends its deletion."""

from django.utils import timezone

from billing import quotas, services
from compute import transitions
from compute.models import VM, Disk
from compute.states import DiskStatus, VmStatus
from scloud.jobs.models import Job
from scloud.tenancy.models import PlatformSettings


def land_in_bin(vm: VM, job: Job, *, automatically: bool) -> None:
    """Put a VM that is off its host into the bin."""
    now = timezone.now()
    quotas.free(vm.id)
    services.set_in_bin(vm.id, True)
    Disk.objects.filter(vm=vm, is_system=False).update(
        vm=None, target="", status=DiskStatus.UNBOUND, format_at_boot=False
    )
    transitions.complete(
        vm,
        job,
        "delete_vm",
        VmStatus.BINNED,
        host=None,
        binned_at=now,
        destroy_at=now + PlatformSettings.load().bin_retention,
        binned_automatically=automatically,
    )
