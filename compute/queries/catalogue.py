"""What a tenant can buy in a region: models, disk types, images."""

from django.db.models import Q, QuerySet

from compute.models import Cluster, DiskType, Image
from compute.models.platform import GpuType
from compute.states.images import ImageStatus
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled


def clusters(tenant: Tenant, region: Region) -> QuerySet[Cluster]:
    """Return the models that a tenant may buy in a region."""
    with scopes_disabled():
        return (
            Cluster.objects.filter(Q(tenants=None) | Q(tenants=tenant), region=region, enabled=True)
            .distinct()
            .prefetch_related("specs")
        )


def disk_types(tenant: Tenant, region: Region) -> QuerySet[DiskType]:
    return (
        DiskType.objects.filter(Q(tenants=None) | Q(tenants=tenant), region=region, enabled=True)
        .select_related("pool")
        .distinct()
    )


def images(tenant: Tenant, region: Region | None = None) -> QuerySet[Image]:
    """Return the base images and the tenant's own: the only way to read images for a tenant."""
    rows = Image.objects.filter(Q(tenant=None, withdrawn_at=None) | Q(tenant=tenant)).exclude(
        status=ImageStatus.DESTROYED
    )
    return rows.filter(region=region) if region is not None else rows


def gpu_names(tenant: Tenant, region: Region) -> dict[str, str]:
    """The GPUs of the models that a tenant may buy, by their names in price lists."""
    types = clusters(tenant, region).exclude(gpu_type=GpuType.NONE).order_by("gpu_type")
    return {name: name for name in types.values_list("gpu_type", flat=True).distinct()}


def every_gpu_name(region: Region) -> dict[str, str]:
    """The GPUs of all models of a region, whoever may buy them."""
    types = Cluster.objects.filter(region=region).exclude(gpu_type=GpuType.NONE)
    names = types.order_by("gpu_type").values_list("gpu_type", flat=True).distinct()
    return {name: name for name in names}


def every_disk_name(region: Region) -> dict[str, str]:
    """The aliases of all disk types of a region by id, whoever may buy them."""
    return dict(DiskType.objects.filter(region=region).values_list("pk", "alias"))


def disk_names(tenant: Tenant, region: Region) -> dict[str, str]:
    """The disk types that a tenant may buy: their aliases by id."""
    return dict(disk_types(tenant, region).values_list("pk", "alias"))
