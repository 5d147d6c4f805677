"""Create, start, shut down, power off, restart, delete, restore, destroy."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from django.db import DatabaseError, connection
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import quotas, services
from compute.hosts import gpu
from compute.hosts.leaving import not_left
from compute.hypervisor.base import AgentUnavailable, DomainObservation
from compute.hypervisor.base import PowerState as Power
from compute.models import VM, Disk, GuestLogin, GuestNetwork, Host
from compute.rules.refusals import require_sound
from compute.states.disks import DiskStatus
from compute.states.vms import PauseReason, VmStatus
from compute.tasks.base import (
    VmHandler,
    define,
    disks_of,
    ensure_external_nic,
    host_of,
    is_on_host,
    keep_machine,
    keep_machine_of,
    nics_of,
    observed,
    own_nics_of,
    paid_status,
    pool_of,
    refuse_if_paid,
    remember,
    renewed_meanwhile,
    require_found,
    runs_as_defined,
    settle_machine,
    start_and_watch,
    system_disk_of,
    vm_of,
)
from compute.tasks.disks import erase_snapshots
from compute.tasks.drivers import best_effort, hypervisor_of, translated_errors
from compute.tasks.volumes import mark_doubtful
from compute.transitions.bin import free_quota, land_in_bin
from compute.transitions.disks import end
from compute.transitions.snapshots import forget_snapshots
from compute.transitions.vms import VMS
from network.actions.nics import release_nics
from network.tasks import external_ips, plumbing
from scloud.jobs.handlers import Context, Step, register
from scloud.lib.errors import HostError, ScloudError
from scloud.tenancy.scoping import scopes_disabled

log = logging.getLogger(__name__)

SHUTDOWN_LIMIT_S = 120.0
ASK_AGAIN_S = 10.0
RESUME_WATCH_S = 1.0
# Past it the guest is asked through its agent too, and goes off altogether.
REBOOT_LIMIT_S = 45.0


def ensure_disks(context: Context) -> None:
    """Make the volumes of the VM's disks."""
    for disk in disks_of(context.job.target_id):
        with translated_errors():
            pool_of(disk).create_volume(
                disk.id, size_gib=disk.size_gib, image_id=disk.image_id if disk.is_system else None
            )
        Disk.objects.filter(pk=disk.pk, status=DiskStatus.NEW).update(status=DiskStatus.BOUND)


def ensure_network(context: Context) -> None:
    """Make the ports of the VM's NICs, with all that they rest on."""
    ensure_external_nic(vm_of(context.job))
    plumbing.ensure_nic_ports(nics_of(context.job.target_id))


def ensure_defined(context: Context) -> None:
    """Make the host's definition equal the rows."""
    define(vm_of(context.job))


def ensure_running(context: Context) -> None:
    """Start the domain and see it run."""
    start_and_watch(context, vm_of(context.job))


def ensure_off(context: Context) -> None:
    vm = vm_of(context.job)
    require_found(vm)
    if not is_on_host(vm):
        return
    with translated_errors():
        host_of(vm).power_off(str(vm.uuid))


def ensure_shut_down(context: Context, *, asking: Callable[[], None] | None = None) -> None:
    """Ask the guest to shut down until it is off; past the limit say that it ignores it.

    ``asking`` is called each time before it is asked.
    """
    vm = vm_of(context.job)
    require_found(vm)
    if not is_on_host(vm):
        return
    host = host_of(vm)
    uuid = str(vm.uuid)

    def off() -> bool:
        with translated_errors():
            power = host.observe(uuid).power_state
            if power in (Power.STOPPED, Power.ABSENT, Power.CRASHED):
                return True
            if power == Power.PAUSED:
                raise ScloudError(
                    _("%(name)s is paused, so its guest cannot shut down.") % {"name": vm.name},
                    code="guest_paused",
                    remedy=_("Resume it first, or power it off."),
                )
            since_s = time.time() - context.memory.get("asked_at", 0.0)
            if not 0 <= since_s < ASK_AGAIN_S:
                # Again and again: a guest that is still booting drops the first ones.
                context.memory["asked_at"] = time.time()
                if asking is not None:
                    asking()
                host.shutdown(uuid)
        return False

    if not context.wait_until(off, timeout_s=SHUTDOWN_LIMIT_S, poll_s=0.25):
        raise ScloudError(
            _("The guest of %(name)s did not shut down in %(seconds)s s.")
            % {"name": vm.name, "seconds": f"{SHUTDOWN_LIMIT_S:.0f}"},
            code="shutdown_ignored",
            remedy=_("Shut it down from within the guest, or power it off."),
        )


