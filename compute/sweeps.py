"""What time does to resources: expiry, and the end of the recycle bin's retention."""

import logging

from django.utils import timezone

from compute import transitions
from compute.actions import lifecycle
from compute.models import VM
from compute.states import VmStatus
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant
from scloud.tenancy.scoping import scope, scopes_disabled

log = logging.getLogger(__name__)


def empty_bin() -> int:
    """Destroy what has lain in the bin past its retention; return how many VMs."""
    if not PlatformSettings.load().auto_destroy:
        return 0
    with scopes_disabled():
        due = list(
            VM.objects.select_related("tenant").filter(
                status=VmStatus.BINNED, task="", destroy_at__lte=timezone.now()
            )[:100]
        )
    for vm in due:
        try:
            lifecycle.destroy_vm(actor=Actor.system(vm.tenant), vm=vm)
        except ScloudError as error:
            log.warning("%s could not be destroyed: %s", vm.id, error.message)
    return len(due)


def vm_expired(tenant: Tenant, vm_id: str) -> None:
    """Shut an expired VM down; called by billing in the transaction of the expiry."""
    with scope(tenant=tenant):
        vm = VM.objects.filter(pk=vm_id).first()
        if vm is None:
            return
        try:
            transitions.begin(vm, "expire_vm", actor=Actor.system(tenant))
        except ScloudError as error:
            # Busy: what runs now ends first, and the sweep of expired VMs comes back to it.
            log.info("%s is not shut down yet: %s", vm_id, error.message)


def vm_renewed(tenant: Tenant, vm_id: str) -> None:
    """Make an expired VM usable again once it is paid; it stays stopped."""
    with scope(tenant=tenant):
        VM.objects.filter(pk=vm_id, status=VmStatus.EXPIRED, task="").update(
            status=VmStatus.STOPPED
        )


def vm_overdue(tenant: Tenant, vm_id: str) -> None:
    """Move a VM that stayed expired past the grace period to the bin."""
    with scope(tenant=tenant):
        vm = VM.objects.filter(pk=vm_id).first()
        if vm is None or vm.status in (VmStatus.BINNED, VmStatus.DESTROYED):
            return
        try:
            VM.objects.filter(pk=vm_id).update(deletion_protected=False)
            lifecycle.delete_vm(actor=Actor.system(tenant), vm=vm, automatically=True)
        except ScloudError as error:
            log.warning("%s could not be moved to the bin: %s", vm_id, error.message)
