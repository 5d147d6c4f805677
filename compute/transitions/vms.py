"""VMs: the only code that assigns their status or task."""

from collections.abc import Mapping
from typing import Any, Final

from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from compute.models import VM, Host
from compute.rules.refusals import vm_refusal
from compute.states.vms import PauseReason, PowerState, VmStatus, WantedPower
from compute.transitions.maintenance import (
    asked_by,
    forget_asked,
    shut_down_for_it,
    to_be_started,
    waiting_columns,
)
from compute.verbs import vms as verbs
from scloud.audit import events
from scloud.jobs.models import Job
from scloud.tenancy.actor import Actor
from scloud.verbs.machine import Machine

ON, OFF = WantedPower.ON, WantedPower.OFF
#: What is wanted of a VM from the moment at which a verb was begun, whatever becomes of it.
_WANTED: Final[Mapping[str, WantedPower]] = {
    "create_vm": ON,
    "start_vm": ON,
    "restart_vm": ON,
    "resume_vm": ON,
    "shut_down_vm": OFF,
    "power_off_vm": OFF,
    "expire_vm": OFF,
}
#: After these a guest that goes off does not do so because a maintenance has asked it before.
_SETTLES: Final = frozenset(
    {
        "start_vm",
        "restart_vm",
        "shut_down_vm",
        "power_off_vm",
        "expire_vm",
        "delete_vm",
        "fail_over_vm",
    }
)
#: The code of a failure that is its host's.
HOST_FAILED: Final = "host_failed"


class VmMachine(Machine[VM]):
    """A VM's jobs are exclusive on the VM."""

    related = ("tenant",)
    compared = ("status", "task", "task_job", "pause_reason")

    def standing(self, row: VM) -> str:
        """Its status, or *paused*."""
        return row.standing

    def begin(
        self,
        row: VM,
        verb: str,
        *,
        actor: Actor,
        payload: Mapping[str, Any] | None = None,
        job: Job | None = None,
        deadline_s: float | None = None,
        expected: Mapping[str, Any] | None = None,
        **columns: Any,
    ) -> Job:
        """Put a VM in flight, and write down which power state is wanted of it from now on."""
        columns = {**_ordered(verb), **columns}
        if "wanted_power" not in columns and not row.wanted_power and _runs_by_its_status(row):
            # Of an earlier release. While it is in flight its host may fail, and then the status
            # tells no more.
            columns["wanted_power"] = ON
        with transaction.atomic():
            begun = super().begin(
                row,
                verb,
                actor=actor,
                payload=payload,
                job=job,
                deadline_s=deadline_s,
                expected=expected,
                **columns,
            )
            if verb in _SETTLES:
                forget_asked(row)
        return begun

    def complete(
        self, row: VM | str, job: Job, verb: str, status: str | None = None, **columns: Any
    ) -> bool:
        """Land a VM after its job. What a job has brought about is not paused.

        What is wanted is written once more: a process of an earlier release may have begun it.
        """
        columns = {"pause_reason": "", "paused_at": None, **_ordered(verb), **columns}
        return super().complete(row, job, verb, status, **columns)

    def payload(self, row: VM) -> dict[str, Any]:
        """Nothing: the job's target is the VM."""
        return {}

    def _land(
        self,
        rows: models.QuerySet[VM],
        landing: str | None,
        event: str,
        columns: Mapping[str, Any],
        /,
        **data: Any,
    ) -> bool:
        """Land a VM; one that runs, or that is to run no more, waits for no failover.

        One whose guest went off meanwhile because a maintenance had asked it is started again.
        """
        if landing == VmStatus.RUNNING:
            columns = {"wanted_power": ON, "failover_since": None, **columns}
        elif landing is not None and landing != VmStatus.STOPPED:
            columns = {"wanted_power": OFF, "failover_since": None, **columns}
        elif landing is not None and "failover_since" not in columns:
            return self._land_stopped(rows, event, columns, **data)
        return super()._land(rows, landing, event, columns, **data)

    def _land_stopped(
        self, rows: models.QuerySet[VM], event: str, columns: Mapping[str, Any], /, **data: Any
    ) -> bool:
        now = timezone.now()
        with transaction.atomic():
            vm = rows.filter(status=VmStatus.RUNNING, wanted_power=ON).first()
            maintenance = None if vm is None else asked_by(vm)
            if vm is not None and maintenance is not None:
                columns = {**columns, **waiting_columns(now)}
            landed = super()._land(rows, VmStatus.STOPPED, event, columns, **data)
            if landed and vm is not None and maintenance is not None:
                to_be_started(maintenance, vm, now)
        return landed


VMS = VmMachine(verbs.VMS, VM, vm_refusal)


def _ordered(verb: str) -> dict[str, Any]:
    """Return what a verb says about whether the VM shall be switched on."""
    wanted = _WANTED.get(verb)
    if wanted == OFF:
        return {"wanted_power": OFF, "failover_since": None}
    return {} if wanted is None else {"wanted_power": wanted}


