"""ENIs: made, plugged in and out of VMs that go through their jobs, and deleted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from billing.models import QuotaClaim, QuotaLimit, Subscription
from compute.actions.vms.lifecycle import delete_vm, power_off_vm, start_vm
from compute.models import VM
from compute.tasks import external_target
from network.actions import enis as actions
from network.actions import external_ips
from network.actions.security import create_security_group
from network.fabric import fake
from network.fabric.base import FabricUnreachable, Kind, PortSpec
from network.models import Eni, ExternalAddress, ExternalSegment, Nic, PrivateAddress, Subnet
from network.rules.eni_orders import EniOrder
from network.sweeps import enis as sweeps
from network.sweeps.reconcile import reconcile
from network.tasks import plumbing
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput, QuotaExceeded
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from tests.compute.box import Box, points_of
from tests.compute.factories import give_network, make_vm
from tests.compute.things import fresh
from tests.outside import buy_ip, make_segment

pytestmark = pytest.mark.django_db
World = fake.World


@pytest.fixture(autouse=True)
def _obedient_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guests do what they are told."""
    monkeypatch.setattr(external_target, "apply_guest_network", lambda vm_id: True)


@pytest.fixture
def subnet(box: Box, tenant: Tenant) -> Subnet:
    """The default subnet."""
    found = give_network(tenant, box.platform.region).subnet
    assert found is not None
    box.run()
    return found


def inner(actor: Actor, subnet: Subnet, **changes: Any) -> Eni:
    """Make an internal ENI."""
    order = EniOrder(**{"region": subnet.region, "subnet": subnet, **changes})
    return actions.create_eni(actor=actor, order=order)


def outer(actor: Actor, segment: ExternalSegment, **changes: Any) -> Eni:
    """Buy an external ENI."""
    values = {"region": segment.region, "segment": segment, "bandwidth_mbps": 5}
    order = EniOrder(**{**values, **changes})
    quote = actions.quote_eni(actor=actor, order=order)
    assert quote is not None
    return actions.create_eni(actor=actor, order=order, quote_token=quote.token)


def bind(box: Box, eni: Eni, vm: VM) -> Eni:
    """Bind one and run its job."""
    actions.bind_eni(actor=box.actor, eni=eni, vm=vm)
    box.run()
    found: Eni = fresh(eni)
    assert (found.status, found.task, found.failure) == ("bound", "", "")
    return found


def unbind(box: Box, eni: Eni) -> Eni:
    """Unbind one and run its job."""
    actions.unbind_eni(actor=box.actor, eni=eni)
    box.run()
    found: Eni = fresh(eni)
    return found


def port(world: World, eni: Eni) -> PortSpec | None:
    """Return the ENI's port in the fabric."""
    assert eni.nic is not None
    spec = world.things.get((eni.region_id, Kind.PORT, str(eni.nic.port_uuid)))
    assert spec is None or isinstance(spec, PortSpec)
    return spec


def macs(box: Box, vm: VM) -> set[str]:
    """Return the MACs of a VM's machine; of what runs and of its definition the same."""
    domain = box.domain(vm)
    found = {nic.mac for nic in domain.spec.nics}
    if domain.running is not None:
        assert {nic.mac for nic in domain.running.nics} == found
    return found


def assert_in_order(box: Box, world: World) -> None:
    """Rows, machines and fabric say the same, and nothing is in flight."""
    box.assert_nothing_orphaned()
    assert not Eni.objects.exclude(task="").exists()
    for vm in VM.objects.filter(status__in=["running", "stopped"]):
        wanted = set(Nic.objects.filter(vm_id=vm.pk).values_list("mac", flat=True))
        assert macs(box, vm) == wanted
    for eni in Eni.objects.exclude(status="destroyed"):
        assert eni.nic is not None
        assert (port(world, eni) is not None) == (eni.status == "bound")
        assert (eni.nic.vm_id or "") == eni.vm_id
    assert reconcile(box.platform.region) == []


