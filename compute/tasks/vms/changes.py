"""Reset password, modify configuration, hot upgrade, reinstall, make image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import quotas
from compute.hypervisor.base import (
    AgentRefused,
    AgentUnavailable,
    DomainNotFound,
    DomainNotRunning,
    HypervisorError,
)
from compute.models import VM, Disk, Host, Image
from compute.rules import sizes
from compute.rules.hostnames import hostname_for
from compute.rules.logins import PLAIN, open_pending, settle_pending
from compute.rules.storage import reserve_image
from compute.states.disks import Damage
from compute.states.images import ImageStatus
from compute.states.vms import VmStatus
from compute.storage.base import StorageError
from compute.tasks.base import (
    SAYS_DAMAGED,
    STALL_S,
    VmHandler,
    define,
    host_of,
    keep_machine_of,
    pool_of,
    remember,
    system_disk_of,
    vm_of,
)
from compute.tasks.drivers import best_effort, hypervisor_of, storage_of, translated_errors
from compute.tasks.images import facts, fail_image, keep_facts
from compute.tasks.vms.lifecycle import ensure_network, ensure_off
from compute.transitions.disks import mark_damaged, mark_sound
from compute.transitions.images import IMAGES
from compute.transitions.snapshots import forget_snapshots
from compute.transitions.vms import VMS
from scloud.jobs.handlers import Context, Step, register
from scloud.jobs.lanes import Lane
from scloud.lib.errors import HostError, ScloudError

AGENT_PATIENCE_S = 15.0
NO_AGENT = gettext_lazy(
    "Start the guest agent in the VM, or install qemu-guest-agent, and try again."
)


class ResetPassword(VmHandler):
    """Hand the hash to the agent; the guest's own file is what counts."""

    verb = "reset_password"

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return (
            Step("agent", _("Waiting for the guest agent"), self.ensure_agent, 1),
            Step("password", _("Setting the password"), self.ensure_password, 1),
        )

    def ensure_agent(self, context: Context) -> None:
        """See the agent answer; a guest without one is not waited for until the deadline."""
        vm = vm_of(context.job)
        host, uuid = host_of(vm), str(vm.uuid)

        def answers() -> bool:
            with translated_errors():
                return host.agent_ready(uuid)

        if not context.wait_until(answers, timeout_s=AGENT_PATIENCE_S, poll_s=0.5):
            raise ScloudError(
                _("The guest agent of %(name)s does not answer.") % {"name": vm.name},
                code="agent_unavailable",
                remedy=str(NO_AGENT),
            )

    def ensure_password(self, context: Context) -> None:
        """Set it; the same hash again changes nothing."""
        vm = vm_of(context.job)
        pending = open_pending(vm)
        if pending is None:
            raise ScloudError(_("There is no password to set."), code="password_missing")
        with translated_errors():
            host_of(vm).set_password(
                str(vm.uuid),
                vm.admin_account,
                pending.removeprefix(PLAIN),
                encrypted=not pending.startswith(PLAIN),
            )

    def on_success(self, context: Context) -> None:
        vm = vm_of(context.job)
        settle_pending(vm, accept=True)
        super().on_success(context)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        settle_pending(vm_of(context.job), accept=False)
        super().on_failure(context, error)


class SizeHandler(VmHandler):
    """What a paid change of size has in common: what failed is given back."""

    def on_success(self, context: Context) -> None:
        self.hold(vm_of(context.job), context.payload["after"])
        super().on_success(context)

    @staticmethod
    def hold(vm: VM, size: Mapping[str, int]) -> None:
        """Let the quota be that of a size; what was held beyond it is given back."""
        held = sizes.size_quota(size["vcpus"], size["memory_mib"])
        quotas.resize(vm.tenant, vm.region, held, vm.pk)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        vm = vm_of(context.job)
        before = context.payload["before"]
        sizes.take_back(vm, context.job, error.message)
        self.hold(vm, before)
        VMS.fail(
            vm,
            context.job,
            self.verb,
            error,
            context.result.get("true_status"),
            vcpus=before["vcpus"],
            memory_mib=before["memory_mib"],
            max_vcpus=before["max_vcpus"],
            max_memory_mib=before["max_memory_mib"],
            host_id=before["host"],
        )


