"""External IPs from the purchase to the bin, on VMs that go through their jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from billing.models import QuotaClaim, QuotaLimit, Subscription
from compute.actions.vms.lifecycle import delete_vm, destroy_vm, restore_vm, start_vm
from compute.models import VM
from compute.tasks import external_target
from network.actions import external_ips as actions
from network.actions.external_addresses import allocate, free_count
from network.fabric import fake
from network.fabric.base import Direction, FabricUnreachable, Kind, PortSpec, QosSpec
from network.models import ExternalAddress, ExternalIp, ExternalSegment, Nic, NicNetwork
from network.sweeps import external_ips as sweeps
from network.sweeps.reconcile import reconcile
from network.tasks import plumbing
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput, QuotaExceeded, ScloudError, StaleQuote
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from tests.billing.helpers import balances
from tests.compute.box import Box, WorkerDied, points_of
from tests.compute.factories import buy_vms, make_vm
from tests.compute.things import fresh
from tests.outside import buy_ip, buy_ips, make_segment, order_ips

pytestmark = pytest.mark.django_db
World = fake.World


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Guests that do what they are told; the VMs that were told something."""
    heard: list[str] = []

    def tell(vm_id: str) -> bool:
        heard.append(vm_id)
        return True

    monkeypatch.setattr(external_target, "apply_guest_network", tell)
    return heard


def outside_nic(vm: VM) -> Nic:
    """Return eth1."""
    found: Nic = Nic.objects.get(vm_id=vm.pk, network=NicNetwork.EXTERNAL)
    return found


def port(world: World, vm: VM) -> PortSpec | None:
    """Return the port of eth1 in the fabric."""
    nic = outside_nic(vm)
    spec = world.things.get((nic.region_id, Kind.PORT, str(nic.port_uuid)))
    assert spec is None or isinstance(spec, PortSpec)
    return spec


def let_through(world: World, vm: VM) -> list[str]:
    """Return the external addresses that the fabric lets through to a VM."""
    spec = port(world, vm)
    return [] if spec is None else [str(one) for one in spec.addresses]


def bind(box: Box, row: ExternalIp, vm: VM) -> ExternalIp:
    """Bind one and run its job."""
    actions.bind_external_ip(actor=box.actor, external_ip=row, target=vm)
    box.run()
    found: ExternalIp = fresh(row)
    assert (found.status, found.task, found.failure) == ("bound", "", "")
    return found


def unbind(box: Box, row: ExternalIp) -> ExternalIp:
    """Unbind one and run its job."""
    actions.unbind_external_ip(actor=box.actor, external_ip=row)
    box.run()
    found: ExternalIp = fresh(row)
    return found


def assert_in_order(box: Box, world: World) -> None:
    """Rows, addresses, quotas and fabric say the same, and nothing is in flight."""
    box.assert_nothing_orphaned()
    assert not ExternalIp.objects.exclude(task="").exists()
    living = ExternalIp.objects.exclude(status__in=["destroyed", "failed"])
    held = ExternalAddress.objects.exclude(external_ip=None)
    assert set(held.values_list("external_ip", "address")) == set(
        living.values_list("pk", "address")
    )
    counted = set(living.exclude(status="binned").values_list("pk", flat=True))
    assert set(QuotaClaim.objects.filter(item="eips").values_list("resource_id", flat=True)) == (
        counted
    )
    for nic in Nic.objects.filter(network=NicNetwork.EXTERNAL):
        bound = ExternalIp.objects.filter(nic=nic, status="bound")
        spec = world.things.get((nic.region_id, Kind.PORT, str(nic.port_uuid)))
        found = {str(a) for a in spec.addresses} if isinstance(spec, PortSpec) else set()
        assert found == set(bound.values_list("address", flat=True))
        for version in (4, 6):
            able = bound.filter(ip_version=version, segment__route_policy="default")
            assert able.filter(egress=True).count() == bool(able)
    assert not ExternalIp.objects.filter(egress=True).exclude(status="bound").exists()
    assert reconcile(box.platform.region) == []


# --- buying


