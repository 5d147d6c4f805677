"""Regions in Django admin."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from scloud.resources.models import Region
from scloud.tenancy.admintools import ModelAdmin


@admin.register(Region)
class RegionAdmin(ModelAdmin):
    """Data centres. A disabled one takes no new resources and is not offered."""

    list_display = ("name", "id", "enabled", "position", "ovn_nb")
    list_editable = ("position",)
    list_filter = ("enabled",)
    search_fields = ("name", "id")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The id stands in every resource of the region."""
        return ("id",) if obj is not None else ()
