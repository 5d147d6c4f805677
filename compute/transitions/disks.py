"""The only code that assigns a status or a task of disks.

Like :mod:`compute.transitions.vms`: each is one compare-and-swap with its event and its job.
"""

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from billing import services
from billing.models import SubscriptionStatus
from compute.models import VM, Disk
from compute.states import disks as disk_states
from compute.states.disks import DiskStatus
from scloud.audit import events
from scloud.jobs import service as jobs
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor

REMEDY = "Wait for the present operation, or bring it into an allowed state first."


def _changed_meanwhile(name: str, code: str) -> Conflict:
    return Conflict(
        f"{name} was changed by somebody else just now.",
        code=code,
        remedy="Look at its state and try again.",
    )


# --- disks


def guard_disk(disk: Disk, verb: str) -> None:
    """Raise Conflict with the reason unless the verb is allowed in the disk's present state."""
    reason = disk_states.disk_refusal(disk, verb)
    if reason is not None:
        raise Conflict(
            f"{disk.name}: {reason}",
            code="disk_state",
            remedy=REMEDY,
            numbers={
                "status": disk.status,
                "task": disk.task,
                "allowed_from": sorted(disk_states.disk_rule(verb).allowed_from),
            },
        )


def fresh_disk(disk: Disk) -> Disk:
    """Return the disk as it is now, with what the guards look at."""
    found: Disk = Disk.objects.select_related("vm", "vm__host", "disk_type", "pool", "tenant").get(
        pk=disk.pk
    )
    return found


def begin_disk(
    disk: Disk,
    verb: str,
    *,
    actor: Actor,
    vm: VM | None = None,
    payload: dict[str, Any] | None = None,
    job: Job | None = None,
    deadline_s: int | None = None,
    target: str | None = None,
    **columns: Any,
) -> Job:
    """Put a disk in flight and queue its job, or join the ``job`` of another disk.

    The job of a disk that hangs on a VM (or shall hang on ``vm``, at ``target``) is the VM's:
    nothing else is done to that VM meanwhile. Raises Conflict when the state does not allow the
    verb, also when another caller was faster.
    """
    disk = fresh_disk(disk)
    guard_disk(disk, verb)
    rule = disk_states.disk_rule(verb)
    limit_s = deadline_s or rule.deadline_s
    owner = vm or disk.vm
    if job is None:
        job = jobs.enqueue(
            kind=f"disk.{verb.removesuffix('_disk')}",
            tenant=disk.tenant,
            title=f"{rule.label} {disk.name}",
            target_kind="vm" if owner else "disk",
            target_id=owner.id if owner else disk.id,
            payload={"disk": disk.id, **(payload or {})},
            deadline_s=limit_s,
            actor=actor,
        )
    if vm is not None and target is not None:
        # Taken from now on, so that two disks never meet at one place.
        columns.update(vm=vm, target=target)
    changed = Disk.objects.filter(
        pk=disk.pk, status=disk.status, task=disk.task, vm_id=disk.vm_id
    ).update(
        task=rule.task,
        task_job=job.id,
        task_deadline=timezone.now() + timedelta(seconds=limit_s + 60),
        failure_code="",
        failure="",
        **columns,
    )
    if not changed:
        raise _changed_meanwhile(disk.name, "disk_state")
    tell_disk(disk, f"disk.{rule.task}", job=job.id, by=actor.label)
    return job


def tell_disk(disk: Disk, kind: str, **data: Any) -> None:
    """Write an event of a disk, and of the VM that it hangs on."""
    events.emit(
        tenant_id=disk.tenant_id, kind=kind, resource_kind="disk", resource_id=disk.id, data=data
    )
    if disk.vm_id is not None:
        events.emit(
            tenant_id=disk.tenant_id,
            kind=kind,
            resource_kind="vm",
            resource_id=disk.vm_id,
            data={**data, "disk": disk.id},
        )


def paid_standing(disk: Disk | None, status: str | None) -> str | None:
    """Return where a disk lands that its job would land in ``status`` (None: where it stands).

    Expired only while it is unpaid: a renewal that was paid meanwhile found the disk busy and
    changed nothing. Within the transaction that lands it.
    """
    if disk is None or (status or disk.status) != DiskStatus.EXPIRED:
        return status
    if services.status_for_landing(disk.tenant, disk.pk) != SubscriptionStatus.ACTIVE:
        return status
    return DiskStatus.BOUND if disk.vm_id else DiskStatus.UNBOUND


def complete_disk(
    disk_id: str, job: Job, verb: str, status: str | None = None, **columns: Any
) -> bool:
    """Land a disk after its job; without ``status`` it stays where it stands.

    False when the job is no longer the disk's.
    """
    rule = disk_states.disk_rule(verb)
    with transaction.atomic():
        before = Disk.objects.select_related("tenant").filter(pk=disk_id).first()
        if (landing := paid_standing(before, status)) is not None:
            columns["status"] = landing
        changed = Disk.objects.filter(pk=disk_id, task_job=job.id, task=rule.task).update(
            task="", task_job="", task_deadline=None, failure_code="", failure="", **columns
        )
        if changed and before is not None:
            tell_disk(before, rule.event, job=job.id)
    return bool(changed)


def fail_disk(
    disk_id: str,
    job: Job,
    verb: str,
    code: str,
    message: str,
    status: str | None = None,
    **columns: Any,
) -> bool:
    """Land a disk where it truly is after a job that failed, with the reason visible."""
    rule = disk_states.disk_rule(verb)
    with transaction.atomic():
        before = Disk.objects.select_related("tenant").filter(pk=disk_id).first()
        if (landing := paid_standing(before, status)) is not None:
            columns["status"] = landing
        changed = Disk.objects.filter(pk=disk_id, task_job=job.id, task=rule.task).update(
            task="",
            task_job="",
            task_deadline=None,
            failure_code=code[:60],
            failure=message[:500],
            **columns,
        )
        if changed and before is not None:
            kind = f"{rule.event or 'disk.changed'}_failed"
            tell_disk(before, kind, job=job.id, code=code, message=message)
    return bool(changed)


def move_disk(disk: Disk, verb: str, status: str, **columns: Any) -> Disk:
    """Carry out a verb of a disk that takes effect at once. Raises Conflict."""
    disk = fresh_disk(disk)
    guard_disk(disk, verb)
    rule = disk_states.disk_rule(verb)
    changed = Disk.objects.filter(pk=disk.pk, status__in=rule.allowed_from, task="").update(
        status=status, failure_code="", failure="", **columns
    )
    if not changed:
        raise _changed_meanwhile(disk.name, "disk_state")
    disk = fresh_disk(disk)
    tell_disk(disk, rule.event)
    return disk
