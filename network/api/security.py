"""Security groups in the API."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from network import actions
from network.api import serializers as shapes
from network.api.common import REGION, NetworkViewSet
from network.models import SecurityGroup, SecurityGroupRule
from network.queries import security as security_queries
from network.rules import csv_rules, templates
from scloud.lib.errors import NotFound
from scloud.rest.inputs import region_named, valid
from scloud.rest.verbs import show
from scloud.rest.views import ActorMixin


class SecurityGroupViewSet(NetworkViewSet):
    """Security groups."""

    kind = "security_group"
    tag = "Security groups"
    serializer_class = shapes.SecurityGroupSerializer
    view_permission = "network.view_security_group"

    def get_queryset(self) -> QuerySet[SecurityGroup]:
        """Return the tenant's groups."""
        return self.in_region(security_queries.security_groups())

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
        data = valid(shapes.SecurityGroupInput, request)
        region = region_named(data.pop("region"))
        rules = tuple(actions.RuleInput(**one) for one in data.pop("rules"))
        group = actions.create_security_group(actor=self.actor, region=region, rules=rules, **data)
        return Response(self.shown(self.kind, group.pk), status=201)

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
            return Response(shapes.RuleSerializer(security_queries.rules(group), many=True).data)

        data = valid(shapes.RuleInputSerializer, request)
        rule = actions.add_rule(actor=self.actor, group=group, rule=actions.RuleInput(**data))
        return Response(shapes.RuleSerializer(rule).data, status=201)

    @extend_schema(responses={(200, "text/csv"): str})
    @action(
        detail=True,
        methods=["get"],
        url_path="rules.csv",
        url_name="rules-csv",
        pagination_class=None,
        filter_backends=[],
    )
    def rules_csv(self, request: Request, pk: str) -> HttpResponse:
        """Export the rules of a group as a CSV file, in the order in which they decide."""
        text = csv_rules.written(security_queries.rules(self.get_object()))
        return HttpResponse(text, content_type="text/csv; charset=utf-8")


@extend_schema(tags=["Security groups"])
class TemplatesView(ActorMixin):
    """Templates of security groups."""

    view_permission = "network.view_security_group"

    @extend_schema(responses=shapes.TemplateSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the templates: sets of rules for a new group or to be added to one."""
        found = [
            {
                "key": one.key,
                "name": str(one.label),
                "description": str(one.help),
                "rules": [{**asdict(rule), "ports": rule.ports or None} for rule in one.rules()],
            }
            for one in templates.TEMPLATES
        ]
        return Response(found)


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
            raise NotFound(_("There is no rule %(pk)s.") % {"pk": pk})
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


show(
    "security_group",
    shapes.SecurityGroupSerializer,
    lambda actor, pk: security_queries.security_groups().get(pk=pk),
)