class ModifyVm(SizeHandler):
    """Define the new size; where the VM changes its host the old definition goes."""

    verb = "modify_vm"
    lands_in = VmStatus.STOPPED

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return (
            Step("network", _("Connecting the network"), ensure_network, 1),
            Step("define", _("Configuring the VM"), self.ensure_defined, 2),
            Step("undefine", _("Cleaning up the previous host"), self.ensure_left, 1),
        )

    def ensure_defined(self, context: Context) -> None:
        """Make the definition equal the rows, which carry the new size already.

        The host that the VM leaves is asked first which machine it had.
        """
        vm = vm_of(context.job)
        former = self.former_host(context, vm)
        if former is not None:
            with translated_errors():
                keep_machine_of(vm, hypervisor_of(former))
        define(vm)

    @staticmethod
    def former_host(context: Context, vm: VM) -> Host | None:
        """Return the host that the VM leaves for its size, unless that is off."""
        former = Host.objects.filter(pk=context.payload["before"]["host"]).first()
        if former is None or former.pk == vm.host_id or former.is_off:
            return None
        return former

    def ensure_left(self, context: Context) -> None:
        """Take the definition off the host that the VM left."""
        vm = vm_of(context.job)
        former = self.former_host(context, vm)
        if former is None:
            return
        vm.host = former
        with translated_errors():
            host_of(vm).undefine(str(vm.uuid))


def grow_steps() -> Sequence[Step]:
    """Return the steps that bring a running domain to ``payload["after"]``."""
    return (
        Step("grow", _("Adding vCPUs and memory"), ensure_grown, 2),
        Step("guest", _("Waiting for the guest"), ensure_seen, 1),
    )


def ensure_grown(context: Context) -> None:
    """Plug what is missing. A guest that does not use it yet is told of, and no failure."""
    vm = vm_of(context.job)
    after = context.payload["after"]
    context.result.pop("unused", None)
    with translated_errors():
        try:
            host_of(vm).hot_upgrade(
                str(vm.uuid), vcpus=after["vcpus"], memory_mib=after["memory_mib"]
            )
        except (AgentUnavailable, AgentRefused):
            # The agent comes last: only the guest's part is missing.
            if after["vcpus"] > context.payload["before"]["vcpus"]:
                remember(context, "unused", True)


def ensure_seen(context: Context) -> None:
    """The domain must have been given what was paid for."""
    vm = vm_of(context.job)
    after = context.payload["after"]
    with translated_errors():
        seen = host_of(vm).growth_headroom(str(vm.uuid))
    context.result["seen"] = {"vcpus": seen.vcpus, "memory_mib": seen.memory_mib}
    if seen.vcpus < after["vcpus"] or seen.memory_mib < after["memory_mib"]:
        raise HostError(
            _(
                "%(name)s has %(vcpus)d of %(all_vcpus)d vCPU and %(memory)d of %(all_memory)d MB "
                "so far."
            )
            % {
                "name": vm.name,
                "vcpus": seen.vcpus,
                "all_vcpus": after["vcpus"],
                "memory": seen.memory_mib,
                "all_memory": after["memory_mib"],
            },
            code="growth_incomplete",
        )


def unused_columns(context: Context, vm: VM) -> dict[str, object]:
    """Return what the row tells of vCPUs that the guest does not use yet."""
    if not context.result.get("unused"):
        return {}
    words = _(
        "%(name)s has its new vCPUs, but its guest agent did not take them into use. Bring them "
        "online in the guest, or restart it."
    )
    return {"failure_code": "vcpus_unused", "failure": words % {"name": vm.name}}


class HotUpgradeVm(SizeHandler):
    """Grow the running domain. What did grow is paid and shown, whatever becomes of the job."""

    verb = "hot_upgrade_vm"

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return grow_steps()

    def on_success(self, context: Context) -> None:
        vm = vm_of(context.job)
        self.hold(vm, context.payload["after"])
        VMS.complete(vm, context.job, self.verb, VmStatus.RUNNING, **unused_columns(context, vm))

    def before_failure(self, context: Context, error: ScloudError) -> None:
        super().before_failure(context, error)
        vm = vm_of(context.job)
        before, after = context.payload["before"], context.payload["after"]
        try:
            seen = host_of(vm).growth_headroom(str(vm.uuid))
        except (DomainNotRunning, DomainNotFound):
            # Switched off meanwhile: its next start defines it as its row says.
            reached = {key: before[key] for key in after}
        except (HypervisorError, ScloudError):
            # Nobody knows. It is held and paid as ordered, and completed when the host answers.
            reached = after
        else:
            now = {"vcpus": seen.vcpus, "memory_mib": seen.memory_mib}
            reached = {key: max(before[key], min(now[key], after[key])) for key in after}
        context.result["reached"] = reached

    def on_failure(self, context: Context, error: ScloudError) -> None:
        before, after = context.payload["before"], context.payload["after"]
        reached = context.result.get("reached", after)
        if all(reached[key] == before[key] for key in after):
            super().on_failure(context, error)
            return
        vm = vm_of(context.job)
        if reached != after:
            sizes.keep_in_part(vm, context.job, error.message, **reached)
        self.hold(vm, reached)
        status = context.result.get("true_status")
        VMS.fail(vm, context.job, self.verb, error, status, **reached)


class GrowVm(VmHandler):
    """Complete an upgrade that is paid: the domain is smaller than its row."""

    verb = "grow_vm"

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return grow_steps()

    def on_success(self, context: Context) -> None:
        vm = vm_of(context.job)
        VMS.complete(vm, context.job, self.verb, VmStatus.RUNNING, **unused_columns(context, vm))


