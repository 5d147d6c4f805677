"""What time does to VMs: expiry, the end of the bin, tasks that never ended, full pools."""

from __future__ import annotations

import logging

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext

from compute.actions.vms import lifecycle
from compute.models import VM, Disk, StoragePool
from compute.states.vms import PauseReason, VmStatus
from compute.storage.base import StorageError
from compute.sweeps.stuck import gave_up
from compute.tasks.base import true_status
from compute.tasks.drivers import storage_of
from compute.tasks.vms.lifecycle import (
    give_back_all,
    is_off_its_host,
    release_all,
    take_apart,
)
from compute.transitions.vms import VMS
from scloud.jobs import service as jobs
from scloud.jobs.handlers import Context, handler_for, knows
from scloud.jobs.models import ACTIVE, Job, JobStatus
from scloud.jobs.rows import Rota, each
from scloud.jobs.runner import give_up
from scloud.lib.backoff import Said
from scloud.lib.errors import ScloudError
from scloud.recovery import freezing
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant
from scloud.tenancy.scoping import in_scope_of, scope, scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)

_vms_to_destroy = Rota("destroy_at", 100)


def empty_bin() -> int:
    """Destroy what has lain in the bin past its retention; return how many VMs."""
    if not PlatformSettings.load().auto_destroy or freezing.is_frozen():
        return 0
    with scopes_disabled():
        due = _vms_to_destroy.take(
            VM.objects.select_related("tenant").filter(
                status=VmStatus.BINNED, task="", destroy_at__lte=timezone.now()
            )
        )
    return len(each(due, _destroy_vm, "emptying the bin"))


def _destroy_vm(vm: VM) -> None:
    try:
        lifecycle.destroy_vm(actor=Actor.system(vm.tenant), vm=vm)
    except ScloudError as error:
        said.say(
            (vm.id, "could not be destroyed"),
            error.code,
            logging.WARNING,
            "%s could not be destroyed: %s",
            vm.id,
            error.for_operators(),
        )


def vm_expired(tenant: Tenant, vm_id: str) -> None:
    """Shut an expired VM down; called by billing in the transaction of the expiry."""
    with scope(tenant=tenant):
        vm = VM.objects.filter(pk=vm_id).first()
        if vm is None:
            return
        try:
            with transaction.atomic():
                VMS.begin(vm, "expire_vm", actor=Actor.system(tenant))
        except ScloudError as error:
            # Busy: what runs now ends first, and the sweep of expired VMs comes back to it.
            said.say(
                (vm_id, "is not shut down yet"),
                error.code,
                logging.INFO,
                "%s is not shut down yet: %s",
                vm_id,
                error.for_operators(),
            )


def vm_renewed(tenant: Tenant, vm_id: str) -> None:
    """Make an expired VM usable again once it is paid; it stays stopped."""
    with scope(tenant=tenant):
        for vm in VM.objects.filter(pk=vm_id, status=VmStatus.EXPIRED, task=""):
            try:
                VMS.move(vm, "reinstate_vm", VmStatus.STOPPED, actor=Actor.system(tenant))
            except ScloudError as error:
                log.info("%s is not reinstated: %s", vm_id, error.for_operators())


def vm_overdue(tenant: Tenant, vm_id: str) -> None:
    """Move a VM that stayed expired past the grace period to the bin."""
    with scope(tenant=tenant):
        vm = VM.objects.filter(pk=vm_id).first()
        if vm is None or vm.status in (VmStatus.BINNED, VmStatus.DESTROYED):
            return
        try:
            lifecycle.delete_vm(actor=Actor.system(tenant), vm=vm, automatically=True)
        except ScloudError as error:
            said.say(
                (vm_id, "could not be moved to the bin"),
                error.code,
                logging.WARNING,
                "%s could not be moved to the bin: %s",
                vm_id,
                error.for_operators(),
            )


_stuck = Rota("task_deadline", 50)


