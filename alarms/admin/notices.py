"""Who is notified, and what was sent, in Django admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from alarms.models import Contact, Delivery, NotificationGroup, Silence, Webhook
from scloud.tenancy.admintools import ReadOnlyAdmin


class TenantsAdmin(ReadOnlyAdmin):
    """Rows of tenants; those of operators have pages of their own."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.filter(tenant__isnull=False)


@admin.register(Contact)
class ContactAdmin(TenantsAdmin):
    list_display = ("id", "name", "email", "tenant", "verified_at", "created_at")
    list_select_related = ("tenant",)
    search_fields = ("id", "name", "email", "tenant__name")


@admin.register(NotificationGroup)
class NotificationGroupAdmin(ReadOnlyAdmin):
    list_display = ("id", "name", "tenant", "quiet_from", "quiet_until", "time_zone", "created_at")
    list_select_related = ("tenant",)
    search_fields = ("id", "name", "tenant__name")


@admin.register(Webhook)
class WebhookAdmin(TenantsAdmin):
    """Of a URL only the host is shown."""

    list_display = ("id", "name", "host", "format", "enabled", "group", "tenant")
    list_select_related = ("tenant", "group")
    search_fields = ("id", "name", "host", "tenant__name")


@admin.register(Silence)
class SilenceAdmin(ReadOnlyAdmin):
    list_display = ("id", "reason", "tenant", "resource_id", "template", "starts_at", "ends_at")
    list_select_related = ("tenant", "template")
    search_fields = ("id", "reason", "resource_id", "tenant__name")


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    """Messages of all tenants and of the platform, with what became of them."""

    list_display = ("id", "to", "subject", "tenant", "state", "tries", "error", "created_at")
    list_filter = ("state", "is_test", "tenant")
    list_select_related = ("tenant",)
    search_fields = ("id", "to", "subject", "tenant__name")
    readonly_fields = ("notices", "tries", "http_status")
