"""What a tenant can buy in a region: models, disk types, images."""

from django.db.models import Q, QuerySet

from compute.models import Cluster, DiskType, Image
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
