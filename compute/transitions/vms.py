"""VMs: the only code that assigns their status or task."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from compute.models import VM
from compute.rules.refusals import vm_refusal
from compute.states import vms as states
from compute.states.vms import PowerState, VmStatus
from compute.transitions.machine import Machine
from scloud.audit import events


class VmMachine(Machine[VM]):
    """A VM's jobs are exclusive on the VM."""

    related = ("tenant",)

    def payload(self, row: VM) -> dict[str, Any]:
        """Nothing: the job's target is the VM."""
        return {}


VMS = VmMachine(states.VMS, VM, vm_refusal)


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
