"""Profile, sessions and API keys."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.crypto import salted_hmac
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views import View
from django.views.decorators.debug import sensitive_post_parameters

from scloud.accounts import actions as account
from scloud.accounts import devices, federated, signin
from scloud.accounts.expiring import SOON
from scloud.accounts.rights import scope_words
from scloud.lib.errors import NotFound, ScloudError
from scloud.lib.text import time_zones
from scloud.tenancy import factors
from scloud.tenancy.models import ApiKey, PlatformSettings, User, UserSession
from scloud.web import http, ui
from scloud.web.auth import safe_next
from scloud.web.forms import add_error
from scloud.web.lists import Column, EmptyState, ListView, PageAction, RowAction
from scloud.web.preferences import THEME_COOKIE, THEMES, remember
from scloud.web.status import StatusView
from scloud.web.views import ActionView, ConsoleView


def _zones() -> list[tuple[str, str]]:
    return [(name, name.replace("_", " ")) for name in sorted(time_zones())]


class ProfileForm(forms.Form):
    """Name, time zone, language, theme."""

    full_name = forms.CharField(label=gettext_lazy("Name"), max_length=80, required=False)
    time_zone = forms.ChoiceField(label=gettext_lazy("Time zone"), choices=_zones)
    language = forms.ChoiceField(
        label=gettext_lazy("Language"),
        required=False,
        choices=lambda: [("", _("Browser default")), *settings.LANGUAGES],
    )
    theme = forms.ChoiceField(
        label=gettext_lazy("Theme"),
        choices=(
            ("auto", gettext_lazy("System default")),
            ("light", gettext_lazy("Light")),
            ("dark", gettext_lazy("Dark")),
        ),
    )


class ProfileView(ConsoleView):
    """The page of the signed-in person."""

    def get(self, request: HttpRequest) -> HttpResponse:
        user = self.request.user
        initial = {
            name: getattr(user, name) for name in ("full_name", "time_zone", "language", "theme")
        }
        return self.show(ProfileForm(initial=initial))

    def post(self, request: HttpRequest) -> HttpResponse:
        form = ProfileForm(request.POST)
        if not form.is_valid():
            return self.show(form, status=422)
        account.update_profile(actor=self.actor, values=form.cleaned_data)
        response = http.done(request, _("Profile saved."), to="profile")
        remember(response, THEME_COOKIE, form.cleaned_data["theme"])
        remember(response, settings.LANGUAGE_COOKIE_NAME, form.cleaned_data["language"] or "en")
        return response

    def show(self, form: ProfileForm, *, status: int = 200) -> HttpResponse:
        here = self.request.session.session_key
        sessions = [
            {
                "session": session,
                "browser": browser_name(session.user_agent),
                "handle": session_handle(session),
                "here": session.pk == here,
            }
            for session in UserSession.objects.filter(user=self.request.user)
        ]
        context = {
            "form": form,
            "sessions": sessions,
            "has_mail": settings.SCLOUD_EMAIL_READY,
            "second_factor": _second_factor(self.request.user),
            # Without a password the provider alone knows the address and the password.
            "has_password": self.request.user.has_usable_password(),
            "has_providers": bool(federated.offered()),
        }
        return self.render("web/profile/page.html", context, status=status)


def _second_factor(user: User) -> StatusView:
    if factors.has_one(user):
        return StatusView(_("On"), "ok")
    return StatusView(_("Off"), "off")


class PasswordForm(forms.Form):
    current = forms.CharField(
        label=gettext_lazy("Current password"),
        max_length=200,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    new = forms.CharField(
        label=gettext_lazy("New password"),
        max_length=200,
        strip=False,
        help_text=gettext_lazy("At least 10 characters. Other sessions are signed out."),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )


class PasswordView(ActionView):
    """The dialog to change one's password."""

    title = gettext_lazy("Change password")
    verb = gettext_lazy("Change password")
    form_class = PasswordForm
    success_text = gettext_lazy("Password changed. Other sessions were signed out.")

    def perform(self, obj: Any, data: dict[str, Any]) -> None:
        signin.change_password(
            self.request, actor=self.actor, current=data["current"], new=data["new"]
        )

    def succeeded(self, obj: Any, result: Any) -> HttpResponse:
        response = super().succeeded(obj, result)
        # The browser was known by the old password.
        devices.remember(self.request, response, self.request.user)
        return response


