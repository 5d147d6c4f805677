"""Alarm templates and alarms of all tenants in Django admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from alarms.models import Alarm, AlarmRule, AlarmTemplate, EvaluationMark
from scloud.tenancy.admintools import ReadOnlyAdmin, YesNoFilter, duration_column

if TYPE_CHECKING:
    # Generic for the type checker only.
    TabularInline = admin.TabularInline[Any, Any]
else:
    TabularInline = admin.TabularInline


class RuleInline(TabularInline):
    model = AlarmRule
    fields = ("id", "says", "device", "period", "count", "convergence", "severity")
    readonly_fields = fields
    can_delete = False
    period = duration_column("period_s", gettext_lazy("period"))

    @admin.display(description=gettext_lazy("opens when"))
    def says(self, rule: AlarmRule) -> str:
        return str(rule)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(AlarmTemplate)
class AlarmTemplateAdmin(ReadOnlyAdmin):
    list_display = ("id", "name", "tenant", "subject", "is_default", "no_data_s", "created_at")
    list_filter = ("subject", "is_default", "tenant")
    list_select_related = ("tenant",)
    search_fields = ("id", "name", "remark", "tenant__name")
    inlines = (RuleInline,)


@admin.register(Alarm)
class AlarmAdmin(ReadOnlyAdmin):
    """What is wrong with tenants' resources, and was."""

    list_display = (
        "id",
        "severity",
        "what",
        "resource_name",
        "resource_id",
        "tenant",
        "opened_at",
        "acknowledged_at",
        "ended_at",
        "end_reason",
    )
    list_filter = ("severity", "kind", ("ended_at", YesNoFilter), "tenant")
    list_select_related = ("tenant",)
    search_fields = ("id", "resource_id", "resource_name", "tenant__name")
    fields = (
        ("id", "tenant"),
        ("severity", "kind"),
        ("subject", "resource_name", "resource_id"),
        ("template", "rule"),
        ("metric", "device"),
        ("comparison", "threshold", "period"),
        ("value", "last_value"),
        ("opened_at", "ended_at", "end_reason"),
        ("acknowledged_at", "acknowledged_by"),
    )
    readonly_fields = (*(field.name for field in Alarm._meta.fields), "period")
    period = duration_column("period_s", gettext_lazy("period"))

    @admin.display(description=gettext_lazy("alarm"))
    def what(self, alarm: Alarm) -> str:
        return alarm.what


@admin.register(EvaluationMark)
class EvaluationMarkAdmin(ReadOnlyAdmin):
    """How far the evaluation of rules has come."""

    list_display = ("period", "done_until")
    fields = list_display
    readonly_fields = list_display
    period = duration_column("period_s", gettext_lazy("rules with a period of"))
