"""Every tenant's snapshots in Django admin."""

from __future__ import annotations

from django.contrib import admin

from compute.models import (
    Snapshot,
)
from scloud.tenancy.admintools import (
    ReadOnlyAdmin,
)


@admin.register(Snapshot)
class SnapshotAdmin(ReadOnlyAdmin):
    list_display = ("name", "id", "tenant", "disk", "status", "created_at")
    list_filter = ("status", "region", "tenant")
    list_select_related = ("tenant", "disk")
    search_fields = ("name", "id", "disk__id", "tenant__name")
    readonly_fields = ("failure",)
