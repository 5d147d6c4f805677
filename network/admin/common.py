"""What the administrators' pages of the network share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from network.actions import operators
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.admintools import needs
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
    readonly_fields: ClassVar[Names] = ("sync_error",)
    actions = ("apply_again",)

    @admin.display(description=_("status"))
    def state(self, row: Any) -> str:
        return str(row.status.label)

    @needs("platform.apply_network")
    @admin.action(description=_("Apply to the network again"))
    def apply_again(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Queue a job for each row."""
        done = 0
        for row in queryset.select_related("tenant"):
            try:
                operators.apply_again(actor=administrator(request, row.tenant), row=row)
            except ScloudError as error:
                self.message_user(request, f"{row}: {error.for_operators()}", messages.ERROR)
            else:
                done += 1
        if done:
            self.message_user(request, _("%(count)d jobs queued.") % {"count": done})
