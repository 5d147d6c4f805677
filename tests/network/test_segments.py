"""External segments: what administrators may write, and the switch that comes of it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from django.test import Client
from django.urls import reverse

from network.actions import external_addresses
from network.actions.segments import delete_external_segment, save_external_segment
from network.fabric import fake
from network.fabric.base import FabricUnreachable, Kind, SegmentSpec
from network.models import (
    ExternalAddress,
    ExternalIp,
    ExternalSegment,
    RoutePolicy,
    Tombstone,
)
from network.queries import segments
from network.states.resources import Status
from network.sweeps.reconcile import reconcile
from scloud.lib import destinations
from scloud.lib.errors import Conflict, InvalidInput
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scopes_disabled

pytestmark = pytest.mark.django_db
Run = Callable[[], list[str]]


@pytest.fixture(autouse=True)
def _as_the_platform(unscoped: None) -> None:
    """Segments are nobody's."""


@pytest.fixture
def operator(db: None) -> Actor:
    """An administrator of the platform."""
    return Actor.administrator(User.objects.create_superuser("root@scloud.test", "x"), None, "")


def draft(region: Region, **changes: Any) -> ExternalSegment:
    """Return a segment that is not stored."""
    values: dict[str, Any] = {
        "region": region,
        "name": "public",
        "cidr": "203.0.113.0/24",
        "gateway": "203.0.113.1",
        "physical_network": "ext",
    }
    return ExternalSegment(**{**values, **changes})


def hold(segment: ExternalSegment, tenant: Tenant, address: str = "203.0.113.7") -> ExternalAddress:
    """Let a tenant hold an address."""
    row = ExternalIp.objects.create(
        tenant=tenant,
        region=segment.region,
        name="eip",
        segment=segment,
        ip_version=4,
        address=address,
        bandwidth_mbps=1,
        status="free",
    )
    found: ExternalAddress = ExternalAddress.objects.create(
        tenant=tenant, segment=segment, address=address, external_ip=row
    )
    return found


BAD = [
    ("cidr", {"cidr": "203.0.113.9/24"}, "203.0.113.0/24"),
    ("cidr", {"cidr": "127.0.0.9/24", "gateway": "127.0.0.1"}, "No machine"),
    ("cidr", {"cidr": "203.0.113.9/30"}, "mask"),
    ("cidr", {"cidr": "203.0.113.0/31", "gateway": None, "route_policy": "none"}, "mask"),
    ("cidr", {"cidr": "203.0.113.0/30"}, "mask"),
    ("cidr", {"cidr": "2001:db8::/64"}, "IPv4"),
    ("cidr", {"cidr": "rubbish"}, "not an address range"),
    ("cidr", {"cidr": "224.0.0.0/24", "gateway": "224.0.0.1"}, "No machine"),
    ("cidr", {"cidr": "127.0.0.0/24", "gateway": "127.0.0.1"}, "No machine"),
    ("cidr", {"ip_version": 6, "cidr": "fe80::/64", "gateway": "fe80::1"}, "No machine"),
    ("gateway", {"gateway": None}, "need a gateway"),
    ("gateway", {"gateway": "203.0.114.1"}, "usable address"),
    ("gateway", {"gateway": "203.0.113.0"}, "usable address"),
    ("gateway", {"gateway": "203.0.113.255"}, "usable address"),
    ("held_back", {"held_back": ["203.0.112.9"]}, "within"),
    ("held_back", {"held_back": ["203.0.113.9-203.0.113.2"]}, "within"),
    ("held_back", {"held_back": ["203.0.113.9/24"]}, "within"),
    ("destinations", {"route_policy": "specified"}, "need a destination"),
    ("destinations", {"destinations": ["10.0.0.0/8"]}, "Only specified"),
    ("destinations", {"route_policy": "specified", "destinations": ["10.0.0.1/8"]}, "Did you mean"),
    ("destinations", {"route_policy": "specified", "destinations": ["0.0.0.0/0"]}, "default"),
    ("destinations", {"route_policy": "specified", "destinations": ["10.1.2.3/0"]}, "default"),
    ("destinations", {"route_policy": "specified", "destinations": ["2001:db8::/32"]}, "IPv4"),
    ("bandwidth_max_mbps", {"bandwidth_min_mbps": 10, "bandwidth_max_mbps": 9}, "below"),
    ("bandwidth_max_mbps", {"bandwidth_max_mbps": 10_001}, "10000"),
    ("bandwidth_min_mbps", {"bandwidth_min_mbps": 0}, "1"),
    ("vlan", {"vlan": 4095}, "4094"),
    ("vnc_address", {"serves_vnc": True, "vnc_address": "203.0.114.9"}, "usable address"),
    ("vnc_address", {"serves_vnc": True, "vnc_address": "203.0.113.0"}, "usable address"),
    ("vnc_address", {"serves_vnc": True, "vnc_address": "203.0.113.255"}, "usable address"),
    ("vnc_address", {"serves_vnc": True, "vnc_address": "2001:db8::1"}, "usable address"),
    ("vnc_address", {"serves_vnc": True, "vnc_address": "203.0.113.1"}, "gateway"),
    ("vnc_address", {"serves_vnc": True, "held_back": ["203.0.113.2-203.0.113.254"]}, "no free"),
    ("physical_network", {"physical_network": "a b"}, "valid"),
]


