"""ENIs: make, bind, unbind, group, bandwidth, default egress, delete, rename."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from django.db.models import Model
from django.utils.translation import gettext as _

from billing import quotas, services
from billing.quotes import Quote
from billing.services import ChangeQuote, ResourceRef
from network.actions import addresses, external_addresses
from network.actions.common import (
    changed,
    checked_name,
    checked_text,
    enqueue_sync,
    still_there,
    tenant_of,
    usable,
)
from network.actions.nics import assign_security_group
from network.models import (
    Eni,
    ExternalAddress,
    Nic,
    NicKind,
    NicNetwork,
    SecurityGroup,
)
from network.models.eni import eni_id
from network.models.nic import EXTERNAL_INDEX, INTERNAL_INDEX
from network.rules import external_orders, targets
from network.rules.eni_orders import FIRST_INDEX, EniOrder
from network.states.enis import EniStatus
from network.transitions import egress
from network.transitions.enis import ENIS, LOOSE, plug
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs import service as jobs
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput
from scloud.resources.tags import check_tags
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import in_scope_of
from scloud.verbs.actions import prices

log = logging.getLogger(__name__)

# --- making


def check_order(tenant: Tenant, order: EniOrder) -> EniOrder:
    """Return the order as it is stored; raise what quote and purchase both refuse. No lock."""
    usable(order.region)
    if (order.subnet is None) == (order.segment is None):
        raise InvalidInput(
            _("An ENI is either in a subnet or in an external segment."),
            code="eni_network",
            field="subnet",
        )
    for field, row in (("subnet", order.subnet), ("security_group", order.group)):
        if row is not None and row.region_id != order.region.pk:
            raise InvalidInput(
                _("%(name)s is in another region.") % {"name": row.name},
                code="region_differs",
                field=field,
            )
    address = order.address.strip()
    if order.segment is not None:
        external_orders.check_segment(tenant, order.segment, order.region)
        external_orders.check_bandwidth(order.segment, order.bandwidth_mbps)
        external_addresses.check_all(order.segment, [address], 1, field="address")
    elif order.subnet is not None:
        addresses.check_all(order.subnet, [address])
    return replace(
        order,
        address=address,
        name=checked_name(order.name),
        remark=checked_text(order.remark, field="remark"),
        tags=check_tags(order.tags),
    )


def quote_eni(*, actor: Actor, order: EniOrder) -> Quote | None:
    """Return the price of an ENI, None for one that costs nothing; changes nothing.

    Raises what its purchase raises.
    """
    actor.require("billing.quote")
    tenant = tenant_of(actor)
    with in_scope_of(tenant):
        order = check_order(tenant, order)
        quotas.check_wanted(tenant, order.region, order.quota)
    if not order.items:
        return None
    return services.quote(
        tenant=tenant,
        region=order.region,
        items=order.items,
        method=order.method,
        periods=order.periods,
        count=1,
        tags={"main": order.tags},
    )


def free_of_charge() -> str:
    """Return why there is no price."""
    return _("An internal ENI costs nothing.")


@action("network.create_eni")
def create_eni(*, actor: Actor, order: EniOrder, quote_token: str = "") -> Eni:
    """Make an ENI with its address; an external one is bought at exactly the quoted price.

    Raises InvalidInput, StaleQuote, InsufficientBalance, QuotaExceeded, Conflict
    (``subnet_exhausted``, ``segment_exhausted``, ``address_taken``); nothing has changed then.
    """
    tenant = tenant_of(actor)
    order = check_order(tenant, order)
    pk = eni_id()
    if order.items:
        services.purchase(
            actor=actor,
            region=order.region,
            quote_token=quote_token,
            items=order.items,
            method=order.method,
            periods=order.periods,
            resources=[ResourceRef(Eni.KIND, pk, order.name, "main", tuple(order.tags))],
            auto_renew=order.auto_renew,
        )
    quotas.take(tenant, order.region, order.quota, pk)
    still_there(SecurityGroup, [order.group.pk] if order.group else [], field="security_group")
    nic = Nic(
        tenant=tenant,
        region=order.region,
        name=order.name,
        kind=NicKind.ENI,
        network=NicNetwork.INTERNAL if order.subnet is not None else NicNetwork.EXTERNAL,
        subnet=order.subnet,
        segment=order.segment,
        security_group=order.group,
        bandwidth_mbps=order.bandwidth_mbps or None,
    )
    address = _take_address(nic, order)
    row = Eni(
        id=pk,
        tenant=tenant,
        region=order.region,
        name=order.name,
        remark=order.remark,
        tags=list(order.tags),
        network=nic.network,
        nic=nic,
        address=address,
    )
    row.save(force_insert=True)
    audit.note(row, after={"address": address, "bandwidth_mbps": order.bandwidth_mbps or None})
    return ENIS.move(row, "create_eni", EniStatus.FREE, actor=actor)


def _take_address(nic: Nic, order: EniOrder) -> str:
    """Store the NIC with the address that it gets; return that."""
    asked = [order.address or None]
    if order.segment is not None:
        (outside,) = external_addresses.allocate(order.segment, asked)
        nic.save(force_insert=True)
        ExternalAddress.objects.create(
            tenant=nic.tenant, segment=order.segment, address=str(outside), nic=nic
        )
        return str(outside)
    assert order.subnet is not None
    (inside,) = addresses.allocate(order.subnet, asked)
    nic.save(force_insert=True)
    addresses.hold(nic, inside)
    return str(inside)


# --- binding


@action("network.bind_eni")
def bind_eni(*, actor: Actor, eni: Eni, vm: Model) -> Job:
    """Plug a free ENI into a VM of its region.

    Raises Conflict (``eni_state``, ``vm_state``, ``too_many_enis``), InvalidInput
    (``region_differs``).
    """
    row = ENIS.fresh(eni)
    ENIS.guard(row, "bind_eni")
    target = targets.of(vm)
    if target.row.region_id != row.region_id:
        raise InvalidInput(
            _("%(name)s is in another region.") % {"name": target.name},
            code="region_differs",
            field="vm",
        )
    _lock_vm(target.id)
    target.row.refresh_from_db()
    target.kind.guard(target.row, "bind_eni")
    used = set(
        Nic.objects.filter(vm_id=target.id, kind=NicKind.ENI).values_list("index", flat=True)
    )
    limit = target.kind.most_enis(target.row)
    if len(used) >= limit:
        raise Conflict(
            _("%(name)s has %(has)s ENIs; the maximum is %(limit)s.")
            % {"name": target.name, "has": len(used), "limit": limit},
            code="too_many_enis",
            field="vm",
            remedy=_("Unbind one first."),
            numbers={"limit": limit, "has": len(used)},
        )
    assert row.nic is not None
    free = next(n for n in range(FIRST_INDEX, FIRST_INDEX + limit) if n not in used)
    plug(row.nic, target.id, free)
    audit.note(target.row)
    audit.note(after={"vm": target.id, "device": f"eth{free}"})
    job = ENIS.begin(row, "bind_eni", actor=actor, **{**LOOSE, "vm_id": target.id})
    egress.settle("vm", target.id)
    return job


def _lock_vm(vm_id: str) -> None:
    """Hold the VM's own NIC: who binds, unbinds or deletes there waits."""
    for index in (EXTERNAL_INDEX, INTERNAL_INDEX):
        nic = Nic.objects.filter(vm_id=vm_id, index=index).first()
        if nic is not None:
            egress.locked_nic(nic.pk)
            return