def ensure_undefined(context: Context) -> None:
    """Take the domain off its host; the disks stay, and the row says which machine it had.

    A host that is off has it removed when it comes back, before it is used.
    """
    vm = vm_of(context.job)
    if not is_on_host(vm):
        return
    with translated_errors():
        host = host_of(vm)
        keep_machine_of(vm, host)
        host.undefine(str(vm.uuid))


def ensure_no_network(context: Context) -> None:
    """Take the ports of the VM's NICs away."""
    plumbing.remove_nic_ports(own_nics_of(vm_of(context.job)))


def ensure_no_disks(context: Context) -> None:
    """Remove the system disk's volume and the seed."""
    vm = vm_of(context.job)
    disk = system_disk_of(vm)
    with translated_errors():
        pool_of(disk).delete_volume(disk.id)
        pool_of(disk).delete_seed(vm.id)


class CreateVm(VmHandler):
    """From rows to a running domain; what fails is taken back whole."""

    verb = "create_vm"

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return (
            Step("disks", _("Creating the disks"), ensure_disks, 2),
            Step("network", _("Connecting the network"), ensure_network, 1),
            Step("define", _("Configuring the VM"), ensure_defined, 1),
            Step("start", _("Starting"), ensure_running, 2),
        )

    def on_success(self, context: Context) -> None:
        vm = vm_of(context.job)
        VMS.complete(
            vm,
            context.job,
            self.verb,
            VmStatus.RUNNING,
            power_state=Power.RUNNING.value,
            observed_at=timezone.now(),
        )
        external_ips.land_bought(context.job)

    def before_failure(self, context: Context, error: ScloudError) -> None:
        vm = vm_of(context.job)
        context.result["gone"] = is_off_its_host(vm)
        if context.result["gone"]:
            take_apart(vm)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        vm = vm_of(context.job)
        give_back_all(vm, error.message)
        external_ips.give_back_bought(context.job, error, gone=bool(context.result.get("gone")))
        columns: dict[str, object] = {}
        if context.result.get("gone"):
            release_all(vm)
            columns["host"] = None
        # Else it may run, or begin to when its host answers again: what it would use stays held,
        # and its row says where, until the host has been heard (compute.sweeps.leftovers).
        VMS.fail(vm, context.job, self.verb, error, VmStatus.FAILED, **columns)


def is_off_its_host(vm: VM) -> bool:
    """Take a VM's domain off its host; False while the host does not say that it is gone."""
    return not is_on_host(vm) or best_effort(lambda: host_of(vm).undefine(str(vm.uuid)))


def take_apart(vm: VM) -> None:
    """Remove from network and pools what is left of a VM that is on no host. Idempotent.

    Raises HostError for what could not be removed now; the reconciler finds it by the tombstones.
    """
    left = []
    try:
        plumbing.remove_nic_ports(own_nics_of(vm))
    except ScloudError:
        left.append("network ports")
    left += [f"disk {disk.id}" for disk in disks_of(vm) if not _removed(disk)]
    if any(disk.is_system for disk in disks_of(vm)):
        best_effort(lambda: pool_of(system_disk_of(vm)).delete_seed(vm.id))
    if left:
        raise HostError(
            _("Not everything could be removed yet."),
            code="left_behind",
            detail=f"Left for the reconciler: {', '.join(left)}.",
        )


def _removed(disk: Disk) -> bool:
    return best_effort(lambda: pool_of(disk).delete_volume(disk.id))


