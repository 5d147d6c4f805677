"""Tenants, their users and the platform's switches in Django admin."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group
from django.contrib.auth.password_validation import validate_password
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from scloud.tenancy.admintools import ModelAdmin, ReadOnlyAdmin
from scloud.tenancy.models import ApiKey, LoginAttempt, PlatformSettings, Tenant, User, UserSession

if admin.site.is_registered(Group):
    admin.site.unregister(Group)


@admin.register(Tenant)
class TenantAdmin(ModelAdmin):
    """Customers. One that is not active can neither sign in nor use keys."""

    list_display = ("name", "id", "is_active", "created_at")
    list_filter = ("is_active",)
    search_fields = ("name", "id")
    readonly_fields = ("id", "created_at")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A tenant has books, which are never deleted: deactivate it."""
        return False


class UserForm(forms.ModelForm[User]):
    """A user; the password is set by typing a new one."""

    new_password = forms.CharField(
        label=_("New password"),
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_("Empty keeps the present one."),
    )

    class Meta:
        model = User
        fields = ("email", "full_name", "tenant", "role", "is_active", "is_staff", "time_zone")

    def clean_email(self) -> str:
        """Addresses are kept in lower case."""
        return str(self.cleaned_data["email"]).lower()

    def clean(self) -> dict[str, Any]:
        """Check the password by the platform's rules; a new user needs one."""
        data = super().clean() or {}
        password = data.get("new_password")
        if password:
            try:
                validate_password(password, self.instance)
            except forms.ValidationError as error:
                self.add_error("new_password", error)
        elif self.instance._state.adding:
            self.add_error("new_password", _("A new user needs a password."))
        if data.get("is_staff") and data.get("tenant"):
            self.add_error("is_staff", _("A platform administrator belongs to no tenant."))
        if not data.get("is_staff") and not data.get("tenant"):
            self.add_error("tenant", _("Choose the tenant, or make it an administrator."))
        return data


@admin.register(User)
class UserAdmin(ModelAdmin):
    """People: tenants' users and platform administrators."""

    form = UserForm
    list_display = ("email", "full_name", "tenant", "role", "is_active", "is_staff", "last_login")
    list_filter = ("role", "is_active", "is_staff", "tenant")
    list_select_related = ("tenant",)
    search_fields = ("email", "full_name", "tenant__name")
    autocomplete_fields = ("tenant",)
    readonly_fields = ("last_login", "created_at")

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Hash the new password; administrators may do everything in the admin."""
        if form.cleaned_data.get("new_password"):
            obj.set_password(form.cleaned_data["new_password"])
        obj.is_superuser = obj.is_staff
        super().save_model(request, obj, form, change)


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
        """There is exactly one."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """There is exactly one."""
        return False


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """Keys of users: only a digest of each is kept."""

    list_display = ("name", "id", "tenant", "user", "expires_at", "revoked_at", "last_used_at")
    list_filter = ("tenant", ("revoked_at", admin.EmptyFieldListFilter))
    list_select_related = ("tenant", "user")
    search_fields = ("name", "id", "user__email")
    exclude = ("digest",)


@admin.register(UserSession)
class UserSessionAdmin(ReadOnlyAdmin):
    """Signed-in browsers."""

    list_display = ("user", "ip", "user_agent", "created_at", "last_seen_at")
    list_select_related = ("user",)
    search_fields = ("user__email", "ip")
    exclude = ("session_key",)


@admin.register(LoginAttempt)
class LoginAttemptAdmin(ReadOnlyAdmin):
    """Who tried to sign in."""

    list_display = ("at", "email", "ip", "succeeded")
    list_filter = ("succeeded", "at")
    search_fields = ("email", "ip")
    ordering = ("-at",)