def land_stuck() -> int:
    """Land VMs whose task outlived its deadline: the second net under the jobs' own deadlines.

    It catches what has no live job any more, whatever the reason. A live job has a deadline of
    its own, which moves with its progress and which the sweep of the jobs looks at; one of a kind
    that this release does not know is left to a newer one. A job that ended without landing its
    VM lands it now, with all that its handler gives back.
    """
    with scopes_disabled():
        stuck = _stuck.take(
            VM.objects.select_related("tenant", "host")
            .exclude(task="")
            .filter(task_deadline__lt=timezone.now())
            .exclude(task_job__in=Job.objects.filter(status__in=ACTIVE).values("pk"))
        )
    landed: list[str] = []

    def land(vm: VM) -> None:
        with in_scope_of(vm.tenant):
            if _land(vm):
                landed.append(vm.pk)

    each(stuck, land, "landing a VM")
    return len(landed)


def _land(vm: VM) -> bool:
    error = ScloudError(gettext("The operation timed out."), code="deadline_exceeded")
    job = Job.objects.filter(pk=vm.task_job).first()
    if job is not None and (job.is_active or not knows(job.kind)):
        return False
    if job is not None and job.status != JobStatus.SUCCEEDED:
        handler = handler_for(job.kind)
        context = Context(job, still_mine=lambda: True, report=lambda fraction, words: None)
        give_up(context, handler, error)
        with transaction.atomic():
            handler.on_failure(context, error)
        if not VM.objects.filter(pk=vm.pk, task_job=vm.task_job).exclude(task="").exists():
            return True
    elif vm.status == VmStatus.NEW:
        # Its job is gone and will not give anything back. What it may still use on a host that is
        # silent is held until that has been heard (compute.sweeps.leftovers).
        gone = is_off_its_host(vm)
        try:
            if gone:
                take_apart(vm)
        except ScloudError as left:
            said.say(vm.pk, left.code, logging.WARNING, "%s: %s", vm.pk, left.detail)
        with transaction.atomic():
            give_back_all(vm, error.message)
            if gone:
                release_all(vm)
    status: str | None = vm.status
    if vm.status in (VmStatus.RUNNING, VmStatus.STOPPED):
        status = true_status(vm)
    elif vm.status == VmStatus.NEW:
        status = VmStatus.FAILED
    return VMS.land(vm, status, gave_up())


# --- paused by a full storage

# What a pool must have free before VMs go on that it has paused; of a small one a twentieth.
RESUME_ROOM_BYTES = 1 << 30
RESUME_AGAIN_S = 30.0
RESUME_CEILING_S = 900.0


def resume_paused() -> int:
    """Resume VMs that a full pool has paused and whose pools have free space; return how many.

    One that is paused again at once is tried more and more rarely.
    """
    with scopes_disabled():
        paused = list(
            VM.objects.select_related("tenant").filter(
                status=VmStatus.RUNNING, task="", pause_reason=PauseReason.NO_SPACE
            )
        )
        pools_of: dict[str, set[str]] = {}
        for vm_id, pool_id in Disk.objects.filter(vm__in=paused).values_list("vm", "pool"):
            pools_of.setdefault(str(vm_id), set()).add(pool_id)
        rows = StoragePool.objects.filter(pk__in={pk for ids in pools_of.values() for pk in ids})
        with_room = {pool.pk for pool in rows if _has_room(pool)}
    resumed: list[str] = []

    def resume(vm: VM) -> None:
        pools = pools_of.get(vm.pk, set())
        if pools and pools <= with_room and _due_again(vm):
            with in_scope_of(vm.tenant):
                lifecycle.resume_vm(actor=Actor.system(vm.tenant), vm=vm)
            resumed.append(vm.pk)

    each(paused, resume, "resuming a VM")
    return len(resumed)


def _has_room(pool: StoragePool) -> bool:
    """Ask the pool itself: what was measured before the VMs were paused says nothing."""
    try:
        found = storage_of(pool).capacity()
    except StorageError as error:
        said.say((pool.pk, "has free space"), error.code, logging.WARNING, "%s: %s", pool.pk, error)
        return False
    return found.available_bytes >= min(RESUME_ROOM_BYTES, found.total_bytes // 20)


def _due_again(vm: VM) -> bool:
    tries = Job.objects.filter(kind="vm.resume", target_id=vm.pk)
    if vm.paused_at is not None:
        tries = tries.filter(created_at__gte=vm.paused_at)
    return jobs.is_due_again(tries, first_s=RESUME_AGAIN_S, ceiling_s=RESUME_CEILING_S)
