"""Placement groups in the API."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from compute.actions import placement
from compute.api.common import REGION, SEARCH, narrowed
from compute.api.serializers import placement as shapes
from compute.queries import placement as queries
from scloud.rest.inputs import region_named, valid
from scloud.rest.verbs import VerbViewSet, show


@extend_schema_view(list=extend_schema(parameters=[REGION, SEARCH]))
class PlacementGroupViewSet(VerbViewSet):
    """Placement groups: VMs that stay on different hosts, or on one."""

    kind = "placement_group"
    tag = "Placement groups"
    serializer_class = shapes.PlacementGroupSerializer
    view_permission = "compute.view_placement_group"

    def get_queryset(self) -> QuerySet[Any]:
        """Return the tenant's groups, the newest first."""
        rows = queries.groups()
        return narrowed(rows, self.request.query_params) if self.action == "list" else rows

    @extend_schema(
        request=shapes.PlacementGroupInput,
        responses={201: shapes.PlacementGroupSerializer},
        examples=[
            OpenApiExample(
                "Two databases that never share a host",
                value={"region": "box", "name": "databases", "policy": "spread", "required": True},
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Create a placement group; VMs join it when they are bought, or later."""
        data = valid(shapes.PlacementGroupInput, request)
        region = region_named(data.pop("region"))
        group = placement.create_placement_group(actor=self.actor, region=region, **data)
        return Response(self.shown(self.kind, group.pk), status=201)


show(
    "placement_group",
    shapes.PlacementGroupSerializer,
    lambda actor, pk: queries.group_named(pk),
)
