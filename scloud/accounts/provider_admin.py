"""Identity providers in Django admin, with what their groups mean, and who is linked."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _

from scloud.accounts import federated, providers
from scloud.accounts.providers import Mapped
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.admintools import Button, ButtonAdmin, ReadOnlyAdmin, administrator
from scloud.tenancy.models import CustomRole, GroupMapping, Identity, IdentityProvider


class ProviderForm(forms.ModelForm[IdentityProvider]):
    """A provider; its secret is set by typing it, and shown nowhere."""

    new_secret = forms.CharField(
        label=_("Client secret"),
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_(
            "Leave empty to keep the current one. Enter it again when issuer or client ID change."
        ),
    )

    class Meta:
        model = IdentityProvider
        fields = (
            "label", "is_on", "issuer", "client_id", "scopes", "groups_claim", "creates_users",
            "domains", "factor_values",
        )  # fmt: skip

    def clean(self) -> dict[str, Any]:
        """Put what the action would refuse next to its field."""
        data = super().clean() or {}
        before = IdentityProvider.objects.filter(pk=self.instance.pk).first()
        wanted = IdentityProvider(
            issuer=data.get("issuer") or "",
            client_id=data.get("client_id") or "",
            scopes=data.get("scopes") or "",
            creates_users=bool(data.get("creates_users")),
            domains=data.get("domains") or "",
        )
        if self.errors:
            return data
        try:
            providers.check(wanted)
            providers.check_issuer_kept(before, wanted)
            providers.check_secret(data.get("new_secret") or "", before, wanted)
        except ScloudError as error:
            known = error.field if error.field in self.fields else None
            self.add_error(known, error.for_operators())
        return data


def _mapped(data: dict[str, Any]) -> Mapped:
    return Mapped(
        group=data.get("group") or "",
        tenant=data.get("tenant"),
        role=data.get("role") or "",
        custom_role=data.get("own_role"),
        staff_role=data.get("staff_role") or "",
        gone=data.get("gone") or "",
    )


class MappingForm(forms.ModelForm[GroupMapping]):
    """What a group means."""

    own_role = forms.CharField(
        label=_("role of the tenant"),
        required=False,
        max_length=40,
        help_text=_("The name of one that the tenant has made, instead of the platform's."),
    )

    class Meta:
        model = GroupMapping
        fields = ("position", "group", "tenant", "role", "staff_role")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kept = self.instance.custom_role_id
        own = CustomRole.objects.filter(pk=kept).first() if kept else None
        # Of one that is gone the ID is all that is known.
        self.gone = kept if kept and own is None else ""
        self.fields["own_role"].initial = own.name if isinstance(own, CustomRole) else self.gone

    def clean(self) -> dict[str, Any]:
        """Put what the action would refuse next to the group."""
        data = super().clean() or {}
        name = data.get("own_role") or ""
        data["own_role"] = None
        if name and name == self.gone and data.get("tenant") == self.instance.tenant:
            data["gone"] = name
        elif name:
            roles = CustomRole.objects.filter(tenant=data.get("tenant"))
            data["own_role"] = roles.filter(name__iexact=name).first()
            if data["own_role"] is None:
                self.add_error("own_role", _("The tenant has no such role."))
        if self.errors or not self.has_changed():
            return data
        try:
            providers.check_mapping(_mapped(data))
        except ScloudError as error:
            self.add_error("group", error.for_operators())
        return data


class MappingInline(admin.TabularInline[GroupMapping, IdentityProvider]):
    """The groups of a provider, in the order in which they are looked at."""

    model = GroupMapping
    form = MappingForm
    extra = 1
    max_num = providers.MAX_MAPPINGS
    autocomplete_fields = ("tenant",)


def _test(actor: Actor, provider: IdentityProvider) -> str:
    providers.test_identity_provider(actor=actor, provider=provider)
    return _now("%(name)s is being read. Reload to see what it said.") % {"name": provider.label}


@admin.register(IdentityProvider)
class IdentityProviderAdmin(ButtonAdmin):
    """Where people sign in instead of with a password. The secret is kept sealed."""

    form = ProviderForm
    inlines = (MappingInline,)
    buttons = (Button("test", _("Test"), _test, right="platform.test_identity_provider"),)
    list_display = ("label", "issuer", "is_on", "creates_users", "tested_at", "test_error")
    list_filter = ("is_on",)
    search_fields = ("label", "issuer", "id")
    fields = (
        "label", "is_on", "issuer", "client_id", "new_secret", "redirect_uri", "scopes",
        "groups_claim", "creates_users", "domains", "factor_values", "tested_at", "test_error",
        "keys_read_at", "deleted_roles",
    )  # fmt: skip
    readonly_fields = ("redirect_uri", "tested_at", "test_error", "keys_read_at", "deleted_roles")

    @admin.display(description=_("redirect URI"))
    def redirect_uri(self, provider: IdentityProvider) -> str:
        """What has to be registered at the provider."""
        if provider._state.adding:
            return _now("Shown after saving.")
        return federated.redirect_uri(provider)

    @admin.display(description=_("groups of deleted roles"))
    def deleted_roles(self, provider: IdentityProvider) -> str:
        """Which groups mean a role that the tenant has deleted."""
        if provider._state.adding:
            return _now("None.")
        groups = ", ".join(one.group for one in providers.dangling(provider))
        if not groups:
            return _now("None.")
        return _now(
            "%(groups)s: the tenant has deleted the role, so who is in one of these groups is "
            "refused. Choose another role or delete the group."
        ) % {"groups": groups}

    def save_model(
        self, request: HttpRequest, obj: IdentityProvider, form: Any, change: bool
    ) -> None:
        """By the action, which seals the secret. The form has been checked by the same rules."""
        providers.save_identity_provider(
            actor=administrator(request, None),
            provider=obj,
            secret=form.cleaned_data.get("new_secret") or "",
        )

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """All groups together, by the action."""
        kept = [
            one.cleaned_data
            for one in formset.forms
            if one.cleaned_data.get("group") and not one.cleaned_data.get("DELETE")
        ]
        kept.sort(key=lambda data: data.get("position") or 0)
        # What the log of the admin page tells of, which reads them in any case.
        formset.new_objects, formset.changed_objects, formset.deleted_objects = [], [], []
        if not formset.has_changed():
            return
        providers.set_group_mappings(
            actor=administrator(request, None),
            provider=form.instance,
            mappings=[_mapped(data) for data in kept],
        )

    def delete_model(self, request: HttpRequest, obj: IdentityProvider) -> None:
        """By the action."""
        providers.delete_identity_provider(actor=administrator(request, None), provider=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[IdentityProvider]) -> None:
        """Each by the action."""
        for row in queryset:
            self.delete_model(request, row)


def _unlink(actor: Actor, identity: Identity) -> str:
    federated.remove_link(actor=actor, identity=identity)
    return _now("The identity is unlinked.")


@admin.register(Identity)
class IdentityAdmin(ButtonAdmin, ReadOnlyAdmin):
    """Who is linked to which identity."""

    buttons = (
        Button(
            "unlink",
            _("Unlink"),
            _unlink,
            confirm=_("It no longer signs in to the account, and sessions of the user end."),
            batch=True,
            right="platform.unlink_identity",
        ),
    )
    list_display = ("user", "provider", "subject", "linked_at", "last_used_at")
    list_filter = ("provider",)
    list_select_related = ("user", "provider")
    search_fields = ("user__email", "subject")

    def tenant_of(self, obj: Identity) -> Any:
        """The operation log of the tenant tells of it."""
        return obj.user.tenant
