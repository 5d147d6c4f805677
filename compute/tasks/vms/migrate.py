"""Live migration. The row's host changes only when the hypervisors say where the VM runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from compute.hypervisor.base import HypervisorError, MigrationProgress
from compute.hypervisor.base import PowerState as Power
from compute.models import VM, Host
from compute.states.vms import VmStatus
from compute.tasks.base import STALL_S, VmHandler, disks_of, placed, vm_of
from compute.tasks.drivers import (
    best_effort,
    hypervisor_of,
    keep_secrets,
    ref_of,
    translated_errors,
)
from compute.tasks.vms.lifecycle import ensure_network
from compute.transitions.vms import VMS
from scloud.jobs.handlers import Context, Step, register
from scloud.jobs.lanes import Lane
from scloud.lib.errors import HostError, ScloudError
from scloud.lib.sizes import size_mib

MIGRATION_LIMIT_S = 600.0
_ALIVE = (Power.RUNNING, Power.PAUSED)


@dataclass(frozen=True)
class Ends:
    """What both hosts say of the VM; None where one is silent."""

    source: Power | None
    destination: Power | None

    @property
    def arrived(self) -> bool:
        """It runs there and is gone here: nothing less moves the row."""
        return self.destination in _ALIVE and self.source == Power.ABSENT

    @property
    def stayed(self) -> bool:
        return self.source in _ALIVE and self.destination not in (*_ALIVE, None)


def host_named(context: Context, end: str) -> Host:
    """Return the ``source`` or ``destination`` of the job."""
    return Host.objects.get(pk=context.payload[end])


def look(vm: VM, source: Host, destination: Host) -> Ends:
    """Ask both hosts; on one that is known to be off nothing is."""
    answers: list[Power | None] = []
    for host in (source, destination):
        if host.is_off:
            answers.append(Power.ABSENT)
            continue
        try:
            answers.append(hypervisor_of(host).observe(str(vm.uuid)).power_state)
        except HypervisorError:
            answers.append(None)
    return Ends(*answers)


class MigrateVm(VmHandler):
    """Move it, look at both ends, then change the row."""

    verb = "migrate_vm"
    lane = Lane.LONG
    stall_s = STALL_S

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return (
            Step("network", _("Connecting the network"), ensure_network, 1),
            Step("move", _("Transferring memory"), self.ensure_moved, 8),
            Step("look", _("Checking both hosts"), self.ensure_arrived, 1),
        )

    def ensure_moved(self, context: Context) -> None:
        """Move unless it is there already, whoever moved it."""
        vm = vm_of(context.job)
        source, destination = host_named(context, "source"), host_named(context, "destination")
        if look(vm, source, destination).arrived:
            return
        driver, uuid = hypervisor_of(source), str(vm.uuid)

        def report(progress: MigrationProgress) -> None:
            context.progress(
                progress.percent / 100,
                _("%(size)s left") % {"size": size_mib(progress.remaining_mib)},
            )

        with translated_errors():
            if driver.migration_progress(uuid) is not None:
                # Of a worker that is gone: its end cannot be waited for, so it is begun anew.
                driver.abort_migration(uuid)
            keep_secrets(hypervisor_of(destination), disks_of(vm))
            with placed(vm):
                driver.migrate(
                    uuid, ref_of(destination), timeout_s=MIGRATION_LIMIT_S, on_progress=report
                )

    def ensure_arrived(self, context: Context) -> None:
        """Raise unless the VM runs there and nowhere else."""
        vm = vm_of(context.job)
        source, destination = host_named(context, "source"), host_named(context, "destination")
        ends = look(vm, source, destination)
        if not ends.arrived:
            raise HostError(
                _("The migration of %(name)s did not complete.") % {"name": vm.name},
                code="migration_unclear",
                remedy=_("The VM keeps running. SCloud is checking on which host."),
                detail=f"It is {ends.destination or 'unknown'} on {destination.name} and "
                f"{ends.source or 'unknown'} on {source.name}.",
            )

    def on_success(self, context: Context) -> None:
        vm = vm_of(context.job)
        VMS.complete(
            vm,
            context.job,
            self.verb,
            VmStatus.RUNNING,
            host=host_named(context, "destination"),
            destination=None,
        )

    def before_failure(self, context: Context, error: ScloudError) -> None:
        vm = vm_of(context.job)
        source, destination = host_named(context, "source"), host_named(context, "destination")
        best_effort(lambda: hypervisor_of(source).abort_migration(str(vm.uuid)))
        ends = look(vm, source, destination)
        # While one of them is silent it may still be on its way, or there already.
        context.result["known"] = None not in (ends.source, ends.destination)
        if ends.arrived:
            context.result["host"] = destination.pk
            context.result["true_status"] = VmStatus.RUNNING
            return
        if ends.source == Power.ABSENT and destination.is_off:
            # It had arrived, and stopped with its new host: from there it is failed over.
            context.result["host"] = destination.pk
            return
        if ends.stayed and ends.destination != Power.ABSENT:
            # A definition that is switched off: what a broken attempt left there.
            best_effort(lambda: hypervisor_of(destination).undefine(str(vm.uuid)))
        if ends.source in (Power.STOPPED, Power.CRASHED):
            context.result["true_status"] = VmStatus.STOPPED

    def on_failure(self, context: Context, error: ScloudError) -> None:
        vm = vm_of(context.job)
        # Where a host is unreachable the row stays as it was, with the capacity on the destination;
        # the reconciler looks again.
        columns = {"destination": None} if context.result.get("known") else {}
        VMS.fail(
            vm,
            context.job,
            self.verb,
            error,
            context.result.get("true_status"),
            host_id=context.result.get("host", vm.host_id),
            **columns,
        )


def register_all() -> None:
    """Make the handler known."""
    register("vm.migrate", MigrateVm())