def give_back_all(vm: VM, reason: str) -> None:
    """Return what the tenant gave for a VM that never came to be: money and quota.

    Its password is forgotten: nobody will ever log in.
    """
    for disk in Disk.objects.filter(vm=vm):
        if not disk.is_system:
            services.refund_failed(disk.id, reason)
        quotas.free(disk.id)
        end(disk, held=True)
    services.refund_failed(vm.id, reason)
    quotas.free(vm.id)
    GuestLogin.objects.filter(vm=vm).delete()


def release_all(vm: VM) -> None:
    """Give free what a VM that never came to be held on the platform; it is on no host."""
    for disk in Disk.objects.filter(vm=vm):
        end(disk)
    gpu.release(vm)
    release_nics(vm.id)


class StartVm(VmHandler):
    """Start from the definition, which is brought up to date first."""

    verb = "start_vm"

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return (
            Step("network", _("Connecting the network"), ensure_network, 1),
            Step("define", _("Configuring the VM"), self.ensure_fresh_definition, 1),
            Step("start", _("Starting"), ensure_running, 2),
        )

    def ensure_fresh_definition(self, context: Context) -> None:
        """Define again unless it runs already: what runs keeps its definition."""
        vm = vm_of(context.job)
        if observed(vm) != Power.RUNNING:
            leave_former_host(context, vm)
            define(vm)

    def before_failure(self, context: Context, error: ScloudError) -> None:
        super().before_failure(context, error)
        vm = vm_of(context.job)
        for disk in disks_of(vm):
            # What the start puts right in a volume is a change in place too.
            mark_doubtful(disk)
        # Asked and answered: of a host that is silent nobody knows whether the VM runs there.
        stopped = observed(vm) in (Power.STOPPED, Power.CRASHED, Power.ABSENT)
        context.result["leaves"] = (
            bool(context.payload.get("placed")) and stopped and is_off_its_host(vm)
        )

    def on_failure(self, context: Context, error: ScloudError) -> None:
        vm = vm_of(context.job)
        columns: dict[str, object] = {}
        former = not_left(context.payload, context.result)
        if former is not None:
            gpu.release(vm)
            columns["host"] = former
        elif context.result.get("leaves"):
            # The host that it was given for this start alone.
            gpu.release(vm)
            columns["host"] = None
        status = context.result.get("true_status")
        VMS.fail(vm, context.job, self.verb, error, status, **columns)


def leave_former_host(context: Context, vm: VM) -> None:
    """Take the definition off the host that a stopped VM leaves for this start.

    Nothing is started elsewhere before that host has said that the VM does not run there. A host
    that has been left is not asked again. Raises its errors, and HostError (``runs_elsewhere``).
    """
    if context.result.get("left"):
        return
    former = Host.objects.filter(pk=context.payload.get("left")).first()
    if former is None or former.pk == vm.host_id:
        return
    if not former.is_off:
        host = hypervisor_of(former)
        with translated_errors():
            seen = host.observe(str(vm.uuid))
            power = seen.power_state
            if power not in (Power.STOPPED, Power.CRASHED, Power.ABSENT):
                raise HostError(
                    _("%(name)s could not leave its host.") % {"name": vm.name},
                    code="runs_elsewhere",
                    remedy=_("Power it off, then start it."),
                    detail=f"{former.name} says that it is {power}.",
                )
            keep_machine(vm, seen.machine_type)
            host.undefine(str(vm.uuid))
    remember(context, "left", True)


class FailOverVm(StartVm):
    """Start a VM whose host failed, where it was placed; what fails is tried again by the sweep."""

    verb = "fail_over_vm"

    def ensure_fresh_definition(self, context: Context) -> None:
        """Have its disks let go of the host that failed; then as at every start."""
        vm = vm_of(context.job)
        # Asked and answered: a repeated job finds it running here.
        if observed(vm) in (Power.STOPPED, Power.CRASHED, Power.ABSENT):
            # Nothing is taken from a VM that runs where it is to be left.
            leave_former_host(context, vm)
            with translated_errors():
                for disk in disks_of(vm):
                    pool_of(disk).shut_out(disk.id)
        super().ensure_fresh_definition(context)


class ShutDownVm(VmHandler):
    """Ask the guest and wait."""

    verb = "shut_down_vm"
    lands_in = VmStatus.STOPPED

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return (Step("shut_down", _("Waiting for the guest to shut down"), ensure_shut_down),)


