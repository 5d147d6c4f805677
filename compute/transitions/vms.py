"""VMs: the only code that assigns their status or task."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from compute.models import VM
from compute.rules.refusals import vm_refusal
from compute.states.vms import PauseReason, PowerState, VmStatus
from compute.verbs import vms as verbs
from scloud.audit import events
from scloud.jobs.models import Job
from scloud.verbs.machine import Machine


class VmMachine(Machine[VM]):
    """A VM's jobs are exclusive on the VM."""

    related = ("tenant",)
    compared = ("status", "task", "task_job", "pause_reason")

    def standing(self, row: VM) -> str:
        """Its status, or *paused*."""
        return row.standing

    def complete(
        self, row: VM | str, job: Job, verb: str, status: str | None = None, **columns: Any
    ) -> bool:
        """Land a VM after its job. What a job has brought about is not paused."""
        columns = {"pause_reason": "", "paused_at": None, **columns}
        return super().complete(row, job, verb, status, **columns)

    def payload(self, row: VM) -> dict[str, Any]:
        """Nothing: the job's target is the VM."""
        return {}


VMS = VmMachine(verbs.VMS, VM, vm_refusal)


def observe(vm: VM, power: str, *, revision: int, reason: str = "", pause: str = "") -> bool:
    """Write down what the hypervisor says of an idle VM; return whether its standing changed.

    ``revision`` is the VM's as it was *before* the hypervisor was asked: the answer says nothing of
    a VM that has changed since, and is dropped. A VM that shut itself down is stopped, one that an
    operator started by hand is running, and one that is paused for a ``pause`` that this release
    knows (others end by themselves) is running and stands still. Absence is an alarm and never a
    reason to forget a VM: the status becomes *stopped*, with the reason.
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
    paused = pause if power == PowerState.PAUSED and pause in PauseReason.values else ""
    if status is None or (status == vm.status and paused == vm.pause_reason):
        rows.update(power_state=power, observed_at=now)
        return False
    kind = "vm.running" if status == VmStatus.RUNNING else "vm.stopped_itself"
    changes: dict[str, Any] = {"pause_reason": paused, "paused_at": now if paused else None}
    if status != vm.status:
        changes["failure_code"] = "" if power != PowerState.CRASHED else "guest_crashed"
        changes["failure"] = "" if paused else reason[:500]
    if paused:
        kind, reason = "vm.paused", str(PauseReason(paused).label)
    with transaction.atomic():
        changed = rows.filter(status=vm.status, pause_reason=vm.pause_reason).update(
            status=status, power_state=power, observed_at=now, **changes
        )
        if changed:
            events.emit(
                tenant_id=vm.tenant_id,
                kind=kind,
                resource_kind="vm",
                resource_id=vm.id,
                data={"power_state": power, "reason": reason, "pause_reason": paused},
            )
    return bool(changed)
