"""Tenants, sign-ins and the platform's switches in Django admin."""

from typing import Any, Final

from django.contrib import admin, messages
from django.contrib.admin.options import InlineModelAdmin
from django.contrib.auth.models import Group
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from scloud.lib.errors import ScloudError
from scloud.tenancy import welcome
from scloud.tenancy.admintools import ModelAdmin, ReadOnlyAdmin
from scloud.tenancy.models import Invitation, LoginAttempt, PlatformSettings, Tenant, UserSession

# What apps above keep of a tenant, shown on its page; they add theirs when they are loaded.
TENANT_INLINES: Final[list[type[InlineModelAdmin[Any, Any]]]] = []

if admin.site.is_registered(Group):
    admin.site.unregister(Group)


def greet(page: ModelAdmin, request: HttpRequest, tenant: Tenant) -> None:
    """Give a tenant what it starts with; say so where that fails, and keep the tenant."""
    try:
        with transaction.atomic():
            welcome.welcome(tenant)
    except ScloudError as error:
        page.message_user(request, f"{tenant}: {error.for_operators()}", messages.ERROR)


@admin.register(Tenant)
class TenantAdmin(ModelAdmin):
    """Customers. One that is not active can neither sign in nor use keys."""

    list_display = ("name", "id", "is_active", "created_at")
    list_filter = ("is_active",)
    search_fields = ("name", "id")
    readonly_fields = ("id", "created_at")

    def get_inlines(
        self, request: HttpRequest, obj: Tenant | None
    ) -> list[type[InlineModelAdmin[Any, Any]]]:
        """A new tenant has nothing yet."""
        return [] if obj is None else TENANT_INLINES

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        """A new tenant gets what every tenant starts with."""
        super().save_model(request, obj, form, change)
        if not change:
            greet(self, request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A tenant has books, which are never deleted: deactivate it."""
        return False


@admin.register(PlatformSettings)
class PlatformSettingsAdmin(ModelAdmin):
    """The global switches: one row, always there."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Go straight to the one row."""
        PlatformSettings.objects.get_or_create(pk=1)
        return HttpResponseRedirect(reverse("admin:tenancy_platformsettings_change", args=[1]))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(UserSession)
class UserSessionAdmin(ReadOnlyAdmin):
    list_display = ("user", "ip", "user_agent", "created_at", "last_seen_at")
    list_select_related = ("user",)
    search_fields = ("user__email", "ip")
    exclude = ("session_key",)


@admin.register(Invitation)
class InvitationAdmin(ReadOnlyAdmin):
    """Who was invited to which account."""

    list_display = (
        "email", "tenant", "role_name", "invited_by", "sent_at", "expires_at", "accepted_at",
        "withdrawn_at",
    )  # fmt: skip
    list_filter = (
        ("accepted_at", admin.EmptyFieldListFilter),
        ("withdrawn_at", admin.EmptyFieldListFilter),
        "tenant",
    )
    list_select_related = ("tenant", "invited_by", "custom_role")
    search_fields = ("email", "id")
    exclude = ("digest",)

    @admin.display(description=_("role"), ordering="role")
    def role_name(self, invitation: Invitation) -> str:
        """The role, with the name of one that the tenant has made."""
        return invitation.role_name


@admin.register(LoginAttempt)
class LoginAttemptAdmin(ReadOnlyAdmin):
    list_display = ("at", "email", "ip", "source", "known_browser", "succeeded")
    list_filter = ("succeeded", "at")
    search_fields = ("email", "ip")
    ordering = ("-at",)