class ExpireVm(VmHandler):
    """A graceful shutdown, then power off: what is not paid does not run."""

    verb = "expire_vm"
    lands_in = VmStatus.EXPIRED

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return (
            Step("shut_down", _("Waiting for the guest to shut down"), self.ask_to_shut_down),
            Step("off", _("Powering off"), ensure_off),
        )

    def ask_to_shut_down(self, context: Context) -> None:
        """Give the guest its time."""
        try:
            ensure_shut_down(context)
        except ScloudError as error:
            if error.code not in ("shutdown_ignored", "guest_paused"):
                raise


class PowerOffVm(VmHandler):
    verb = "power_off_vm"
    lands_in = VmStatus.STOPPED

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return (Step("off", _("Powering off"), ensure_off),)


class ResumeVm(VmHandler):
    """Let a paused domain go on, and see that it is not paused again at once."""

    verb = "resume_vm"

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return (
            Step("resume", _("Resuming"), self.ensure_resumed),
            Step("watch", _("Checking that it runs"), self.ensure_going_on),
        )

    def ensure_resumed(self, context: Context) -> None:
        """Let it go on; one that runs already is left alone."""
        vm = vm_of(context.job)
        with translated_errors():
            host_of(vm).resume(str(vm.uuid))

    def ensure_going_on(self, context: Context) -> None:
        """A disk that still answers with an error pauses its guest within a moment."""
        vm = vm_of(context.job)
        host, uuid = host_of(vm), str(vm.uuid)

        def stands_still() -> bool:
            with translated_errors():
                return host.observe(uuid).power_state != Power.RUNNING

        if context.wait_until(stands_still, timeout_s=RESUME_WATCH_S, poll_s=0.25):
            with translated_errors():
                seen = host.observe(uuid)
            if seen.power_state == Power.RUNNING:
                return
            context.result["pause"] = seen.pause or ""
            raise ScloudError(
                _("%(name)s stopped again immediately: %(reason)s")
                % {"name": vm.name, "reason": pause_words(seen)},
                code="paused_again",
            )

    def on_failure(self, context: Context, error: ScloudError) -> None:
        vm = vm_of(context.job)
        pause = context.result.get("pause")
        columns = {"pause_reason": pause} if pause in PauseReason.values else {}
        status = context.result.get("true_status")
        VMS.fail(vm, context.job, self.verb, error, status, **columns)


def pause_words(seen: DomainObservation) -> str:
    """Return why a domain does not run, as a sentence."""
    if seen.pause is not None and seen.pause in PauseReason.values:
        return str(PauseReason(seen.pause).label)
    return _("The hypervisor does not say why.")


def note_reboot(vm_id: str) -> None:
    """Write down that a VM begins to boot: whichever worker waits for it looks there."""
    try:
        with scopes_disabled():
            VM.objects.filter(pk=vm_id).update(rebooted_at=timezone.now())
    except DatabaseError as error:
        # Nobody hears of it, and the guest is asked again.
        log.warning("the reboot of %s could not be noted: %s", vm_id, error)
    finally:
        if not connection.in_atomic_block:
            connection.close()