class AddressForm(forms.Form):
    """The new address, and the password."""

    email = forms.EmailField(label=gettext_lazy("New address"), max_length=254)
    password = forms.CharField(
        label=gettext_lazy("Current password"),
        max_length=200,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


@method_decorator(sensitive_post_parameters("password"), name="dispatch")
class AddressView(ActionView):
    """The dialog that asks for another address."""

    title = gettext_lazy("Change address")
    text = gettext_lazy(
        "A link is sent to the new address. Nothing changes before you open it, signed in."
    )
    verb = gettext_lazy("Send link")
    form_class = AddressForm
    success_text = gettext_lazy("Check the mailbox of the new address.")

    def perform(self, obj: Any, data: dict[str, Any]) -> None:
        account.ask_for_address(actor=self.actor, email=data["email"], password=data["password"])

    def success_url(self, obj: Any) -> str | None:
        return None if self.request.htmx else "profile"


class CodeForm(forms.Form):
    """The code that was sent to the new address."""

    code = forms.CharField(
        label=gettext_lazy("Code"),
        max_length=600,
        help_text=gettext_lazy("From the mail to the new address."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


@method_decorator(sensitive_post_parameters("code"), name="dispatch")
class VerifyAddressView(ConsoleView):
    """Where the link of the mail leads: changes the address of who is signed in."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.show(CodeForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = CodeForm(request.POST)
        if not form.is_valid():
            return self.show(form, status=422)
        try:
            account.change_address(actor=self.actor, code=form.cleaned_data["code"])
        except ScloudError as error:
            add_error(form, error)
            return self.show(form, status=429 if error.http_status == 429 else 422)
        return http.done(request, _("Address changed."), to="profile")

    def show(self, form: CodeForm, *, status: int = 200) -> HttpResponse:
        return self.render("web/profile/verify.html", {"form": form}, status=status)


class RevokeSessionView(ActionView):
    """Ends another browser's session."""

    title = gettext_lazy("End session")
    text = gettext_lazy("That browser will have to sign in again.")
    verb = gettext_lazy("End session")
    danger = True
    success_text = gettext_lazy("Session ended.")

    def get_object(self) -> UserSession:
        sessions = UserSession.objects.filter(user=self.request.user)
        found = next((s for s in sessions if session_handle(s) == self.kwargs["handle"]), None)
        if found is None:
            raise NotFound(_("This session no longer exists."))
        return found

    def get_dialog_context(self, obj: UserSession) -> dict[str, Any]:
        return {
            "lines": [
                (_("From"), obj.ip),
                (_("Browser"), obj.user_agent),
                (_("Last seen"), ui.reltime(obj.last_seen_at)),
            ]
        }

    def perform(self, obj: UserSession, data: dict[str, Any]) -> None:
        account.revoke_session(actor=self.actor, session_key=obj.session_key)

    def success_url(self, obj: UserSession) -> str:
        return "profile"


_BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


def browser_name(user_agent: str) -> str:
    """Return what people call a browser: "Firefox, Linux"."""
    found = [
        next((name for sign, name in signs if sign in user_agent), "")
        for signs in (_BROWSERS, _SYSTEMS)
    ]
    return ", ".join(filter(None, found)) or user_agent[:60] or _("Unknown")


def session_handle(session: UserSession) -> str:
    """Return a name of a session for URLs: the key itself is as good as a password."""
    return salted_hmac("scloud.session", session.session_key).hexdigest()[:20]


def _key_status(key: ApiKey) -> StatusView:
    if key.revoked_at is not None:
        return StatusView(_("Revoked"), "off")
    if not key.is_usable:
        return StatusView(_("Expired"), "error")
    if key.expires_at is not None and key.expires_at - timezone.now() < SOON:
        return StatusView(_("Expires soon"), "warn")
    return StatusView(_("Usable"), "ok")


def _allows(key: ApiKey) -> list[str]:
    """Return in words what a key may be used for; its user's role bounds it."""
    if not key.scopes:
        return [_("Everything your role allows")]
    return [scope_words(scope) for scope in key.scopes]


def _expires(key: ApiKey) -> Any:
    return ui.reltime(key.expires_at) if key.expires_at else _("never")


def _used(key: ApiKey) -> Any:
    """Say when and from where a key was used last."""
    if key.last_used_at is None:
        return _("never")
    if key.last_used_ip is None:
        return ui.reltime(key.last_used_at)
    return format_html(
        '{}<div class="ident faint">{}</div>', ui.reltime(key.last_used_at), key.last_used_ip
    )


class ApiKeysView(ListView):
    """The caller's keys: what they allow, from where, until when, and when they were used."""

    kind = "key"
    permission = "tenancy.manage_api_keys"
    title = gettext_lazy("API keys")
    text = gettext_lazy(
        "A program with a key acts as you, as far as the key allows. Its secret is shown once, "
        "when you create it. You are told by e-mail before a key expires."
    )
    search_fields = ("id", "name")
    default_sort = "-created"
    has_row_menu = True
    columns = (
        Column("name", gettext_lazy("Name"), sort="name", main=True),
        Column("id", gettext_lazy("ID"), render=ui.ident, default=False),
        Column("status", gettext_lazy("Status"), value=_key_status),
        Column("scopes", gettext_lazy("Rights"), value=_allows, render=ui.tags),
        Column(
            "networks",
            gettext_lazy("Allowed from"),
            render=lambda networks: ui.tags(networks or [_("Everywhere")]),
        ),
        Column(
            "expires",
            gettext_lazy("Expires"),
            value=_expires,
            sort="expires_at",
            export="expires_at",
        ),
        Column(
            "used",
            gettext_lazy("Last used"),
            value=_used,
            sort="last_used_at",
            export="last_used_at",
        ),
        Column(
            "used_from",
            gettext_lazy("Last used from"),
            value="last_used_ip",
            sort="last_used_ip",
            default=False,
        ),
        Column(
            "created",
            gettext_lazy("Created"),
            value="created_at",
            sort="created_at",
            default=False,
        ),
    )
    page_actions = (PageAction(gettext_lazy("Create key"), "api-key-create", dialog=True),)
    empty = EmptyState(
        gettext_lazy("No API keys"),
        gettext_lazy("Programs sign in with a key. It can do what you can do, or less."),
        icon="key",
        action_label=gettext_lazy("Create key"),
        action_url_name="api-key-create",
        dialog=True,
    )

    def get_queryset(self) -> QuerySet[ApiKey]:
        keys: QuerySet[ApiKey] = ApiKey.objects.filter(user=self.request.user)
        return keys

    def row_actions(self, obj: ApiKey) -> list[RowAction]:
        reason = _("It has already been revoked.") if obj.revoked_at else ""
        return [
            RowAction(
                _("Allowed from"),
                reverse("api-key-networks", args=[obj.pk]),
                icon="network",
                reason=reason,
            ),
            RowAction(
                _("Revoke"),
                reverse("api-key-revoke", args=[obj.pk]),
                icon="ban",
                danger=True,
                reason=reason,
            ),
        ]


class NetworksField(forms.CharField):
    """Addresses and networks, separated by white space or commas."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            label=gettext_lazy("Allowed from"),
            required=False,
            max_length=4000,
            widget=forms.Textarea(attrs={"rows": 3, "placeholder": "192.0.2.0/24"}),
            help_text=gettext_lazy(
                "Addresses or networks, one per line. Empty means from everywhere."
            ),
            **kwargs,
        )

    def to_python(self, value: Any) -> Any:
        """Return the parts; whether they are networks is checked by the action."""
        return (super().to_python(value) or "").replace(",", " ").split()


class ApiKeyForm(forms.Form):
    """A new key's name, life time, scopes and networks."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=60)
    expires_in_days = forms.TypedChoiceField(
        label=gettext_lazy("Expires"),
        required=False,
        coerce=int,
        empty_value=None,
        choices=lambda: [
            (
                "",
                _("default: in %(days)s days") % {"days": PlatformSettings.load().api_key_days},
            ),
            ("30", _("in 30 days")),
            ("365", _("in a year")),
            ("0", _("never")),
        ],
    )
    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("Rights"),
        required=False,
        help_text=gettext_lazy(
            "Leave empty to allow everything that your role allows, now and later. What costs "
            "money needs the right to spend beside the right to manage."
        ),
        widget=forms.CheckboxSelectMultiple,
    )
    networks = NetworksField()

    def __init__(self, *args: Any, grants: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["scopes"]
        assert isinstance(field, forms.MultipleChoiceField)
        # Of scopes that allow the same the narrower one comes last, and is offered.
        offered = {scope_words(scope): scope for scope in account.known_scopes(grants)}
        field.choices = [(scope, words) for words, scope in offered.items()]


class ApiKeyCreateView(ActionView):
    """The dialog that makes a key and shows its secret once."""

    permission = "tenancy.manage_api_keys"
    title = gettext_lazy("Create API key")
    verb = gettext_lazy("Create key")
    form_class = ApiKeyForm

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        return {"grants": self.actor.grants}

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        form = ApiKeyForm(request.POST, grants=self.actor.grants)
        if not form.is_valid():
            return self.show(None, form, status=422)
        try:
            data = dict(form.cleaned_data)
            # "never" is a choice of its own, so that leaving it out is not.
            never = data["expires_in_days"] == 0
            data["expires_in_days"] = data["expires_in_days"] or None
            key, secret = account.create_api_key(actor=self.actor, never_expires=never, **data)
        except ScloudError as error:
            add_error(form, error)
            return self.show(None, form, status=422)
        context = {"key": key, "secret": secret, "dialog_template": "web/profile/secret.html"}
        template = "web/profile/secret.html" if self.request.htmx else "web/dialog/page.html"
        return http.changed(self.render(template, context), "key", key.pk)


class OwnKeyView(ActionView):
    """A dialog about one of the caller's keys."""

    permission = "tenancy.manage_api_keys"
    live_kind = "key"

    def get_object(self) -> ApiKey:
        key = ApiKey.objects.filter(user=self.request.user, pk=self.kwargs["key_id"]).first()
        if not isinstance(key, ApiKey):
            raise NotFound(_("There is no key %(key)s.") % {"key": self.kwargs["key_id"]})
        return key


class ApiKeyNetworksForm(forms.Form):
    """From where a key may be used."""

    networks = NetworksField()


class ApiKeyNetworksView(OwnKeyView):
    """The dialog that says from where a key may be used."""

    title = gettext_lazy("Change the allowed networks of an API key")
    verb = gettext_lazy("Save")
    form_class = ApiKeyNetworksForm
    success_text = gettext_lazy("Saved.")

    def get_form_kwargs(self, obj: ApiKey) -> dict[str, Any]:
        return {"initial": {"networks": "\n".join(obj.networks)}}

    def perform(self, obj: ApiKey, data: dict[str, Any]) -> None:
        account.set_key_networks(actor=self.actor, key=obj, networks=data["networks"])


class ApiKeyRevokeView(OwnKeyView):
    title = gettext_lazy("Revoke API key")
    text = gettext_lazy("Programs that use it lose access immediately.")
    verb = gettext_lazy("Revoke")
    danger = True
    success_text = gettext_lazy("Key revoked.")

    def perform(self, obj: ApiKey, data: dict[str, Any]) -> None:
        account.revoke_api_key(actor=self.actor, key=obj)


class AppearanceView(View):
    """Theme and language from the top bar; works on the login page as well."""

    http_method_names = ["post", "options"]

    def post(self, request: HttpRequest) -> HttpResponse:
        """Remember the choice, in the profile too when somebody of a tenant is signed in."""
        response = HttpResponseRedirect(safe_next(request, resolve_url("home")))
        values: dict[str, str] = {}
        theme, language = request.POST.get("theme"), request.POST.get("language")
        if theme in THEMES:
            values["theme"] = theme
            remember(response, THEME_COOKIE, theme)
        if language in dict(settings.LANGUAGES):
            values["language"] = language
            remember(response, settings.LANGUAGE_COOKIE_NAME, language)
            translation.activate(language)
        actor = getattr(request, "actor", None)
        if actor is not None and values:
            account.update_profile(actor=actor, values=values)
        return response
