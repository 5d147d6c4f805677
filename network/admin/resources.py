"""The network in Django admin: to look, to apply again, to reconcile. Changes go by the actions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from network.actions import operators
from network.models import (
    NetworkDrift,
    Nic,
    PrivateAddress,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    Tombstone,
    Vpc,
)
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.clientip import client_ip
from scloud.tenancy.models import Tenant, User

Names = tuple[str, ...]

if TYPE_CHECKING:
    # Generic for the type checker only.
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:
    ModelAdmin, TabularInline = admin.ModelAdmin, admin.TabularInline


def administrator(request: HttpRequest, tenant: Tenant | None) -> Actor:
    """The signed-in platform administrator, acting for a tenant."""
    assert isinstance(request.user, User)
    return Actor.administrator(request.user, tenant, client_ip(request))


class LookOnly(ModelAdmin):
    """Rows that are made and changed by actions and jobs alone."""

    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class FabricAdmin(LookOnly):
    """Rows that exist in the fabric."""

    list_filter: ClassVar[Names] = ("region", "tenant")
    search_fields: ClassVar[Names] = ("id", "name", "remark", "tenant__name")
    list_select_related: ClassVar[Names] = ("tenant", "region")
    actions = ("apply_again",)

    @admin.display(description=_("status"))
    def state(self, row: Any) -> str:
        """How far the fabric is."""
        return str(row.status.label)

    @admin.action(description=_("Apply to the network again"))
    def apply_again(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Queue a job for each row."""
        done = 0
        for row in queryset.select_related("tenant"):
            try:
                operators.apply_again(actor=administrator(request, row.tenant), row=row)
            except ScloudError as error:
                self.message_user(request, f"{row}: {error.message}", messages.ERROR)
            else:
                done += 1
        if done:
            self.message_user(request, _("%(count)d jobs queued.") % {"count": done})


@admin.register(Vpc)
class VpcAdmin(FabricAdmin):
    """VPCs of all tenants."""

    list_display = ("id", "name", "tenant", "region", "cidr", "state", "created_at")
    search_fields = (*FabricAdmin.search_fields, "cidr")


@admin.register(Subnet)
class SubnetAdmin(FabricAdmin):
    """Subnets of all tenants."""

    list_display = ("id", "name", "tenant", "region", "vpc", "cidr", "state", "created_at")
    list_select_related = ("tenant", "region", "vpc")
    search_fields = (*FabricAdmin.search_fields, "cidr", "vpc__id")


class RuleInline(TabularInline):
    """The rules of a group."""

    model = SecurityGroupRule
    fields = ("id", "direction", "protocol", "ports", "cidr", "action", "priority", "description")
    readonly_fields = fields
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(SecurityGroup)
class SecurityGroupAdmin(FabricAdmin):
    """Security groups of all tenants."""

    list_display = ("id", "name", "tenant", "region", "is_default", "state", "created_at")
    inlines = (RuleInline,)


class AddressInline(TabularInline):
    """The addresses of a NIC."""

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
    """NICs of all tenants."""

    list_display = (
        "id", "vm_id", "device", "tenant", "region", "mac", "subnet", "security_group", "state",
    )  # fmt: skip
    list_select_related = ("tenant", "region", "subnet", "security_group")
    list_filter = ("region", "kind", "network", "tenant")
    search_fields = ("id", "vm_id", "mac", "port_uuid", "addresses__address", "tenant__name")
    inlines = (AddressInline,)


@admin.register(PrivateAddress)
class PrivateAddressAdmin(LookOnly):
    """Who holds which address."""

    list_display = ("address", "subnet", "nic", "tenant", "created_at")
    list_select_related = ("subnet", "nic", "tenant")
    list_filter = ("subnet__region", "tenant")
    search_fields = ("address", "nic__id", "nic__vm_id", "subnet__id")


@admin.register(Tombstone)
class TombstoneAdmin(LookOnly):
    """What was deleted, and whether the fabric has let go of it."""

    list_display = ("target_id", "kind", "tenant", "region", "buried_at", "removed_at")
    list_select_related = ("tenant", "region")
    list_filter = ("kind", "region", ("removed_at", admin.EmptyFieldListFilter))
    search_fields = ("target_id", "tenant__name")


@admin.register(NetworkDrift)
class NetworkDriftAdmin(LookOnly):
    """The drift report."""

    list_display = (
        "problem", "kind", "target_id", "region", "detail", "first_seen_at", "last_seen_at",
        "resolved_at",
    )  # fmt: skip
    list_select_related = ("region",)
    list_filter = (("resolved_at", admin.EmptyFieldListFilter), "problem", "kind", "region")
    search_fields = ("target_id", "detail")
    actions = ("look_again",)

    @admin.action(description=_("Compare the regions of these with their networks now"))
    def look_again(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Queue one job per region."""
        regions = {row.region for row in queryset.select_related("region")}
        for region in regions:
            operators.reconcile_region(actor=administrator(request, None), region=region)
        self.message_user(request, _("%(count)d jobs queued.") % {"count": len(regions)})