class RestartVm(VmHandler):
    """Have the guest boot again: in the same machine, or if its definition changed, in a new one.

    In the same machine an open screen stays connected, and shows the boot from its first line on.
    """

    verb = "restart_vm"

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return (
            Step("reboot", _("Waiting for the guest to restart"), self.ensure_rebooted, 3),
            Step("shut_down", _("Waiting for the guest to shut down"), self.ensure_went_down, 2),
            Step("define", _("Configuring the VM"), self.ensure_defined_if_off, 1),
            Step("start", _("Starting"), ensure_running, 2),
        )

    def ensure_rebooted(self, context: Context) -> None:
        """Reboot the guest unless only a new machine will do.

        A guest that ignores it is left to the next steps.
        """
        vm = vm_of(context.job)
        if context.result.get("went_down") or context.result.get("cold"):
            return
        if not context.result.get("asked"):
            ensure_external_nic(vm)
            if not runs_as_defined(vm):
                remember(context, "cold", True)
                return
            VM.objects.filter(pk=vm.pk).update(rebooted_at=None)
            remember(context, "asked", True)
        host, uuid = host_of(vm), str(vm.uuid)

        def rebooted() -> bool:
            return VM.objects.filter(pk=vm.pk, rebooted_at__isnull=False).exists()

        def over() -> bool:
            if rebooted():
                return True
            with translated_errors():
                if host.observe(uuid).power_state != Power.RUNNING:
                    # It went off altogether, or is paused: the other steps see to it.
                    return True
                if context.memory.get("asked_at", 0.0) + ASK_AGAIN_S <= time.time():
                    context.memory["asked_at"] = time.time()
                    host.reboot(uuid, noted=partial(note_reboot, vm.pk))
            return False

        context.wait_until(over, timeout_s=REBOOT_LIMIT_S, poll_s=0.25)
        if rebooted():
            remember(context, "went_down", True)

    def ensure_went_down(self, context: Context) -> None:
        """Shut the guest down once per job; a retry after that point goes on to the start.

        Where it could not start again it is left on: raises Conflict (``disk_damaged``) and
        ScloudError (``machine_type_missing``).
        """
        if context.result.get("went_down"):
            return
        vm = vm_of(context.job)
        require_sound(disks_of(vm))
        require_found(vm)
        if is_on_host(vm):
            with translated_errors():
                settle_machine(vm, host_of(vm))
        ensure_shut_down(context)
        remember(context, "went_down", True)

    def ensure_defined_if_off(self, context: Context) -> None:
        """A changed configuration takes effect with the restart."""
        vm = vm_of(context.job)
        if observed(vm) != Power.RUNNING:
            define(vm)


class DeleteVm(VmHandler):
    """Off the host and into the bin: NICs, system disk and its data go along."""

    verb = "delete_vm"
    lands_in = VmStatus.BINNED

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return (
            Step("shut_down", _("Asking the guest to shut down"), self.ask_to_shut_down, 2),
            Step("unmount", _("Powering off"), self.ensure_switched_off, 1),
            Step("undefine", _("Removing the VM from its host"), self.ensure_taken_off, 1),
            Step("snapshots", _("Erasing snapshots"), self.ensure_no_snapshots, 1),
        )

    def ensure_switched_off(self, context: Context) -> None:
        """Switch it off, unless it was paid again meanwhile."""
        refuse_if_paid(context, vm_of(context.job))
        ensure_off(context)

    def ensure_taken_off(self, context: Context) -> None:
        """Remove it from its host, unless it was paid again meanwhile."""
        refuse_if_paid(context, vm_of(context.job))
        ensure_undefined(context)

    def ensure_no_snapshots(self, context: Context) -> None:
        """The data disks that go along lose their snapshots."""
        for disk in disks_of(vm_of(context.job)):
            if disk.pk in context.payload.get("disks", []):
                erase_snapshots(context, disk)

    def ask_to_shut_down(self, context: Context) -> None:
        """Let the guest write its caches; without an answer in ten seconds it is switched off."""
        vm = vm_of(context.job)
        refuse_if_paid(context, vm)
        if not is_on_host(vm):
            return
        host, uuid = host_of(vm), str(vm.uuid)
        with translated_errors():
            if host.observe(uuid).power_state != Power.RUNNING:
                return
            if "asked_at" not in context.memory:
                try:
                    ready = host.agent_ready(uuid)
                except AgentUnavailable:
                    ready = False
                if not ready:
                    return
                context.memory["asked_at"] = time.time()
                host.shutdown(uuid)
            # A guest that is half-way down has no agent any more, and is waited for all the same.
            context.wait_until(
                lambda: host.observe(uuid).power_state != Power.RUNNING, timeout_s=10
            )

    def on_success(self, context: Context) -> None:
        vm = vm_of(context.job)
        automatically = bool(context.payload.get("automatically"))
        if automatically and services.status_for_landing(vm.tenant, vm.pk) == "active":
            # Paid after the last look: it has no machine any more, and its start places it anew.
            gpu.release(vm)
            self.keep(context, VmStatus.STOPPED, renewed_meanwhile(vm), host=None)
            return
        land_in_bin(
            vm,
            context.job,
            automatically=automatically,
            disks=context.payload.get("disks", []),
            along=context.payload.get("along", ()),
        )

    def before_failure(self, context: Context, error: ScloudError) -> None:
        super().before_failure(context, error)
        for disk in disks_of(vm_of(context.job)):
            if disk.pk in context.payload.get("disks", []):
                mark_doubtful(disk)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        vm = vm_of(context.job)
        status = paid_status(vm, context.result.get("true_status"))
        self.keep(context, status, error)

    def keep(
        self, context: Context, status: str | None, error: ScloudError, **columns: object
    ) -> None:
        """Leave the VM out of the bin, protected as it was."""
        if context.payload.get("protected"):
            columns["deletion_protected"] = True
        vm = vm_of(context.job)
        VMS.fail(vm, context.job, self.verb, error, status, **columns)


