"""VPCs and subnets in Django admin."""

from __future__ import annotations

from django.contrib import admin

from network.admin.common import FabricAdmin
from network.models import (
    Subnet,
    Vpc,
)


@admin.register(Vpc)
class VpcAdmin(FabricAdmin):
    list_display = ("id", "name", "tenant", "region", "cidr", "ipv6_cidr", "state", "created_at")
    search_fields = (*FabricAdmin.search_fields, "cidr", "ipv6_cidr")
    readonly_fields = (*FabricAdmin.readonly_fields, "ipv6_cidr")


@admin.register(Subnet)
class SubnetAdmin(FabricAdmin):
    list_display = (
        "id", "name", "tenant", "region", "vpc", "cidr", "ipv6_cidr", "state", "created_at",
    )  # fmt: skip
    list_select_related = ("tenant", "region", "vpc")
    search_fields = (*FabricAdmin.search_fields, "cidr", "ipv6_cidr", "vpc__id")
    readonly_fields = (*FabricAdmin.readonly_fields, "ipv6_cidr")