def test_external_ips_are_bought_with_the_lowest_free_addresses(
    box: Box, actor: Actor, segment: ExternalSegment
) -> None:
    rows = buy_ips(actor, segment, count=3, bandwidth_mbps=7, name="web", method="month")
    assert [(r.name, r.address, r.status) for r in rows] == [
        ("web-1", "203.0.113.2", "free"),
        ("web-2", "203.0.113.3", "free"),
        ("web-3", "203.0.113.4", "free"),
    ]
    claims = QuotaClaim.objects.filter(resource_id=rows[0].pk)
    assert dict(claims.values_list("item", "amount")) == {"eips": 1, "bandwidth_mbps": 7}
    paid = Subscription.objects.get(resource_id=rows[0].pk)
    assert (paid.resource_kind, paid.method) == ("external_ip", "month")
    assert [(line["sku"], line["quantity"]) for line in paid.lines] == [(segment.sku, "7")]
    assert free_count(segment) == 253 - 3
    chosen = buy_ip(actor, segment, addresses=["203.0.113.77"])
    assert chosen.address == "203.0.113.77"


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"count": 0}, "count_out_of_range", "count"),
    ({"count": 11}, "count_out_of_range", "count"),
    ({"bandwidth_mbps": 0}, "bandwidth_out_of_range", "bandwidth_mbps"),
    ({"bandwidth_mbps": 1001}, "bandwidth_out_of_range", "bandwidth_mbps"),
    ({"addresses": ["203.0.113.9"], "count": 2}, "addresses_count", "addresses"),
    ({"addresses": ["x"]}, "address_invalid", "addresses"),
    ({"addresses": ["203.0.114.9"]}, "address_outside_segment", "addresses"),
    ({"addresses": ["203.0.113.0"]}, "address_reserved", "addresses"),
    ({"addresses": ["203.0.113.1"]}, "address_reserved", "addresses"),
    ({"addresses": ["203.0.113.255"]}, "address_reserved", "addresses"),
    ({"addresses": ["203.0.113.9", "203.0.113.9"], "count": 2}, "address_repeated", "addresses"),
    ({"name": "a b"}, "invalid_name", "name"),
    ({"tags": ["a b"]}, "tag_invalid", "tags"),
]


