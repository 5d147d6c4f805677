"""Off a host that enters maintenance: stopped VMs, and those that have to be shut down for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from compute.hosts import gpu
from compute.hypervisor.base import PowerState as Power
from compute.states.vms import PowerState, VmStatus
from compute.tasks.base import (
    VmHandler,
    host_of,
    is_on_host,
    keep_machine,
    paid_status,
    remember,
    require_found,
    vm_of,
)
from compute.tasks.drivers import translated_errors
from compute.tasks.vms.lifecycle import ensure_shut_down
from compute.transitions.maintenance import note_asked, to_be_started, waiting_columns
from compute.transitions.vms import VMS
from scloud.jobs.handlers import Context, Step, register
from scloud.lib.errors import ScloudError

_OFF = (Power.STOPPED, Power.CRASHED, Power.ABSENT)


def ensure_off_its_host(context: Context) -> None:
    """Take the definition off the host. A VM that runs there is left alone.

    Raises ScloudError (``vm_runs``).
    """
    vm = vm_of(context.job)
    require_found(vm)
    if not is_on_host(vm):
        return
    with translated_errors():
        host, uuid = host_of(vm), str(vm.uuid)
        seen = host.observe(uuid)
        if seen.power_state not in _OFF:
            raise ScloudError(
                _("%(name)s runs: it was switched on meanwhile.") % {"name": vm.name},
                code="vm_runs",
            )
        keep_machine(vm, seen.machine_type)
        host.undefine(uuid)


class RehomeVm(VmHandler):
    """Off its host; the next start places it anew."""

    verb = "rehome_vm"

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return (Step("leave", _("Leaving the host"), ensure_off_its_host),)

    def on_success(self, context: Context) -> None:
        vm = vm_of(context.job)
        gpu.release(vm)
        VMS.complete(vm, context.job, self.verb, paid_status(vm, vm.status), host=None)


class EvacuateVm(VmHandler):
    """Shut down, off its host, and waiting to be started on another one."""

    verb = "evacuate_vm"

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return (
            Step("shut_down", _("Waiting for the guest to shut down"), self.ensure_guest_off, 3),
            Step("leave", _("Leaving the host"), ensure_off_its_host, 1),
        )

    def ensure_guest_off(self, context: Context) -> None:
        """Shut the guest down; that it was asked is known from before it is on."""

        def asking() -> None:
            if not context.result.get("guest_asked"):
                remember(context, "guest_asked", True)

        ensure_shut_down(context, asking=asking)

    def on_success(self, context: Context) -> None:
        vm, now = vm_of(context.job), timezone.now()
        gpu.release(vm)
        landed = VMS.complete(
            vm,
            context.job,
            self.verb,
            VmStatus.STOPPED,
            host=None,
            power_state=PowerState.STOPPED,
            **waiting_columns(now),
        )
        # After the VM itself, here and below, so that an order that comes first is the last word.
        if landed:
            to_be_started(context.payload["maintenance"], vm, now)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        vm, now = vm_of(context.job), timezone.now()
        maintenance = context.payload["maintenance"]
        status = context.result.get("true_status")
        asked = context.result.get("guest_asked")
        waits = waiting_columns(now)
        columns: dict[str, Any] = {}
        if status == VmStatus.STOPPED:
            # Its guest is off by our order: it goes on from there, and not by its owner's hand.
            columns = waits
        elif status is None and asked:
            # Nobody knows, and it may be off by then. If it is found to run, it waits for nothing.
            columns = {name: waits[name] for name in ("wanted_power", "failover_since")}
        landed = VMS.fail(vm, context.job, self.verb, error, status, **columns)
        if landed and columns:
            to_be_started(maintenance, vm, now)
        if landed and asked and status != VmStatus.STOPPED:
            note_asked(maintenance, vm)


def register_all() -> None:
    """Make the handlers known."""
    register("vm.rehome", RehomeVm())
    register("vm.evacuate", EvacuateVm())