@action("network.unbind_eni")
def unbind_eni(*, actor: Actor, eni: Eni) -> Job:
    """Pull an ENI out of its VM. Raises Conflict (``eni_state``, ``vm_state``)."""
    row = ENIS.fresh(eni)
    ENIS.guard(row, "unbind_eni")
    _lock_vm(row.vm_id)
    kind = targets.kind_named("vm")
    vm = kind.rows().filter(pk=row.vm_id).first() if kind is not None else None
    if kind is not None and vm is not None:
        kind.guard(vm, "unbind_eni")
        audit.note(vm)
    audit.note(before={"vm": row.vm_id, "address": row.address})
    job = ENIS.begin(row, "unbind_eni", actor=actor)
    _lose_egress(row)
    return job


def _lose_egress(row: Eni) -> None:
    """Let the next address of the VM be the egress, if this one was."""
    if row.nic is not None and row.nic.egress:
        Nic.objects.filter(pk=row.nic.pk).update(egress=False)
    egress.settle("vm", row.vm_id)


def let_go(target_kind: str, target_id: str, along: bool) -> None:
    """Begin to take every ENI off a VM that is deleted, or to delete it, in that transaction."""
    if target_kind != "vm":
        return
    rows = list(Eni.objects.filter(vm_id=target_id))
    for row in rows:
        if row.task_job:
            jobs.supersede(row.task_job, _("Superseded by the deletion of what it is bound to."))
    if rows:
        _lock_vm(target_id)
    for row in rows:
        try:
            ENIS.begin(
                row,
                "let_go_eni",
                actor=Actor.system(row.tenant),
                payload={"along": along},
            )
        except Conflict as error:
            # Changed in this moment. The deletion goes on; the sweep takes it off afterwards.
            log.info("%s: not let go of yet: %s", row.pk, error.for_operators())


