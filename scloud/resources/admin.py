"""Regions in Django admin."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext as _

from scloud.resources.models import Region
from scloud.tenancy.admin import greet
from scloud.tenancy.admintools import ModelAdmin
from scloud.tenancy.models import Tenant


@admin.register(Region)
class RegionAdmin(ModelAdmin):
    """Data centres. A disabled one takes no new resources and is not offered."""

    list_display = ("name", "id", "enabled", "position", "ovn_nb")
    list_editable = ("position",)
    list_filter = ("enabled",)
    search_fields = ("name", "id")

    def get_form(
        self, request: HttpRequest, obj: Region | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """Say what addresses of databases are like."""
        helps = {
            "ovn_nb": _("ssl:ADDRESS:6641, tcp:ADDRESS:6641 without TLS, or unix:PATH"),
            "ovn_sb": _(
                "ssl:ADDRESS:6642, tcp:ADDRESS:6642 without TLS, or unix:PATH; read only, for "
                "packet traces and signs of life of hosts"
            ),
        }
        return super().get_form(request, obj, change, help_texts=helps, **kwargs)

    def save_model(self, request: HttpRequest, obj: Region, form: Any, change: bool) -> None:
        """In a new region every tenant gets what it starts with."""
        super().save_model(request, obj, form, change)
        if not change and obj.enabled:
            for tenant in Tenant.objects.filter(is_active=True):
                greet(self, request, tenant)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The id stands in every resource of the region."""
        return ("id",) if obj is not None else ()
