"""Disks: buy, attach, detach, expand, clone, delete, restore, destroy, rename."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from django.utils import timezone
from django.utils.translation import gettext as _

from billing import quotas, services
from billing.quotes import Quote
from billing.services import ChangeQuote, QuoteItem, ResourceRef
from compute.actions.naming import rename
from compute.hosts import pools
from compute.models import VM, Disk, Snapshot
from compute.models.disk import disk_id
from compute.queries import catalogue
from compute.rules import catalogue as rules_catalogue
from compute.rules import sizes
from compute.rules.orders import DiskOrder
from compute.rules.storage import require_bin
from compute.rules.targets import DATA_TARGETS
from compute.rules.validation import check_confirmed, check_name, check_remark
from compute.states.disks import DiskStatus, Repair
from compute.states.snapshots import SnapshotStatus
from compute.transitions.bin import move_disk_to_bin
from compute.transitions.disks import DISKS
from compute.transitions.vms import VMS
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput, NotFound
from scloud.resources.tags import check_tags
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import in_scope_of
from scloud.verbs.actions import prices


def _tenant(actor: Actor) -> Tenant:
    if actor.tenant is None:
        raise InvalidInput(_("A disk belongs to a tenant."), code="tenant_missing")
    return actor.tenant


def check_order(
    tenant: Tenant, order: DiskOrder, source: Disk | Snapshot | None = None
) -> DiskOrder:
    """Return the order as it is stored; raise what quote and purchase both refuse.

    ``source`` is the disk or the snapshot whose content the new disk gets. Takes no lock.
    """
    if not catalogue.disk_types(tenant, order.region).filter(pk=order.disk_type.pk).exists():
        raise InvalidInput(
            _("This disk type is not offered here."), code="disk_type_unknown", field="disk_type"
        )
    rules_catalogue.check_disk_size(order.disk_type, order.size_gib, system=False, field="size_gib")
    if isinstance(source, Snapshot):
        DISKS.guard(DISKS.fresh(source.disk), "create_disk_from_snapshot")
        if source.status != SnapshotStatus.AVAILABLE:
            raise Conflict(
                _("%(name)s is %(status)s.")
                % {"name": source.name, "status": source.get_status_display().lower()},
                code="snapshot_state",
            )
        _like(source.disk, order)
    elif source is not None:
        DISKS.guard(DISKS.fresh(source), "clone_disk")
        _like(source, order)
    return replace(
        order,
        name=check_name(order.name),
        remark=check_remark(order.remark),
        tags=check_tags(order.tags),
    )


def quote_disk(*, actor: Actor, order: DiskOrder, source: Disk | Snapshot | None = None) -> Quote:
    """Return the price of a data disk; changes nothing. Raises what its purchase raises."""
    actor.require("billing.quote")
    tenant = _tenant(actor)
    with in_scope_of(tenant):
        checked = check_order(tenant, order, source)
        quotas.check_wanted(tenant, order.region, sizes.disk_quota(order.size_gib))
    return services.quote(
        tenant=tenant,
        region=order.region,
        items=order.items,
        method=order.method,
        periods=order.periods,
        count=1,
        tags={rules_catalogue.MAIN: checked.tags},
    )


def _buy(
    actor: Actor, order: DiskOrder, quote_token: str, source: Disk | Snapshot | None = None
) -> Disk:
    """Pay, take the quota and write the row; the caller begins its job."""
    tenant = _tenant(actor)
    order = check_order(tenant, order, source)
    new = disk_id()
    services.purchase(
        actor=actor,
        region=order.region,
        quote_token=quote_token,
        items=order.items,
        method=order.method,
        periods=order.periods,
        resources=[ResourceRef("disk", new, order.name, rules_catalogue.MAIN, tuple(order.tags))],
        auto_renew=order.auto_renew,
    )
    quotas.take(tenant, order.region, sizes.disk_quota(order.size_gib), new)
    original = source.disk if isinstance(source, Snapshot) else source
    copied = 0 if original is None else pools.copy_bytes(original)
    pool = order.disk_type.pool
    pools.require_room([pools.Wanted(pool, order.size_gib * pools.GIB, copied)])
    disk = Disk(
        id=new,
        tenant=tenant,
        region=order.region,
        name=order.name,
        remark=order.remark,
        tags=list(order.tags),
        disk_type=order.disk_type,
        pool=pool,
        size_gib=order.size_gib,
        stored_bytes=copied,
    )
    disk.save(force_insert=True)
    audit.note(disk, after={"size_gib": order.size_gib, "disk_type": order.disk_type.pk})
    return disk


@action("compute.create_disk")
def create_disk(*, actor: Actor, order: DiskOrder, quote_token: str) -> Disk:
    """Buy an empty data disk at exactly the quoted price and begin to make it.

    Raises InvalidInput, StaleQuote, InsufficientBalance, QuotaExceeded, NoCapacity.
    """
    disk = _buy(actor, order, quote_token)
    DISKS.begin(disk, "create_disk", actor=actor)
    return DISKS.fresh(disk)


def _like(disk: Disk, order: DiskOrder) -> None:
    """Raise InvalidInput unless the order fits the disk that its content comes from."""
    if order.disk_type.pk != disk.disk_type_id:
        raise InvalidInput(
            _("A copy must have the same disk type as its source."),
            code="disk_type_differs",
            field="disk_type",
        )
    if order.size_gib < disk.size_gib:
        raise InvalidInput(
            _("The copy must be at least %(size_gib)s GB.") % {"size_gib": disk.size_gib},
            code="disk_smaller_than_source",
            field="size_gib",
            numbers={"min": disk.size_gib, "asked": order.size_gib},
        )


@action("compute.clone_disk")
def clone_disk(*, actor: Actor, disk: Disk, order: DiskOrder, quote_token: str) -> Disk:
    """Buy a copy of an unbound disk; return the new disk.

    Raises Conflict (``disk_state``), and what :func:`create_disk` raises.
    """
    new = _buy(actor, order, quote_token, disk)
    job = DISKS.begin(new, "create_disk", actor=actor, payload={"source": disk.pk})
    DISKS.begin(disk, "clone_disk", actor=actor, job=job)
    return DISKS.fresh(new)


@action("compute.create_disk_from_snapshot")
def create_disk_from_snapshot(
    *, actor: Actor, snapshot: Snapshot, order: DiskOrder, quote_token: str
) -> Disk:
    """Buy a data disk with the content of a snapshot; return the new disk.

    Raises Conflict (``disk_state``, ``snapshot_state``), and what :func:`create_disk` raises.
    """
    source = DISKS.fresh(snapshot.disk)
    new = _buy(actor, order, quote_token, snapshot)
    job = DISKS.begin(
        new, "create_disk", actor=actor, payload={"source": source.pk, "snapshot": snapshot.pk}
    )
    DISKS.begin(source, "create_disk_from_snapshot", actor=actor, job=job)
    return DISKS.fresh(new)


@action("compute.attach_disk")
def attach_disk(*, actor: Actor, vm: VM, disk: Disk) -> Job:
    """Attach an unbound disk to a VM, live where it runs.

    Raises Conflict (``vm_state``, ``disk_state``, ``too_many_disks``), InvalidInput.
    """
    VMS.guard(vm, "attach_disk")
    DISKS.guard(DISKS.fresh(disk), "attach_disk")
    if disk.region_id != vm.region_id:
        raise InvalidInput(
            _("%(name)s is in another region.") % {"name": disk.name},
            code="region_differs",
            field="disk",
        )
    used = set(Disk.objects.filter(vm=vm, is_system=False).values_list("target", flat=True))
    limit = vm.cluster.max_data_disks
    if len(used) >= limit:
        raise Conflict(
            _("%(name)s already has %(count)s data disks; the maximum is %(limit)s.")
            % {"name": vm.name, "count": len(used), "limit": limit},
            code="too_many_disks",
            remedy=_("Detach one first."),
            numbers={"limit": limit, "has": len(used)},
        )
    target = next(one for one in DATA_TARGETS if one not in used)
    audit.note(vm)
    return DISKS.begin(disk, "attach_disk", actor=actor, vm=vm, target=target)


@action("compute.detach_disk")
def detach_disk(*, actor: Actor, disk: Disk, force: bool = False) -> Job:
    """Unmount a data disk in the guest, where it runs, and take it off its VM.

    ``force`` detaches from a running guest whose agent does not answer: what is still mounted
    there then gets I/O errors. Raises Conflict (``vm_state``, ``disk_state``).
    """
    disk = DISKS.fresh(disk)
    DISKS.guard(disk, "detach_disk")
    if disk.vm is not None:
        VMS.guard(disk.vm, "detach_disk")
        audit.note(disk.vm)
    return DISKS.begin(disk, "detach_disk", actor=actor, payload={"force": force})


# --- growth


def _check_growth(disk: Disk, size_gib: int) -> None:
    rules_catalogue.check_disk_size(
        disk.disk_type, size_gib, system=disk.is_system, field="size_gib"
    )
    if size_gib <= disk.size_gib:
        raise InvalidInput(
            _("A disk can only grow. Its size is %(size_gib)s GB.") % {"size_gib": disk.size_gib},
            code="shrink_refused",
            field="size_gib",
            numbers={"min": disk.size_gib + 1, "asked": size_gib},
        )


def _growth(disk: Disk, size_gib: int) -> tuple[VM | Disk, list[QuoteItem]]:
    """Return what pays for the disk, and what it pays for then."""
    if disk.is_system:
        if disk.vm is None:
            raise NotFound(_("%(name)s has no VM.") % {"name": disk.name})
        return disk.vm, sizes.vm_items(disk.vm, system_gib=size_gib)
    return disk, [rules_catalogue.disk_item(disk.disk_type, size_gib, system=False)]


@prices("expand_disk")
def quote_expansion(*, actor: Actor, disk: Disk, size_gib: int) -> ChangeQuote:
    """Price growing a disk; changes nothing. Raises InvalidInput, Conflict for an expired one."""
    actor.require("billing.quote")
    disk = DISKS.fresh(disk)
    DISKS.guard(disk, "expand_disk")
    _check_growth(disk, size_gib)
    payer, items = _growth(disk, size_gib)
    quotas.check_growth(disk.tenant, disk.region, {"disk_gib": size_gib}, payer.pk)
    return services.quote_upgrade(tenant=disk.tenant, resource_id=payer.pk, items=items)


@action("compute.expand_disk")
def expand_disk(*, actor: Actor, disk: Disk, size_gib: int, quote_token: str) -> Job:
    """Grow a disk, live where its VM runs; its file system is the guest's business.

    Raises Conflict (``disk_state``), InvalidInput (``shrink_refused``, ``disk_size_out_of_range``),
    StaleQuote, InsufficientBalance, QuotaExceeded, NoCapacity.
    """
    disk = DISKS.fresh(disk)
    DISKS.guard(disk, "expand_disk")
    _check_growth(disk, size_gib)
    payer, items = _growth(disk, size_gib)
    lines = sizes.lines_of(payer)
    order = services.upgrade(
        actor=actor, resource_id=payer.pk, items=items, quote_token=quote_token
    )
    quotas.resize(disk.tenant, disk.region, {"disk_gib": size_gib}, payer.pk)
    grown = (size_gib - disk.size_gib) * pools.GIB
    pools.require_room([pools.Wanted(disk.pool, grown)], field="size_gib", words=pools.GROWTH)
    audit.note(disk, before={"size_gib": disk.size_gib}, after={"size_gib": size_gib})
    return DISKS.begin(
        disk,
        "expand_disk",
        actor=actor,
        payload={
            "size_gib": size_gib,
            "lines_before": lines,
            "order": order.pk if order is not None else None,
        },
    )


# --- checking


@action("compute.check_disk")
def check_disk(*, actor: Actor, disk: Disk) -> Job:
    """Let the storage look for errors in a disk and its snapshots; changes nothing of it.

    A damaged disk that is found sound can be used again. Raises Conflict (``disk_state``).
    """
    return DISKS.begin(disk, "check_disk", actor=actor)


@action("compute.repair_disk")
def repair_disk(
    *, actor: Actor, disk: Disk, extent: str = Repair.ALL, accept_loss: bool = False
) -> Job:
    """Repair a damaged disk; a check decides afterwards whether it can be used again.

    ``extent`` is one of :class:`Repair`. Correcting errors may lose data, in the snapshots too, so
    it needs ``accept_loss``. Raises Conflict (``disk_state``), InvalidInput (``consent_missing``).
    """
    DISKS.guard(DISKS.fresh(disk), "repair_disk")
    if extent == Repair.ALL and not accept_loss:
        raise InvalidInput(
            _("A repair of all errors may lose data that is damaged."),
            code="consent_missing",
            field="accept_loss",
            remedy=_("Accept that damaged data may be lost, or only free unused space."),
        )
    audit.note(disk, before={"damage": disk.damage, "damage_errors": disk.damage_errors})
    return DISKS.begin(disk, "repair_disk", actor=actor, payload={"extent": extent})


# --- the recycle bin


@action("compute.delete_disk")
def delete_disk(*, actor: Actor, disk: Disk, automatically: bool = False) -> Job | None:
    """Move an unbound disk to the recycle bin; its snapshots are erased.

    One whose creation failed is forgotten at once (no job). Raises Conflict (``disk_state``),
    QuotaExceeded when it exceeds the quota of the recycle bin.
    """
    disk = DISKS.fresh(disk)
    DISKS.guard(disk, "delete_disk")
    if disk.status == DiskStatus.FAILED:
        DISKS.move(
            disk, "delete_disk", DiskStatus.DESTROYED, actor=actor, destroyed_at=timezone.now()
        )
        return None
    require_bin(actor, disk.tenant, disk.region, disk.size_gib, automatically=automatically)
    if not Snapshot.objects.filter(disk=disk).exclude(status=SnapshotStatus.DESTROYED).exists():
        # Nothing to do on the pool: the row alone goes to the bin.
        move_disk_to_bin(disk, actor=actor, automatically=automatically)
        return None
    return DISKS.begin(disk, "delete_disk", actor=actor, payload={"automatically": automatically})


@action("compute.restore_disk")
def restore_disk(*, actor: Actor, disk: Disk) -> Disk:
    """Take a disk out of the recycle bin; it comes back unbound.

    Raises Conflict (``disk_state``, ``renew_first``), QuotaExceeded.
    """
    DISKS.guard(DISKS.fresh(disk), "restore_disk")
    if services.subscription_of(disk.tenant, disk.pk).paid_until <= timezone.now():
        raise Conflict(
            _("%(name)s has expired.") % {"name": disk.name},
            code="renew_first",
            remedy=_("Renew it, then restore it."),
        )
    quotas.take(disk.tenant, disk.region, sizes.disk_quota(disk.size_gib), disk.pk)
    services.set_in_bin(disk.pk, False)
    return DISKS.move(
        disk,
        "restore_disk",
        DiskStatus.UNBOUND,
        actor=actor,
        binned_at=None,
        destroy_at=None,
        binned_automatically=False,
    )


@action("compute.destroy_disk", confirmed=True)
def destroy_disk(*, actor: Actor, disk: Disk, confirm_name: str | None = None) -> Job:
    """Destroy a binned disk for good; what is left of its paid time comes back.

    ``confirm_name``, where given, must be the disk's name. Raises InvalidInput, Conflict.
    """
    check_confirmed(disk.name, confirm_name)
    return DISKS.begin(disk, "destroy_disk", actor=actor)


@action("compute.rename_disk")
def rename_disk(
    *,
    actor: Actor,
    disk: Disk,
    name: str | None = None,
    remark: str | None = None,
    tags: Sequence[str] | None = None,
) -> Disk:
    """Change name, remark or tags. Raises InvalidInput, Conflict."""
    DISKS.guard(DISKS.fresh(disk), "rename_disk")
    rename(DISKS, disk, name=name, remark=remark, tags=tags, tagged=True)
    return disk
