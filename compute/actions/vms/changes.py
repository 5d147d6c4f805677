"""Reset password, reinstall, modify configuration, hot upgrade, make image, security groups."""

from __future__ import annotations

from django.utils.translation import gettext as _

from billing import quotas, services, usage
from billing.models import QuotaItem
from billing.services import ChangeQuote
from compute.hosts import gpu, machines, placement, pools
from compute.models import VM, Host, Image, Spec
from compute.models.image import OsFamily, image_id
from compute.queries import catalogue
from compute.rules import catalogue as rules_catalogue
from compute.rules import sizes
from compute.rules.logins import keep_pending
from compute.rules.refusals import require_sound
from compute.rules.validation import check_password, check_remark, check_ssh_keys, check_understood
from compute.states.images import ImageStatus
from compute.states.vms import VmStatus
from compute.transitions.images import IMAGES
from compute.transitions.vms import VMS
from network.actions.common import still_there
from network.actions.nics import assign_security_group, move_nic
from network.models import Nic, NicKind, NicNetwork, SecurityGroup, Subnet
from network.models.nic import INTERNAL_INDEX
from scloud.audit import action as audit
from scloud.audit import events
from scloud.audit.action import action
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, Forbidden, InvalidInput, NoCapacity
from scloud.lib.sizes import size_mib
from scloud.lib.text import composed
from scloud.tenancy.actor import Actor
from scloud.verbs.actions import prices


@action("compute.reset_password")
def reset_password(*, actor: Actor, vm: VM, password: str) -> Job:
    """Set the password of the VM's administrator through the guest agent.

    Raises Conflict (``vm_state``), InvalidInput. The job fails with ``agent_unavailable`` where
    the guest has no agent; the old password then goes on to hold.
    """
    VMS.guard(vm, "reset_password")
    check_password(password, os_family=vm.image.os_family, account=vm.admin_account)
    keep_pending(vm, password, plain=vm.image.os_family == OsFamily.WINDOWS)
    return VMS.begin(vm, "reset_password", actor=actor)


# --- size


@prices("modify_vm", "hot_upgrade_vm")
def quote_size(*, actor: Actor, vm: VM, spec: Spec, verb: str = "") -> ChangeQuote:
    """Price another size for a VM; changes nothing.

    ``verb`` is ``modify_vm`` or ``hot_upgrade_vm``; without it, it is the one that the VM's state
    allows. Raises what that verb raises, except that hosts may lack capacity at the moment.
    """
    actor.require("billing.quote")
    _check_size(
        vm, spec, verb or ("hot_upgrade_vm" if vm.status == VmStatus.RUNNING else "modify_vm")
    )
    quotas.check_growth(vm.tenant, vm.region, _size_quota(vm, spec), vm.pk)
    return services.quote_upgrade(
        tenant=vm.tenant,
        resource_id=vm.pk,
        items=sizes.vm_items(vm, vcpus=spec.vcpus, memory_mib=spec.memory_mib),
    )


def _size_quota(vm: VM, spec: Spec) -> dict[str, int]:
    """What is held until the change has happened: what shrinks is given back then."""
    return sizes.size_quota(max(vm.vcpus, spec.vcpus), max(vm.memory_mib, spec.memory_mib))


def _check_size(vm: VM, spec: Spec, verb: str) -> None:
    """Raise what quote and change both refuse."""
    VMS.guard(vm, verb)
    _check_spec(vm, spec)
    if verb == "hot_upgrade_vm":
        _check_hot_upgrade(vm, spec)


def _check_hot_upgrade(vm: VM, spec: Spec) -> None:
    if spec.vcpus < vm.vcpus or spec.memory_mib < vm.memory_mib:
        raise InvalidInput(
            _("A running VM can only grow."),
            code="hot_upgrade_shrinks",
            field="spec",
            remedy=_("Choose a larger size, or shut the VM down and modify its configuration."),
        )
    if spec.vcpus > vm.max_vcpus or spec.memory_mib > vm.max_memory_mib:
        raise Conflict(
            _("Without a restart %(name)s can grow to %(max_vcpus)s vCPU and %(memory)s.")
            % {
                "name": vm.name,
                "max_vcpus": vm.max_vcpus,
                "memory": size_mib(vm.max_memory_mib),
            },
            code="headroom_exceeded",
            field="spec",
            remedy=_("Choose a smaller size, or shut the VM down and modify its configuration."),
            numbers={"max_vcpus": vm.max_vcpus, "max_memory_mib": vm.max_memory_mib},
        )


