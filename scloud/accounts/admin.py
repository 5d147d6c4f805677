"""People and their API keys in Django admin."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.password_validation import validate_password
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from scloud.accounts import acting
from scloud.accounts import provider_admin as provider_admin  # its pages are registered
from scloud.accounts.actions import move_user, reset_password, revoke_api_key, set_key_networks
from scloud.accounts.second_factor import reset_second_factor
from scloud.accounts.users import require_owner_left
from scloud.lib.errors import Conflict, InvalidInput, ScloudError
from scloud.lib.text import time_zones
from scloud.tenancy.acting import RIGHT
from scloud.tenancy.actor import Actor
from scloud.tenancy.admintools import (
    Button,
    ButtonAdmin,
    ReadOnlyAdmin,
    YesNoFilter,
    administrator,
    needs,
)
from scloud.tenancy.apikeys import check_networks
from scloud.tenancy.models import ApiKey, CustomRole, User
from scloud.tenancy.permissions import CUSTOM, Role


class UserForm(forms.ModelForm[User]):
    """A user; the password is set by typing a new one."""

    new_password = forms.CharField(
        label=_("New password"),
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_(
            "Leave empty to keep the current one. A new one ends sessions, revokes API keys and "
            "unlinks identities."
        ),
    )

    class Meta:
        model = User
        fields = (
            "email", "full_name", "tenant", "role", "is_active", "is_staff", "staff_role",
            "time_zone",
        )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        role = self.fields.get("role")
        if isinstance(role, forms.TypedChoiceField):
            # One of the tenant's own can be kept, and is given by the owners of the tenant.
            kept = [(CUSTOM, self.instance.role_name)] if self.instance.role == CUSTOM else []
            role.choices = [*Role.choices, *kept]

    def clean_email(self) -> str:
        """Addresses are kept in lower case."""
        return str(self.cleaned_data["email"]).lower()

    def clean_time_zone(self) -> str:
        """Only zones that exist."""
        zone = str(self.cleaned_data["time_zone"])
        if zone not in time_zones():
            raise forms.ValidationError(_("There is no time zone of this name."))
        return zone

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
        if data.get("staff_role") and not data.get("is_staff"):
            self.add_error("staff_role", _("Only staff of the platform has such a role."))
        stays = data.get("is_staff") and data.get("is_active") and not data.get("staff_role")
        # The instance is still as it was.
        if self.instance.is_superuser and not stays and _is_last_administrator(self.instance):
            self.add_error(None, _("This is the last administrator of the platform."))
        if not data.get("is_staff") and not data.get("tenant"):
            self.add_error("tenant", _("Choose the tenant, or make it an administrator."))
        if not self.instance._state.adding and not self.errors:
            self._keep_an_owner(data)
        return data

    def _keep_an_owner(self, data: dict[str, Any]) -> None:
        """Refuse what would leave the tenant without an active owner.

        The page is one transaction: what is seen here holds until the user is saved.
        """
        before = User.objects.select_related("tenant").get(pk=self.instance.pk)
        if before.tenant is None or before.role != Role.OWNER or not before.is_active:
            return
        if (data["tenant"], data["role"], data["is_active"]) == (before.tenant, Role.OWNER, True):
            return
        try:
            require_owner_left(before.tenant, before)
        except Conflict as error:
            self.add_error(None, error.for_operators())


class ActAsForm(forms.Form):
    """Why somebody looks as a user; the tenant reads it."""

    reason = forms.CharField(
        label=_("Reason"), max_length=acting.REASON_LENGTH, help_text=_("The tenant reads it.")
    )


def _is_last_administrator(user: User) -> bool:
    """Tell whether nobody else could make administrators; the caller holds their rows."""
    administrators = User.objects.filter(is_active=True, is_staff=True, is_superuser=True)
    keys = list(administrators.select_for_update().order_by("pk").values_list("pk", flat=True))
    return keys == [user.pk]


def _reset_second_factor(actor: Actor, user: User) -> str:
    reset_second_factor(actor=actor, user=user)
    return _now("The second factor of %(user)s is removed.") % {"user": user}


@admin.register(User)
class UserAdmin(ButtonAdmin):
    """People: tenants' users and platform administrators."""

    form = UserForm
    buttons = (
        Button(
            "reset_second_factor",
            _("Reset second factor"),
            _reset_second_factor,
            reason=lambda user: (
                "" if hasattr(user, "second_factor") else _now("The user has no second factor.")
            ),
            confirm=_(
                "Make sure who asks for it: afterwards the password alone signs in. Sessions end, "
                "and the user is told by e-mail."
            ),
            right="platform.reset_second_factor",
        ),
    )
    list_display = (
        "email", "full_name", "tenant", "role_name", "is_active", "is_staff", "staff_role",
        "has_second_factor", "last_login",
    )  # fmt: skip
    list_filter = ("role", "is_active", "is_staff", "staff_role", "tenant")
    list_select_related = ("tenant", "second_factor", "custom_role")
    search_fields = ("email", "full_name", "tenant__name")
    found_by = ("email",)
    autocomplete_fields = ("tenant",)
    readonly_fields = ("last_login", "created_at", "has_second_factor")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """People are deactivated; the log speaks of them, and a tenant keeps its owner."""
        return False

    change_form_template = "admin/scloud/user.html"

    def get_urls(self) -> list[URLPattern]:
        """Add the page that asks why somebody looks as the user."""
        own = path(
            "<path:object_id>/act-as/",
            self.admin_site.admin_view(self.act_as_view),
            name="tenancy_user_act_as",
        )
        return [own, *super().get_urls()]

    @needs(RIGHT)
    def act_as_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why (GET), look at the tenant's console as this user would (POST)."""
        user = self.get_object(request, object_id)
        if user is None or user.tenant is None:
            raise Http404
        form = ActAsForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                acting.begin(
                    request,
                    actor=administrator(request, user.tenant),
                    user=user,
                    reason=form.cleaned_data["reason"],
                )
            except ScloudError as error:
                known = error.field if error.field in form.fields else None
                form.add_error(known, error.for_operators())
            else:
                return HttpResponseRedirect(resolve_url("home"))
        context = {
            **self.admin_site.each_context(request),
            "title": _now("Look as this user"),
            "opts": User._meta,
            "object": user,
            "form": form,
            "back": reverse("admin:tenancy_user_change", args=[user.pk]),
        }
        return TemplateResponse(request, "admin/scloud/act_as.html", context)

    @admin.display(description=_("role"), ordering="role")
    def role_name(self, user: User) -> str:
        """The role, with the name of one that the tenant has made."""
        return user.role_name

    @admin.display(description=_("second factor"), boolean=True)
    def has_second_factor(self, user: User) -> bool:
        """Tell whether the password alone does not sign the user in."""
        return hasattr(user, "second_factor")

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Keep what is a column; a move and a new password have consequences, so actions do them.

        Staff without a role may do everything in the admin.
        """
        password = form.cleaned_data.get("new_password")
        obj.is_superuser = obj.is_staff and not obj.staff_role
        if not change:
            obj.set_password(password)
            super().save_model(request, obj, form, change)
            return
        before, after = User.objects.select_related("tenant").get(pk=obj.pk).tenant, obj.tenant
        obj.tenant = before
        if obj.role != CUSTOM:
            obj.custom_role = None
        super().save_model(request, obj, form, change)
        if before != after:
            move_user(actor=administrator(request, before), user=obj, to=after)
        if password:
            reset_password(actor=administrator(request, after), user=obj, password=password)


class ApiKeyForm(forms.ModelForm[ApiKey]):
    """From where a key may be used: the one thing that is changed here."""

    allowed_from = forms.CharField(
        label=_("Allowed from"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text=_("Addresses or networks, one per line. Empty means from everywhere."),
    )

    class Meta:
        model = ApiKey
        fields: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["allowed_from"].initial = "\n".join(self.instance.networks)

    def clean_allowed_from(self) -> list[str]:
        try:
            return check_networks(self.cleaned_data["allowed_from"].split())
        except InvalidInput as error:
            raise forms.ValidationError(f"{error.message} {error.remedy or ''}") from error


def _revoke(actor: Actor, key: ApiKey) -> str:
    revoke_api_key(actor=actor, key=key)
    return _now("%(key)s is revoked.") % {"key": key}


@admin.register(ApiKey)
class ApiKeyAdmin(ButtonAdmin):
    """Keys of users: only a digest of each is kept."""

    form = ApiKeyForm
    buttons = (
        Button(
            "revoke",
            _("Revoke"),
            _revoke,
            reason=lambda key: _now("It has already been revoked.") if key.revoked_at else "",
            confirm=_("Programs that use it lose access immediately."),
            batch=True,
            right="tenancy.manage_api_keys",
        ),
    )
    list_display = (
        "name", "id", "tenant", "user", "networks", "expires_at", "revoked_at", "last_used_at",
        "last_used_ip",
    )  # fmt: skip
    list_filter = ("tenant", ("revoked_at", YesNoFilter))
    list_select_related = ("tenant", "user")
    search_fields = ("name", "id", "user__email")
    readonly_fields = (
        "id", "tenant", "user", "name", "scopes", "expires_at", "revoked_at", "last_used_at",
        "last_used_ip", "created_at",
    )  # fmt: skip

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Only its user may see a key's secret, so only they make one."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Keys are revoked; the log speaks of them."""
        return False

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        """Change the networks as the console does."""
        set_key_networks(
            actor=administrator(request, obj.tenant),
            key=obj,
            networks=form.cleaned_data["allowed_from"],
        )


@admin.register(CustomRole)
class CustomRoleAdmin(ReadOnlyAdmin):
    """Roles that owners have made for their tenants."""

    list_display = ("name", "tenant", "id", "created_at")
    list_filter = ("tenant",)
    list_select_related = ("tenant",)
    search_fields = ("name", "id", "tenant__name")
