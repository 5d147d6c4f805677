"""External IPs: buy, bind, unbind, bandwidth, default egress, release, restore, destroy, rename."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.db.models import Model
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import quotas, services
from billing.quotes import Quote
from billing.services import ChangeQuote, ResourceRef
from network.actions import external_addresses
from network.actions.common import (
    changed,
    checked_name,
    checked_text,
    enqueue_sync,
    numbered,
    tenant_of,
    usable,
)
from network.models import ExternalAddress, ExternalIp, Nic
from network.models.external_ip import external_ip_id
from network.models.outside import IpAddress
from network.rules import external_orders as rules
from network.rules import targets
from network.rules.external_orders import ExternalIpOrder
from network.rules.targets import Target
from network.states.external_ips import ExternalIpStatus
from network.transitions import egress
from network.transitions.external_ips import (
    EXTERNAL_IPS,
    LOOSE,
    bin_columns,
    give_address_back,
)
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

# --- buying


def check_order(tenant: Tenant, order: ExternalIpOrder) -> ExternalIpOrder:
    """Return the order as it is stored; raise what quote and purchase both refuse. No lock."""
    usable(order.region)
    rules.check_segment(tenant, order.segment, order.region)
    rules.check_bandwidth(order.segment, order.bandwidth_mbps)
    rules.check_count(order)
    asked = [text.strip() for text in order.addresses]
    external_addresses.check_all(order.segment, asked, order.count)
    numbered(checked_name(order.name), order.count)
    return replace(
        order,
        addresses=asked,
        name=checked_name(order.name),
        remark=checked_text(order.remark, field="remark"),
        tags=check_tags(order.tags),
    )


def quote_external_ips(*, actor: Actor, order: ExternalIpOrder) -> Quote:
    """Return the price of external IPs; changes nothing. Raises what their purchase raises."""
    actor.require("billing.quote")
    tenant = tenant_of(actor)
    with in_scope_of(tenant):
        checked = check_order(tenant, order)
        quotas.check_wanted(tenant, order.region, order.whole_quota)
    return services.quote(
        tenant=tenant,
        region=order.region,
        items=order.items,
        method=order.method,
        periods=order.periods,
        count=order.count,
        tags={"main": checked.tags},
    )


@action("network.create_external_ip")
def create_external_ips(
    *, actor: Actor, order: ExternalIpOrder, quote_token: str
) -> list[ExternalIp]:
    """Buy ``order.count`` external IPs at exactly the quoted price: all of them or none.

    Raises InvalidInput, StaleQuote, InsufficientBalance, QuotaExceeded, Conflict
    (``segment_exhausted``, ``address_taken``); nothing has changed then.
    """
    tenant = tenant_of(actor)
    order = check_order(tenant, order)
    ids = [external_ip_id() for _one in range(order.count)]
    names = numbered(order.name, order.count)
    services.purchase(
        actor=actor,
        region=order.region,
        quote_token=quote_token,
        items=order.items,
        method=order.method,
        periods=order.periods,
        resources=[
            ResourceRef(ExternalIp.KIND, one, name, "main", tuple(order.tags))
            for one, name in zip(ids, names, strict=True)
        ],
        auto_renew=order.auto_renew,
    )
    quotas.take_many(
        tenant, order.region, [(one, rules.quota_of(order.bandwidth_mbps)) for one in ids]
    )
    rows = insert(tenant, order, ids, names)
    for row in rows:
        EXTERNAL_IPS.move(row, "allot_external_ip", ExternalIpStatus.FREE, actor=actor)
    audit.note(
        after={
            "segment": order.segment.pk,
            "bandwidth_mbps": order.bandwidth_mbps,
            "addresses": [row.address for row in rows],
            "method": order.method,
            "periods": order.periods,
        }
    )
    return rows


def insert(
    tenant: Tenant, order: ExternalIpOrder, ids: Sequence[str], names: Sequence[str]
) -> list[ExternalIp]:
    """Take the addresses of an order and insert its rows, which stand at *new* then.

    Runs in the caller's transaction, after money and quota; keeps the segment locked until it ends.
    """
    asked = order.addresses or [""] * len(ids)
    chosen = external_addresses.allocate(order.segment, [text or None for text in asked])
    rows = []
    for pk, name, address in zip(ids, names, chosen, strict=True):
        row = _insert_one(tenant, order, pk, name, address)
        audit.note(row)
        rows.append(row)
    return rows


def _insert_one(
    tenant: Tenant, order: ExternalIpOrder, pk: str, name: str, address: IpAddress
) -> ExternalIp:
    row = ExternalIp(
        id=pk,
        tenant=tenant,
        region=order.region,
        name=name,
        remark=order.remark,
        tags=list(order.tags),
        segment=order.segment,
        ip_version=order.segment.ip_version,
        address=str(address),
        bandwidth_mbps=order.bandwidth_mbps,
    )
    row.save(force_insert=True)
    ExternalAddress.objects.create(
        tenant=tenant, segment=order.segment, address=str(address), external_ip=row
    )
    return row


# --- binding


@action("network.bind_external_ip")
def bind_external_ip(*, actor: Actor, external_ip: ExternalIp, target: Target | Model) -> Job:
    """Bind a free external IP to a VM, or to what else can have one, of its region.

    Raises Conflict (``external_ip_state``, the state of the target, ``too_many_external_ips``,
    ``segment_on_other_network``), InvalidInput (``region_differs``).
    """
    external_ip = EXTERNAL_IPS.fresh(external_ip)
    EXTERNAL_IPS.guard(external_ip, "bind_external_ip")
    chosen = targets.of(target)
    if chosen.row.region_id != external_ip.region_id:
        raise InvalidInput(
            _("%(name)s is in another region.") % {"name": chosen.name},
            code="region_differs",
            field="target",
        )
    nic = reserve(chosen, [external_ip])
    audit.note(chosen.row)
    audit.note(after={"target": chosen.id, "address": external_ip.address})
    job = EXTERNAL_IPS.begin(external_ip, "bind_external_ip", actor=actor, **bound_to(chosen, nic))
    egress.settle(chosen.kind.kind, chosen.id)
    return job


def bound_to(target: Target, nic: Nic) -> dict[str, Any]:
    """Return the columns of one that is bound, or is being bound."""
    return {
        **LOOSE,
        "target_kind": target.kind.kind,
        "target_id": target.id,
        "nic": nic,
        "bound_at": timezone.now(),
    }


def reserve(target: Target, external_ips: Sequence[ExternalIp]) -> Nic:
    """Return the NIC of a target, locked, on which there is room for these external IPs.

    Raises Conflict (the state of the target, ``too_many_external_ips``,
    ``segment_on_other_network``).
    """
    nic = egress.locked_nic(target.kind.nic(target.row).pk)
    # Asked again under the lock: who deletes the target takes it too.
    target.row.refresh_from_db()
    target.kind.guard(target.row, "bind_external_ip")
    there = list(ExternalIp.objects.filter(nic=nic).select_related("segment"))
    for version, limit in rules.MOST_BOUND.items():
        has = sum(one.ip_version == version for one in there)
        asked = sum(one.ip_version == version for one in external_ips)
        if asked and has + asked > limit:
            raise Conflict(
                _("%(name)s has %(has)s IPv%(version)s external IPs; the maximum is %(limit)s.")
                % {"name": target.name, "has": has, "version": version, "limit": limit},
                code="too_many_external_ips",
                field="target",
                remedy=_("Unbind one first."),
                numbers={"limit": limit, "has": has, "asked": asked, "ip_version": version},
            )
    _same_network(target, there, external_ips)
    return nic


def _same_network(
    target: Target, there: Sequence[ExternalIp], external_ips: Sequence[ExternalIp]
) -> None:
    """Raise unless all addresses lie on one VLAN of one physical network: one NIC is in one."""
    found = {one.segment.switch_id: one.segment for one in there if one.segment is not None}
    for one in external_ips:
        if one.segment is None or not found or one.segment.switch_id in found:
            continue
        other = next(iter(found.values()))
        raise Conflict(
            _(
                "Segment %(segment)s is on another physical network than segment %(other)s, of "
                "which %(name)s has an external IP already."
            )
            % {"segment": one.segment.name, "other": other.name, "name": target.name},
            code="segment_on_other_network",
            field="target",
            remedy=_("Bind an external ENI of %(segment)s to it instead: a NIC of its own.")
            % {"segment": one.segment.name},
        )


def bind_bought(row: ExternalIp, *, nic: Nic, vm_id: str, job: Job, actor: Actor) -> None:
    """Bind one that was bought with a VM, by the VM's own job, in the purchase's transaction."""
    EXTERNAL_IPS.begin(
        row,
        "create_external_ip",
        actor=actor,
        job=job,
        **{
            **LOOSE,
            "target_kind": "vm",
            "target_id": vm_id,
            "nic": nic,
            "bound_at": timezone.now(),
        },
    )
    egress.settle("vm", vm_id)


@action("network.unbind_external_ip")
def unbind_external_ip(*, actor: Actor, external_ip: ExternalIp) -> Job:
    """Take an external IP off what it is bound to. Raises Conflict (``external_ip_state``)."""
    external_ip = EXTERNAL_IPS.fresh(external_ip)
    EXTERNAL_IPS.guard(external_ip, "unbind_external_ip")
    if external_ip.nic_id is not None:
        egress.locked_nic(external_ip.nic_id)
    kind = targets.kind_named(external_ip.target_kind)
    row = kind.rows().filter(pk=external_ip.target_id).first() if kind is not None else None
    if kind is not None and row is not None:
        kind.guard(row, "unbind_external_ip")
        audit.note(row)
    audit.note(before={"target": external_ip.target_id, "address": external_ip.address})
    job = EXTERNAL_IPS.begin(external_ip, "unbind_external_ip", actor=actor, egress=False)
    egress.settle(external_ip.target_kind, external_ip.target_id)
    return job


def let_go(target_kind: str, target_id: str, along: bool) -> None:
    """Begin to take every external IP off a target that is deleted, within its transaction.

    Those that go ``along`` are released to the recycle bin afterwards.
    """
    rows = ExternalIp.objects.filter(target_kind=target_kind, target_id=target_id)
    rows = rows.exclude(status__in=[ExternalIpStatus.NEW, ExternalIpStatus.FAILED])
    # Their jobs first: who ends a job holds its row, and then wants the NIC's.
    for row in rows:
        if row.task_job:
            jobs.supersede(row.task_job, _("Superseded by the deletion of what it is bound to."))
    for nic_id in sorted({row.nic_id for row in rows if row.nic_id is not None}):
        egress.locked_nic(nic_id)
    for row in rows:
        try:
            EXTERNAL_IPS.begin(
                row,
                "let_go_external_ip",
                actor=Actor.system(row.tenant),
                payload={"to_bin": along},
                egress=False,
            )
        except Conflict as error:
            # Changed in this moment. The deletion goes on; the sweep takes it off afterwards.
            log.info("%s: not let go of yet: %s", row.pk, error.for_operators())


@action("network.set_default_egress")
def set_default_egress(*, actor: Actor, external_ip: ExternalIp) -> ExternalIp:
    """Make a bound external IP of a default-route segment its target's default egress.

    Raises Conflict (``external_ip_state``).
    """
    EXTERNAL_IPS.guard(EXTERNAL_IPS.fresh(external_ip), "set_default_egress")
    assert external_ip.nic_id is not None
    nic = egress.locked_nic(external_ip.nic_id)
    row = EXTERNAL_IPS.fresh(external_ip)
    EXTERNAL_IPS.guard(row, "set_default_egress")
    among = egress.candidates(row.target_kind, row.target_id, row.ip_version)
    audit.note(before={"egress": [one.pk for one in among if one.egress]})
    egress.choose(row, among)
    audit.note(after={"egress": row.pk})
    EXTERNAL_IPS.tell(row, "external_ip.egress_set", by=actor.label)
    changed(nic)
    enqueue_sync(
        nic, actor=actor, title=_("Change the default egress to %(name)s") % {"name": row.name}
    )
    return row


# --- bandwidth


@prices("resize_external_ip")
def quote_bandwidth(*, actor: Actor, external_ip: ExternalIp, bandwidth_mbps: int) -> ChangeQuote:
    """Price another bandwidth; changes nothing. Raises what the change raises."""
    actor.require("billing.quote")
    row = EXTERNAL_IPS.fresh(external_ip)
    EXTERNAL_IPS.guard(row, "resize_external_ip")
    assert row.segment is not None
    _check_change(row, bandwidth_mbps)
    quotas.check_growth(row.tenant, row.region, {"bandwidth_mbps": bandwidth_mbps}, row.pk)
    return services.quote_upgrade(
        tenant=row.tenant,
        resource_id=row.pk,
        items=rules.bandwidth_items(row.segment, bandwidth_mbps),
    )


def _check_change(row: ExternalIp, bandwidth_mbps: int) -> None:
    assert row.segment is not None
    rules.check_bandwidth(row.segment, bandwidth_mbps)
    if bandwidth_mbps == row.bandwidth_mbps:
        raise InvalidInput(
            _("%(name)s has this bandwidth already.") % {"name": row.name},
            code="bandwidth_unchanged",
            field="bandwidth_mbps",
        )


@action("network.resize_external_ip")
def resize_external_ip(
    *, actor: Actor, external_ip: ExternalIp, bandwidth_mbps: int, quote_token: str
) -> Job:
    """Give an external IP another bandwidth at exactly the quoted price.

    Raises Conflict (``external_ip_state``), InvalidInput (``bandwidth_out_of_range``,
    ``bandwidth_unchanged``), StaleQuote, InsufficientBalance, QuotaExceeded.
    """
    row = EXTERNAL_IPS.fresh(external_ip)
    EXTERNAL_IPS.guard(row, "resize_external_ip")
    assert row.segment is not None
    _check_change(row, bandwidth_mbps)
    lines, before = rules.lines_of(row), row.bandwidth_mbps
    order = services.upgrade(
        actor=actor,
        resource_id=row.pk,
        items=rules.bandwidth_items(row.segment, bandwidth_mbps),
        quote_token=quote_token,
    )
    quotas.resize(row.tenant, row.region, {"bandwidth_mbps": bandwidth_mbps}, row.pk)
    audit.note(row, before={"bandwidth_mbps": before}, after={"bandwidth_mbps": bandwidth_mbps})
    return EXTERNAL_IPS.begin(
        row,
        "resize_external_ip",
        actor=actor,
        payload={
            "bandwidth_before_mbps": before,
            "lines_before": lines,
            "order": order.pk if order is not None else None,
        },
        bandwidth_mbps=bandwidth_mbps,
    )


# --- the recycle bin


@action("network.delete_external_ip")
def delete_external_ip(
    *, actor: Actor, external_ip: ExternalIp, automatically: bool = False
) -> None:
    """Release an unbound external IP to the recycle bin; one that failed is forgotten at once.

    Raises Conflict (``external_ip_state``).
    """
    row = EXTERNAL_IPS.fresh(external_ip)
    EXTERNAL_IPS.guard(row, "delete_external_ip")
    if row.status == ExternalIpStatus.FAILED:
        # Its address is held until its VM is known to be gone: see the sweep.
        EXTERNAL_IPS.move(
            row,
            "delete_external_ip",
            ExternalIpStatus.DESTROYED,
            actor=actor,
            event="external_ip.destroyed",
            destroyed_at=timezone.now(),
        )
        return
    EXTERNAL_IPS.move(
        row,
        "delete_external_ip",
        ExternalIpStatus.BINNED,
        actor=actor,
        **bin_columns(row, automatically=automatically),
    )


@action("network.restore_external_ip")
def restore_external_ip(*, actor: Actor, external_ip: ExternalIp) -> ExternalIp:
    """Take an external IP out of the recycle bin; it comes back unbound, with its address.

    Raises Conflict (``external_ip_state``, ``renew_first``), QuotaExceeded.
    """
    row = EXTERNAL_IPS.fresh(external_ip)
    EXTERNAL_IPS.guard(row, "restore_external_ip")
    if services.subscription_of(row.tenant, row.pk).paid_until <= timezone.now():
        raise Conflict(
            _("%(name)s has expired.") % {"name": row.name},
            code="renew_first",
            remedy=_("Renew it, then restore it."),
        )
    quotas.take(row.tenant, row.region, rules.quota_of(row.bandwidth_mbps), row.pk)
    services.set_in_bin(row.pk, False)
    return EXTERNAL_IPS.move(
        row,
        "restore_external_ip",
        ExternalIpStatus.FREE,
        actor=actor,
        binned_at=None,
        destroy_at=None,
        binned_automatically=False,
    )


@action("network.destroy_external_ip", confirmed=True)
def destroy_external_ip(
    *, actor: Actor, external_ip: ExternalIp, confirm_name: str | None = None
) -> None:
    """Give a binned external IP back for good; what is left of its paid time is refunded.

    ``confirm_name``, where given, must be its name. Raises InvalidInput, Conflict.
    """
    row = EXTERNAL_IPS.fresh(external_ip)
    EXTERNAL_IPS.guard(row, "destroy_external_ip")
    if confirm_name is not None and confirm_name != row.name:
        raise InvalidInput(
            _("Type the name %(name)s to confirm.") % {"name": row.name},
            code="confirmation_differs",
            field="confirm_name",
        )
    now = timezone.now()
    services.refund_unused(row.pk, row.binned_at or now)
    quotas.free(row.pk)
    EXTERNAL_IPS.move(
        row, "destroy_external_ip", ExternalIpStatus.DESTROYED, actor=actor, destroyed_at=now
    )
    give_address_back(row)


@action("network.rename_external_ip")
def rename_external_ip(
    *,
    actor: Actor,
    external_ip: ExternalIp,
    name: str | None = None,
    remark: str | None = None,
    tags: Sequence[str] | None = None,
) -> ExternalIp:
    """Change name, remark or tags. Raises InvalidInput, Conflict."""
    row = EXTERNAL_IPS.fresh(external_ip)
    EXTERNAL_IPS.guard(row, "rename_external_ip")
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
        EXTERNAL_IPS.tell(row, "external_ip.renamed")
    return row