class RestoreVm(VmHandler):
    """Define it on its new host; it comes back stopped."""

    verb = "restore_vm"
    lands_in = VmStatus.STOPPED

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return (
            Step("network", _("Connecting the network"), ensure_network, 1),
            Step("define", _("Configuring the VM"), ensure_defined, 1),
        )

    def on_success(self, context: Context) -> None:
        vm = vm_of(context.job)
        VMS.complete(
            vm,
            context.job,
            self.verb,
            VmStatus.STOPPED,
            binned_at=None,
            destroy_at=None,
            binned_automatically=False,
        )

    def before_failure(self, context: Context, error: ScloudError) -> None:
        vm = vm_of(context.job)
        if is_on_host(vm):
            best_effort(lambda: host_of(vm).undefine(str(vm.uuid)))

    def on_failure(self, context: Context, error: ScloudError) -> None:
        vm = vm_of(context.job)
        free_quota(vm)
        gpu.release(vm)
        # In the bin nothing renews by itself.
        services.set_in_bin(vm.id, True)
        VMS.fail(vm, context.job, self.verb, error, VmStatus.BINNED, host=None)


class DestroyVm(VmHandler):
    """For good: domain, ports, system disk with its snapshots, seed."""

    verb = "destroy_vm"
    lands_in = VmStatus.DESTROYED
    max_attempts = 20

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return (
            Step("undefine", _("Removing the VM from its host"), ensure_undefined, 1),
            Step("network", _("Removing the network ports"), ensure_no_network, 1),
            Step("disks", _("Removing the system disk"), ensure_no_disks, 2),
        )

    def on_success(self, context: Context) -> None:
        vm = vm_of(context.job)
        now = timezone.now()
        services.refund_unused(vm.id, vm.binned_at or now)
        quotas.free(vm.id)
        release_nics(vm.id)
        system_disk = system_disk_of(vm)
        for snapshot in forget_snapshots(system_disk):
            quotas.free(snapshot)
        end(system_disk)
        GuestLogin.objects.filter(vm=vm).delete()
        GuestNetwork.objects.filter(vm=vm).delete()
        VMS.complete(vm, context.job, self.verb, VmStatus.DESTROYED, destroyed_at=now, host=None)

    def before_failure(self, context: Context, error: ScloudError) -> None:
        """Nothing to put back: what is gone is gone, the rest stays in the bin."""

    def on_failure(self, context: Context, error: ScloudError) -> None:
        vm = vm_of(context.job)
        VMS.fail(vm, context.job, self.verb, error, VmStatus.BINNED)


def register_all() -> None:
    """Make the handlers known."""
    for kind, handler in (
        ("vm.create", CreateVm()),
        ("vm.start", StartVm()),
        ("vm.fail_over", FailOverVm()),
        ("vm.shut_down", ShutDownVm()),
        ("vm.expire", ExpireVm()),
        ("vm.power_off", PowerOffVm()),
        ("vm.restart", RestartVm()),
        ("vm.resume", ResumeVm()),
        ("vm.delete", DeleteVm()),
        ("vm.restore", RestoreVm()),
        ("vm.destroy", DestroyVm()),
    ):
        register(kind, handler)