def _check_spec(vm: VM, spec: Spec) -> None:
    if spec.cluster_id != vm.cluster_id or not spec.enabled:
        raise InvalidInput(
            _("%(alias)s does not offer this size.") % {"alias": vm.cluster.alias},
            code="spec_unknown",
            field="spec",
        )
    if (spec.vcpus, spec.memory_mib) == (vm.vcpus, vm.memory_mib):
        raise InvalidInput(_("The VM has this size already."), code="spec_same", field="spec")
    rules_catalogue.check_gpu(vm.cluster, spec, vm.gpu_count)


def _pay_for_size(actor: Actor, vm: VM, spec: Spec, quote_token: str) -> dict[str, object]:
    """Charge the difference and take the quota; return what the job needs to take it back."""
    lines = sizes.lines_of(vm)
    order = services.upgrade(
        actor=actor,
        resource_id=vm.pk,
        items=sizes.vm_items(vm, vcpus=spec.vcpus, memory_mib=spec.memory_mib),
        quote_token=quote_token,
    )
    # What shrinks is given back when the change has happened, so that it can be undone.
    quotas.resize(vm.tenant, vm.region, _size_quota(vm, spec), vm.pk)
    audit.note(vm, before={"size": vm.spec_label}, after={"size": str(spec)})
    return {
        "lines_before": lines,
        "order": order.pk if order is not None else None,
        "before": {
            "vcpus": vm.vcpus,
            "memory_mib": vm.memory_mib,
            "max_vcpus": vm.max_vcpus,
            "max_memory_mib": vm.max_memory_mib,
            "host": vm.host_id,
        },
        "after": {"vcpus": spec.vcpus, "memory_mib": spec.memory_mib},
    }


@action("compute.modify_vm")
def modify_vm(*, actor: Actor, vm: VM, spec: Spec, quote_token: str) -> Job:
    """Give a stopped VM another size, up or down; effective at its next start.

    A VM that no longer fits on its host is placed on another one. Raises Conflict (``vm_state``),
    InvalidInput, StaleQuote, InsufficientBalance, QuotaExceeded, NoCapacity.
    """
    _check_size(vm, spec, "modify_vm")
    payload = _pay_for_size(actor, vm, spec, quote_token)
    host: Host | None = vm.host
    refusal = placement.refusal_to_grow(vm, spec.vcpus, spec.memory_mib)
    if refusal is not None and vm.gpu_count and vm.host_id is not None:
        raise NoCapacity(
            _("This size is not available for %(name)s right now.") % {"name": vm.name},
            field="spec",
            remedy=_("Choose a smaller size, or try again later."),
            detail=f"The host with the GPUs of {vm.id}: {_said(refusal)}",
        )
    if refusal is not None:
        host = placement.place_vm(
            vm,
            vcpus=spec.vcpus,
            memory_mib=spec.memory_mib,
            excluded=frozenset({vm.host_id} if vm.host_id else ()),
        )
        gpu.allocate(vm, host)
    max_vcpus, max_memory_mib = sizes.headroom(vm.image, vm.cluster, spec.vcpus, spec.memory_mib)
    return VMS.begin(
        vm,
        "modify_vm",
        actor=actor,
        payload=payload,
        vcpus=spec.vcpus,
        memory_mib=spec.memory_mib,
        max_vcpus=max_vcpus,
        max_memory_mib=max_memory_mib,
        host=host,
    )


def _said(refusal: tuple[str, str]) -> str:
    key, words = refusal
    return f"{placement.REASONS[key]}. {words}"


@action("compute.hot_upgrade_vm")
def hot_upgrade_vm(*, actor: Actor, vm: VM, spec: Spec, quote_token: str) -> Job:
    """Give a running VM more vCPUs or memory without a restart.

    Raises Conflict (``vm_state``, ``headroom_exceeded``), InvalidInput (``hot_upgrade_shrinks``),
    StaleQuote, InsufficientBalance, QuotaExceeded, NoCapacity when its host lacks capacity.
    """
    _check_size(vm, spec, "hot_upgrade_vm")
    payload = _pay_for_size(actor, vm, spec, quote_token)
    refusal = placement.refusal_to_grow(vm, spec.vcpus, spec.memory_mib)
    if refusal is not None:
        raise NoCapacity(
            _("%(name)s cannot grow to this size while it runs.") % {"name": vm.name},
            field="spec",
            remedy=_("Choose a smaller size, or try again later.")
            if refusal[0] == "reserve"
            else _("Shut the VM down and modify its configuration."),
            detail=f"The host of {vm.id}: {_said(refusal)}",
        )
    return VMS.begin(
        vm,
        "hot_upgrade_vm",
        actor=actor,
        payload=payload,
        vcpus=spec.vcpus,
        memory_mib=spec.memory_mib,
    )


