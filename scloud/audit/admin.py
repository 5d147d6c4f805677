"""The operation log and the events in Django admin: append-only, so only looked at."""

from django.contrib import admin

from scloud.audit.models import Event, Operation
from scloud.tenancy.admintools import ReadOnlyAdmin


@admin.register(Operation)
class OperationAdmin(ReadOnlyAdmin):
    """What people did or tried."""

    list_display = ("at", "verb", "actor", "via", "ip", "tenant", "succeeded", "error_code")
    list_filter = ("succeeded", "via", "at", "tenant")
    list_select_related = ("tenant",)
    search_fields = ("verb", "actor", "error_code", "request_id", "resources")
    date_hierarchy = "at"


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("at", "kind", "resource_kind", "resource_id", "tenant")
    list_filter = ("resource_kind", "at", "tenant")
    list_select_related = ("tenant",)
    search_fields = ("kind", "resource_id")
    date_hierarchy = "at"
