"""The only code that assigns a status or a task: begin, complete, fail.

Each is one compare-and-swap on the row: it says what it expects to find, and when it finds
something else it changes nothing. Event and job belong to the same transaction.
"""

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from compute.models import VM
from compute.states import vms as states
from compute.states.vms import PowerState, VmStatus
from scloud.audit import events
from scloud.jobs import service as jobs
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor


def guard_vm(vm: VM, verb: str) -> None:
    """Raise Conflict with the reason unless the verb is allowed in the VM's present state."""
    reason = states.vm_refusal(vm, verb)
    if reason is not None:
        raise Conflict(
            f"{vm.name}: {reason}",
            code="vm_state",
            remedy="Wait for the present operation, or bring the VM into an allowed state first.",
            numbers={
                "status": vm.status,
                "task": vm.task,
                "allowed_from": sorted(states.vm_rule(verb).allowed_from),
            },
        )


def begin(
    vm: VM,
    verb: str,
    *,
    actor: Actor,
    payload: dict[str, Any] | None = None,
    deadline_s: int | None = None,
    **columns: Any,
) -> Job:
    """Put a VM in flight and queue the job that makes the verb true.

    Raises Conflict when the state does not allow the verb, also when another caller was faster.
    ``columns`` are set along with the task.
    """
    vm.refresh_from_db(fields=["status", "task", "task_job", "deletion_protected"])
    guard_vm(vm, verb)
    rule = states.vm_rule(verb)
    old_task, old_job = vm.task, vm.task_job
    limit_s = deadline_s or rule.deadline_s
    if old_job and old_task in rule.preempts:
        jobs.supersede(old_job, f"Pushed aside by: {rule.label}.")
    kind = verb.removesuffix("_vm")
    job = jobs.enqueue(
        kind=f"vm.{kind}",
        tenant=vm.tenant,
        title=f"{rule.label} {vm.name}",
        target_kind="vm",
        target_id=vm.id,
        payload=payload,
        deadline_s=limit_s,
        actor=actor,
    )
    changed = VM.objects.filter(
        pk=vm.pk, status__in=rule.allowed_from, task=old_task, task_job=old_job
    ).update(
        task=rule.task,
        task_job=job.id,
        # Later than the job's own: the job's end repairs the VM, and the sweep is the second net.
        task_deadline=timezone.now() + timedelta(seconds=limit_s + 60),
        failure_code="",
        failure="",
        **columns,
    )
    if not changed:
        raise Conflict(
            f"{vm.name} was changed by somebody else just now.",
            code="vm_state",
            remedy="Look at its state and try again.",
        )
    vm.refresh_from_db()
    events.emit(
        tenant_id=vm.tenant_id,
        kind=f"vm.{rule.task}",
        resource_kind="vm",
        resource_id=vm.id,
        data={"job": job.id, "by": actor.label},
    )
    return job


def complete(vm: VM, job: Job, verb: str, status: str, **columns: Any) -> bool:
    """Land a VM in a status after its job; False when the job is no longer the VM's."""
    rule = states.vm_rule(verb)
    with transaction.atomic():
        changed = VM.objects.filter(pk=vm.pk, task_job=job.id, task=rule.task).update(
            status=status,
            task="",
            task_job="",
            task_deadline=None,
            failure_code="",
            failure="",
            **columns,
        )
        if changed:
            events.emit(
                tenant_id=vm.tenant_id,
                kind=rule.event,
                resource_kind="vm",
                resource_id=vm.id,
                data={"job": job.id},
            )
    return bool(changed)


def fail(vm: VM, job: Job, verb: str, status: str, code: str, message: str, **columns: Any) -> bool:
    """Land a VM where it truly is after a job that failed, with the reason visible."""
    rule = states.vm_rule(verb)
    with transaction.atomic():
        changed = VM.objects.filter(pk=vm.pk, task_job=job.id, task=rule.task).update(
            status=status,
            task="",
            task_job="",
            task_deadline=None,
            failure_code=code[:60],
            failure=message[:500],
            **columns,
        )
        if changed:
            events.emit(
                tenant_id=vm.tenant_id,
                kind=f"vm.{verb.removesuffix('_vm')}_failed",
                resource_kind="vm",
                resource_id=vm.id,
                data={"job": job.id, "code": code, "message": message},
            )
    return bool(changed)


def discard(vm: VM) -> None:
    """Forget a VM whose creation failed: its money, quota and addresses went back already."""
    changed = VM.objects.filter(pk=vm.pk, status=VmStatus.FAILED, task="").update(
        status=VmStatus.DESTROYED, destroyed_at=timezone.now(), host=None
    )
    if not changed:
        raise Conflict(f"{vm.name} was changed by somebody else just now.", code="vm_state")
    vm.refresh_from_db()
    events.emit(tenant_id=vm.tenant_id, kind="vm.destroyed", resource_kind="vm", resource_id=vm.id)


def observe(vm: VM, power: str, *, revision: int, reason: str = "") -> bool:
    """Write down what the hypervisor says of an idle VM; return whether its status changed.

    ``revision`` is the VM's as it was *before* the hypervisor was asked: the answer says nothing of
    a VM that has changed since, and is dropped. A VM that shut itself down is stopped, one that an
    operator started by hand is running. Absence is an alarm and never a reason to forget a VM: the
    status becomes *stopped*, with the reason.
    """
    now = timezone.now()
    status = {
        PowerState.RUNNING: VmStatus.RUNNING,
        PowerState.PAUSED: VmStatus.RUNNING,
        PowerState.STOPPED: VmStatus.STOPPED,
        PowerState.CRASHED: VmStatus.STOPPED,
        PowerState.ABSENT: VmStatus.STOPPED,
    }.get(PowerState(power))
    rows = VM.objects.filter(
        pk=vm.pk, revision=revision, task="", status__in=[VmStatus.RUNNING, VmStatus.STOPPED]
    )
    if status is None or status == vm.status:
        rows.update(power_state=power, observed_at=now)
        return False
    with transaction.atomic():
        changed = rows.filter(status=vm.status).update(
            status=status,
            power_state=power,
            observed_at=now,
            failure_code="" if power != PowerState.CRASHED else "guest_crashed",
            failure=reason[:500],
        )
        if changed:
            events.emit(
                tenant_id=vm.tenant_id,
                kind="vm.running" if status == VmStatus.RUNNING else "vm.stopped_itself",
                resource_kind="vm",
                resource_id=vm.id,
                data={"power_state": power, "reason": reason},
            )
    return bool(changed)