# --- system disk


@action("compute.reinstall_vm")
def reinstall_vm(
    *,
    actor: Actor,
    vm: VM,
    image: Image,
    password: str | None = None,
    ssh_public_key: str | None = None,
) -> Job:
    """Replace a stopped VM's system disk by a fresh one from an image of the same family.

    Its snapshots are erased, data disks are not touched. Without ``password`` the old one holds.
    Raises Conflict (``vm_state``), InvalidInput.
    """
    VMS.guard(vm, "reinstall_vm")
    check_reinstall(vm, image)
    # What the VM was ordered with goes into its new disk as well.
    keys = vm.ssh_public_key if ssh_public_key is None else ssh_public_key
    check_understood(image, user_data=vm.user_data, ssh_public_key=keys)
    if password:
        check_password(password, os_family=image.os_family, account=image.admin_account)
        keep_pending(vm, password)
    audit.note(vm, before={"image": vm.image_id}, after={"image": image.pk})
    return VMS.begin(
        vm,
        "reinstall_vm",
        actor=actor,
        payload={
            "image": image.pk,
            "password": bool(password),
            "ssh_public_key": None if ssh_public_key is None else check_ssh_keys(ssh_public_key),
        },
    )


def check_reinstall(vm: VM, image: Image) -> None:
    """Raise InvalidInput unless the VM can be reinstalled from the image."""
    if not catalogue.images(vm.tenant, vm.region).filter(pk=image.pk).exists():
        raise InvalidInput(_("There is no such image here."), code="image_unknown", field="image")
    disk = sizes.system_disk(vm)
    if image.status != ImageStatus.AVAILABLE:
        raise InvalidInput(
            _("The image is %(status)s.") % {"status": image.get_status_display().lower()},
            code="image_not_available",
            field="image",
        )
    if image.os_family != vm.image.os_family:
        raise InvalidInput(
            _("A %(family)s VM can only be reinstalled with %(family)s.")
            % {"family": vm.image.get_os_family_display()},
            code="os_family_differs",
            field="image",
            remedy=_("Choose an image of the same family, or create a new VM."),
        )
    if image.architecture != vm.cluster.architecture:
        raise InvalidInput(
            _("The image is for %(architecture)s, the model is %(wanted)s.")
            % {"architecture": image.architecture, "wanted": vm.cluster.architecture},
            code="architecture_differs",
            field="image",
        )
    if image.pool_id != disk.pool_id:
        raise InvalidInput(
            _("The image is not available for the disk type of the system disk."),
            code="image_in_other_pool",
            field="image",
        )
    if image.min_disk_gib > disk.size_gib:
        raise InvalidInput(
            _("The image needs a system disk of at least %(min_disk_gib)s GB.")
            % {"min_disk_gib": image.min_disk_gib},
            code="disk_smaller_than_image",
            field="image",
            remedy=_("Expand the system disk first."),
            numbers={"min": image.min_disk_gib, "has": disk.size_gib},
        )


def check_image_name(name: str) -> str:
    """Return an image's name; InvalidInput unless it is 1 to 60 printable characters."""
    cleaned = composed(name.strip())
    if not 1 <= len(cleaned) <= 60 or not cleaned.isprintable():
        raise InvalidInput(
            _("An image's name has 1 to 60 characters."),
            code="name_invalid",
            field="name",
            numbers={"min": 1, "max": 60, "length": len(cleaned)},
        )
    return cleaned


@action("compute.make_image")
def make_image(*, actor: Actor, vm: VM, name: str, remark: str = "", base: bool = False) -> Image:
    """Begin to make an image from a stopped VM's system disk; return it (*Making*).

    It is the VM's tenant's own; with ``base``, for administrators, one of the platform's that all
    tenants see. Raises Forbidden, Conflict (``vm_state``), InvalidInput, QuotaExceeded,
    NoCapacity, InsufficientBalance (``usage_unpaid``). A damaged system disk is a Conflict
    (``disk_damaged``).
    """
    VMS.guard(vm, "make_image")
    if base and not actor.is_platform:
        raise Forbidden(_("Base images are managed by the platform."), code="base_image")
    disk = sizes.system_disk(vm)
    require_sound([disk])
    image = Image(
        id=image_id(),
        tenant=None if base else vm.tenant,
        region=vm.region,
        pool=disk.pool,
        name=check_image_name(name),
        remark=check_remark(remark),
        os_family=vm.image.os_family,
        distribution=vm.image.distribution,
        version=vm.image.version,
        architecture=vm.image.architecture,
        admin_account=vm.admin_account,
        min_disk_gib=disk.size_gib,
        supports_hot_upgrade=vm.image.supports_hot_upgrade,
        accepts_user_data=vm.image.accepts_user_data,
        accepts_ssh_keys=vm.image.accepts_ssh_keys,
        watchdog=vm.image.watchdog,
        base_image=vm.image if vm.image.is_base else vm.image.base_image,
    )
    if not base:
        usage.require_paid(vm.tenant)
        quotas.require(vm.tenant, vm.region, {QuotaItem.IMAGE_GIB.value: 1})
        quotas.take(vm.tenant, vm.region, {"images": 1}, image.pk)
    written = pools.copy_bytes(disk)
    pools.require_room([pools.Wanted(disk.pool, written, written)], field=None, words=pools.IMAGE)
    audit.note(image)
    audit.note(vm)
    job = VMS.begin(vm, "make_image", actor=actor, payload={"image": image.pk})
    IMAGES.create(image, "make_image", actor=actor, job=job)
    return image


