"""What the API reads and writes of alarms. The rules are the actions' own."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from alarms.models import Alarm, AlarmRule, AlarmTemplate
from alarms.models.templates import RULES_PER_TEMPLATE, SUBJECTS
from alarms.queries.preview import Preview
from alarms.rules.values import SCALE_KEYS
from alarms.states.alarms import MAX_COUNT, AlarmKind, Comparison, Convergence, Severity
from alarms.verbs.inputs import GENEROUS
from scloud.rest.fields import WholeNumber
from scloud.rest.shown import ShownSerializer
from scloud.tenancy.actor import Actor
from scloud.verbs import refusals


class AllowedActionsMixin(serializers.Serializer[Any]):
    """``allowed_actions``: what the caller may try with it now."""

    kind: ClassVar[str]
    allowed_actions = serializers.SerializerMethodField()

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_allowed_actions(self, row: Any) -> list[str]:
        """Return the verbs that nothing is known against."""
        actor: Actor = self.context["view"].actor
        found = refusals.allowed_actions(actor, self.kind, row)
        return [verb for verb, reason in found if not reason]


class AlarmTemplateSerializer(AllowedActionsMixin, ShownSerializer[AlarmTemplate]):
    """An alarm template, with how many rules it has and how many resources use it."""

    kind = "alarm_template"
    rule_count = serializers.IntegerField(read_only=True)
    resource_count = serializers.IntegerField(read_only=True)

    class Meta:
        model = AlarmTemplate
        fields = (
            "id",
            "name",
            "remark",
            "subject",
            "is_default",
            "group",
            "no_data_s",
            "rule_count",
            "resource_count",
            "created_at",
            "allowed_actions",
        )
        read_only_fields = fields


class AlarmRuleSerializer(ShownSerializer[AlarmRule]):
    """A rule. The threshold is in the unit that the metric's name ends with; shares are 0 to 1."""

    class Meta:
        model = AlarmRule
        fields = (
            "id",
            "template",
            "metric",
            "device",
            "comparison",
            "threshold",
            "period_s",
            "count",
            "convergence",
            "severity",
            "created_at",
        )
        read_only_fields = fields


class AlarmRuleInput(serializers.Serializer[Any]):
    """A rule as it shall be."""

    metric = serializers.CharField(max_length=GENEROUS, help_text="Such as cpu_usage_ratio.")
    threshold = serializers.FloatField(help_text="In the unit; without one 90 is 90 % of a share.")
    unit = serializers.ChoiceField(choices=SCALE_KEYS, required=False, allow_blank=True, default="")
    device = serializers.CharField(
        max_length=GENEROUS,
        allow_blank=True,
        default="",
        help_text="A disk, NIC or mount point; empty for each of them.",
    )
    comparison = serializers.ChoiceField(choices=Comparison.choices, default=Comparison.ABOVE)
    period_s = WholeNumber(
        default=300, min_value=1, max_value=86_400, help_text="60, 300, 900, 1800 or 3600."
    )
    count = WholeNumber(default=3, min_value=1, max_value=MAX_COUNT)
    convergence = serializers.ChoiceField(choices=Convergence.choices, default=Convergence.ONCE)
    severity = serializers.ChoiceField(choices=Severity.choices, default=Severity.WARNING)


class AlarmTemplateInput(serializers.Serializer[Any]):
    """A new template, perhaps with its rules."""

    name = serializers.CharField(max_length=GENEROUS)
    remark = serializers.CharField(max_length=GENEROUS, allow_blank=True, default="")
    subject = serializers.ChoiceField(choices=SUBJECTS, default="vm")
    no_data_s = WholeNumber(
        default=300,
        min_value=0,
        max_value=86_400,
        help_text="Seconds without data that open an alarm: 0 (never), 300, 900 or 3600.",
    )
    rules = serializers.ListField(
        child=AlarmRuleInput(), max_length=RULES_PER_TEMPLATE * 2, default=list
    )


class EpisodeShape(serializers.Serializer[Any]):
    """An alarm that would have opened, as places in ``points``; ``ended`` is false at the end."""

    first = serializers.IntegerField()
    last = serializers.IntegerField()
    ended = serializers.BooleanField()


class DrawnShape(serializers.Serializer[Any]):
    """One device of one resource: a value per period, null where nothing was measured."""

    resource = serializers.CharField()
    device = serializers.CharField(allow_null=True)
    points = serializers.ListField(child=serializers.FloatField(allow_null=True))
    episodes = EpisodeShape(many=True)


class PreviewShape(serializers.Serializer[Any]):
    """How often a rule would have opened an alarm in the last 24 hours."""

    times = serializers.IntegerField()
    threshold = serializers.FloatField()
    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    step_s = serializers.IntegerField()
    lines = DrawnShape(many=True)


def preview_shown(found: Preview, threshold: float) -> dict[str, Any]:
    """Return a preview as the API answers it."""
    lines = [
        {
            "resource": line.resource,
            "device": line.device or None,
            "points": list(line.points),
            "episodes": [
                {"first": one.first, "last": one.last, "ended": one.ended} for one in line.episodes
            ],
        }
        for line in found.lines
    ]
    shown = {
        "times": found.times,
        "threshold": threshold,
        "start": found.start,
        "end": found.end,
        "step_s": found.step_s,
        "lines": lines,
    }
    answer: dict[str, Any] = PreviewShape(shown).data
    return answer


class AlarmSerializer(AllowedActionsMixin, ShownSerializer[Alarm]):
    """An alarm, with what its rule said when it opened."""

    kind = "alarm"
    type = serializers.ChoiceField(choices=AlarmKind.choices, source="kind")
    duration_s = serializers.SerializerMethodField()

    class Meta:
        model = Alarm
        fields = (
            "id",
            "type",
            "severity",
            "subject",
            "resource_id",
            "resource_name",
            "template",
            "rule",
            "metric",
            "device",
            "comparison",
            "threshold",
            "period_s",
            "value",
            "last_value",
            "opened_at",
            "acknowledged_at",
            "acknowledged_by",
            "ended_at",
            "end_reason",
            "duration_s",
            "allowed_actions",
        )
        read_only_fields = fields

    def get_duration_s(self, alarm: Alarm) -> int:
        """Return how long it was open, or has been."""
        return int(alarm.duration.total_seconds())
