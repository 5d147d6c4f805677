"""Alarms that opened, and how far evaluation has come."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from alarms.models.templates import SUBJECTS, AlarmRule
from alarms.rules.values import condition_text, metric_label, value_text
from alarms.states.alarms import AlarmKind, Comparison, EndReason, Severity
from scloud.lib.ids import new_id
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


def alarm_id() -> str:
    return new_id("alarm")


class Alarm(models.Model):
    """One alarm from its opening to its end.

    It keeps what its rule said, so that it can be read when rule, template and resource are gone.
    ``value`` is what opened it, ``last_value`` what was measured last while it was open.
    """

    KIND: ClassVar[str] = "alarm"

    id = models.CharField(
        gettext_lazy("ID"), primary_key=True, max_length=20, default=alarm_id, editable=False
    )
    tenant = models.ForeignKey(
        Tenant, models.PROTECT, verbose_name=gettext_lazy("tenant"), related_name="+"
    )
    kind = models.CharField(gettext_lazy("type"), max_length=12, choices=AlarmKind.choices)
    severity = models.CharField(gettext_lazy("severity"), max_length=10, choices=Severity.choices)
    subject = models.CharField(gettext_lazy("resource type"), max_length=20, choices=SUBJECTS)
    resource_id = models.CharField(gettext_lazy("resource ID"), max_length=20)
    resource_name = models.CharField(gettext_lazy("resource"), max_length=60)
    template = models.CharField(gettext_lazy("template ID"), max_length=20, blank=True)
    rule = models.ForeignKey(
        AlarmRule,
        models.SET_NULL,
        verbose_name=gettext_lazy("rule"),
        null=True,
        blank=True,
        related_name="alarms",
    )
    metric = models.CharField(gettext_lazy("metric"), max_length=60, blank=True)
    device = models.CharField(gettext_lazy("device"), max_length=64, blank=True)
    comparison = models.CharField(
        gettext_lazy("comparison"), max_length=2, choices=Comparison.choices, blank=True
    )
    threshold = models.FloatField(gettext_lazy("threshold"), null=True)
    period_s = models.PositiveIntegerField(gettext_lazy("period (s)"), null=True)
    value = models.FloatField(gettext_lazy("value"), null=True)
    last_value = models.FloatField(gettext_lazy("last value"), null=True)
    opened_at = models.DateTimeField(gettext_lazy("opened"))
    acknowledged_at = models.DateTimeField(gettext_lazy("acknowledged"), null=True)
    acknowledged_by = models.CharField(gettext_lazy("acknowledged by"), max_length=320, blank=True)
    ended_at = models.DateTimeField(gettext_lazy("ended"), null=True)
    end_reason = models.CharField(
        gettext_lazy("end"), max_length=16, choices=EndReason.choices, blank=True
    )

    objects = TenantManager()

    class Meta:
        verbose_name = gettext_lazy("alarm")
        verbose_name_plural = gettext_lazy("alarms")
        ordering = ["-opened_at", "id"]
        indexes = [
            models.Index(fields=["tenant", "-opened_at"], name="alarm_tenant_opened"),
            models.Index(fields=["resource_id", "-opened_at"], name="alarm_resource_opened"),
            models.Index(fields=["ended_at"], name="alarm_ended"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["resource_id", "kind", "rule", "device"],
                condition=Q(ended_at__isnull=True),
                nulls_distinct=False,
                name="one_open_alarm",
            )
        ]

    def __str__(self) -> str:
        return f"{self.resource_name}: {self.what}"

    @property
    def name(self) -> str:
        """What lists and the operation log call it."""
        return str(self)

    @property
    def is_open(self) -> bool:
        return self.ended_at is None

    @property
    def duration(self) -> timedelta:
        """How long it was open, or has been."""
        return (self.ended_at or timezone.now()) - self.opened_at

    @property
    def what(self) -> str:
        """What it is about, such as ``CPU usage > 90 %``."""
        if self.kind == AlarmKind.NO_DATA:
            return _("No measurements arrive")
        if self.kind == AlarmKind.HOST_DOWN:
            return _("Its host does not respond")
        return condition_text(self.metric, self.comparison, self.threshold)

    @property
    def metric_name(self) -> str:
        """What people call the metric; the type of alarm where there is none."""
        if self.kind != AlarmKind.THRESHOLD:
            return str(AlarmKind(self.kind).label)
        return metric_label(self.metric)

    @property
    def value_words(self) -> str:
        """The value that opened it, with its unit."""
        return value_text(self.metric, self.value)

    @property
    def last_value_words(self) -> str:
        """The value that was measured last, with its unit."""
        return value_text(self.metric, self.last_value)

    @property
    def threshold_words(self) -> str:
        """The threshold with its unit."""
        return value_text(self.metric, self.threshold)


class RuleState(models.Model):
    """Where a rule stands for one device of one resource, where that is not calm."""

    rule = models.ForeignKey(AlarmRule, models.CASCADE, related_name="+")
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    resource_id = models.CharField(max_length=20)
    device = models.CharField(max_length=64, blank=True)
    breaches = models.PositiveSmallIntegerField(default=0)
    absent = models.PositiveSmallIntegerField(default=0)
    open_for = models.PositiveIntegerField(null=True)

    objects = TenantManager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "resource_id", "device"], name="one_state_of_a_rule"
            )
        ]

    def __str__(self) -> str:
        return f"{self.rule_id} of {self.resource_id}"


class EvaluationMark(models.Model):
    """Up to when the rules of a period have been evaluated."""

    period_s = models.PositiveIntegerField(gettext_lazy("period (s)"), primary_key=True)
    done_until = models.DateTimeField(gettext_lazy("done until"))

    class Meta:
        verbose_name = gettext_lazy("evaluation of alarm rules")
        verbose_name_plural = gettext_lazy("evaluation of alarm rules")
        ordering = ["period_s"]

    def __str__(self) -> str:
        return f"{self.period_s} s: {self.done_until:%Y-%m-%d %H:%M:%S}"
