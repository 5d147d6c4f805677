"""External IPs and ENIs as rows: what is refused, renamed and given back, without any guest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from billing.models import Subscription
from compute.models import VM
from network.actions import create_security_group, enis, external_ips
from network.actions.external_addresses import allocate
from network.actions.segments import delete_external_segment
from network.models import Eni, ExternalIp, ExternalSegment, Subnet
from network.rules import external_orders
from network.rules.eni_orders import EniOrder
from network.rules.refusals import eni_refusal, external_ip_refusal
from scloud.audit.models import Event, Operation
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from tests.billing.helpers import balances, fund
from tests.compute.factories import Platform, give_network, make_vm
from tests.outside import buy_ip, make_segment, order_ips

pytestmark = pytest.mark.usefixtures("unscoped")


@pytest.fixture
def segment(platform: Platform, tenant: Tenant) -> ExternalSegment:
    """A segment with a default route; the tenant has money."""
    fund(tenant, cash="100000")
    return make_segment(platform.region)


@pytest.fixture
def subnet(platform: Platform, tenant: Tenant) -> Subnet:
    found = give_network(tenant, platform.region).subnet
    assert found is not None
    return found


@pytest.fixture
def inner(actor: Actor, subnet: Subnet) -> Eni:
    """An internal ENI, bound to nothing."""
    return enis.create_eni(actor=actor, order=EniOrder(region=subnet.region, subnet=subnet))


def outer(actor: Actor, segment: ExternalSegment) -> Eni:
    """Buy an external ENI."""
    order = EniOrder(region=segment.region, segment=segment, bandwidth_mbps=5)
    quote = enis.quote_eni(actor=actor, order=order)
    assert quote is not None
    return enis.create_eni(actor=actor, order=order, quote_token=quote.token)


@pytest.fixture
def far(db: None) -> Region:
    return Region.objects.create(id="far", name="Far")


def renamings(row: ExternalIp | Eni) -> int:
    return Event.objects.filter(resource_id=row.pk, kind__endswith=".renamed").count()


@pytest.mark.parametrize("kind", ["external_ip", "eni"])
def test_name_remark_and_tags_are_changed_each_on_its_own(
    actor: Actor, segment: ExternalSegment, inner: Eni, kind: str
) -> None:
    row: Any = buy_ip(actor, segment) if kind == "external_ip" else inner
    rename: Callable[..., Any] = (
        external_ips.rename_external_ip if kind == "external_ip" else enis.rename_eni
    )
    before = {"name": row.name, "remark": "", "tags": []}
    given: list[dict[str, Any]] = [{"name": "web"}, {"remark": "new"}, {"tags": ["a=b"]}]
    wanted = dict(before)
    for number, changes in enumerate(given, start=1):
        rename(actor=actor, **{kind: row}, **changes)
        row.refresh_from_db()
        wanted |= changes
        assert {name: getattr(row, name) for name in wanted} == wanted
        operation = Operation.objects.filter(verb=f"network.rename_{kind}").latest("pk")
        assert operation.after == wanted
        assert operation.before == before
        assert renamings(row) == number
        before = dict(wanted)
        # The same once more changes nothing and tells nobody.
        rename(actor=actor, **{kind: row}, **changes)
        assert renamings(row) == number
    for changes, code in (
        ({"name": "a b"}, "invalid_name"),
        ({"remark": "x" * 201}, "text_invalid"),
        ({"tags": ["a b"]}, "tag_invalid"),
    ):
        with pytest.raises(InvalidInput) as refused:
            rename(actor=actor, **{kind: row}, **changes)
        assert refused.value.code == code


def test_orders_at_their_bounds_are_taken(
    actor: Actor, tenant: Tenant, segment: ExternalSegment
) -> None:
    for values in ({"count": 10}, {"bandwidth_mbps": 1}, {"bandwidth_mbps": 1000}):
        order = external_ips.check_order(tenant, order_ips(segment, **values))
        assert order.addresses == []
    chosen = order_ips(segment, count=2, addresses=[" 203.0.113.9 ", "203.0.113.10"])
    assert external_ips.check_order(tenant, chosen).addresses == ["203.0.113.9", "203.0.113.10"]
    assert order_ips(segment, count=3, bandwidth_mbps=7).whole_quota == {
        "eips": 3,
        "bandwidth_mbps": 21,
    }
    with pytest.raises(InvalidInput) as refused:
        external_ips.check_order(tenant, order_ips(segment, bandwidth_mbps=1001))
    assert refused.value.numbers == {"min": 1, "max": 1000, "asked": 1001}
    for count in (0, 11):
        with pytest.raises(InvalidInput) as refused:
            external_ips.check_order(tenant, order_ips(segment, count=count))
        assert refused.value.code == "count_out_of_range"
        assert refused.value.numbers == {"min": 1, "max": 10, "asked": count}


def test_an_address_is_asked_for_once(tenant: Tenant, segment: ExternalSegment) -> None:
    twice = order_ips(segment, count=2, addresses=["203.0.113.9", "203.0.113.9"])
    with pytest.raises(InvalidInput) as refused:
        external_ips.check_order(tenant, twice)
    assert (refused.value.code, refused.value.field) == ("address_repeated", "addresses")
    with transaction.atomic(), pytest.raises(InvalidInput) as refused:
        allocate(segment, twice.addresses)
    assert refused.value.code == "address_repeated"


def test_a_closed_region_sells_nothing(
    actor: Actor, tenant: Tenant, segment: ExternalSegment, subnet: Subnet
) -> None:
    Region.objects.filter(pk=segment.region_id).update(enabled=False)
    region = Region.objects.get(pk=segment.region_id)
    for work in (
        lambda: external_ips.check_order(tenant, order_ips(segment, region=region)),
        lambda: enis.check_order(tenant, EniOrder(region=region, subnet=subnet)),
    ):
        with pytest.raises(InvalidInput) as refused:
            work()
        assert refused.value.code == "region_disabled"


def test_an_internal_eni_costs_nothing_and_takes_its_quota_alone(
    actor: Actor, tenant: Tenant, subnet: Subnet, segment: ExternalSegment
) -> None:
    order = EniOrder(region=subnet.region, subnet=subnet, bandwidth_mbps=9)
    assert enis.quote_eni(actor=actor, order=order) is None
    assert order.quota == {"enis": 1}
    outside = EniOrder(region=subnet.region, segment=segment, bandwidth_mbps=9)
    assert outside.quota == {"enis": 1, "bandwidth_mbps": 9}
    assert [(one.sku, one.quantity) for one in outside.items] == [(segment.sku, 9)]


def test_what_is_bound_together_is_of_one_region(
    actor: Actor,
    tenant: Tenant,
    platform: Platform,
    segment: ExternalSegment,
    subnet: Subnet,
    inner: Eni,
    far: Region,
) -> None:
    vm = make_vm(platform, actor)
    row = buy_ip(actor, segment)
    ExternalIp.objects.filter(pk=row.pk).update(region=far)
    with pytest.raises(InvalidInput) as refused:
        external_ips.bind_external_ip(actor=actor, external_ip=row, target=vm)
    assert (refused.value.code, refused.value.field) == ("region_differs", "target")
    Eni.objects.filter(pk=inner.pk).update(region=far)
    with pytest.raises(InvalidInput) as refused:
        enis.bind_eni(actor=actor, eni=inner, vm=vm)
    assert (refused.value.code, refused.value.field) == ("region_differs", "vm")
    assert not Job.objects.filter(target_id__in=[row.pk, inner.pk]).exists()
    group = create_security_group(actor=actor, region=far, name="far")
    for order, field in (
        (EniOrder(region=far, subnet=subnet), "subnet"),
        (EniOrder(region=subnet.region, subnet=subnet, group=group), "security_group"),
    ):
        with pytest.raises(InvalidInput) as refused:
            enis.check_order(tenant, order)
        assert (refused.value.code, refused.value.field) == ("region_differs", field)


def test_what_lay_in_the_bin_is_refunded_from_when_it_came_there(
    actor: Actor, tenant: Tenant, segment: ExternalSegment
) -> None:
    row = buy_ip(actor, segment, method="month")
    paid = Subscription.objects.get(resource_id=row.pk)
    external_ips.delete_external_ip(actor=actor, external_ip=row)
    row.refresh_from_db()
    assert row.binned_at is not None
    assert row.destroy_at is not None
    assert row.destroy_at > row.binned_at
    assert not row.binned_automatically
    # As if two days had gone by when it was binned.
    ExternalIp.objects.filter(pk=row.pk).update(binned_at=paid.created_at + timedelta(days=2))
    before = sum(balances(tenant))
    with pytest.raises(InvalidInput) as refused:
        external_ips.destroy_external_ip(actor=actor, external_ip=row, confirm_name="other")
    assert (refused.value.code, refused.value.field) == ("confirmation_differs", "confirm_name")
    external_ips.destroy_external_ip(actor=actor, external_ip=row)
    back = sum(balances(tenant)) - before
    # 5 Mb/s at 18 a month, less 48 hours at 0.04, or 49 where they touch one more.
    assert back in (5 * (1800 - 48 * 4), 5 * (1800 - 49 * 4))


def test_what_is_said_against_a_verb_of_an_external_ip(
    actor: Actor, segment: ExternalSegment
) -> None:
    row = buy_ip(actor, segment)
    assert external_ip_refusal(row, "delete_external_ip") is None
    row.status = "bound"
    assert external_ip_refusal(row, "unbind_external_ip") == "It is not bound."
    assert external_ip_refusal(row, "set_default_egress") is None
    row.egress = True
    assert external_ip_refusal(row, "set_default_egress") == "It is the default egress already."
    segment.route_policy = "none"
    row.segment = segment
    assert external_ip_refusal(row, "set_default_egress") == "Its segment has no default route."
    row.segment = None
    assert external_ip_refusal(row, "set_default_egress") == "Its segment has no default route."
    row.status, row.nic_id = "expired", "nic-1"
    assert external_ip_refusal(row, "unbind_external_ip") is None
    assert external_ip_refusal(row, "delete_external_ip") == "Unbind it first."


def test_what_is_said_against_a_verb_of_an_eni(
    actor: Actor, segment: ExternalSegment, inner: Eni
) -> None:
    outside = outer(actor, segment)
    free = "An internal ENI costs nothing and has no bandwidth of its own."
    for verb in ("resize_eni", "renew_eni"):
        assert eni_refusal(inner, verb) == free
        assert eni_refusal(outside, verb) is None
    for row in (inner, outside):
        assert eni_refusal(row, "delete_eni") is None
        row.status = "expired"
        assert eni_refusal(row, "unbind_eni") == "It is not bound."
        row.vm_id = "vm-1"
        assert eni_refusal(row, "unbind_eni") is None
        assert eni_refusal(row, "delete_eni") == "Unbind it first."
        row.status = "bound"
    no_route = "Only an external ENI of a segment with a default route can be it."
    assert eni_refusal(inner, "set_eni_egress") == no_route
    assert eni_refusal(outside, "set_eni_egress") is None
    assert outside.nic is not None
    outside.nic.egress = True
    assert eni_refusal(outside, "set_eni_egress") == "It is the default egress already."
    outside.nic.external_address.segment.route_policy = "specified"
    assert eni_refusal(outside, "set_eni_egress") == no_route
    outside.nic = None
    assert eni_refusal(outside, "set_eni_egress") == no_route
    # Something in flight is said first.
    inner.task = "binding"
    assert "busy" in str(eni_refusal(inner, "resize_eni"))


def test_a_failed_external_ip_is_forgotten_at_once(actor: Actor, segment: ExternalSegment) -> None:
    row = buy_ip(actor, segment)
    ExternalIp.objects.filter(pk=row.pk).update(status="failed")
    external_ips.delete_external_ip(actor=actor, external_ip=row)
    row.refresh_from_db()
    assert (row.status, row.binned_at) == ("destroyed", None)
    assert row.destroyed_at is not None


def test_one_that_the_platform_bins_says_so(actor: Actor, segment: ExternalSegment) -> None:
    row = buy_ip(actor, segment)
    external_ips.delete_external_ip(actor=actor, external_ip=row, automatically=True)
    row.refresh_from_db()
    assert (row.status, row.binned_automatically) == ("binned", True)
    restored = external_ips.restore_external_ip(actor=actor, external_ip=row)
    assert (restored.status, restored.binned_at, restored.binned_automatically) == (
        "free",
        None,
        False,
    )
    assert not Subscription.objects.get(resource_id=row.pk).in_bin


def test_the_egress_is_changed_in_the_network_too(
    actor: Actor, platform: Platform, segment: ExternalSegment
) -> None:
    vm = make_vm(platform, actor)
    first, second = buy_ip(actor, segment), buy_ip(actor, segment)
    for row in (first, second):
        external_ips.bind_external_ip(actor=actor, external_ip=row, target=vm)
        ExternalIp.objects.filter(pk=row.pk).update(status="bound", task="", task_job="")
    second.refresh_from_db()
    assert second.nic is not None
    before = second.nic.generation
    Job.objects.all().delete()
    external_ips.set_default_egress(actor=actor, external_ip=second)
    second.refresh_from_db()
    first.refresh_from_db()
    assert (first.egress, second.egress) == (False, True)
    nic = type(second.nic).objects.get(pk=second.nic_id)
    assert nic.generation == before + 1
    assert Job.objects.get(kind="network.sync_nic").target_id == nic.pk
    operation = Operation.objects.get(verb="network.set_default_egress")
    assert (operation.before, operation.after) == ({"egress": [first.pk]}, {"egress": second.pk})


def test_a_segment_of_which_addresses_are_allocated_stays(
    actor: Actor, segment: ExternalSegment
) -> None:
    buy_ip(actor, segment)
    root = Actor.system(None)
    with pytest.raises(Conflict) as refused:
        delete_external_segment(actor=root, segment=segment)
    assert (refused.value.code, refused.value.numbers) == ("segment_in_use", {"allocated": 1})


def test_segments_are_offered_to_whom_they_are_for(
    tenant: Tenant, other_tenant: Tenant, segment: ExternalSegment, far: Region
) -> None:
    def offered(to: Tenant, region: Region | None = None) -> list[str]:
        return [one.pk for one in external_orders.segments_for(to, region)]

    assert offered(tenant) == offered(tenant, segment.region) == [segment.pk]
    assert offered(tenant, far) == []
    segment.tenants.set([tenant, other_tenant])
    assert offered(tenant) == offered(other_tenant) == [segment.pk]
    segment.tenants.set([other_tenant])
    assert (offered(tenant), offered(other_tenant)) == ([], [segment.pk])
    ExternalSegment.objects.update(enabled=False)
    assert offered(other_tenant) == []


def test_a_vm_that_is_gone_lets_its_eni_go(actor: Actor, platform: Platform, inner: Eni) -> None:
    vm = make_vm(platform, actor)
    enis.bind_eni(actor=actor, eni=inner, vm=vm)
    Eni.objects.filter(pk=inner.pk).update(status="bound", task="", task_job="")
    Job.objects.filter(target_id=inner.pk).update(status="succeeded")
    # Its state is not asked: there is no VM any more.
    VM.objects.filter(pk=vm.pk).update(status="destroyed", host=None)
    job = enis.unbind_eni(actor=actor, eni=inner)
    assert job.kind == "eni.unbind"
