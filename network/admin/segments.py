"""External segments and who holds their addresses, in Django admin."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from network.actions import operators, segments
from network.admin.common import LookOnly, Names, administrator
from network.models import ExternalAddress, ExternalSegment
from scloud.lib.errors import ScloudError
from scloud.tenancy.admintools import ModelAdmin, needs


@admin.register(ExternalSegment)
class ExternalSegmentAdmin(ModelAdmin):
    """External segments. The actions store and delete them."""

    list_display = (
        "name", "state", "region", "cidr", "vlan", "route_policy", "allocated", "enabled",
        "physical_network", "vnc_address", "id",
    )  # fmt: skip
    list_filter = ("region", "ip_version", "route_policy", "enabled")
    list_select_related = ("region",)
    search_fields: ClassVar[Names] = ("name", "id", "cidr", "description")
    filter_horizontal = ("tenants",)
    readonly_fields: ClassVar[Names] = ("id", "state", "sync_error")
    fieldsets = (
        (
            None,
            {"fields": ("name", "id", "description", "region", "enabled", "position", "tenants")},
        ),
        (
            _("Addresses"),
            {
                "fields": (
                    "ip_version",
                    "cidr",
                    "gateway",
                    "held_back",
                    "serves_vnc",
                    "vnc_address",
                )
            },
        ),
        (_("Network"), {"fields": ("physical_network", "vlan", "mtu_bytes")}),
        (_("Routes"), {"fields": ("route_policy", "destinations")}),
        (_("Bandwidth"), {"fields": ("bandwidth_min_mbps", "bandwidth_max_mbps")}),
        (_("State"), {"fields": ("state", "sync_error")}),
    )
    actions = ("apply_again",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ExternalSegment]:
        """With the number of allocated addresses."""
        rows: QuerySet[ExternalSegment] = super().get_queryset(request)
        return rows.annotate(address_count=Count("addresses"))

    @admin.display(description=_("allocated"), ordering="address_count")
    def allocated(self, row: Any) -> int:
        """How many addresses are held."""
        return int(row.address_count)

    @admin.display(description=_("status"))
    def state(self, row: ExternalSegment) -> str:
        """How far the fabric is."""
        return str(row.status.label)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """By the action, which applies it too."""
        segments.save_external_segment(actor=administrator(request, None), segment=obj)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """By the action; a refusal is shown."""
        self._delete(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Each by the action."""
        for row in queryset:
            self._delete(request, row)

    def _delete(self, request: HttpRequest, row: ExternalSegment) -> None:
        try:
            segments.delete_external_segment(actor=administrator(request, None), segment=row)
        except ScloudError as error:
            self.message_user(request, f"{row}: {error.for_operators()}", messages.ERROR)

    @needs("platform.apply_network")
    @admin.action(description=_("Apply to the network again"))
    def apply_again(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Queue a job for each row."""
        for row in queryset:
            operators.apply_again(actor=administrator(request, None), row=row)
        self.message_user(request, _("%(count)d jobs queued.") % {"count": len(queryset)})


@admin.register(ExternalAddress)
class ExternalAddressAdmin(LookOnly):
    """Who holds which external address."""

    list_display = ("address", "segment", "external_ip", "nic", "tenant", "created_at")
    list_select_related = ("segment", "external_ip", "nic", "tenant")
    list_filter = ("segment__region", "segment", "tenant")
    search_fields = ("address", "external_ip__id", "nic__id", "nic__vm_id")