class ReinstallVm(VmHandler):
    """A fresh system disk; whether it was made decides what the rows say afterwards."""

    verb = "reinstall_vm"
    lands_in = VmStatus.STOPPED
    stall_s = STALL_S

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return (
            Step("off", _("Powering off"), ensure_off, 1),
            Step("disk", _("Rebuilding the system disk"), self.ensure_rebuilt, 4),
        )

    def ensure_rebuilt(self, context: Context) -> None:
        """Replace the volume, once per job."""
        if context.result.get("rebuilt"):
            return
        disk = system_disk_of(vm_of(context.job))
        with translated_errors():
            pool_of(disk).rebuild_volume(
                disk.id, size_gib=disk.size_gib, image_id=context.payload["image"]
            )
        remember(context, "rebuilt", True)

    def commit(self, context: Context, vm: VM) -> dict[str, object]:
        """Write down what the new disk means; return the VM's columns."""
        image = Image.objects.get(pk=context.payload["image"])
        disk = system_disk_of(vm)
        Disk.objects.filter(pk=disk.pk).update(image=image)
        mark_sound(disk.pk)
        for snapshot in forget_snapshots(disk):
            quotas.free(snapshot)
        settle_pending(vm, accept=bool(context.payload.get("password")))
        max_vcpus, max_memory_mib = sizes.headroom(image, vm.cluster, vm.vcpus, vm.memory_mib)
        columns: dict[str, object] = {
            "image": image,
            "admin_account": image.admin_account,
            "seed_generation": vm.seed_generation + 1,
            # A new system: it is called what the VM is called now.
            "hostname": hostname_for(vm.name, vm.id),
            "max_vcpus": max_vcpus,
            "max_memory_mib": max_memory_mib,
        }
        if context.payload.get("ssh_public_key") is not None:
            columns["ssh_public_key"] = context.payload["ssh_public_key"]
        return columns

    def on_success(self, context: Context) -> None:
        vm = vm_of(context.job)
        columns = self.commit(context, vm)
        VMS.complete(vm, context.job, self.verb, self.lands_in, **columns)

    def before_failure(self, context: Context, error: ScloudError) -> None:
        super().before_failure(context, error)
        if context.result.get("rebuilt"):
            return
        # A worker may have died between the disk and its note: the disk itself shows it.
        vm = vm_of(context.job)
        disk = system_disk_of(vm)
        wanted = context.payload["image"]
        try:
            found = pool_of(disk).volume_info(disk.id).image_id
        except StorageError:
            return
        context.result["rebuilt"] = found == wanted and disk.image_id != wanted

    def on_failure(self, context: Context, error: ScloudError) -> None:
        vm = vm_of(context.job)
        columns: dict[str, object] = {}
        if context.result.get("rebuilt"):
            columns = self.commit(context, vm)
        else:
            settle_pending(vm, accept=False)
        status = context.result.get("true_status")
        VMS.fail(vm, context.job, self.verb, error, status, **columns)


class MakeImage(VmHandler):
    """Copy the system disk into an image of its own."""

    verb = "make_image"
    lands_in = VmStatus.STOPPED
    lane = Lane.LONG
    stall_s = STALL_S

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return (Step("copy", _("Copying the system disk"), self.ensure_copied, 1),)

    def image(self, context: Context) -> Image:
        return Image.objects.select_related("pool").get(pk=context.payload["image"])

    def ensure_copied(self, context: Context) -> None:
        """Make the image unless it is there."""
        image = self.image(context)
        disk = system_disk_of(vm_of(context.job))
        with translated_errors():
            info = storage_of(image.pool).image_from_volume(image.pk, disk.id)
        reserve_image(image, info.stored_bytes)
        keep_facts(context, info)

    def on_success(self, context: Context) -> None:
        image = self.image(context)
        IMAGES.complete(image, context.job, self.verb, ImageStatus.AVAILABLE, **facts(context))
        super().on_success(context)

    def before_failure(self, context: Context, error: ScloudError) -> None:
        super().before_failure(context, error)
        image = self.image(context)
        best_effort(lambda: storage_of(image.pool).delete_image(image.pk))

    def on_failure(self, context: Context, error: ScloudError) -> None:
        fail_image(self.image(context), context.job, self.verb, error)
        super().on_failure(context, error)
        if error.code in SAYS_DAMAGED:
            mark_damaged(system_disk_of(vm_of(context.job)).pk, Damage.SUSPECTED)


def register_all() -> None:
    """Make the handlers known."""
    for kind, handler in (
        ("vm.reset_password", ResetPassword()),
        ("vm.modify", ModifyVm()),
        ("vm.hot_upgrade", HotUpgradeVm()),
        ("vm.grow", GrowVm()),
        ("vm.reinstall", ReinstallVm()),
        ("vm.make_image", MakeImage()),
    ):
        register(kind, handler)