# --- machine type


@action("compute.update_machine_type")
def update_machine_type(*, actor: Actor, vm: VM) -> VM:
    """Give a stopped VM the newest machine type that all hosts of its cluster offer.

    It has it from its next start. Raises Conflict (``vm_state``, ``machine_type_current``).
    """
    VMS.guard(vm, "update_machine_type")
    newer = machines.next_type(vm.cluster, vm.machine_type)
    if not newer:
        raise Conflict(
            _("%(name)s has the newest machine type that it can have.") % {"name": vm.name},
            code="machine_type_current",
        )
    audit.note(vm, before={"machine_type": vm.machine_type}, after={"machine_type": newer})
    # Refused where the VM is no longer stopped.
    return VMS.move(vm, "update_machine_type", VmStatus.STOPPED, actor=actor, machine_type=newer)


# --- network


@action("compute.change_security_groups")
def change_security_groups(
    *,
    actor: Actor,
    vm: VM,
    internal: SecurityGroup | None,
    external: SecurityGroup | None,
) -> VM:
    """Give a VM an internal and an external security group, or none; acts at once.

    Raises Conflict (``vm_state``), NotFound, InvalidInput (``region_differs``).
    """
    VMS.guard(vm, "change_security_groups")
    for field, group in (("internal", internal), ("external", external)):
        if group is None:
            continue
        if group.region_id != vm.region_id:
            raise InvalidInput(
                _("Security group %(name)s is in another region.") % {"name": group.name},
                code="region_differs",
                field=field,
            )
        still_there(SecurityGroup, [group.pk], field=field)
    audit.note(
        vm,
        before={"internal": vm.internal_security_group, "external": vm.external_security_group},
    )
    for nic in Nic.objects.filter(vm_id=vm.pk, kind=NicKind.DEFAULT):
        group = external if nic.network == NicNetwork.EXTERNAL else internal
        assign_security_group(nic, group, actor=actor)
    vm.internal_security_group = internal.pk if internal else ""
    vm.external_security_group = external.pk if external else ""
    vm.save(update_fields=["internal_security_group", "external_security_group"])
    audit.note(
        after={"internal": vm.internal_security_group, "external": vm.external_security_group}
    )
    events.emit(
        tenant_id=vm.tenant_id,
        kind="vm.security_groups_changed",
        resource_kind="vm",
        resource_id=vm.pk,
    )
    return vm


@action("compute.change_private_ip")
def change_private_ip(
    *, actor: Actor, vm: VM, subnet: Subnet | None = None, address: str = ""
) -> VM:
    """Give a stopped VM another address: of ``subnet`` of its VPC, else of the one that it is in.

    An empty address takes the lowest free one. Its network, DHCP and seed have it when the VM
    starts next. Raises Conflict (``vm_state``, ``address_taken``, ``subnet_exhausted``), NotFound,
    InvalidInput (``vpc_differs``, ``address_unchanged`` and those of an address that a subnet does
    not have).
    """
    try:
        VMS.guard(vm, "change_private_ip")
    except Conflict as error:
        if vm.status == VmStatus.RUNNING and not vm.task:
            error.remedy = _("Shut the VM down, change the address and start it again.")
        raise
    nic = Nic.objects.select_related("subnet").get(vm_id=vm.pk, index=INTERNAL_INDEX)
    target = subnet or nic.subnet
    assert target is not None
    audit.note(vm)
    move_nic(nic, target, address, actor=actor)
    # Last, and refused where the VM is no longer stopped: a start sees either all of it or nothing.
    return VMS.move(vm, "change_private_ip", VmStatus.STOPPED, actor=actor)
