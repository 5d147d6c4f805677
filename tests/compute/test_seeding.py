"""Filling an installation: what is there already stays, and what a release adds is added."""

from __future__ import annotations

import base64
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from billing import pricelists
from billing.models import Price
from billing.pricing import Method, Tier
from compute.management import seeding
from compute.models import Cluster, FenceDevice, Host, StoragePool
from compute.models.platform import GpuType
from network.models import ExternalSegment
from scloud.lab.plan import PHYSICAL_NETWORK, Lab
from scloud.lab.redfish import make_certificate
from scloud.lab.region import status
from scloud.lib import keys
from scloud.lib.libvirt_uris import problem_of
from scloud.resources.models import Region

pytestmark = pytest.mark.django_db


@pytest.fixture
def facts() -> dict[str, Any]:
    """What the region in a box says of itself; it need not run for that."""
    return status(Lab("seeding", 47, host_count=1))


def prices_now() -> set[str]:
    latest = Price.objects.order_by("-price_list__version").first()
    assert latest is not None
    rows = Price.objects.filter(
        price_list=latest.price_list_id, price_list__published_at__isnull=False
    )
    return set(rows.values_list("sku", flat=True))


def test_the_region_in_a_box_has_three_segments_that_can_be_bought(facts: dict[str, Any]) -> None:
    seeding.seed_platform(facts)
    segments = {segment.name: segment for segment in ExternalSegment.objects.all()}
    assert {name: (one.ip_version, one.route_policy) for name, one in segments.items()} == {
        "office": (4, "default"),
        "partners": (4, "specified"),
        "office6": (6, "default"),
    }
    assert len({segment.switch_id for segment in segments.values()}) == 1, "not on one network"
    assert {one.physical_network for one in segments.values()} == {PHYSICAL_NETWORK}
    assert {segment.sku for segment in segments.values()} <= prices_now()
    assert {f"gpu:{found.value}" for found in GpuType if found} <= prices_now()

    ExternalSegment.objects.filter(name="office").update(bandwidth_max_mbps=77)
    before = Price.objects.count()
    seeding.seed_platform(facts)
    assert ExternalSegment.objects.count() == 3
    assert ExternalSegment.objects.get(name="office").bandwidth_max_mbps == 77
    assert Price.objects.count() == before


def test_hosts_get_the_fence_devices_of_their_controllers_once(
    facts: dict[str, Any], tmp_path: Path
) -> None:
    seeding.seed_platform(facts)
    assert seeding.seed_fence_devices(facts) == 0, "it is not up, so there is no password"
    controller = facts["hosts"][0]["controller"]
    certificate, _key = make_certificate(tmp_path, controller["address"])
    credentials = tmp_path / "credentials.json"
    credentials.write_text('{"user": "operator", "password": "of the box"}')
    controller.update(credentials=str(credentials), certificate=str(certificate))
    assert seeding.seed_fence_devices(facts) == 1
    assert seeding.seed_fence_devices(facts) == 0
    device = FenceDevice.objects.get()
    assert (device.address, device.system) == (controller["address"], controller["system"])
    assert keys.box().decrypt(device.sealed_password.encode()) == b"of the box"


def test_an_installation_of_an_earlier_release_gets_segments_and_their_prices(
    facts: dict[str, Any],
) -> None:
    earlier = {key: value for key, value in facts.items() if key != "external"}
    platform = seeding.seed_platform(earlier)
    assert not ExternalSegment.objects.exists()
    # It had no prices for GPUs, and tiers that an administrator made.
    vcpu = "vcpu", Method.HOUR
    tiers = {vcpu: [Tier(Decimal(8), Decimal("0.05"))]}
    own = pricelists.draft(platform.region, {vcpu: Decimal("0.07")}, tiers=tiers)
    pricelists.publish(own)
    Cluster.objects.update(gpu_type=GpuType.T4)
    seeding.seed_platform(facts)
    segments = {segment.sku for segment in ExternalSegment.objects.all()}
    assert prices_now() == segments | {"vcpu", "gpu:T4"}
    latest = Price.objects.filter(price_list__version=own.version + 1, sku="vcpu")
    assert [(row.above, row.unit_price) for row in latest] == [
        (0, Decimal("0.07")),
        (8, Decimal("0.05")),
    ]


def test_a_host_that_was_known_without_tls_is_the_same_row_with_it(facts: dict[str, Any]) -> None:
    host = facts["hosts"][0]
    assert host["uri"].startswith("qemu+tls://")
    assert problem_of(host["uri"]) == ""
    plain = {**facts, "hosts": [{**host, "uri": host["plain_uri"]}]}
    seeding.seed_platform(plain)
    known = Host.objects.get()
    assert known.uri == host["plain_uri"]
    Host.objects.update(name="renamed")
    seeding.seed_platform(facts)
    found = Host.objects.get()
    assert (found.pk, found.uri) == (known.pk, host["uri"])
    assert found.name == host["name"]
    region = Region.objects.get()
    assert region.ovn_nb.startswith("ssl:")
    assert region.ovn_sb.startswith("ssl:")
    seeding.seed_platform(facts)
    assert Host.objects.count() == 1


def test_a_lab_with_ceph_gets_a_second_pool_with_a_disk_type_that_is_sold(
    facts: dict[str, Any], tmp_path: Path
) -> None:
    seeding.seed_platform(facts)
    assert not StoragePool.objects.filter(kind="rbd").exists()
    raw = b"\1\0" + bytes(8) + b"\x10\0" + bytes(16)
    key = base64.b64encode(raw).decode()
    keyring = tmp_path / "keyring"
    keyring.write_text(f"[client.scloud]\n\tkey = {key}\n")
    facts["storage"]["ceph"] = {
        "monitors": "10.99.47.1:6789",
        "pool": "scloud",
        "user": "scloud",
        "keyring": str(keyring),
    }
    for _ in range(2):
        platform = seeding.seed_platform(facts)
        pool = StoragePool.objects.get(kind="rbd")
        assert (pool.location, pool.monitors) == ("rbd:scloud", "10.99.47.1:6789")
        assert keys.box().decrypt(pool.sealed_key.encode()).decode() == key
        assert platform.more_pools == (pool,)
        assert [one.pk for one in platform.disk_types] == ["ssd", "hdd", "ceph"]
        assert platform.pool.kind == "dir"
    assert StoragePool.objects.count() == 2
    assert "disk_gib:ceph" in prices_now()
