"""What transitions of external IPs and ENIs write, row by row, without any job."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from billing.models import QuotaClaim, Subscription
from compute.models import VM
from network.models import (
    Eni,
    ExternalIp,
    ExternalSegment,
    Nic,
    NicKind,
    NicNetwork,
    Subnet,
    Tombstone,
)
from network.transitions import egress
from network.transitions.enis import ENIS, forget, plug, unplug
from network.transitions.external_ips import EXTERNAL_IPS
from scloud.tenancy.actor import Actor
from tests.compute.external.test_rows import inner, outer, segment, subnet
from tests.compute.factories import Platform, make_vm
from tests.outside import buy_ip, buy_ips

__all__ = ["inner", "segment", "subnet"]
pytestmark = pytest.mark.usefixtures("unscoped")


@pytest.fixture
def vm(platform: Platform, actor: Actor, segment: ExternalSegment, subnet: Subnet) -> VM:
    return make_vm(platform, actor)


def outside_nic(vm: VM) -> Nic:
    found: Nic = Nic.objects.exclude(kind=NicKind.ENI).get(vm_id=vm.pk, network=NicNetwork.EXTERNAL)
    return found


def hang(row: ExternalIp, vm: VM, since: datetime | None) -> ExternalIp:
    """Write down that an external IP is bound to a VM."""
    ExternalIp.objects.filter(pk=row.pk).update(
        status="bound", nic=outside_nic(vm), target_kind="vm", target_id=vm.pk, bound_at=since
    )
    row.refresh_from_db()
    return row


# --- the default egress


def test_the_first_that_was_bound_is_the_egress(
    actor: Actor, segment: ExternalSegment, vm: VM
) -> None:
    by_id = sorted(buy_ips(actor, segment, count=3), key=lambda one: one.pk)
    now = timezone.now()
    # The later their id, the earlier they were bound; of one it is not known when.
    for number, row in enumerate(by_id[:2]):
        hang(row, vm, now - timedelta(minutes=number))
    found = [one.pk for one in egress.candidates("vm", vm.pk, 4)]
    assert found == [by_id[1].pk, by_id[0].pk]
    hang(by_id[2], vm, None)
    found = [one.pk for one in egress.candidates("vm", vm.pk, 4)]
    assert found == [by_id[2].pk, by_id[1].pk, by_id[0].pk]
    assert egress.candidates("vm", vm.pk, 6) == []
    egress.settle("vm", vm.pk)
    assert [one.pk for one in ExternalIp.objects.filter(egress=True)] == [by_id[2].pk]
    # Once chosen, it stays.
    ExternalIp.objects.filter(pk=by_id[2].pk).update(bound_at=now + timedelta(hours=1))
    egress.settle("vm", vm.pk)
    assert ExternalIp.objects.get(egress=True).pk == by_id[2].pk


def test_another_egress_takes_the_place_of_the_first_in_rows_and_in_memory(
    actor: Actor, segment: ExternalSegment, vm: VM
) -> None:
    for row in buy_ips(actor, segment, count=2):
        hang(row, vm, timezone.now())
    egress.settle("vm", vm.pk)
    found = egress.candidates("vm", vm.pk, 4)
    assert [one.egress for one in found] == [True, False]
    egress.choose(found[1], found)
    assert [one.egress for one in found] == [False, True]
    assert [one.egress for one in egress.candidates("vm", vm.pk, 4)] == [False, True]


def test_a_nic_can_be_the_egress_among_external_ips(
    actor: Actor, segment: ExternalSegment, vm: VM
) -> None:
    eni = outer(actor, segment)
    assert eni.nic is not None
    plug(eni.nic, vm.pk, 2)
    Eni.objects.filter(pk=eni.pk).update(vm_id=vm.pk, status="bound", task="")
    hang(buy_ip(actor, segment), vm, timezone.now() + timedelta(minutes=1))
    egress.settle("vm", vm.pk)
    nic = Nic.objects.get(pk=eni.nic.pk)
    assert (nic.egress, nic.vm_id, nic.index) == (True, vm.pk, 2)
    assert not ExternalIp.objects.filter(egress=True).exists()
    unplug(nic)
    nic.refresh_from_db()
    assert (nic.egress, nic.vm_id, nic.index, nic.bound_at) == (False, None, None, None)
    unplug(None)


# --- where a job lands


@pytest.mark.parametrize("kind", ["external_ip", "eni"])
@pytest.mark.parametrize("bound", [True, False])
def test_one_that_was_paid_meanwhile_does_not_land_expired(
    actor: Actor, segment: ExternalSegment, vm: VM, kind: str, bound: bool
) -> None:
    place = "bound" if bound else "free"
    if kind == "eni":
        eni = outer(actor, segment)
        eni.vm_id = vm.pk if bound else ""
        eni.status = "expired"

        def landing(status: str | None) -> str | None:
            return ENIS.landing(eni, status)

        row_id = eni.pk
    else:
        row = buy_ip(actor, segment)
        row.nic = outside_nic(vm) if bound else None
        row.status = "expired"

        def landing(status: str | None) -> str | None:
            return EXTERNAL_IPS.landing(row, status)

        row_id = row.pk
    Subscription.objects.filter(resource_id=row_id).update(status="active")
    # None: it stays what the row says.
    assert (landing(None), landing("expired")) == (place, place)
    for other in ("free", "bound", "failed", "binned"):
        assert landing(other) == other
    Subscription.objects.filter(resource_id=row_id).update(status="expired")
    assert (landing(None), landing("expired"), landing("failed")) == (None, "expired", "failed")


# --- what an ENI gives back


def test_an_eni_that_was_paid_ends_its_subscription(
    actor: Actor, segment: ExternalSegment, vm: VM
) -> None:
    eni = outer(actor, segment)
    nic = eni.nic
    assert nic is not None
    assert Subscription.objects.get(resource_id=eni.pk).status == "active"
    forget(eni)
    assert Subscription.objects.get(resource_id=eni.pk).status == "ended"
    assert not QuotaClaim.objects.filter(resource_id=eni.pk).exists()
    assert not Nic.objects.filter(pk=nic.pk).exists()
    assert Tombstone.objects.filter(kind=nic.fabric_kind, target_id=nic.fabric_id).exists()


def test_an_eni_that_costs_nothing_is_forgotten_too(inner: Eni, vm: VM) -> None:
    assert not Subscription.objects.filter(resource_id=inner.pk).exists()
    assert QuotaClaim.objects.filter(resource_id=inner.pk).exists()
    forget(inner)
    assert not QuotaClaim.objects.filter(resource_id=inner.pk).exists()
    assert not Subscription.objects.filter(resource_id=inner.pk).exists()
