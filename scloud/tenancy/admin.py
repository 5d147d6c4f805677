"""Tenants, sign-ins and the platform's switches in Django admin."""

from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import InlineModelAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, reverse
from django.utils.translation import gettext_lazy as _

from scloud.lib.durations import DurationField
from scloud.lib.errors import ScloudError
from scloud.tenancy import welcome
from scloud.tenancy.admintools import ModelAdmin, ReadOnlyAdmin, YesNoFilter
from scloud.tenancy.models import Invitation, LoginAttempt, PlatformSettings, Tenant, UserSession

if TYPE_CHECKING:
    # Generic for the type checker only.
    PlatformSettingsModelForm = forms.ModelForm[PlatformSettings]
else:
    PlatformSettingsModelForm = forms.ModelForm

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
    found_by = ("name",)
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


class PlatformSettingsForm(PlatformSettingsModelForm):
    """The switches, with durations in their units."""

    bin_retention_s = DurationField(
        label=_("Recycle bin retention"),
        min_value=1,
        max_value=360_000,
        help_text=_("At most 100 hours. Such as 4 d 4 h or 90 min."),
        error_messages={
            "min_value": _("It must be at least 1 s."),
            "max_value": _("It must be at most 100 h."),
        },
    )

    class Meta:
        model = PlatformSettings
        fields = "__all__"


@admin.register(PlatformSettings)
class PlatformSettingsAdmin(ModelAdmin):
    """The global switches: one row, always there."""

    form = PlatformSettingsForm

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Go straight to the one row."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        PlatformSettings.objects.get_or_create(pk=1)
        return HttpResponseRedirect(reverse("admin:tenancy_platformsettings_change", args=[1]))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(UserSession)
class UserSessionAdmin(ReadOnlyAdmin):
    """Who is signed in, and from where.

    The primary key is what the browser's cookie holds: whoever reads it is that user. So no row has
    a page, whose URL would name it, and none a link or a box to choose it.
    """

    list_display = ("user", "ip", "user_agent", "created_at", "last_seen_at")
    list_display_links = None
    list_select_related = ("user",)
    search_fields = ("user__email", "ip")
    exclude = ("session_key",)
    actions = None

    def get_urls(self) -> list[URLPattern]:
        """Return the pages that name no row."""
        return [one for one in super().get_urls() if "object_id" not in str(one.pattern)]


@admin.register(Invitation)
class InvitationAdmin(ReadOnlyAdmin):
    """Who was invited to which account."""

    list_display = (
        "email", "tenant", "role_name", "invited_by", "sent_at", "expires_at", "accepted_at",
        "withdrawn_at",
    )  # fmt: skip
    list_filter = (
        ("accepted_at", YesNoFilter),
        ("withdrawn_at", YesNoFilter),
        "tenant",
    )
    list_select_related = ("tenant", "invited_by", "custom_role")
    search_fields = ("email", "id")
    found_by = ("email",)
    found_as = 1
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
