"""Security groups in Django admin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from network.admin.common import FabricAdmin
from network.models import (
    SecurityGroup,
    SecurityGroupRule,
)

if TYPE_CHECKING:
    # Generic for the type checker only.
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:
    ModelAdmin, TabularInline = admin.ModelAdmin, admin.TabularInline


class RuleInline(TabularInline):
    model = SecurityGroupRule
    fields = ("id", "direction", "protocol", "ports", "cidr", "action", "priority", "description")
    readonly_fields = fields
    can_delete = False

    @admin.display(description=gettext_lazy("ports"))
    def ports(self, rule: SecurityGroupRule) -> str:
        return rule.ports

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(SecurityGroup)
class SecurityGroupAdmin(FabricAdmin):
    list_display = ("id", "name", "tenant", "region", "is_default", "state", "created_at")
    inlines = (RuleInline,)
