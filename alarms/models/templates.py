"""Alarm templates with their rules, and which resource has which template."""

from __future__ import annotations

from typing import ClassVar, Final

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from alarms.catalogue import METRICS, Metric, Subject
from alarms.rules.evaluation import Condition
from alarms.rules.values import condition_text, metric_label
from alarms.states.alarms import MAX_COUNT, NO_DATA, PERIODS, Comparison, Convergence, Severity
from scloud.lib.ids import new_id
from scloud.resources.models import name_validator
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager

RULES_PER_TEMPLATE: Final = 50
TEMPLATES_PER_TENANT: Final = 100

#: What a template may be of.
SUBJECTS: Final = ((Subject.VM.value, _("VM")), (Subject.EXTERNAL_IP.value, _("External IP")))


def template_id() -> str:
    return new_id("template")


def rule_id() -> str:
    return new_id("rule")


class AlarmTemplate(models.Model):
    """A set of rules for the resources of one kind that have it.

    ``no_data_s`` is how long a running VM may go without any measurement; 0 for ever.
    """

    KIND: ClassVar[str] = "alarm_template"

    id = models.CharField(
        _("ID"), primary_key=True, max_length=20, default=template_id, editable=False
    )
    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    subject = models.CharField(_("resource type"), max_length=20, choices=SUBJECTS)
    name = models.CharField(_("name"), max_length=30, validators=[name_validator])
    remark = models.CharField(_("remark"), max_length=200, blank=True)
    is_default = models.BooleanField(_("default"), default=False)
    no_data_s = models.PositiveIntegerField(_("alarm without data"), choices=NO_DATA, default=300)
    group = models.ForeignKey(
        "alarms.NotificationGroup",
        models.PROTECT,
        verbose_name=_("notification group"),
        null=True,
        blank=True,
        related_name="templates",
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects = TenantManager()

    class Meta:
        verbose_name = _("alarm template")
        verbose_name_plural = _("alarm templates")
        ordering = ["-created_at", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "subject"],
                condition=Q(is_default=True),
                name="one_default_alarm_template",
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.pk})"


class AlarmRule(models.Model):
    """One rule of a template. ``device`` is empty for all, each of which is looked at by itself.

    ``threshold`` is in the metric's own unit, ``period_s`` the seconds that a value is averaged
    over; ``count`` such values in a row open an alarm.
    """

    KIND: ClassVar[str] = "alarm_rule"

    id = models.CharField(_("ID"), primary_key=True, max_length=20, default=rule_id, editable=False)
    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    template = models.ForeignKey(
        AlarmTemplate, models.CASCADE, verbose_name=_("template"), related_name="rules"
    )
    metric = models.CharField(_("metric"), max_length=60)
    device = models.CharField(_("device"), max_length=64, blank=True)
    comparison = models.CharField(_("comparison"), max_length=2, choices=Comparison.choices)
    threshold = models.FloatField(_("threshold"))
    period_s = models.PositiveIntegerField(_("period"), choices=PERIODS, default=300)
    count = models.PositiveSmallIntegerField(
        _("periods in a row"),
        default=3,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_COUNT)],
    )
    convergence = models.CharField(
        _("convergence"), max_length=12, choices=Convergence.choices, default=Convergence.ONCE
    )
    severity = models.CharField(
        _("severity"), max_length=10, choices=Severity.choices, default=Severity.WARNING
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    objects = TenantManager()

    class Meta:
        verbose_name = _("alarm rule")
        verbose_name_plural = _("alarm rules")
        ordering = ["created_at", "id"]
        indexes = [models.Index(fields=["period_s"], name="alarm_rule_period")]
        constraints = [
            # PostgreSQL takes "not a number" for the greatest of all.
            models.CheckConstraint(
                name="alarm_rule_threshold",
                condition=Q(threshold__gte=0.0, threshold__lte=1e30),
            ),
            models.CheckConstraint(
                name="alarm_rule_count", condition=Q(count__gte=1, count__lte=MAX_COUNT)
            ),
        ]

    def __str__(self) -> str:
        return condition_text(self.metric, self.comparison, self.threshold)

    @property
    def name(self) -> str:
        """What lists and the operation log call it: what it says."""
        return str(self)

    @property
    def metric_name(self) -> str:
        """What people call the metric."""
        return metric_label(self.metric)

    @property
    def known(self) -> Metric | None:
        """The metric; None where this release does not measure it."""
        return METRICS.get(self.metric)

    @property
    def condition(self) -> Condition:
        """The part of it that decides."""
        return Condition(self.comparison, self.threshold, self.count)


class AlarmBinding(models.Model):
    """Which template a resource has; a row without one says that it has none, by choice.

    A resource without a row has not been given one yet: the sweep gives it the tenant's default.
    ``silent_since`` is when a running VM was first found to be measured no more.
    """

    resource_id = models.CharField(_("resource ID"), primary_key=True, max_length=20)
    subject = models.CharField(_("resource type"), max_length=20, choices=SUBJECTS)
    tenant = models.ForeignKey(Tenant, models.PROTECT, verbose_name=_("tenant"), related_name="+")
    template = models.ForeignKey(
        AlarmTemplate,
        models.PROTECT,
        verbose_name=_("alarm template"),
        null=True,
        blank=True,
        related_name="bindings",
    )
    silent_since = models.DateTimeField(_("without data since"), null=True, editable=False)
    changed_at = models.DateTimeField(_("changed"), default=timezone.now, editable=False)

    objects = TenantManager()

    class Meta:
        verbose_name = _("use of an alarm template")
        verbose_name_plural = _("uses of alarm templates")
        ordering = ["resource_id"]
        indexes = [models.Index(fields=["template"], name="alarm_binding_template")]

    def __str__(self) -> str:
        return f"{self.resource_id}: {self.template_id or '—'}"
