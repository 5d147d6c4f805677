"""Filling an empty installation: a region from a description of its hosts, prices, a demo tenant.

Used by ``manage.py seed_demo`` and by the tests. It works on a fresh database and on one that has
been seeded before; what an administrator changed since stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone

from billing import ledger, money, pricelists
from billing.models import PriceList, TransactionKind
from compute.actions.fencing import save_fence_device
from compute.actions.pools import save_pool
from compute.models import Cluster, DiskType, FenceDevice, Host, Image, Spec, StoragePool
from compute.models.fencing import FenceAgent
from compute.models.platform import CEPH, GpuType, host_id
from compute.states.images import ImageStatus
from compute.tasks.images import store_base_image
from network.actions.defaults import ensure_tenant_defaults
from network.actions.segments import save_external_segment
from network.models import ExternalSegment
from network.models.segment import RoutePolicy
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scope

GIB = 1024
# Memory in GiB: the sizes that a new installation offers.
SHIPPED_SPECS = ((1, 2), (2, 4), (4, 8), (8, 16), (16, 32), (64, 128))


@dataclass(frozen=True)
class ImageFile:
    """A base image that lies in a file of this machine."""

    key: str
    name: str
    path: Path
    distribution: str
    version: str
    admin_account: str = "root"
    supports_hot_upgrade: bool = True
    # The id that the image gets; by default a fresh one.
    image_id: str = ""


@dataclass(frozen=True)
class Platform:
    """What :func:`seed_platform` made."""

    region: Region
    cluster: Cluster
    pool: StoragePool
    disk_types: list[DiskType]
    # Beside the first pool: base images are stored there, too.
    more_pools: tuple[StoragePool, ...] = ()


def seed_ceph(region: Region, facts: Mapping[str, Any]) -> DiskType:
    """Make the pool of a Ceph cluster, and a disk type on it; safe to repeat."""
    keyring = Path(facts["keyring"]).read_text()
    key = next(
        value.strip()
        for name, _equals, value in (line.partition("=") for line in keyring.splitlines())
        if name.strip() == "key"
    )
    pool = StoragePool.objects.filter(pk="ceph").first() or StoragePool(pk="ceph")
    adopting = pool._state.adding
    pool.region, pool.kind = region, "rbd"
    pool.location, pool.monitors = f"{CEPH}{facts['pool']}", facts["monitors"]
    pool.user = facts["user"]
    save_pool(actor=Actor.system(None), pool=pool, key=key)
    if adopting:
        # The cluster may hold an earlier installation's.
        StoragePool.objects.filter(pk=pool.pk, marker="").update(adopting=True)
    disk_type, _ = DiskType.objects.get_or_create(
        id="ceph",
        defaults={
            "region": region,
            "pool": pool,
            "alias": "Ceph SSD",
            "medium": "SSD",
            "iops_limit": 5000,
            "throughput_limit_mbps": 200,
            "position": 2,
        },
    )
    return disk_type


def seed_platform(
    facts: Mapping[str, Any],
    *,
    region_id: str = "box",
    region_name: str = "Region in a box",
    extra_specs_mib: Sequence[tuple[int, int]] = (),
    pool_kind: str = "dir",
) -> Platform:
    """Make region, cluster, hosts, pool, disk types, specs and prices.

    ``facts``: ``{"hosts": [{"name", "uri", "address"}], "ovn": {"nb"}, "storage": {"path"}}``;
    ``sb`` beside ``nb`` lets operators trace packets. A host's ``plain_uri`` is an address by which
    it may be known from before: that row then has the new one. ``ceph`` beside ``path`` is a pool
    of a Ceph cluster (``{"monitors", "pool", "user", "keyring"}``): a second pool, with a type.
    ``extra_specs_mib`` are (vCPU, MiB) beside the shipped sizes.
    """
    ovn = facts["ovn"]
    region, _ = Region.objects.update_or_create(
        id=region_id,
        defaults={"name": region_name, "ovn_nb": ovn["nb"], "ovn_sb": ovn.get("sb", "")},
    )
    cluster, _ = Cluster.objects.get_or_create(
        id="x86",
        defaults={
            "region": region,
            "alias": "x86 standard",
            "description": "General purpose",
            "cpu_overcommit": Decimal("6.0"),
        },
    )
    for host in facts["hosts"]:
        known = (
            Host.objects.filter(uri=host["uri"]).first()
            or Host.objects.filter(uri=host.get("plain_uri", "")).first()
        )
        Host.objects.update_or_create(
            pk=known.pk if known is not None else host_id(),
            defaults={
                "uri": host["uri"],
                "name": host["name"],
                "cluster": cluster,
                "address": host["address"],
                # The lab's switch runs in user space.
                "offloads": False,
            },
        )
    place = {"region": region, "kind": pool_kind, "location": facts["storage"]["path"]}
    pool, _ = StoragePool.objects.update_or_create(
        id="main",
        defaults=place,
        # The directory may have been an earlier installation's.
        create_defaults={**place, "adopting": True},
    )
    cluster_facts = facts["storage"].get("ceph")
    ceph = [] if cluster_facts is None else [seed_ceph(region, cluster_facts)]
    ssd, _ = DiskType.objects.get_or_create(
        id="ssd",
        defaults={
            "region": region,
            "pool": pool,
            "alias": "SSD",
            "medium": "SSD",
            "iops_limit": 5000,
            "throughput_limit_mbps": 200,
        },
    )
    hdd, _ = DiskType.objects.get_or_create(
        id="hdd",
        defaults={
            "region": region,
            "pool": pool,
            "alias": "HDD",
            "medium": "HDD",
            "iops_limit": 500,
            "throughput_limit_mbps": 80,
            "position": 1,
        },
    )
    sizes = [(vcpus, gib * GIB) for vcpus, gib in SHIPPED_SPECS]
    for vcpus, memory_mib in [*extra_specs_mib, *sizes]:
        Spec.objects.get_or_create(cluster=cluster, vcpus=vcpus, memory_mib=memory_mib)
    segments = seed_segments(region, facts.get("external"))
    if not PriceList.objects.filter(region=region).exists():
        skus = [segment.pk for segment in segments]
        gpus = [found.value for found in GpuType if found]
        prices = pricelists.shipped_prices({"disk_gib": ["ssd", "hdd"], "mbps": skus, "gpu": gpus})
        pricelists.publish(pricelists.draft(region, prices, note="Shipped prices"))
    sell_missing(region, segments, ceph)
    return Platform(region, cluster, pool, [ssd, hdd, *ceph], tuple(one.pool for one in ceph))


def seed_fence_devices(facts: Mapping[str, Any]) -> int:
    """Make a fence device for each host that has a controller and none yet; return how many.

    A host's ``controller``: ``{"address", "port", "system", "credentials", "certificate"}``, the
    last two as files of this machine. One whose files are not there is left out.
    """
    made = 0
    for given in facts["hosts"]:
        host, controller = Host.objects.get(uri=given["uri"]), given.get("controller")
        if controller is None or FenceDevice.objects.filter(host=host).exists():
            continue
        try:
            login = json.loads(Path(controller["credentials"]).read_text())
            certificate = Path(controller["certificate"]).read_text()
        except FileNotFoundError:
            continue
        save_fence_device(
            actor=Actor.system(None),
            device=FenceDevice(
                host=host,
                agent=FenceAgent.REDFISH,
                address=controller["address"],
                port=controller["port"],
                user=login["user"],
                system=controller["system"],
                certificate=certificate,
            ),
            password=login["password"],
        )
        made += 1
    return made


def seed_segments(region: Region, external: Mapping[str, Any] | None) -> list[ExternalSegment]:
    """Make the segments of the region's external network; those that are there already stay.

    ``external``: ``{"physical_network", "segments": [{"name", "cidr", "gateway"}]}``, in which a
    segment may have ``destinations`` and a ``vnc_address``. None makes none.
    """
    made: list[ExternalSegment] = []
    if external is None:
        return made
    for position, given in enumerate(external["segments"]):
        destinations = given.get("destinations", [])
        there = ExternalSegment.objects.filter(region=region, cidr=given["cidr"]).first()
        made.append(
            there
            or save_external_segment(
                actor=Actor.system(None),
                segment=ExternalSegment(
                    region=region,
                    name=given["name"],
                    ip_version=ip_network(given["cidr"]).version,
                    cidr=given["cidr"],
                    gateway=given["gateway"],
                    physical_network=external["physical_network"],
                    route_policy=RoutePolicy.SPECIFIED if destinations else RoutePolicy.DEFAULT,
                    destinations=destinations,
                    serves_vnc=bool(given.get("vnc_address")),
                    vnc_address=given.get("vnc_address") or None,
                    position=position,
                ),
            )
        )
    return made


def sell_missing(
    region: Region, segments: Sequence[ExternalSegment], disk_types: Sequence[DiskType] = ()
) -> None:
    """Let be sold what a region has and the prices in force know nothing of: the bandwidth of
    ``segments``, ``disk_types`` and the GPUs of its clusters. What is there keeps its price.
    """
    latest = (
        PriceList.objects.filter(region=region, published_at__isnull=False)
        .order_by("-version")
        .first()
    )
    if latest is None:
        return
    known = set(latest.prices.values_list("sku", flat=True))
    gpus = Cluster.objects.filter(region=region).exclude(gpu_type=GpuType.NONE)
    shipped = pricelists.shipped_prices(
        {
            "mbps": [segment.pk for segment in segments],
            "disk_gib": [disk_type.pk for disk_type in disk_types],
            "gpu": sorted(set(gpus.values_list("gpu_type", flat=True))),
        }
    )
    missing = {
        key: price
        for key, price in shipped.items()
        # What is charged by use would cost money that nobody has agreed to.
        if key[0] not in {*known, *pricelists.SHIPPED_BASE, *pricelists.SHIPPED_METERED}
    }
    if missing:
        note = "Shipped prices of external bandwidth, disk types and GPUs"
        pricelists.publish(pricelists.copy(latest, adding=missing, note=note))


def seed_images(platform: Platform, files: Sequence[ImageFile]) -> list[Image]:
    """Import base images from files into the pools; those that are there already stay.

    Returns those of the first pool.
    """
    made: list[Image] = []
    for pool in (platform.pool, *platform.more_pools):
        suffix = "" if pool == platform.pool else f" ({pool.pk})"
        stored = [
            _seed_image(platform, pool, file, position, suffix)
            for position, file in enumerate(files)
        ]
        made = made or stored
    return made


def _seed_image(
    platform: Platform, pool: StoragePool, file: ImageFile, position: int, suffix: str
) -> Image:
    rows = Image.objects.filter(
        tenant=None,
        region=platform.region,
        distribution=file.distribution,
        version=file.version,
        status=ImageStatus.AVAILABLE,
    )
    if suffix:
        image = rows.filter(pool=pool).first()
    else:
        # An administrator may have put the first pool's elsewhere.
        image = rows.exclude(pool__in=platform.more_pools).first()
    if image is None:
        image = Image(
            region=platform.region,
            pool=pool,
            name=f"{file.name}{suffix}",
            distribution=file.distribution,
            version=file.version,
            admin_account=file.admin_account,
            supports_hot_upgrade=file.supports_hot_upgrade,
            position=position,
        )
        if file.image_id and not suffix:
            image.id = file.image_id
        store_base_image(image, file.path)
    return image


def seed_tenant(
    *, name: str, email: str, password: str, region: Region, balance: Decimal
) -> tuple[Tenant, User]:
    """Make a tenant with an owner, money and the default network."""
    with transaction.atomic():
        tenant, created = Tenant.objects.get_or_create(name=name)
        user = User.objects.filter(email=email).first()
        if user is None:
            user = User.objects.create_user(
                email, password, tenant=tenant, role=Role.OWNER, full_name="Demo Owner"
            )
        if created and balance > 0:
            with scope(tenant=tenant):
                account = ledger.lock_account(tenant)
                ledger.post(
                    account,
                    TransactionKind.RECHARGE,
                    cash_minor=money.to_minor(balance),
                    gift_minor=0,
                    key=f"seed:{tenant.pk}",
                    actor="SCloud",
                    note=f"Opening balance, {timezone.now():%Y-%m-%d}",
                )
    ensure_tenant_defaults(tenant, region)
    return tenant, user
