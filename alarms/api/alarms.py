"""Alarm templates, rules and alarms in the API."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from alarms.actions import templates as actions
from alarms.api import serializers as shapes
from alarms.catalogue import METRICS
from alarms.models import Alarm, AlarmRule, AlarmTemplate
from alarms.models.templates import SUBJECTS
from alarms.queries import alarms as alarm_queries
from alarms.queries import preview as preview_queries
from alarms.queries import resources
from alarms.queries import templates as queries
from alarms.rules.rule_values import RuleInput
from alarms.states.alarms import Severity
from alarms.store.base import StoreError
from scloud.lib.errors import NotFound, Unavailable
from scloud.rest.inputs import valid
from scloud.rest.verbs import VerbViewSet, show
from scloud.rest.views import ActorMixin

RULE_EXAMPLE = {
    "metric": "cpu_usage_ratio",
    "comparison": "gt",
    "threshold": 90,
    "unit": "percent",
    "period_s": 300,
    "count": 3,
}
SUBJECT = OpenApiParameter("subject", str, enum=[key for key, _label in SUBJECTS])


class AlarmTemplateViewSet(VerbViewSet):
    """Alarm templates."""

    kind = "alarm_template"
    tag = "Alarms"
    serializer_class = shapes.AlarmTemplateSerializer
    view_permission = "alarms.view_template"

    def get_queryset(self) -> QuerySet[AlarmTemplate]:
        """Return the tenant's templates."""
        return queries.templates(self.request.query_params.get("subject"))

    @extend_schema(parameters=[SUBJECT])
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List alarm templates."""
        return super().list(request, *args, **kwargs)

    @extend_schema(
        request=shapes.AlarmTemplateInput,
        responses={201: shapes.AlarmTemplateSerializer},
        examples=[
            OpenApiExample(
                "Busy web servers",
                value={"name": "web", "rules": [RULE_EXAMPLE]},
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Create an alarm template; nothing uses it until it is bound."""
        data = valid(shapes.AlarmTemplateInput, request)
        rules = tuple(RuleInput(**one) for one in data.pop("rules"))
        template = actions.create_alarm_template(actor=self.actor, rules=rules, **data)
        return Response(self.shown(self.kind, template.pk), status=201)

    @extend_schema(methods=["GET"], responses=shapes.AlarmRuleSerializer(many=True))
    @extend_schema(
        methods=["POST"],
        request=shapes.AlarmRuleInput,
        responses={201: shapes.AlarmRuleSerializer},
        examples=[OpenApiExample("CPU", value=RULE_EXAMPLE, request_only=True)],
    )
    @action(detail=True, methods=["get", "post"], pagination_class=None, filter_backends=[])
    def rules(self, request: Request, pk: str) -> Response:
        """List the rules of a template, or add one; it counts from the next period on."""
        template = self.get_object()
        if request.method == "GET":
            found = queries.rules(template)
            return Response(shapes.AlarmRuleSerializer(found, many=True).data)
        values = RuleInput(**valid(shapes.AlarmRuleInput, request))
        rule = actions.add_alarm_rule(actor=self.actor, template=template, rule=values)
        return Response(shapes.AlarmRuleSerializer(rule).data, status=201)

    @extend_schema(
        request=shapes.AlarmRuleInput,
        responses=shapes.PreviewShape,
        examples=[OpenApiExample("CPU", value=RULE_EXAMPLE, request_only=True)],
    )
    @action(
        detail=True,
        methods=["post"],
        url_path="rule-preview",
        url_name="rule-preview",
        pagination_class=None,
        filter_backends=[],
    )
    def rule_preview(self, request: Request, pk: str) -> Response:
        """Say how often a rule would have opened an alarm in the last 24 hours; changes nothing.

        Of the first 20 resources that use the template, with what was measured of each.
        """
        self.actor.require(self.view_permission)
        template = self.get_object()
        values = RuleInput(**valid(shapes.AlarmRuleInput, request))
        rule = actions.fill_rule(AlarmRule(), template, values)
        rows = list(resources.bound_to(template)[: preview_queries.MOST_RESOURCES])
        try:
            found = preview_queries.preview(
                rows,
                METRICS[rule.metric],
                rule.condition,
                period_s=rule.period_s,
                device=rule.device,
            )
        except StoreError as error:
            raise Unavailable(
                _("Measurements are not available now."), detail=error.message
            ) from error
        return Response(shapes.preview_shown(found, rule.threshold))


@extend_schema(tags=["Alarms"])
class AlarmRuleView(ActorMixin):
    """One rule of an alarm template."""

    view_permission = "alarms.view_template"

    def rule(self, pk: str) -> AlarmRule:
        """The rule. Raises NotFound."""
        found = queries.rules().filter(pk=pk).first()
        if found is None:
            raise NotFound(_("There is no rule %(pk)s.") % {"pk": pk})
        return found

    @extend_schema(responses=shapes.AlarmRuleSerializer)
    def get(self, request: Request, pk: str) -> Response:
        """Show an alarm rule."""
        return Response(shapes.AlarmRuleSerializer(self.rule(pk)).data)

    @extend_schema(request=shapes.AlarmRuleInput, responses=shapes.AlarmRuleSerializer)
    def put(self, request: Request, pk: str) -> Response:
        """Change an alarm rule; its open alarms end."""
        values = RuleInput(**valid(shapes.AlarmRuleInput, request))
        rule = actions.edit_alarm_rule(actor=self.actor, rule=self.rule(pk), values=values)
        return Response(shapes.AlarmRuleSerializer(rule).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, pk: str) -> Response:
        """Remove an alarm rule; its open alarms end."""
        actions.remove_alarm_rule(actor=self.actor, rule=self.rule(pk))
        return Response(status=204)


class AlarmViewSet(VerbViewSet):
    """Alarms."""

    kind = "alarm"
    tag = "Alarms"
    serializer_class = shapes.AlarmSerializer
    view_permission = "alarms.view_alarm"

    def get_queryset(self) -> QuerySet[Alarm]:
        """Return the tenant's alarms, narrowed by what the query says."""
        asked = self.request.query_params
        rows = alarm_queries.alarms()
        if asked.get("open") in ("true", "false"):
            rows = rows.filter(ended_at__isnull=asked["open"] == "true")
        if asked.get("severity"):
            rows = rows.filter(severity=asked["severity"])
        if asked.get("resource_id"):
            rows = rows.filter(resource_id=asked["resource_id"])
        return rows

    @extend_schema(
        parameters=[
            OpenApiParameter("open", bool, description="Only open ones, or only ended ones."),
            OpenApiParameter("severity", str, enum=list(Severity.values)),
            OpenApiParameter("resource_id", str, description="Only those of this resource."),
        ]
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List alarms, the newest first."""
        return super().list(request, *args, **kwargs)


show(
    "alarm_template",
    shapes.AlarmTemplateSerializer,
    lambda actor, pk: queries.templates().get(pk=pk),
)
show("alarm", shapes.AlarmSerializer, lambda actor, pk: alarm_queries.alarms().get(pk=pk))