def test_an_internal_one_costs_nothing_and_an_external_one_its_bandwidth(
    box: Box, actor: Actor, segment: ExternalSegment, subnet: Subnet, fabric: World
) -> None:
    inside = inner(actor, subnet, address="10.0.0.77")
    assert (inside.status, inside.address, inside.network) == ("free", "10.0.0.77", "internal")
    assert PrivateAddress.objects.filter(address="10.0.0.77").exists()
    assert not Subscription.objects.filter(resource_id=inside.pk).exists()
    outside = outer(actor, segment, method="month")
    assert (outside.status, outside.address) == ("free", "203.0.113.2")
    assert Subscription.objects.get(resource_id=outside.pk).lines[0]["sku"] == segment.sku
    claims = QuotaClaim.objects.filter(resource_id=outside.pk)
    assert dict(claims.values_list("item", "amount")) == {"enis": 1, "bandwidth_mbps": 5}
    assert_in_order(box, fabric)


def test_what_cannot_be_made_is_refused(
    box: Box, actor: Actor, tenant: Tenant, segment: ExternalSegment, subnet: Subnet
) -> None:
    for changes, code in (
        ({"segment": segment}, "eni_network"),
        ({"address": "10.1.0.9"}, "address_outside_subnet"),
        ({"name": "a b"}, "invalid_name"),
    ):
        with pytest.raises(InvalidInput) as refused:
            inner(actor, subnet, **changes)
        assert refused.value.code == code
    with pytest.raises(InvalidInput) as nowhere:
        actions.create_eni(actor=actor, order=EniOrder(region=subnet.region))
    assert nowhere.value.code == "eni_network"
    buy_ip(actor, segment, addresses=["203.0.113.9"])
    with pytest.raises(Conflict) as taken:
        outer(actor, segment, address="203.0.113.9")
    assert taken.value.code == "address_taken"
    QuotaLimit.objects.create(tenant=tenant, item="enis", limit=1)
    inner(actor, subnet)
    with pytest.raises(QuotaExceeded):
        inner(actor, subnet)
    assert Eni.objects.count() == 1


def test_it_is_plugged_into_a_running_vm_and_out_again(
    box: Box, actor: Actor, segment: ExternalSegment, subnet: Subnet, fabric: World
) -> None:
    vm = box.vm()
    inside, outside = inner(actor, subnet), outer(actor, segment)
    assert inside.nic is not None
    assert outside.nic is not None
    bind(box, inside, vm)
    bind(box, outside, vm)
    assert {inside.nic.mac, outside.nic.mac} < macs(box, vm)
    devices = Nic.objects.filter(vm_id=vm.pk).order_by("index")
    assert [nic.device for nic in devices] == ["eth0", "eth1", "eth2", "eth3"]
    spec = port(fabric, fresh(outside))
    assert spec is not None
    assert (spec.switch_id, spec.dhcp, len(spec.qos)) == (segment.switch_id, False, 2)
    plans = {nic.device: nic for nic in plumbing.guest_nics(vm.pk)}
    assert [str(one.interface) for one in plans["eth3"].addresses] == ["203.0.113.2/24"]
    assert plans["eth3"].addresses[0].egress
    assert_in_order(box, fabric)
    outside, inside = unbind(box, outside), unbind(box, inside)
    assert (inside.status, inside.vm_id, outside.status) == ("free", "", "free")
    assert ExternalAddress.objects.filter(address="203.0.113.2").exists()
    assert_in_order(box, fabric)


def test_a_vm_that_is_off_has_it_at_its_next_start(
    box: Box, actor: Actor, subnet: Subnet, fabric: World, segment: ExternalSegment
) -> None:
    vm = box.vm(stopped=True)
    eni = bind(box, inner(actor, subnet), vm)
    start_vm(actor=actor, vm=fresh(vm))
    box.run()
    assert eni.nic is not None
    assert eni.nic.mac in macs(box, vm)
    power_off_vm(actor=actor, vm=fresh(vm))
    box.run()
    unbind(box, eni)
    assert_in_order(box, fabric)


