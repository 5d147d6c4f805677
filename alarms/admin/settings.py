"""The settings of monitoring in Django admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from alarms.models import MetricSettings
from scloud.tenancy.admintools import ModelAdmin


@admin.register(MetricSettings)
class MetricSettingsAdmin(ModelAdmin):
    """How long measurements are kept: one row, always there."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Go straight to the one row."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        MetricSettings.objects.get_or_create(pk=1)
        return HttpResponseRedirect(reverse("admin:alarms_metricsettings_change", args=[1]))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
