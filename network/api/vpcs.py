"""The network in the API: the same verbs as in the console."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from network import actions
from network.api import serializers as shapes
from network.api.common import REGION, NetworkViewSet
from network.models import Subnet, Vpc
from network.queries import vpcs as vpc_queries
from scloud.lib.errors import NotFound
from scloud.rest.inputs import region_named, valid
from scloud.rest.verbs import show


class VpcViewSet(NetworkViewSet):
    """VPCs."""

    kind = "vpc"
    tag = "VPCs"
    serializer_class = shapes.VpcSerializer
    view_permission = "network.view_vpc"

    def get_queryset(self) -> QuerySet[Vpc]:
        """Return the tenant's VPCs."""
        return self.in_region(vpc_queries.vpcs())

    @extend_schema(parameters=[REGION])
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List VPCs."""
        return super().list(request, *args, **kwargs)

    @extend_schema(
        request=shapes.VpcInput,
        responses={201: shapes.VpcSerializer},
        examples=[
            OpenApiExample(
                "A VPC",
                value={"region": "box", "name": "office", "cidr": "10.1.0.0/16"},
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Create a VPC."""
        data = valid(shapes.VpcInput, request)
        region = region_named(data.pop("region"))
        vpc = actions.create_vpc(actor=self.actor, region=region, **data)
        return Response(self.shown(self.kind, vpc.pk), status=201)


class SubnetViewSet(NetworkViewSet):
    """Subnets."""

    kind = "subnet"
    tag = "Subnets"
    serializer_class = shapes.SubnetSerializer
    view_permission = "network.view_subnet"

    def get_queryset(self) -> QuerySet[Subnet]:
        """Return the tenant's subnets, or those of one VPC."""
        rows = self.in_region(vpc_queries.subnets())
        vpc = self.request.query_params.get("vpc")
        return rows.filter(vpc_id=vpc) if vpc else rows

    @extend_schema(
        parameters=[REGION, OpenApiParameter("vpc", str, description="Only those of this VPC.")]
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List subnets."""
        return super().list(request, *args, **kwargs)

    @extend_schema(
        request=shapes.SubnetInput,
        responses={201: shapes.SubnetSerializer},
        examples=[
            OpenApiExample(
                "A subnet",
                value={"vpc": "vpc-4k2p09xqa", "name": "desks", "cidr": "10.1.1.0/24"},
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Create a subnet in a VPC."""
        data = valid(shapes.SubnetInput, request)
        vpc_id = data.pop("vpc")
        vpc = Vpc.objects.filter(pk=vpc_id).first()
        if vpc is None:
            raise NotFound(_("There is no VPC %(vpc_id)s.") % {"vpc_id": vpc_id}, field="vpc")
        subnet = actions.create_subnet(actor=self.actor, vpc=vpc, **data)
        return Response(self.shown(self.kind, subnet.pk), status=201)


show("vpc", shapes.VpcSerializer, lambda actor, pk: vpc_queries.vpcs().get(pk=pk))
show("subnet", shapes.SubnetSerializer, lambda actor, pk: vpc_queries.subnets().get(pk=pk))
