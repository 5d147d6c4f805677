"""Disk types and every tenant's disks in Django admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from compute.models import (
    Disk,
    DiskType,
)
from scloud.adminsite.verbs import VerbAdmin
from scloud.tenancy.admintools import (
    ModelAdmin,
    ReadOnlyAdmin,
)


@admin.register(DiskType)
class DiskTypeAdmin(ModelAdmin):
    """Kinds of disks that tenants can buy."""

    list_display = (
        "alias",
        "id",
        "region",
        "medium",
        "pool",
        "iops_limit",
        "throughput_limit_mbps",
        "enabled",
    )
    list_filter = ("region", "medium", "enabled")
    list_select_related = ("region", "pool")
    search_fields = ("alias", "id")
    filter_horizontal = ("tenants",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Prices and volumes go by the id and the pool."""
        return ("id", "region", "pool") if obj is not None else ()


@admin.register(Disk)
class DiskAdmin(ReadOnlyAdmin, VerbAdmin):
    kind = "disk"
    list_display = (
        "name",
        "id",
        "tenant",
        "disk_type",
        "size_gib",
        "is_system",
        "vm",
        "status",
        "task",
        "damage",
    )
    list_filter = ("status", "damage", "task", "region", "disk_type", "is_system", "tenant")
    list_select_related = ("tenant", "disk_type", "vm")
    search_fields = ("name", "id", "vm__id", "vm__name", "tenant__name")
    readonly_fields = ("failure_code", "failure", "damaged_since", "damage", "damage_errors")
