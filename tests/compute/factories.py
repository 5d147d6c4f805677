"""Platforms, tenants with money, and VMs for tests: made by the product's own actions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone

from billing import pricelists
from billing.models import PriceList
from billing.pricing import Method
from compute.actions.vms.create import create_vms, quote_vms
from compute.models import VM, Cluster, Disk, DiskType, Host, Image, Spec, StoragePool
from compute.rules.orders import VmOrder
from compute.states.disks import DiskStatus
from compute.states.vms import PowerState, VmStatus
from network.actions.defaults import Defaults, ensure_tenant_defaults
from scloud.jobs.models import ACTIVE, Job, JobStatus
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope
from tests.billing.helpers import fund

SIZES_GIB = ((1, 2), (2, 4), (4, 8), (8, 16))
PRICES = {
    "vcpu": ("0.06", "26", "260"),
    "memory_gib": ("0.03", "13", "130"),
    "disk_gib:ssd": ("0.0008", "0.35", "3.5"),
    "disk_gib:hdd": ("0.0004", "0.2", "2"),
    "gpu:T4": ("4.2", "1800", "18000"),
}
PASSWORD = "Str0ng-enough"


@dataclass(frozen=True)
class Platform:
    """A region in which VMs can be bought; nothing behind it is asked."""

    region: Region
    cluster: Cluster
    hosts: list[Host]
    specs: list[Spec]
    pool: StoragePool
    disk_type: DiskType
    image: Image
    price_list: PriceList


def make_platform(
    region: Region,
    *,
    hosts: int = 2,
    vcpus: int = 16,
    memory_mib: int = 65_536,
    overcommit: str = "4.0",
    gpu_type: str = "",
    cluster_id: str = "x86",
) -> Platform:
    """Make a cluster with hosts of the fake driver, sizes, a pool, disk type, image, prices."""
    cluster = Cluster.objects.create(
        id=cluster_id,
        region=region,
        alias="x86 standard",
        cpu_overcommit=Decimal(overcommit),
        gpu_type=gpu_type,
    )
    made = [
        Host.objects.create(
            name=f"{cluster_id}-h{number}",
            cluster=cluster,
            uri=f"fake:{cluster_id}-h{number}",
            address=f"192.0.2.{10 + number}",
            vcpus=vcpus,
            memory_mib=memory_mib,
            observed_at=timezone.now(),
        )
        for number in range(1, hosts + 1)
    ]
    specs = [
        Spec.objects.create(cluster=cluster, vcpus=size, memory_mib=gib * 1024)
        for size, gib in SIZES_GIB
    ]
    pool = StoragePool.objects.create(
        id=f"{cluster_id}-pool", region=region, kind="fake", location=f"{cluster_id}-pool"
    )
    disk_type, _ = DiskType.objects.get_or_create(
        id="ssd", defaults={"region": region, "pool": pool, "alias": "SSD"}
    )
    image = Image.objects.create(
        region=region,
        pool=disk_type.pool,
        name="Debian 12",
        distribution="debian",
        version="12",
        min_disk_gib=2,
        supports_hot_upgrade=True,
    )
    return Platform(region, cluster, made, specs, pool, disk_type, image, make_prices(region))


def make_prices(region: Region, factor: str = "1") -> PriceList:
    """Publish a price list that is in force since long ago, or from now on if there is one."""
    first = not PriceList.objects.filter(region=region).exists()
    drafted = pricelists.draft(
        region,
        {
            (sku, method): Decimal(figure) * Decimal(factor)
            for sku, figures in PRICES.items()
            for method, figure in zip(Method, figures, strict=True)
        },
    )
    since = datetime(2020, 1, 1, tzinfo=UTC) if first else timezone.now()
    PriceList.objects.filter(pk=drafted.pk).update(effective_from=since, published_at=since)
    drafted.refresh_from_db()
    return drafted


def give_network(tenant: Tenant, region: Region) -> Defaults:
    """Return the tenant's default VPC, subnet and security group, made where they are missing."""
    return ensure_tenant_defaults(tenant, region)


def make_order(platform: Platform, tenant: Tenant, **changes: Any) -> VmOrder:
    """Return an order of the smallest size in the tenant's default subnet."""
    network = give_network(tenant, platform.region)
    assert network.subnet is not None
    values: dict[str, Any] = {
        "region": platform.region,
        "cluster": platform.cluster,
        "image": platform.image,
        "spec": platform.specs[0],
        "system_disk_type": platform.disk_type,
        "system_disk_gib": 40,
        "subnet": network.subnet,
        "internal_group": network.security_group,
        "password": PASSWORD,
    }
    return VmOrder(**{**values, **changes})


def buy_vms(platform: Platform, actor: Actor, *, cash: str = "10000", **changes: Any) -> list[VM]:
    """Buy VMs as the console does; they stay in *Starting* until a worker runs their jobs."""
    assert actor.tenant is not None
    if Decimal(cash):
        fund(actor.tenant, cash=cash)
    order = make_order(platform, actor.tenant, **changes)
    with scope(tenant=actor.tenant):
        quote = quote_vms(actor=actor, order=order)
        return create_vms(actor=actor, order=order, quote_token=quote.token)


def settle(vm: VM, status: str = VmStatus.RUNNING, **columns: Any) -> VM:
    """Land a VM in a status as its job would have, without a worker; return it anew."""
    power = PowerState.RUNNING if status == VmStatus.RUNNING else PowerState.STOPPED
    with scope(tenant=vm.tenant):
        Job.objects.filter(target_id=vm.pk, status__in=ACTIVE).update(
            status=JobStatus.SUCCEEDED, finished_at=timezone.now(), progress_percent=100
        )
        if status in (VmStatus.BINNED, VmStatus.DESTROYED, VmStatus.FAILED):
            columns.setdefault("host", None)
        VM.objects.filter(pk=vm.pk).update(
            **{
                "status": status,
                "task": "",
                "task_job": "",
                "task_deadline": None,
                "power_state": power,
                "observed_at": timezone.now(),
                **columns,
            }
        )
        Disk.objects.filter(vm=vm).update(status=DiskStatus.BOUND)
        fresh: VM = VM.objects.get(pk=vm.pk)
        return fresh


def make_vm(platform: Platform, actor: Actor, status: str = VmStatus.RUNNING, **changes: Any) -> VM:
    """Return one VM of the actor's tenant that stands in a status."""
    columns = changes.pop("columns", {})
    (vm,) = buy_vms(platform, actor, **changes)
    return settle(vm, status, **columns)