@action("network.set_eni_egress")
def set_eni_egress(*, actor: Actor, eni: Eni) -> Eni:
    """Make the address of a bound external ENI its VM's default egress.

    Raises Conflict (``eni_state``).
    """
    ENIS.guard(ENIS.fresh(eni), "set_eni_egress")
    _lock_vm(eni.vm_id)
    row = ENIS.fresh(eni)
    ENIS.guard(row, "set_eni_egress")
    assert row.nic is not None
    held = row.nic.external_address
    among = egress.candidates("vm", row.vm_id, held.segment.ip_version)
    audit.note(before={"egress": [one.pk for one in among if one.egress]})
    egress.choose(row.nic, among)
    audit.note(after={"egress": row.pk})
    ENIS.tell(row, "eni.egress_set", by=actor.label)
    changed(row.nic)
    enqueue_sync(
        row.nic,
        actor=actor,
        title=_("Change the default egress to %(name)s") % {"name": row.name},
    )
    return ENIS.fresh(row)


# --- group and bandwidth


@action("network.change_eni_group")
def change_eni_group(*, actor: Actor, eni: Eni, group: SecurityGroup | None) -> Eni:
    """Give an ENI another group, or none; acts at once. Raises Conflict, InvalidInput, NotFound."""
    row = ENIS.fresh(eni)
    ENIS.guard(row, "change_eni_group")
    assert row.nic is not None
    assign_security_group(row.nic, group, actor=actor)
    return ENIS.fresh(row)


@prices("resize_eni")
def quote_eni_bandwidth(*, actor: Actor, eni: Eni, bandwidth_mbps: int) -> ChangeQuote:
    """Price another bandwidth; changes nothing. Raises what the change raises."""
    actor.require("billing.quote")
    row = ENIS.fresh(eni)
    ENIS.guard(row, "resize_eni")
    nic = _check_change(row, bandwidth_mbps)
    quotas.check_growth(row.tenant, row.region, {"bandwidth_mbps": bandwidth_mbps}, row.pk)
    return services.quote_upgrade(
        tenant=row.tenant,
        resource_id=row.pk,
        items=external_orders.bandwidth_items(nic.external_address.segment, bandwidth_mbps),
    )


def _check_change(row: Eni, bandwidth_mbps: int) -> Nic:
    assert row.nic is not None
    external_orders.check_bandwidth(row.nic.external_address.segment, bandwidth_mbps)
    if bandwidth_mbps == row.nic.bandwidth_mbps:
        raise InvalidInput(
            _("%(name)s has this bandwidth already.") % {"name": row.name},
            code="bandwidth_unchanged",
            field="bandwidth_mbps",
        )
    return row.nic


@action("network.resize_eni")
def resize_eni(*, actor: Actor, eni: Eni, bandwidth_mbps: int, quote_token: str) -> Job:
    """Give an external ENI another bandwidth at exactly the quoted price.

    Raises Conflict (``eni_state``), InvalidInput (``bandwidth_out_of_range``,
    ``bandwidth_unchanged``), StaleQuote, InsufficientBalance, QuotaExceeded.
    """
    row = ENIS.fresh(eni)
    ENIS.guard(row, "resize_eni")
    nic = _check_change(row, bandwidth_mbps)
    lines, before = external_orders.lines_of(row), nic.bandwidth_mbps
    order = services.upgrade(
        actor=actor,
        resource_id=row.pk,
        items=external_orders.bandwidth_items(nic.external_address.segment, bandwidth_mbps),
        quote_token=quote_token,
    )
    quotas.resize(row.tenant, row.region, {"bandwidth_mbps": bandwidth_mbps}, row.pk)
    Nic.objects.filter(pk=nic.pk).update(bandwidth_mbps=bandwidth_mbps)
    audit.note(row, before={"bandwidth_mbps": before}, after={"bandwidth_mbps": bandwidth_mbps})
    return ENIS.begin(
        row,
        "resize_eni",
        actor=actor,
        payload={
            "bandwidth_before_mbps": before,
            "lines_before": lines,
            "order": order.pk if order is not None else None,
        },
    )


# --- the end


@action("network.delete_eni")
def delete_eni(*, actor: Actor, eni: Eni) -> Job:
    """Delete an unbound ENI for good, with its address. Raises Conflict (``eni_state``)."""
    return ENIS.begin(ENIS.fresh(eni), "delete_eni", actor=actor)


@action("network.rename_eni")
def rename_eni(
    *,
    actor: Actor,
    eni: Eni,
    name: str | None = None,
    remark: str | None = None,
    tags: Sequence[str] | None = None,
) -> Eni:
    """Change name, remark or tags. Raises InvalidInput, Conflict."""
    row = ENIS.fresh(eni)
    ENIS.guard(row, "rename_eni")
    before = {"name": row.name, "remark": row.remark, "tags": list(row.tags)}
    if name is not None:
        row.name = checked_name(name)
    if remark is not None:
        row.remark = checked_text(remark, field="remark")
    if tags is not None:
        row.tags = check_tags(tags)
    after = {"name": row.name, "remark": row.remark, "tags": list(row.tags)}
    if after != before:
        row.save(update_fields=["name", "remark", "tags"])
        audit.note(row, before=before, after=after)
        ENIS.tell(row, "eni.renamed")
    return row