@pytest.mark.parametrize(("field", "changes", "said"), BAD)
def test_what_cannot_work_is_refused(
    region: Region, field: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        draft(region, **changes).full_clean()
    assert list(refused.value.message_dict) == [field]
    assert said in refused.value.message_dict[field][0]


GOOD: list[dict[str, Any]] = [
    {},
    {"cidr": "203.0.113.0/29"},
    {"ip_version": 6, "cidr": "2001:db8:113::/64", "gateway": "2001:db8:113::1"},
    {"route_policy": "none", "gateway": None},
    {"route_policy": "specified", "destinations": ["10.0.0.0/8", "198.51.100.0/24"]},
    {"held_back": ["203.0.113.2-203.0.113.9", "203.0.113.64/28", "203.0.113.200"], "vlan": 4094},
    {"serves_vnc": True, "vnc_address": "203.0.113.254"},
    # An address that is held back is the platform's already.
    {"serves_vnc": True, "vnc_address": "203.0.113.9", "held_back": ["203.0.113.9"]},
]


@pytest.mark.parametrize("changes", GOOD)
def test_what_can_work_is_accepted(region: Region, changes: dict[str, Any]) -> None:
    draft(region, **changes).full_clean()


@pytest.mark.parametrize(
    ("changes", "chosen"),
    [
        ({}, "203.0.113.3"),
        ({"held_back": ["203.0.113.3-203.0.113.8"]}, "203.0.113.9"),
        ({"gateway": "203.0.113.3"}, "203.0.113.4"),
    ],
)
def test_the_vnc_address_is_the_lowest_free_one_unless_chosen(
    region: Region, operator: Actor, tenant: Tenant, changes: dict[str, Any], chosen: str
) -> None:
    segment = save_external_segment(actor=operator, segment=draft(region))
    assert segment.vnc_address is None
    hold(segment, tenant, "203.0.113.1")
    hold(segment, tenant, "203.0.113.2")
    ExternalSegment.objects.filter(pk=segment.pk).update(**changes)
    segment.refresh_from_db()
    segment.serves_vnc = True
    segment = save_external_segment(actor=operator, segment=segment)
    segment.refresh_from_db()
    assert segment.vnc_address == chosen
    # It stays, whatever else is changed, until the segment serves no more.
    segment.name = "renamed"
    assert save_external_segment(actor=operator, segment=segment).vnc_address == chosen
    segment.serves_vnc = False
    assert save_external_segment(actor=operator, segment=segment).vnc_address is None


def test_of_ipv6_too(region: Region, operator: Actor) -> None:
    segment = draft(
        region, ip_version=6, cidr="2001:db8:113::/64", gateway="2001:db8:113::1", serves_vnc=True
    )
    assert save_external_segment(actor=operator, segment=segment).vnc_address == "2001:db8:113::2"


def test_no_tenant_is_given_the_vnc_address(region: Region, operator: Actor) -> None:
    segment = save_external_segment(actor=operator, segment=draft(region, cidr="203.0.113.0/29"))
    before = external_addresses.free_count(segment)
    segment.serves_vnc, segment.vnc_address = True, "203.0.113.4"
    save_external_segment(actor=operator, segment=segment)
    assert external_addresses.free_count(segment) == before - 1 == 4
    with transaction.atomic():
        given = external_addresses.allocate(segment, [None] * 4)
    assert [str(one) for one in given] == [f"203.0.113.{number}" for number in (2, 3, 5, 6)]
    with transaction.atomic(), pytest.raises(Conflict) as exhausted:
        external_addresses.allocate(segment, [None] * 5)
    assert exhausted.value.code == "segment_exhausted"
    for ask in (
        lambda: external_addresses.allocate(segment, ["203.0.113.4"]),
        lambda: external_addresses.check_all(segment, ["203.0.113.4"], 1),
    ):
        with transaction.atomic(), pytest.raises(InvalidInput) as reserved:
            ask()
        assert reserved.value.code == "address_reserved"
        assert "the platform's address for VNC clients" in reserved.value.message


def test_the_address_of_a_tenant_does_not_become_the_vnc_address(
    region: Region, operator: Actor, tenant: Tenant
) -> None:
    segment = save_external_segment(actor=operator, segment=draft(region))
    hold(segment, tenant, "203.0.113.7")
    segment.serves_vnc, segment.vnc_address = True, "203.0.113.7"
    with pytest.raises(InvalidInput) as refused:
        save_external_segment(actor=operator, segment=segment)
    assert (refused.value.code, refused.value.field) == ("segment_invalid", "vnc_address")


def test_one_segment_of_a_region_gives_the_vnc_address(region: Region, operator: Actor) -> None:
    one = save_external_segment(actor=operator, segment=draft(region, serves_vnc=True))
    other = draft(region, name="more", cidr="198.51.100.0/24", gateway="198.51.100.1")
    other.serves_vnc = True
    with pytest.raises(InvalidInput) as refused:
        save_external_segment(actor=operator, segment=other)
    assert refused.value.field == "serves_vnc"
    other.region = Region.objects.create(id="elsewhere", name="Elsewhere")
    save_external_segment(actor=operator, segment=other)
    assert segments.vnc_address(region.pk) == one.vnc_address
    assert segments.vnc_address(other.region.pk) == other.vnc_address == "198.51.100.2"
    assert segments.vnc_address("nowhere") is None
    # It is deleted like others: then the address of the settings is told again.
    delete_external_segment(actor=operator, segment=one)
    assert segments.vnc_address(region.pk) is None


def test_no_url_of_a_tenant_leads_to_the_vnc_address(
    region: Region, operator: Actor, settings: Any
) -> None:
    settings.SCLOUD_IMPORT_ALLOWED_NETWORKS = ["203.0.113.0/24"]
    address = ip_address("203.0.113.9")
    assert destinations.configured().permits(address)
    segment = draft(region, serves_vnc=True, vnc_address=str(address))
    save_external_segment(actor=operator, segment=segment)
    assert not destinations.configured().permits(address)


def test_segments_of_one_vlan_do_not_overlap(region: Region, operator: Actor) -> None:
    save_external_segment(actor=operator, segment=draft(region))
    inner = draft(region, cidr="203.0.113.128/25", gateway="203.0.113.129")
    with pytest.raises(InvalidInput) as refused:
        save_external_segment(actor=operator, segment=inner)
    assert (refused.value.code, refused.value.field) == ("segment_invalid", "cidr")
    inner.vlan = 7
    save_external_segment(actor=operator, segment=inner)


def test_two_segments_of_a_vlan_share_a_switch(
    region: Region, operator: Actor, world: fake.World, run_jobs: Run
) -> None:
    one = save_external_segment(actor=operator, segment=draft(region))
    other = draft(region, name="more", cidr="198.51.100.0/24", gateway="198.51.100.1")
    other = save_external_segment(actor=operator, segment=other)
    vlan = draft(region, name="vlan", vlan=101)
    vlan = save_external_segment(actor=operator, segment=vlan)
    run_jobs()
    switches = {key[2]: spec for key, spec in world.things.items() if key[1] is Kind.SEGMENT}
    assert one.switch_id == other.switch_id != vlan.switch_id
    assert switches == {
        one.switch_id: SegmentSpec(one.switch_id, "ext", None),
        vlan.switch_id: SegmentSpec(vlan.switch_id, "ext", 101),
    }
    one.refresh_from_db()
    assert one.status == Status.AVAILABLE

    delete_external_segment(actor=operator, segment=one)
    run_jobs()
    assert (region.pk, Kind.SEGMENT, other.switch_id) in world.things
    delete_external_segment(actor=operator, segment=other)
    run_jobs()
    assert {key[2] for key in world.things if key[1] is Kind.SEGMENT} == {vlan.switch_id}


def test_a_segment_with_an_allocated_address_stays_as_it_is(
    region: Region, operator: Actor, tenant: Tenant
) -> None:
    segment = save_external_segment(actor=operator, segment=draft(region))
    held = hold(segment, tenant)
    for name, value in (
        ("vlan", 7),
        ("gateway", "203.0.113.2"),
        ("physical_network", "other"),
        ("route_policy", RoutePolicy.NONE),
        ("mtu_bytes", 9000),
    ):
        changed = ExternalSegment.objects.get(pk=segment.pk)
        setattr(changed, name, value)
        with pytest.raises(InvalidInput) as refused:
            save_external_segment(actor=operator, segment=changed)
        assert refused.value.field == name
    fine = ExternalSegment.objects.get(pk=segment.pk)
    fine.name, fine.held_back, fine.enabled = "renamed", ["203.0.113.9"], False
    save_external_segment(actor=operator, segment=fine)

    with pytest.raises(Conflict) as in_use:
        delete_external_segment(actor=operator, segment=segment)
    assert in_use.value.code == "segment_in_use"
    assert in_use.value.numbers == {"allocated": 1}
    held.delete()
    delete_external_segment(actor=operator, segment=segment)
    assert not ExternalSegment.objects.exists()


def test_the_switch_of_a_segment_that_moved_goes(
    region: Region, operator: Actor, world: fake.World, run_jobs: Run
) -> None:
    segment = save_external_segment(actor=operator, segment=draft(region))
    run_jobs()
    segment.vlan = 5
    save_external_segment(actor=operator, segment=segment)
    run_jobs()
    assert {key[2] for key in world.things if key[1] is Kind.SEGMENT} == {segment.switch_id}


def test_a_switch_that_is_wanted_again_is_not_removed(
    region: Region, operator: Actor, world: fake.World, run_jobs: Run
) -> None:
    segment = save_external_segment(actor=operator, segment=draft(region))
    run_jobs()
    world.failure = FabricUnreachable("away")
    delete_external_segment(actor=operator, segment=segment)
    run_jobs()
    world.failure = None
    again = save_external_segment(actor=operator, segment=draft(region, name="again"))
    run_jobs()
    run_jobs()
    assert (region.pk, Kind.SEGMENT, again.switch_id) in world.things
    assert not Tombstone.objects.filter(target_id=again.switch_id).exists()


def test_a_lost_switch_is_put_back(
    region: Region, operator: Actor, world: fake.World, run_jobs: Run
) -> None:
    segment = save_external_segment(actor=operator, segment=draft(region))
    run_jobs()
    whole = dict(world.things)
    world.things.clear()
    found = reconcile(region)
    assert [(one.kind, one.target_id, one.repaired) for one in found] == [
        ("segment", segment.pk, True)
    ]
    assert world.things == whole
    assert reconcile(region) == []


def test_administrators_write_and_delete_segments(
    region: Region, tenant: Tenant, operator: Actor
) -> None:
    assert operator.user is not None
    client = Client()
    client.force_login(operator.user)
    values = {
        "name": "public",
        "region": region.pk,
        "ip_version": 4,
        "cidr": "203.0.113.0/24",
        "gateway": "203.0.113.1",
        "held_back": "203.0.113.2-203.0.113.9, 203.0.113.64/28",
        "destinations": "",
        "physical_network": "ext",
        "route_policy": "default",
        "bandwidth_min_mbps": 1,
        "bandwidth_max_mbps": 100,
        "mtu_bytes": 1500,
        "position": 0,
        "enabled": "on",
        "tenants": [tenant.pk],
    }
    add = reverse("admin:network_externalsegment_add")
    refused = client.post(add, {**values, "gateway": "203.0.113.255"})
    assert "usable address" in refused.content.decode()
    assert client.post(add, values).status_code == 302
    segment = ExternalSegment.objects.get()
    assert [one.pk for one in segment.tenants.all()] == [tenant.pk]
    assert segment.held_back == ["203.0.113.2-203.0.113.9", "203.0.113.64/28"]

    change = reverse("admin:network_externalsegment_change", args=[segment.pk])
    assert client.post(change, {**values, "serves_vnc": "on"}).status_code == 302
    assert ExternalSegment.objects.get().vnc_address == "203.0.113.10"
    listed = client.get(reverse("admin:network_externalsegment_changelist"))
    assert "203.0.113.10" in listed.content.decode()
    taken = {**values, "serves_vnc": "on", "vnc_address": "203.0.113.1"}
    assert "It is the gateway." in client.post(change, taken).content.decode()

    held = hold(segment, tenant, "203.0.113.20")
    gone = reverse("admin:network_externalsegment_delete", args=[segment.pk])
    client.post(gone, {"post": "yes"})
    assert ExternalSegment.objects.filter(pk=segment.pk).exists()
    held.delete()
    ExternalIp.objects.all().delete()
    client.post(gone, {"post": "yes"})
    with scopes_disabled():
        assert not ExternalSegment.objects.filter(pk=segment.pk).exists()