def _runs_by_its_status(vm: VM) -> bool:
    """Whether it runs by the row as it is now, which says nothing of what is wanted."""
    rows = VM.objects.filter(pk=vm.pk, wanted_power="", status=VmStatus.RUNNING, task="")
    return bool(rows.exists())


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
        # What goes on to run is wanted to: an order to switch it off has come to nothing.
        found = {"wanted_power": ON, "failover_since": None} if status == VmStatus.RUNNING else {}
        rows.update(power_state=power, observed_at=now, **found)
        return False
    kind = "vm.running" if status == VmStatus.RUNNING else "vm.stopped_itself"
    changes: dict[str, Any] = {"pause_reason": paused, "paused_at": now if paused else None}
    maintenance = _asked_and_off(vm, power)
    if maintenance is not None:
        changes.update(waiting_columns(now))
        kind, reason = "vm.evacuated", changes["failure"]
    elif status != vm.status:
        changes.update(_wanted_as_found(vm, power))
        changes["failure_code"] = "" if power != PowerState.CRASHED else "guest_crashed"
        changes["failure"] = "" if paused else reason[:500]
    elif status == VmStatus.RUNNING:
        changes["failover_since"] = None
    if paused:
        kind, reason = "vm.paused", str(PauseReason(paused).label)
    with transaction.atomic():
        changed = rows.filter(status=vm.status, pause_reason=vm.pause_reason).update(
            status=status, power_state=power, observed_at=now, **changes
        )
        if changed and maintenance is not None:
            to_be_started(maintenance, vm, now)
        if changed:
            events.emit(
                tenant_id=vm.tenant_id,
                kind=kind,
                resource_kind="vm",
                resource_id=vm.id,
                data={"power_state": power, "reason": reason, "pause_reason": paused},
            )
    return bool(changed)


def _asked_and_off(vm: VM, power: str) -> int | None:
    """Return the maintenance that asked a VM to shut down, of one that ran and is off by now."""
    off = power in (PowerState.STOPPED, PowerState.CRASHED)
    waits = vm.failover_since is not None
    if not off or vm.status != VmStatus.RUNNING or waits or not vm.wants_power:
        return None
    return asked_by(vm)


def _wanted_as_found(vm: VM, power: str) -> dict[str, Any]:
    """Return what is wanted of a VM whose guest or an operator switched it on or off.

    One that is absent has lost its definition: that says nothing of what is wanted. Neither does
    one that is off after the platform asked it to shut down, and that waits to be started again.
    """
    if power in (PowerState.RUNNING, PowerState.PAUSED):
        return {"wanted_power": ON, "failover_since": None}
    if power in (PowerState.STOPPED, PowerState.CRASHED) and vm.failover_since is None:
        return {"wanted_power": OFF}
    return {}


def lose(vm: VM) -> bool:
    """Write down that an idle VM stopped with its host, which is known to be off.

    One that shall be switched on waits for its failover from now on, or as before. False, and
    nothing is written, when it has changed since ``vm`` was read.
    """
    now = timezone.now()
    wanted = vm.wants_power
    rows = VM.objects.filter(pk=vm.pk, revision=vm.revision, task="", host=vm.host_id)
    with transaction.atomic():
        changed = rows.filter(status__in=[VmStatus.RUNNING, VmStatus.STOPPED]).update(
            status=VmStatus.STOPPED,
            power_state=PowerState.STOPPED,
            observed_at=now,
            pause_reason="",
            paused_at=None,
            wanted_power=ON if wanted else OFF,
            failover_since=(vm.failover_since or now) if wanted else None,
            failure_code=HOST_FAILED,
            failure=_("Its host failed."),
            failure_detail="",
        )
        if changed:
            VMS.tell(vm, "vm.host_failed")
    return bool(changed)


def forget_waiting(host: Host) -> int:
    """Let VMs wait for a failover no more whose host is back; return how many.

    Where hosts are not failed over nothing would start them, but the day on which it is turned on.
    Those that were shut down for maintenance are started all the same.
    """
    rows = VM.objects.filter(~shut_down_for_it(), host=host, status=VmStatus.STOPPED, task="")
    return int(rows.exclude(failover_since=None).update(failover_since=None, wanted_power=OFF))


def note_wait(vm: VM, code: str, words: str, detail: str) -> None:
    """Write down why a VM that waits for its failover goes on waiting."""
    if (vm.failure_code, vm.failure, vm.failure_detail) == (code, words, detail):
        return
    rows = VM.objects.filter(pk=vm.pk, revision=vm.revision, task="").exclude(failover_since=None)
    if rows.update(failure_code=code, failure=words, failure_detail=detail):
        vm.failure_code, vm.failure, vm.failure_detail = code, words, detail
        # The row's page shows the words.
        events.notify(
            tenant_id=vm.tenant_id, kind="vm.waiting", resource_kind="vm", resource_id=vm.id
        )
