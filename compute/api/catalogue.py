"""What can be bought: models with their sizes, and disk types."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from compute.api.common import REGION
from compute.api.serializers import catalogue as catalogue_shapes
from compute.hosts import placement
from compute.models import Cluster, DiskType
from compute.queries import catalogue
from scloud.lib.errors import NotFound
from scloud.resources.models import Region
from scloud.rest.views import ActorMixin
from scloud.tenancy.models import Tenant


@extend_schema(tags=["Catalogue"], parameters=[REGION])
class ModelView(ActorMixin):
    """Models with the sizes that can be bought."""

    view_permission = "compute.view_catalogue"

    @extend_schema(responses=catalogue_shapes.ClusterSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List models; sizes that fit nowhere at present carry the reason."""
        tenant = self.actor.tenant
        if tenant is None:
            raise NotFound(_("There is no tenant."))
        found = []
        for region in _regions(request):
            for cluster in catalogue.clusters(tenant, region):
                _mark_refusals(cluster, tenant)
                found.append(cluster)
        return Response(catalogue_shapes.ClusterSerializer(found, many=True).data)


def _regions(request: Request) -> QuerySet[Region]:
    rows = Region.objects.filter(enabled=True)
    wanted = request.query_params.get("region")
    return rows.filter(pk=wanted) if wanted else rows


def _mark_refusals(cluster: Cluster, tenant: Tenant) -> None:
    candidates = placement.candidates(cluster, tenant)
    specs = [spec for spec in cluster.specs.all() if spec.enabled]
    for spec in specs:
        spec.refusal = placement.why_not(  # type: ignore[attr-defined]  # for the serializer
            cluster, candidates, placement.demand_for(spec)
        )
    cluster.offered = specs  # type: ignore[attr-defined]  # for the serializer


@extend_schema(tags=["Catalogue"], parameters=[REGION])
class DiskTypeView(ActorMixin):
    """Disk types."""

    view_permission = "compute.view_catalogue"

    @extend_schema(responses=catalogue_shapes.DiskTypeSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the disk types that can be bought."""
        tenant = self.actor.tenant
        if tenant is None:
            raise NotFound(_("There is no tenant."))
        found: list[DiskType] = []
        for region in _regions(request):
            found += catalogue.disk_types(tenant, region)
        return Response(catalogue_shapes.DiskTypeSerializer(found, many=True).data)