@pytest.mark.parametrize(("architecture", "limit"), [("x86_64", 6), ("aarch64", 3)])
def test_a_vm_has_so_many_at_most(
    box: Box, actor: Actor, subnet: Subnet, segment: ExternalSegment, architecture: str, limit: int
) -> None:
    vm = make_vm(box.platform, actor)
    type(vm.cluster).objects.update(architecture=architecture)
    for _ in range(limit):
        actions.bind_eni(actor=actor, eni=inner(actor, subnet), vm=fresh(vm))
    with pytest.raises(Conflict) as refused:
        actions.bind_eni(actor=actor, eni=inner(actor, subnet), vm=fresh(vm))
    assert refused.value.code == "too_many_enis"
    assert refused.value.numbers == {"limit": limit, "has": limit}


def test_an_address_of_an_eni_is_an_egress_like_any_other(
    box: Box, actor: Actor, segment: ExternalSegment, fabric: World
) -> None:
    vm = box.vm()
    eni = bind(box, outer(actor, segment), vm)
    row = buy_ip(actor, segment)
    external_ips.bind_external_ip(actor=actor, external_ip=row, target=vm)
    box.run()
    assert not fresh(row).egress
    external_ips.set_default_egress(actor=actor, external_ip=fresh(row))
    box.run()
    assert fresh(row).egress
    assert not Nic.objects.get(eni=eni).egress
    actions.set_eni_egress(actor=actor, eni=eni)
    box.run()
    assert not fresh(row).egress
    actions.unbind_eni(actor=box.actor, eni=eni)
    # From the order on: two egresses would be two default routes.
    assert not Nic.objects.get(eni=eni).egress
    assert fresh(row).egress
    box.run()
    with pytest.raises(Conflict):
        actions.set_eni_egress(actor=actor, eni=fresh(eni))
    assert_in_order(box, fabric)


def test_group_and_bandwidth_change_live(
    box: Box, actor: Actor, segment: ExternalSegment, fabric: World
) -> None:
    vm = box.vm()
    eni = bind(box, outer(actor, segment, method="month"), vm)
    group = create_security_group(actor=actor, region=box.platform.region, name="tight")
    actions.change_eni_group(actor=actor, eni=eni, group=group)
    token = actions.quote_eni_bandwidth(actor=actor, eni=eni, bandwidth_mbps=20).token
    actions.resize_eni(actor=actor, eni=eni, bandwidth_mbps=20, quote_token=token)
    box.run()
    spec = port(fabric, fresh(eni))
    assert spec is not None
    assert spec.security_group_id == group.pk
    assert {one.rate_kbps for one in spec.qos} == {20_000}
    assert QuotaClaim.objects.get(resource_id=eni.pk, item="bandwidth_mbps").amount == 20
    assert_in_order(box, fabric)


def test_a_bandwidth_that_could_not_be_changed_is_paid_back(
    box: Box, actor: Actor, segment: ExternalSegment, fabric: World
) -> None:
    eni = bind(box, outer(actor, segment, method="month"), box.vm())
    token = actions.quote_eni_bandwidth(actor=actor, eni=eni, bandwidth_mbps=20).token
    actions.resize_eni(actor=actor, eni=eni, bandwidth_mbps=20, quote_token=token)
    fabric.failure = FabricUnreachable("away")
    box.run()
    fabric.failure = None
    box.run()
    assert Nic.objects.get(eni=eni).bandwidth_mbps == 5
    assert QuotaClaim.objects.get(resource_id=eni.pk, item="bandwidth_mbps").amount == 5
    assert Subscription.objects.get(resource_id=eni.pk).lines[0]["quantity"] == "5"
    assert_in_order(box, fabric)


@pytest.mark.parametrize(
    "point", [*points_of("eni.bind"), *points_of("eni.unbind"), *points_of("eni.delete")]
)
def test_a_worker_that_dies_leaves_nothing_half_done(
    box: Box, actor: Actor, segment: ExternalSegment, fabric: World, point: str
) -> None:
    vm, eni = box.vm(), outer(actor, segment)
    if ".unbind" in point:
        eni = bind(box, eni, vm)
        actions.unbind_eni(actor=actor, eni=eni)
    elif ".bind" in point:
        actions.bind_eni(actor=actor, eni=eni, vm=vm)
    else:
        actions.delete_eni(actor=actor, eni=eni)
    box.run_dying(point)
    wanted = "free" if ".unbind" in point else "bound" if ".bind" in point else "destroyed"
    assert fresh(eni).status == wanted
    assert_in_order(box, fabric)


