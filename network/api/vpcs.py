"""The network in the API: the same verbs as in the console."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from network import actions
from network.api import serializers as shapes
from network.models import SecurityGroup, SecurityGroupRule, Subnet, Vpc
from network.queries import vpcs as queries
from scloud.lib.errors import NotFound
from scloud.rest.inputs import region_named, valid
from scloud.rest.views import ActorMixin, ResourceViewSet

REGION = OpenApiParameter("region", str, description="Only those of this region.")


class NetworkViewSet(ResourceViewSet):
    """What the three kinds share: narrowing by region, and answers with the row as it is now."""

    def in_region(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Only the rows of the region that the query names, if it names one."""
        region = self.request.query_params.get("region")
        return rows.filter(region_id=region) if region else rows

    def shown(self, pk: str, status: int = 200) -> Response:
        """The row as it is now."""
        row = self.get_queryset().get(pk=pk)
        return Response(self.get_serializer(row).data, status=status)


@extend_schema(tags=["VPCs"])
class VpcViewSet(NetworkViewSet):
    """VPCs."""

    serializer_class = shapes.VpcSerializer
    view_permission = "network.view_vpc"

    def get_queryset(self) -> QuerySet[Vpc]:
        """Return the tenant's VPCs."""
        return self.in_region(queries.vpcs())

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

        def answer() -> Response:
            data = valid(shapes.VpcInput, request)
            region = region_named(data.pop("region"))
            vpc = actions.create_vpc(actor=self.actor, region=region, **data)
            return self.shown(vpc.pk, 201)

        return self.once(answer)

    @extend_schema(request=shapes.NameInput)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Rename a VPC, and change its remark if one is given."""
        data = valid(shapes.NameInput, request)
        actions.rename_vpc(actor=self.actor, vpc=self.get_object(), **data)
        return self.shown(pk)

    def destroy(self, request: Request, pk: str) -> Response:
        """Delete a VPC without subnets."""
        actions.delete_vpc(actor=self.actor, vpc=self.get_object())
        return Response(status=204)


@extend_schema(tags=["Subnets"])
class SubnetViewSet(NetworkViewSet):
    """Subnets."""

    serializer_class = shapes.SubnetSerializer
    view_permission = "network.view_subnet"

    def get_queryset(self) -> QuerySet[Subnet]:
        """Return the tenant's subnets, or those of one VPC."""
        rows = self.in_region(queries.subnets())
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

        def answer() -> Response:
            data = valid(shapes.SubnetInput, request)
            vpc_id = data.pop("vpc")
            vpc = Vpc.objects.filter(pk=vpc_id).first()
            if vpc is None:
                raise NotFound(f"There is no VPC {vpc_id}.", field="vpc")
            subnet = actions.create_subnet(actor=self.actor, vpc=vpc, **data)
            return self.shown(subnet.pk, 201)

        return self.once(answer)

    @extend_schema(request=shapes.NameInput)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Rename a subnet, and change its remark if one is given."""
        data = valid(shapes.NameInput, request)
        actions.rename_subnet(actor=self.actor, subnet=self.get_object(), **data)
        return self.shown(pk)

    def destroy(self, request: Request, pk: str) -> Response:
        """Delete a subnet that no VM uses."""
        actions.delete_subnet(actor=self.actor, subnet=self.get_object())
        return Response(status=204)


@extend_schema(tags=["Security groups"])
class SecurityGroupViewSet(NetworkViewSet):
    """Security groups."""

    serializer_class = shapes.SecurityGroupSerializer
    view_permission = "network.view_security_group"

    def get_queryset(self) -> QuerySet[SecurityGroup]:
        """Return the tenant's groups."""
        return self.in_region(queries.security_groups())

    @extend_schema(parameters=[REGION])
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List security groups."""
        return super().list(request, *args, **kwargs)

    @extend_schema(
        request=shapes.SecurityGroupInput,
        responses={201: shapes.SecurityGroupSerializer},
        examples=[
            OpenApiExample(
                "Web servers",
                value={
                    "region": "box",
                    "name": "web",
                    "rules": [
                        {
                            "direction": "in",
                            "protocol": "tcp",
                            "ports": "443",
                            "cidr": "0.0.0.0/0",
                        },
                        {"direction": "out", "protocol": "all", "cidr": "0.0.0.0/0"},
                    ],
                },
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Create a security group; without rules nothing passes."""

        def answer() -> Response:
            data = valid(shapes.SecurityGroupInput, request)
            region = region_named(data.pop("region"))
            rules = tuple(actions.RuleInput(**one) for one in data.pop("rules"))
            group = actions.create_security_group(
                actor=self.actor, region=region, rules=rules, **data
            )
            return self.shown(group.pk, 201)

        return self.once(answer)

    @extend_schema(request=shapes.NameInput)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Rename a security group, and change its remark if one is given."""
        data = valid(shapes.NameInput, request)
        actions.rename_security_group(actor=self.actor, group=self.get_object(), **data)
        return self.shown(pk)

    def destroy(self, request: Request, pk: str) -> Response:
        """Delete a security group that no VM uses."""
        actions.delete_security_group(actor=self.actor, group=self.get_object())
        return Response(status=204)

    @extend_schema(methods=["GET"], responses=shapes.RuleSerializer(many=True))
    @extend_schema(
        methods=["POST"],
        request=shapes.RuleInputSerializer,
        responses={201: shapes.RuleSerializer},
        examples=[
            OpenApiExample(
                "SSH from one network",
                value={
                    "direction": "in",
                    "protocol": "tcp",
                    "ports": "22",
                    "cidr": "203.0.113.0/24",
                },
                request_only=True,
            )
        ],
    )
    @action(detail=True, methods=["get", "post"], pagination_class=None, filter_backends=[])
    def rules(self, request: Request, pk: str) -> Response:
        """List the rules of a group, or add one; it acts at once."""
        group = self.get_object()
        if request.method == "GET":
            return Response(shapes.RuleSerializer(queries.rules(group), many=True).data)

        def answer() -> Response:
            data = valid(shapes.RuleInputSerializer, request)
            rule = actions.add_rule(actor=self.actor, group=group, rule=actions.RuleInput(**data))
            return Response(shapes.RuleSerializer(rule).data, status=201)

        return self.once(answer)


@extend_schema(tags=["Security groups"])
class RuleView(ActorMixin):
    """One rule of a security group."""

    view_permission = "network.view_security_group"

    def rule(self, pk: str) -> SecurityGroupRule:
        """The rule. Raises NotFound."""
        found: SecurityGroupRule | None = (
            SecurityGroupRule.objects.select_related("group").filter(pk=pk).first()
        )
        if found is None:
            raise NotFound(f"There is no rule {pk}.")
        return found

    @extend_schema(responses=shapes.RuleSerializer)
    def get(self, request: Request, pk: str) -> Response:
        """Show a rule."""
        return Response(shapes.RuleSerializer(self.rule(pk)).data)

    @extend_schema(request=shapes.RuleInputSerializer, responses=shapes.RuleSerializer)
    def put(self, request: Request, pk: str) -> Response:
        """Change a rule; it acts at once."""
        values = actions.RuleInput(**valid(shapes.RuleInputSerializer, request))
        rule = actions.edit_rule(actor=self.actor, rule=self.rule(pk), values=values)
        return Response(shapes.RuleSerializer(rule).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: str) -> Response:
        """Remove a rule; connections that nothing allows any more are cut."""
        actions.remove_rule(actor=self.actor, rule=self.rule(pk))
        return Response(status=204)
