"""NICs and their addresses in Django admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from network.admin.common import FabricAdmin, LookOnly
from network.models import (
    Nic,
    PrivateAddress,
)

if TYPE_CHECKING:
    # Generic for the type checker only.
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:
    ModelAdmin, TabularInline = admin.ModelAdmin, admin.TabularInline


class AddressInline(TabularInline):
    model = PrivateAddress
    fields = ("address", "subnet", "created_at")
    readonly_fields = fields
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Nic)
class NicAdmin(FabricAdmin):
    list_display = (
        "id", "vm_id", "device", "tenant", "region", "mac", "subnet", "security_group", "state",
    )  # fmt: skip
    list_select_related = ("tenant", "region", "subnet", "security_group")
    list_filter = ("region", "kind", "network", "tenant")
    search_fields = ("id", "vm_id", "mac", "port_uuid", "addresses__address", "tenant__name")
    inlines = (AddressInline,)

    @admin.display(description=gettext_lazy("device"))
    def device(self, nic: Nic) -> str:
        return nic.device


@admin.register(PrivateAddress)
class PrivateAddressAdmin(LookOnly):
    list_display = ("address", "subnet", "nic", "tenant", "created_at")
    list_select_related = ("subnet", "nic", "tenant")
    list_filter = ("subnet__region", "tenant")
    search_fields = ("address", "nic__id", "nic__vm_id", "subnet__id")