@pytest.mark.parametrize("verb", ["bind", "unbind"])
def test_a_job_that_is_given_up_leaves_it_where_it_stood(
    box: Box, actor: Actor, segment: ExternalSegment, fabric: World, verb: str
) -> None:
    vm, eni = box.vm(), outer(actor, segment)
    if verb == "bind":
        actions.bind_eni(actor=actor, eni=eni, vm=vm)
    else:
        eni = bind(box, eni, vm)
        actions.unbind_eni(actor=actor, eni=eni)
    box.give_up_at(f"eni.{verb}:network:after")
    box.run()
    eni = fresh(eni)
    assert eni.status == ("free" if verb == "bind" else "bound")
    assert eni.failure_code == "deadline_exceeded"
    assert_in_order(box, fabric)


def test_a_row_whose_job_vanished_is_landed(
    box: Box, actor: Actor, subnet: Subnet, segment: ExternalSegment, fabric: World
) -> None:
    eni = inner(actor, subnet)
    actions.bind_eni(actor=actor, eni=eni, vm=box.vm())
    Job.objects.filter(target_id=eni.pk).update(status="failed")
    Eni.objects.update(task_deadline=timezone.now() - timedelta(seconds=1))
    assert sweeps.land_stuck() == 1
    box.run()
    assert (fresh(eni).status, fresh(eni).vm_id) == ("free", "")
    assert_in_order(box, fabric)


@pytest.mark.parametrize("along", [False, True])
def test_a_deleted_vm_lets_go_of_its_enis(
    box: Box, actor: Actor, segment: ExternalSegment, subnet: Subnet, fabric: World, along: bool
) -> None:
    vm = box.vm()
    made = [bind(box, inner(actor, subnet), vm), bind(box, outer(actor, segment), vm)]
    delete_vm(actor=actor, vm=fresh(vm), delete_enis=along)
    box.run()
    assert fresh(vm).status == "binned"
    wanted = "destroyed" if along else "free"
    assert {fresh(one).status for one in made} == {wanted}
    assert ExternalAddress.objects.exists() is not along
    assert QuotaClaim.objects.filter(item="enis").count() == (0 if along else 2)
    assert_in_order(box, fabric)


def test_what_is_not_paid_does_not_pass_and_is_deleted(
    box: Box, actor: Actor, tenant: Tenant, segment: ExternalSegment, fabric: World
) -> None:
    vm = box.vm()
    eni = bind(box, outer(actor, segment), vm)
    paid = Subscription.objects.filter(resource_id=eni.pk)
    paid.update(status="expired", paid_until=timezone.now())
    sweeps.expired(tenant, eni.pk)
    box.run()
    assert (fresh(eni).status, port(fabric, fresh(eni))) == ("expired", None)
    paid.update(status="active", paid_until=timezone.now() + timedelta(hours=1))
    sweeps.renewed(tenant, eni.pk)
    box.run()
    assert fresh(eni).status == "bound"
    assert port(fabric, fresh(eni)) is not None
    paid.update(status="expired", paid_until=timezone.now())
    sweeps.expired(tenant, eni.pk)
    sweeps.overdue(tenant, eni.pk)
    box.run()
    assert fresh(eni).status == "destroyed"
    assert not ExternalAddress.objects.exists()
    assert_in_order(box, fabric)


def test_a_segment_with_an_eni_is_in_use(box: Box, actor: Actor, segment: ExternalSegment) -> None:
    other = make_segment(segment.region, name="o", cidr="192.0.2.0/24", gateway="192.0.2.1")
    eni = outer(actor, other)
    assert ExternalSegment.objects.get(pk=other.pk).in_use
    actions.delete_eni(actor=actor, eni=eni)
    box.run()
    assert not ExternalSegment.objects.get(pk=other.pk).in_use
