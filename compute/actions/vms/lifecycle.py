"""Start, shut down, power off, restart, delete, restore, destroy, rename, protect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import quotas, services
from compute.actions.naming import rename
from compute.hosts import gpu, placement
from compute.hosts.leaving import not_left
from compute.models import VM, Disk, GuestLogin, Host
from compute.rules import sizes
from compute.rules.hostnames import hostname_for
from compute.rules.refusals import require_sound
from compute.rules.sizes import system_disk
from compute.rules.storage import require_bin
from compute.rules.validation import check_confirmed
from compute.states.hosts import CONFIRMED_OFF, IN_SERVICE
from compute.states.vms import VmStatus, VmTask
from compute.transitions.bin import system_snapshots
from compute.transitions.vms import VMS
from scloud.audit import action as audit
from scloud.audit import events
from scloud.audit.action import action
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, NotFound
from scloud.tenancy.actor import Actor


@action("compute.start_vm")
def start_vm(*, actor: Actor, vm: VM) -> Job:
    """Start a stopped VM where it is, or on another host where it cannot start there.

    It leaves a host that is off, and one on which it would break a required rule of its placement
    groups. Raises Conflict (``vm_state``, ``disk_damaged``, ``placement_rule``, and
    ``host_not_ready`` where it may be running on a host that has not answered yet, or where it is
    about to leave its host for maintenance), NoCapacity.
    """
    fits = VMS.table.standing("start_vm", vm.standing, vm.task) is None
    if fits and vm.destination_id is not None:
        raise _not_ready(vm, detail="The end of its migration is not known yet.")
    VMS.guard(vm, "start_vm")
    _require_sound_disks(vm)
    former = vm.host
    here = _host_to_start_on(vm)
    host = here or _place_again(vm)
    payload: dict[str, object] = {"placed": here is None}
    if here is None and former is not None and not former.is_off:
        payload["left"] = former.pk
    return VMS.begin(vm, "start_vm", actor=actor, payload=payload, expected=_as_read(vm), host=host)


@action("platform.fail_over_vm")
def fail_over_vm(*, actor: Actor, vm: VM, excluded: frozenset[str] = frozenset()) -> Job:
    """Start a VM again that stopped with its host: where it is, or if that host is off, elsewhere.

    As at every start it leaves a host on which it would break a required rule of its placement
    groups. ``excluded`` are ids of hosts that take none now. Raises Conflict (``vm_state``,
    ``disk_damaged``, ``host_not_ready``), NoCapacity.
    """
    VMS.guard(vm, "fail_over_vm")
    _require_sound_disks(vm)
    host = vm.host
    payload: dict[str, object] = {"placed": True}
    if host is None or host.is_off:
        host = _place_again(vm, excluded, spare=True)
    elif host.state not in IN_SERVICE or host.unreachable_since is not None:
        # It may be running there, so it is started nowhere else.
        raise _not_ready(vm, detail=f"{host.name} is {host.state}.")
    elif broken := placement.rule_against(vm, host):
        if vm.gpu_count:
            # Its chips are there.
            raise _not_ready(vm, detail=broken)
        payload["left"] = host.pk
        host = _place_again(vm, excluded)
    elif host.pk in excluded:
        raise _not_ready(vm, detail=f"{host.name} takes none now.")
    else:
        payload["placed"] = False
    audit.note(vm, detail=f"On {host.name}.")
    return VMS.begin(
        vm, "fail_over_vm", actor=actor, payload=payload, expected=_as_read(vm), host=host
    )


@action("compute.shut_down_vm")
def shut_down_vm(*, actor: Actor, vm: VM) -> Job:
    """Ask the guest of a running VM to shut down. Raises Conflict."""
    return VMS.begin(vm, "shut_down_vm", actor=actor)


@action("compute.power_off_vm")
def power_off_vm(*, actor: Actor, vm: VM) -> Job:
    """Pull the plug of a VM that runs or is stuck starting, stopping or restarting."""
    columns: dict[str, Any] = {}
    with transaction.atomic():
        seen = VMS.fresh(vm)
        if seen.task == VmTask.STARTING:
            # Until this commits, the start cannot say that the former host was left.
            start = Job.objects.select_for_update().filter(pk=seen.task_job).first()
            former = not_left(start.payload, start.result) if start is not None else None
            if former is not None:
                gpu.release(vm)
                columns["host"] = former
        expected = {"task": seen.task, "task_job": seen.task_job}
        return VMS.begin(vm, "power_off_vm", actor=actor, expected=expected, **columns)


@action("compute.restart_vm")
def restart_vm(*, actor: Actor, vm: VM) -> Job:
    """Restart a running VM through its operating system.

    Raises Conflict (also ``disk_damaged``: it could not start again).
    """
    VMS.guard(vm, "restart_vm")
    _require_sound_disks(vm)
    return VMS.begin(vm, "restart_vm", actor=actor)


@action("compute.resume_vm")
def resume_vm(*, actor: Actor, vm: VM) -> Job:
    """Let a paused VM go on where it stands. Raises Conflict, also where nothing can go on."""
    return VMS.begin(vm, "resume_vm", actor=actor)


@action("compute.delete_vm")
def delete_vm(
    *,
    actor: Actor,
    vm: VM,
    automatically: bool = False,
    delete_disks: bool = False,
    delete_external_ips: bool = False,
    delete_enis: bool = False,
) -> Job | None:
    """Move a VM to the recycle bin; data disks and external IPs are unbound, or go there as well.

    Its ENIs are unbound, or deleted for good.

    One whose creation failed is forgotten at once (no job): nothing of it is left that could be
    restored. What its host may still hold of it goes when that host has been heard. Raises
    Conflict (``vm_state``), also while deletion protection is on, and QuotaExceeded when the bin
    has no quota left for its disks.
    """
    protected = automatically and vm.deletion_protected
    if protected:
        # What is not paid is not kept; it is protected again if the deletion comes to nothing.
        VM.objects.filter(pk=vm.pk).update(deletion_protected=False)
        vm.deletion_protected = False
    VMS.guard(vm, "delete_vm")
    if vm.status == VmStatus.FAILED:
        # One of an earlier version may have kept it.
        GuestLogin.objects.filter(vm=vm).delete()
        VMS.move(
            vm,
            "delete_vm",
            VmStatus.DESTROYED,
            actor=actor,
            event="vm.destroyed",
            destroyed_at=timezone.now(),
        )
        return None
    along: list[str] = []
    size_gib = system_disk(vm).size_gib
    if delete_disks:
        actor.require("compute.delete_disk")
        for disk in Disk.objects.filter(vm=vm, is_system=False):
            if disk.task:
                raise Conflict(_("%(name)s is busy.") % {"name": disk.name}, code="disk_state")
            along.append(disk.pk)
            size_gib += disk.size_gib
            audit.note(disk)
    with_it = {"external_ip": delete_external_ips, "eni": delete_enis}
    kinds = [kind for kind, wanted in with_it.items() if wanted]
    for kind in kinds:
        actor.require(f"network.delete_{kind}")
    require_bin(actor, vm.tenant, vm.region, size_gib, automatically=automatically)
    return VMS.begin(
        vm,
        "delete_vm",
        actor=actor,
        payload={
            "automatically": automatically,
            "disks": along,
            "along": kinds,
            "protected": protected,
        },
    )


@action("compute.restore_vm")
def restore_vm(*, actor: Actor, vm: VM) -> Job:
    """Take a VM out of the recycle bin; it comes back stopped.

    Takes quota and a host again. Raises Conflict (``renew_first``) when it has expired,
    QuotaExceeded, NoCapacity.
    """
    VMS.guard(vm, "restore_vm")
    subscription = services.subscription_of(vm.tenant, vm.id)
    if subscription.paid_until <= timezone.now():
        raise Conflict(
            _("%(name)s has expired.") % {"name": vm.name},
            code="renew_first",
            remedy=_("Renew it, then restore it."),
        )
    kept = [(one, {"snapshots": 1}) for one in system_snapshots(vm)]
    quotas.take_many(vm.tenant, vm.region, [(vm.id, full_quota(vm)), *kept])
    host = _place_again(vm)
    services.set_in_bin(vm.id, False)
    return VMS.begin(vm, "restore_vm", actor=actor, host=host)


@action("compute.destroy_vm", confirmed=True)
def destroy_vm(*, actor: Actor, vm: VM, confirm_name: str | None = None) -> Job:
    """Destroy a binned VM for good, with its system disk; what is left of its paid time comes back.

    ``confirm_name``, where given, must be the VM's name. Raises InvalidInput, Conflict.
    """
    check_confirmed(vm.name, confirm_name)
    return VMS.begin(vm, "destroy_vm", actor=actor)


@action("compute.rename_vm")
def rename_vm(
    *,
    actor: Actor,
    vm: VM,
    name: str | None = None,
    remark: str | None = None,
    tags: Sequence[str] | None = None,
) -> VM:
    """Change name, remark or tags, in any state. Raises InvalidInput."""
    if vm.status == VmStatus.DESTROYED:
        raise NotFound(_("There is no VM %(vm)s.") % {"vm": vm.id})
    if name is not None:
        # A VM of an earlier version: its guest goes on being called as it is now.
        vm.hostname = vm.hostname or hostname_for(vm.name, vm.id)
    rename(VMS, vm, name=name, remark=remark, tags=tags, tagged=True, saved=("hostname",))
    return vm


@action("compute.protect_vm")
def protect_vm(*, actor: Actor, vm: VM, protected: bool) -> VM:
    """Set or clear deletion protection. Raises Conflict for a VM in the bin."""
    VMS.guard(vm, "protect_vm")
    audit.note(vm, before={"deletion_protected": vm.deletion_protected})
    vm.deletion_protected = protected
    vm.save(update_fields=["deletion_protected"])
    audit.note(vm, after={"deletion_protected": protected})
    events.emit(tenant_id=vm.tenant_id, kind="vm.protected", resource_kind="vm", resource_id=vm.id)
    return vm


def _as_read(vm: VM) -> dict[str, object]:
    """What says that a VM is still as it was when its host was chosen."""
    return {
        "revision": vm.revision,
        "placement_group": vm.placement_group_id,
        "operators_group": vm.operators_group_id,
    }


def _host_to_start_on(vm: VM) -> Host | None:
    """Return the host of a stopped VM if it starts there, None if it goes to another one.

    Raises Conflict (``host_not_ready``, ``placement_rule``).
    """
    host = vm.host
    if host is None or host.is_off:
        return None
    if host.state in CONFIRMED_OFF:
        # Not seen to be off yet: asked itself, and what was ordered is made good by the failover.
        return host
    if host.state not in IN_SERVICE:
        # It may be running there, so it is started nowhere else. Where it is being taken off its
        # host for maintenance, something of it may be there until that host has said otherwise.
        raise _not_ready(vm, detail=f"{host.name} is {host.state}.")
    broken = placement.rule_against(vm, host)
    if not broken:
        return host
    if vm.gpu_count and vm.placement_group_id is None:
        raise _not_ready(vm, detail=broken)
    if vm.gpu_count:
        raise Conflict(
            _("%(name)s cannot start: its placement group does not allow its host, and a VM with "
              "a GPU stays on it.") % {"name": vm.name},
            code="placement_rule",
            remedy=_("Take it out of the placement group, or choose another one."),
            detail=broken,
        )  # fmt: skip
    return None


def _not_ready(vm: VM, *, detail: str) -> Conflict:
    return Conflict(
        _("The host of %(name)s is not ready.") % {"name": vm.name},
        code="host_not_ready",
        remedy=_("Try again later."),
        detail=detail,
    )


def full_quota(vm: VM) -> dict[str, int]:
    """Return the quota of a VM with its system disk, as at its creation."""
    return sizes.vm_quota(vm.vcpus, vm.memory_mib, vm.gpu_count, (system_disk(vm).size_gib,))


def _require_sound_disks(vm: VM) -> None:
    require_sound(Disk.objects.filter(vm=vm, damaged_since__isnull=False))


def _place_again(vm: VM, excluded: frozenset[str] = frozenset(), *, spare: bool = False) -> Host:
    host = placement.place_vm(vm, excluded=excluded, spare=spare)
    gpu.allocate(vm, host)
    return host