@pytest.mark.parametrize(("changes", "code", "field"), REFUSED)
def test_what_cannot_be_bought_is_refused_before_the_price(
    box: Box, actor: Actor, segment: ExternalSegment, changes: dict[str, Any], code: str, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        buy_ips(actor, segment, **changes)
    assert (refused.value.code, refused.value.field) == (code, field)
    assert not ExternalIp.objects.exists()


def test_a_segment_that_is_not_offered_sells_nothing(
    box: Box, actor: Actor, segment: ExternalSegment, other_tenant: Tenant
) -> None:
    segment.tenants.add(other_tenant)
    with pytest.raises(InvalidInput) as refused:
        buy_ip(actor, segment)
    assert (refused.value.code, refused.value.field) == ("segment_unknown", "segment")
    segment.tenants.clear()
    ExternalSegment.objects.update(enabled=False)
    with pytest.raises(InvalidInput):
        buy_ip(actor, segment)
    ExternalSegment.objects.update(enabled=True)
    buy_ip(actor, segment)


def test_taken_and_exhausted_are_said_with_numbers(
    box: Box, actor: Actor, segment: ExternalSegment
) -> None:
    small = make_segment(
        segment.region,
        name="small",
        cidr="192.0.2.0/29",
        gateway="192.0.2.1",
        held_back=["192.0.2.2", "192.0.2.5-192.0.2.6"],
    )
    assert free_count(small) == 2
    with pytest.raises(InvalidInput) as held:
        buy_ip(actor, small, addresses=["192.0.2.5"])
    assert held.value.code == "address_reserved"
    first = buy_ip(actor, small)
    assert first.address == "192.0.2.3"
    with pytest.raises(Conflict) as taken:
        buy_ip(actor, small, addresses=["192.0.2.3"])
    assert taken.value.code == "address_taken"
    with pytest.raises(Conflict) as exhausted:
        buy_ips(actor, small, count=2)
    assert exhausted.value.code == "segment_exhausted"
    assert exhausted.value.numbers == {"free": 1, "asked": 2}
    assert ExternalIp.objects.count() == 1
    assert buy_ip(actor, small).address == "192.0.2.4"


def test_ipv6_addresses_come_from_the_bottom_of_their_segment(
    box: Box, actor: Actor, sixth: ExternalSegment
) -> None:
    rows = buy_ips(actor, sixth, count=2)
    assert [row.address for row in rows] == ["2001:db8:113::2", "2001:db8:113::3"]
    assert free_count(sixth) == 2**64 - 4
    far = buy_ip(actor, sixth, addresses=["2001:DB8:113:0::ffff"])
    assert far.address == "2001:db8:113::ffff"


def test_quotas_of_addresses_and_of_bandwidth_are_kept(
    box: Box, actor: Actor, tenant: Tenant, segment: ExternalSegment
) -> None:
    QuotaLimit.objects.create(tenant=tenant, item="eips", limit=2)
    buy_ip(actor, segment)
    with pytest.raises(QuotaExceeded) as refused:
        buy_ips(actor, segment, count=2)
    assert refused.value.numbers is not None
    assert refused.value.numbers["quota"] == "eips"
    QuotaLimit.objects.create(tenant=tenant, item="bandwidth_mbps", limit=50)
    with pytest.raises(QuotaExceeded) as refused:
        buy_ip(actor, segment, bandwidth_mbps=46)
    assert refused.value.numbers is not None
    assert refused.value.numbers["quota"] == "bandwidth_mbps"
    buy_ip(actor, segment, bandwidth_mbps=45)


def test_exactly_the_quoted_price_is_charged(
    box: Box, actor: Actor, segment: ExternalSegment
) -> None:
    order = order_ips(segment)
    token = actions.quote_external_ips(actor=actor, order=order).token
    with pytest.raises(StaleQuote):
        actions.create_external_ips(
            actor=actor, order=order_ips(segment, bandwidth_mbps=6), quote_token=token
        )
    assert not ExternalIp.objects.exists()
    assert not ExternalAddress.objects.exists()
    actions.create_external_ips(actor=actor, order=order, quote_token=token)


def test_the_database_itself_gives_no_address_twice(
    box: Box, actor: Actor, segment: ExternalSegment
) -> None:
    row = buy_ip(actor, segment)
    nic = make_vm(box.platform, actor)
    with pytest.raises(IntegrityError), transaction.atomic():
        ExternalAddress.objects.create(
            tenant=row.tenant, segment=segment, address=row.address, nic=outside_nic(nic)
        )


# --- the second NIC


def test_every_vm_has_two_nics_and_the_outer_one_is_silent(
    box: Box, segment: ExternalSegment, fabric: World
) -> None:
    vm = box.vm()
    nics = list(Nic.objects.filter(vm_id=vm.pk).order_by("index"))
    assert [(n.index, n.network, n.kind, n.subnet is None) for n in nics] == [
        (0, "internal", "default", False),
        (1, "external", "default", True),
    ]
    assert [nic.port_uuid for nic in box.domain(vm).spec.nics] == [str(n.port_uuid) for n in nics]
    assert port(fabric, vm) is None
    assert_in_order(box, fabric)
    delete_vm(actor=box.actor, vm=vm)
    box.run()
    destroy_vm(actor=box.actor, vm=fresh(vm))
    box.run()
    assert not Nic.objects.filter(vm_id=vm.pk).exists()


def one_nic_only(box: Box, **changes: Any) -> VM:
    """Return a VM as an earlier release made it."""
    vm = box.vm(**changes)
    outside_nic(vm).delete()
    domain = box.domain(vm)
    inner = tuple(n for n in domain.spec.nics if n.port_uuid == str(inside(vm).port_uuid))
    domain.spec = replace(domain.spec, nics=inner)
    return vm


def inside(vm: VM) -> Nic:
    """Return eth0."""
    found: Nic = Nic.objects.get(vm_id=vm.pk, network=NicNetwork.INTERNAL)
    return found


@pytest.mark.parametrize("point", points_of("vm.start"))
def test_an_older_vm_gets_its_second_nic_at_its_next_start_however_often_workers_die(
    box: Box, segment: ExternalSegment, fabric: World, point: str
) -> None:
    vm = one_nic_only(box, stopped=True)
    start_vm(actor=box.actor, vm=vm)
    box.run_dying(point)
    vm.refresh_from_db()
    assert (vm.status, vm.task) == ("running", "")
    assert Nic.objects.filter(vm_id=vm.pk).count() == 2
    assert len(box.domain(vm).spec.nics) == 2
    assert_in_order(box, fabric)


def test_an_older_vm_that_runs_is_told_to_start_anew_first(
    box: Box, actor: Actor, segment: ExternalSegment
) -> None:
    vm, row = one_nic_only(box), buy_ip(actor, segment)
    with pytest.raises(Conflict) as refused:
        actions.bind_external_ip(actor=actor, external_ip=row, target=vm)
    assert refused.value.code == "external_nic_missing"
    assert not Nic.objects.filter(vm_id=vm.pk, index=1).exists()


# --- binding


def test_a_bound_address_passes_with_its_bandwidth_in_both_directions(
    box: Box, actor: Actor, segment: ExternalSegment, fabric: World, told: list[str]
) -> None:
    vm, row = box.vm(), buy_ip(actor, segment)
    row = bind(box, row, vm)
    assert (row.target_kind, row.target_id, row.nic_id) == ("vm", vm.pk, outside_nic(vm).pk)
    assert row.egress
    assert row.bound_at is not None
    assert not row.at_next_boot
    spec = port(fabric, vm)
    assert spec is not None
    assert (spec.switch_id, spec.dhcp) == (segment.switch_id, False)
    address = spec.addresses[0]
    assert set(spec.qos) == {
        QosSpec(Direction.IN, 5000, address),
        QosSpec(Direction.OUT, 5000, address),
    }
    assert told == [vm.pk]
    (nic,) = [one for one in plumbing.guest_nics(vm.pk) if one.external]
    (held,) = nic.addresses
    assert (str(held.interface), str(held.gateway)) == ("203.0.113.2/24", "203.0.113.1")
    assert held.egress
    assert_in_order(box, fabric)
    row = unbind(box, row)
    assert (row.status, row.nic, row.target_id, row.egress) == ("free", None, "", False)
    assert port(fabric, vm) is None
    assert_in_order(box, fabric)


def test_a_deaf_guest_is_said_to_follow_at_its_next_boot(
    box: Box, actor: Actor, segment: ExternalSegment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_target, "apply_guest_network", lambda vm_id: False)
    vm = box.vm()
    assert bind(box, buy_ip(actor, segment), vm).at_next_boot
    off = box.vm(stopped=True)
    assert not bind(box, buy_ip(actor, segment), off).at_next_boot


@pytest.mark.parametrize(("version", "limit"), [(4, 50), (6, 10)])
def test_there_are_limits_to_what_a_vm_can_have(
    box: Box,
    actor: Actor,
    tenant: Tenant,
    segment: ExternalSegment,
    sixth: ExternalSegment,
    version: int,
    limit: int,
) -> None:
    QuotaLimit.objects.create(tenant=tenant, item="eips", limit=200)
    vm = make_vm(box.platform, actor)
    mine = segment if version == 4 else sixth
    rows = [row for _ in range(limit // 10) for row in buy_ips(actor, mine, count=10)]
    last = buy_ip(actor, mine)
    for row in rows:
        actions.bind_external_ip(actor=actor, external_ip=row, target=vm)
    with pytest.raises(Conflict) as refused:
        actions.bind_external_ip(actor=actor, external_ip=last, target=vm)
    assert refused.value.code == "too_many_external_ips"
    assert refused.value.numbers == {
        "limit": limit,
        "has": limit,
        "asked": 1,
        "ip_version": version,
    }
    assert fresh(last).status == "free"
    other = buy_ip(actor, sixth if version == 4 else segment)
    actions.bind_external_ip(actor=actor, external_ip=other, target=vm)


def test_one_nic_is_in_one_network(
    box: Box, actor: Actor, segment: ExternalSegment, office: ExternalSegment
) -> None:
    far = make_segment(segment.region, name="far", cidr="192.0.2.0/24", gateway="192.0.2.1", vlan=7)
    vm = box.vm()
    bind(box, buy_ip(actor, segment), vm)
    bind(box, buy_ip(actor, office), vm)
    row = buy_ip(actor, far)
    with pytest.raises(Conflict) as refused:
        actions.bind_external_ip(actor=actor, external_ip=row, target=vm)
    assert refused.value.code == "segment_on_other_network"
    assert refused.value.remedy is not None
    assert "ENI of far" in refused.value.remedy
    assert fresh(row).status == "free"


def test_what_is_bound_or_busy_or_foreign_is_not_bound(
    box: Box, actor: Actor, segment: ExternalSegment, rival_vm: VM
) -> None:
    vm, row = box.vm(), buy_ip(actor, segment)
    actions.bind_external_ip(actor=actor, external_ip=row, target=vm)
    with pytest.raises(Conflict) as busy:
        actions.bind_external_ip(actor=actor, external_ip=row, target=vm)
    assert busy.value.code == "external_ip_state"
    box.run()
    with pytest.raises(Conflict):
        actions.bind_external_ip(actor=actor, external_ip=row, target=vm)
    other = buy_ip(actor, segment)
    with pytest.raises(ScloudError) as foreign:
        actions.bind_external_ip(actor=actor, external_ip=other, target=rival_vm)
    assert foreign.value.code == "not_found"
    delete_vm(actor=actor, vm=vm)
    with pytest.raises(Conflict) as deleting:
        actions.bind_external_ip(actor=actor, external_ip=other, target=fresh(vm))
    assert deleting.value.code == "vm_state"


@pytest.fixture
def rival_vm(box: Box, other_tenant: Tenant, make_user: Callable[..., Any]) -> VM:
    """A VM of another tenant."""
    user = make_user(other_tenant)
    return make_vm(
        box.platform, Actor(tenant=other_tenant, user=user, role=user.role, via="console")
    )


# --- the default egress


def test_the_first_default_route_is_the_egress_and_the_next_takes_over(
    box: Box,
    actor: Actor,
    segment: ExternalSegment,
    office: ExternalSegment,
    sixth: ExternalSegment,
    fabric: World,
) -> None:
    vm = box.vm()
    inner = bind(box, buy_ip(actor, office), vm)
    assert not inner.egress
    first = bind(box, buy_ip(actor, segment), vm)
    second = bind(box, buy_ip(actor, segment), vm)
    third = bind(box, buy_ip(actor, segment), vm)
    six = bind(box, buy_ip(actor, sixth), vm)
    assert [fresh(one).egress for one in (inner, first, second, third, six)] == [
        False, True, False, False, True,
    ]  # fmt: skip
    actions.set_default_egress(actor=actor, external_ip=third)
    box.run()
    assert [fresh(one).egress for one in (first, second, third)] == [False, False, True]
    unbind(box, third)
    assert [fresh(one).egress for one in (first, second)] == [True, False]
    unbind(box, first)
    assert [fresh(one).egress for one in (inner, second, six)] == [False, True, True]
    unbind(box, second)
    assert not ExternalIp.objects.filter(egress=True, ip_version=4).exists()
    assert_in_order(box, fabric)


def test_what_has_no_default_route_cannot_be_the_egress(
    box: Box, actor: Actor, segment: ExternalSegment, office: ExternalSegment
) -> None:
    vm = box.vm()
    inner = bind(box, buy_ip(actor, office), vm)
    first = bind(box, buy_ip(actor, segment), vm)
    for row in (inner, first, buy_ip(actor, segment)):
        with pytest.raises(Conflict) as refused:
            actions.set_default_egress(actor=actor, external_ip=row)
        assert refused.value.code == "external_ip_state"


# --- bandwidth


def resize(actor: Actor, row: ExternalIp, mbps: int) -> Job:
    """Change the bandwidth at the quoted price."""
    token = actions.quote_bandwidth(actor=actor, external_ip=row, bandwidth_mbps=mbps).token
    return actions.resize_external_ip(
        actor=actor, external_ip=row, bandwidth_mbps=mbps, quote_token=token
    )


def test_another_bandwidth_acts_at_once_and_is_paid(
    box: Box, actor: Actor, segment: ExternalSegment, fabric: World
) -> None:
    vm = box.vm()
    row = bind(box, buy_ip(actor, segment, method="month"), vm)
    resize(actor, row, 20)
    box.run()
    row = fresh(row)
    assert (row.status, row.task, row.bandwidth_mbps) == ("bound", "", 20)
    spec = port(fabric, vm)
    assert spec is not None
    assert {one.rate_kbps for one in spec.qos} == {20_000}
    assert QuotaClaim.objects.get(resource_id=row.pk, item="bandwidth_mbps").amount == 20
    assert Subscription.objects.get(resource_id=row.pk).lines[0]["quantity"] == "20"
    for wrong, code in ((20, "bandwidth_unchanged"), (1001, "bandwidth_out_of_range")):
        with pytest.raises(InvalidInput) as refused:
            resize(actor, row, wrong)
        assert refused.value.code == code


def test_a_bandwidth_that_could_not_be_changed_is_paid_back(
    box: Box, actor: Actor, segment: ExternalSegment, fabric: World
) -> None:
    vm = box.vm()
    row = bind(box, buy_ip(actor, segment, method="month"), vm)
    resize(actor, row, 20)
    fabric.failure = FabricUnreachable("away")
    box.run()
    fabric.failure = None
    box.run()
    row = fresh(row)
    assert (row.status, row.task, row.bandwidth_mbps) == ("bound", "", 5)
    assert row.failure_code == "fabric_unreachable"
    assert QuotaClaim.objects.get(resource_id=row.pk, item="bandwidth_mbps").amount == 5
    assert Subscription.objects.get(resource_id=row.pk).lines[0]["quantity"] == "5"
    assert_in_order(box, fabric)


# --- workers that die


@pytest.mark.parametrize(
    "point",
    [
        *points_of("external_ip.bind"),
        *points_of("external_ip.unbind"),
        *points_of("external_ip.resize"),
    ],
)
def test_a_worker_that_dies_leaves_nothing_half_done(
    box: Box, actor: Actor, segment: ExternalSegment, fabric: World, point: str
) -> None:
    vm, row = box.vm(), buy_ip(actor, segment)
    if not point.startswith("external_ip.bind"):
        row = bind(box, row, vm)
    if point.startswith("external_ip.bind"):
        actions.bind_external_ip(actor=actor, external_ip=row, target=vm)
    elif point.startswith("external_ip.unbind"):
        actions.unbind_external_ip(actor=actor, external_ip=row)
    else:
        resize(actor, row, 20)
    box.run_dying(point)
    assert fresh(row).status == ("free" if ".unbind" in point else "bound")
    assert_in_order(box, fabric)


@pytest.mark.parametrize("verb", ["bind", "unbind"])
def test_a_job_that_is_given_up_leaves_the_row_where_it_stood(
    box: Box, actor: Actor, segment: ExternalSegment, fabric: World, verb: str
) -> None:
    vm, row = box.vm(), buy_ip(actor, segment)
    if verb == "bind":
        actions.bind_external_ip(actor=actor, external_ip=row, target=vm)
    else:
        row = bind(box, row, vm)
        actions.unbind_external_ip(actor=actor, external_ip=row)
    box.give_up_at(f"external_ip.{verb}:network:after")
    row = fresh(row)
    assert row.status == ("free" if verb == "bind" else "bound")
    assert row.failure_code == "deadline_exceeded"
    box.run()
    assert_in_order(box, fabric)


def test_a_row_whose_job_vanished_is_landed(
    box: Box, actor: Actor, segment: ExternalSegment, fabric: World
) -> None:
    vm, row = box.vm(), buy_ip(actor, segment)
    actions.bind_external_ip(actor=actor, external_ip=row, target=vm)
    Job.objects.filter(target_id=row.pk).update(status="failed")
    ExternalIp.objects.update(task_deadline=timezone.now() - timedelta(seconds=1))
    assert sweeps.land_stuck() == 1
    assert sweeps.land_stuck() == 0
    row = fresh(row)
    assert (row.status, row.task, row.nic_id, row.egress) == ("free", "", None, False)
    box.run()
    assert_in_order(box, fabric)


# --- the VM goes


@pytest.mark.parametrize("along", [False, True])
def test_a_deleted_vm_lets_go_of_its_external_ips(
    box: Box, actor: Actor, segment: ExternalSegment, fabric: World, along: bool
) -> None:
    vm = box.vm()
    rows = [bind(box, row, vm) for row in buy_ips(actor, segment, count=2)]
    late = buy_ip(actor, segment)
    actions.bind_external_ip(actor=actor, external_ip=late, target=vm)
    delete_vm(actor=actor, vm=fresh(vm), delete_external_ips=along)
    box.run()
    assert fresh(vm).status == "binned"
    wanted = "binned" if along else "free"
    assert {fresh(row).status for row in (*rows, late)} == {wanted}
    assert port(fabric, vm) is None
    assert_in_order(box, fabric)
    restore_vm(actor=actor, vm=fresh(vm))
    box.run()
    assert not ExternalIp.objects.exclude(target_id="").exists()


def test_an_address_is_not_free_before_the_port_of_the_deleted_vm_has_let_go(
    box: Box, actor: Actor, segment: ExternalSegment, fabric: World
) -> None:
    vm, other = box.vm(), box.vm()
    row = bind(box, buy_ip(actor, segment), vm)
    delete_vm(actor=actor, vm=vm)
    with box.dying_at("external_ip.let_go:network:before"), pytest.raises(WorkerDied):
        box.run()
    assert let_through(fabric, vm) == [row.address]
    with pytest.raises(Conflict):
        actions.bind_external_ip(actor=actor, external_ip=row, target=other)
    box.run()
    bind(box, row, other)
    assert let_through(fabric, vm) == []
    assert_in_order(box, fabric)


def test_what_hangs_on_a_vm_that_is_gone_is_found_again(
    box: Box, actor: Actor, segment: ExternalSegment, fabric: World
) -> None:
    vm = box.vm()
    row = bind(box, buy_ip(actor, segment), vm)
    assert sweeps.let_go_of_the_gone() == 0
    VM.objects.filter(pk=vm.pk).update(status="binned")
    assert sweeps.let_go_of_the_gone() == 1
    box.run()
    VM.objects.filter(pk=vm.pk).update(status="running")
    assert fresh(row).status == "free"
    assert_in_order(box, fabric)


# --- bin and time


def test_released_restored_and_destroyed(
    box: Box, actor: Actor, segment: ExternalSegment, fabric: World
) -> None:
    vm = box.vm()
    row = bind(box, buy_ip(actor, segment), vm)
    with pytest.raises(Conflict):
        actions.delete_external_ip(actor=actor, external_ip=row)
    row = unbind(box, row)
    actions.delete_external_ip(actor=actor, external_ip=row)
    row = fresh(row)
    assert row.status == "binned"
    assert not QuotaClaim.objects.filter(resource_id=row.pk).exists()
    with pytest.raises(Conflict):
        buy_ip(actor, segment, addresses=[row.address])
    assert_in_order(box, fabric)
    row = actions.restore_external_ip(actor=actor, external_ip=row)
    assert (row.status, row.target_id) == ("free", "")
    actions.delete_external_ip(actor=actor, external_ip=row)
    with pytest.raises(InvalidInput):
        actions.destroy_external_ip(actor=actor, external_ip=fresh(row), confirm_name="other")
    actions.destroy_external_ip(actor=actor, external_ip=fresh(row), confirm_name=row.name)
    assert fresh(row).status == "destroyed"
    assert Subscription.objects.get(resource_id=row.pk).status == "ended"
    assert buy_ip(actor, segment, addresses=[row.address]).address == row.address
    assert_in_order(box, fabric)


def test_the_bin_is_emptied_after_the_retention(
    box: Box, actor: Actor, segment: ExternalSegment
) -> None:
    row = buy_ip(actor, segment)
    actions.delete_external_ip(actor=actor, external_ip=row)
    assert sweeps.empty_bin() == 0
    ExternalIp.objects.update(destroy_at=timezone.now() - timedelta(seconds=1))
    assert sweeps.empty_bin() == 1
    assert fresh(row).status == "destroyed"


def test_what_is_not_paid_does_not_pass_and_goes_to_the_bin(
    box: Box, actor: Actor, tenant: Tenant, segment: ExternalSegment, fabric: World
) -> None:
    vm = box.vm()
    row = bind(box, buy_ip(actor, segment), vm)
    other = bind(box, buy_ip(actor, segment), vm)
    Subscription.objects.filter(resource_id=row.pk).update(
        status="expired", paid_until=timezone.now()
    )
    sweeps.expired(tenant, row.pk)
    box.run()
    row = fresh(row)
    assert (row.status, row.nic_id is None, row.egress) == ("expired", False, False)
    assert fresh(other).egress
    assert let_through(fabric, vm) == [other.address]
    Subscription.objects.filter(resource_id=row.pk).update(
        status="active", paid_until=timezone.now() + timedelta(hours=1)
    )
    sweeps.renewed(tenant, row.pk)
    box.run()
    assert fresh(row).status == "bound"
    assert set(let_through(fabric, vm)) == {row.address, other.address}

    Subscription.objects.filter(resource_id=row.pk).update(
        status="expired", paid_until=timezone.now()
    )
    sweeps.expired(tenant, row.pk)
    sweeps.overdue(tenant, row.pk)
    box.run()
    row = fresh(row)
    assert (row.status, row.binned_automatically, row.target_id) == ("binned", True, "")
    with pytest.raises(Conflict) as unpaid:
        actions.restore_external_ip(actor=actor, external_ip=row)
    assert unpaid.value.code == "renew_first"
    assert_in_order(box, fabric)


def test_allocation_takes_the_lowest_gap_around_chosen_ones(
    box: Box, actor: Actor, segment: ExternalSegment
) -> None:
    buy_ip(actor, segment, addresses=["203.0.113.3"])
    with transaction.atomic():
        found = allocate(segment, [None, "203.0.113.2", None])
    assert [str(one) for one in found] == ["203.0.113.4", "203.0.113.2", "203.0.113.5"]


# --- bought with a VM


def test_a_vm_is_bought_with_an_external_ip_that_works_from_its_first_boot(
    box: Box, actor: Actor, segment: ExternalSegment, fabric: World
) -> None:
    vm = box.vm(name="web", external_segment=segment, external_bandwidth_mbps=8)
    row = ExternalIp.objects.get()
    assert (row.name, row.status, row.task, row.target_id) == ("web-eip", "bound", "", vm.pk)
    assert row.egress
    assert let_through(fabric, vm) == [row.address]
    claims = QuotaClaim.objects.filter(resource_id=row.pk)
    assert dict(claims.values_list("item", "amount")) == {"eips": 1, "bandwidth_mbps": 8}
    assert Subscription.objects.get(resource_id=row.pk).resource_kind == "external_ip"
    assert Job.objects.filter(target_id=row.pk).count() == 0
    assert_in_order(box, fabric)


def test_a_batch_gets_an_external_ip_each_or_nothing_at_all(
    box: Box, actor: Actor, segment: ExternalSegment, fabric: World
) -> None:
    small = make_segment(segment.region, name="small", cidr="192.0.2.0/29", gateway="192.0.2.1")
    wanted: dict[str, Any] = {"external_segment": small, "external_bandwidth_mbps": 5}
    with pytest.raises(Conflict) as refused:
        buy_vms(box.platform, actor, count=6, **wanted)
    assert refused.value.code == "segment_exhausted"
    assert not VM.objects.exists()
    assert not ExternalAddress.objects.exists()
    vms = buy_vms(box.platform, actor, count=2, **wanted)
    box.run()
    assert {row.target_id for row in ExternalIp.objects.filter(status="bound")} == {
        vm.pk for vm in vms
    }
    assert_in_order(box, fabric)


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"external_bandwidth_mbps": 5000}, "bandwidth_out_of_range", "external_bandwidth_mbps"),
        ({"external_bandwidth_mbps": 0}, "bandwidth_out_of_range", "external_bandwidth_mbps"),
    ],
)
def test_the_wrong_bandwidth_is_refused_with_the_vm(
    box: Box, actor: Actor, segment: ExternalSegment, changes: dict[str, Any], code: str, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        buy_vms(box.platform, actor, external_segment=segment, **changes)
    assert (refused.value.code, refused.value.field) == (code, field)


def test_what_was_bought_with_a_vm_that_never_came_to_be_is_given_back(
    box: Box, actor: Actor, tenant: Tenant, segment: ExternalSegment, fabric: World
) -> None:
    before = balances(tenant)
    (vm,) = buy_vms(
        box.platform, actor, cash="0", external_segment=segment, external_bandwidth_mbps=8
    )
    box.give_up_at("vm.create:disks:before")
    assert fresh(vm).status == "failed"
    row = ExternalIp.objects.get()
    assert (row.status, row.nic, row.target_id) == ("failed", None, "")
    assert balances(tenant) == before
    assert not QuotaClaim.objects.filter(item__in=["eips", "bandwidth_mbps"]).exists()
    assert not ExternalAddress.objects.exists()
    actions.delete_external_ip(actor=actor, external_ip=row)
    assert fresh(row).status == "destroyed"


@pytest.mark.parametrize("point", points_of("vm.create"))
def test_a_worker_that_dies_while_it_makes_the_vm_loses_no_address(
    box: Box, actor: Actor, segment: ExternalSegment, fabric: World, point: str
) -> None:
    buy_vms(box.platform, actor, external_segment=segment, external_bandwidth_mbps=8)
    box.run_dying(point)
    assert ExternalIp.objects.get().status == "bound"
    assert_in_order(box, fabric)
