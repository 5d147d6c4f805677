"""One's own second factor: set up, new recovery codes, turned off.

For tenants' users and administrators of the platform alike, so the pages have no frame.
"""

from typing import Any, ClassVar, Final

import segno
from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render, resolve_url
from django.utils.decorators import method_decorator
from django.utils.functional import Promise
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from scloud.accounts import devices, onetime, second_factor
from scloud.lib.errors import ScloudError
from scloud.tenancy import factors, sessions
from scloud.tenancy.actor import Actor
from scloud.tenancy.clientip import client_ip
from scloud.tenancy.middleware import actor_of
from scloud.tenancy.models import SecondFactor, User
from scloud.web import http, ui
from scloud.web.forms import add_error

# Where the session keeps the sealed secret that no code has confirmed yet.
PENDING_KEY: Final = "second_factor_pending"
Text = str | Promise


class CodeForm(forms.Form):
    """The first code of the app."""

    code = forms.CharField(
        label=gettext_lazy("Code"),
        max_length=20,
        help_text=gettext_lazy("The six digits that the app shows."),
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "autofocus": True}
        ),
    )


class PasswordForm(forms.Form):
    """The password, where there is one, and a code where a second factor is on."""

    password = forms.CharField(
        label=gettext_lazy("Current password"),
        max_length=200,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "autofocus": True}),
    )
    code = forms.CharField(
        label=gettext_lazy("Code"),
        max_length=60,
        help_text=gettext_lazy("Of the app, or a recovery code."),
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code"}),
    )

    def __init__(self, *args: Any, coded: bool, has_password: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not coded:
            del self.fields["code"]
        if not has_password:
            # Who signs in with an identity provider has signed in lately, or is asked to.
            del self.fields["password"]


@method_decorator(
    [never_cache, sensitive_post_parameters("password", "code")],
    name="dispatch",
)
class _OwnView(View):
    """A page of somebody who is signed in, wherever they belong."""

    user: User

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Let only signed-in people through."""
        if not isinstance(request.user, User):
            return http.login_redirect(request)
        self.user = request.user
        response = super().dispatch(request, *args, **kwargs)
        # Secrets and codes are shown here: see the middleware that compresses.
        response.holds_secret = True  # type: ignore[attr-defined]  # read by it
        return response

    @property
    def actor(self) -> Actor:
        if self.user.tenant is None:
            return Actor.administrator(
                self.user,
                None,
                client_ip(self.request),
                confirmed=sessions.is_confirmed(self.request.session),
            )
        return actor_of(self.request, self.user)

    def show(self, template: str, *, status: int = 200, **context: Any) -> HttpResponse:
        is_staff = self.user.tenant_id is None
        shared = {
            "view": self,
            "missing": getattr(self.request, "factor_missing", False),
            "back": resolve_url("admin:index" if is_staff else "profile"),
            "out": resolve_url("admin:logout" if is_staff else "logout"),
        }
        return render(self.request, template, {**shared, **context}, status=status)

    def show_codes(self, codes: list[str]) -> HttpResponse:
        """Show recovery codes, this once only."""
        # It was missing until now, perhaps.
        return self.show(
            "web/second_factor/codes.html", codes=codes, joined="\n".join(codes), missing=False
        )


class SecondFactorView(_OwnView):
    """Whether it is on, and what can be done about it."""

    def get(self, request: HttpRequest) -> HttpResponse:
        factor = SecondFactor.objects.filter(pk=self.user.pk).first()
        if factor is None:
            return HttpResponseRedirect(resolve_url("second-factor-begin"))
        left = second_factor.codes_left(self.user)
        return self.show(
            "web/second_factor/page.html",
            facts=[
                (_("Turned on"), ui.reltime(factor.turned_on_at)),
                (_("Recovery codes left"), left),
            ],
            left=left,
            refusal=second_factor.refusal(self.user),
        )


class _ProvenView(_OwnView):
    """A form that asks for the password, and for a code where a second factor is on."""

    title: Text = ""
    text: Text = ""
    verb: ClassVar[Text] = ""
    danger: ClassVar[bool] = False
    # What cannot be done without one.
    needs_one: ClassVar[bool] = True

    def perform(self, data: dict[str, Any]) -> HttpResponse:
        """Do it with ``password`` and ``code``. A ScloudError is shown in the form."""
        raise NotImplementedError

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.with_form(None)

    def post(self, request: HttpRequest) -> HttpResponse:
        return self.with_form(request.POST)

    def with_form(self, data: Any) -> HttpResponse:
        has_one = factors.has_one(self.user)
        if self.needs_one and not has_one:
            return HttpResponseRedirect(resolve_url("second-factor"))
        form = PasswordForm(data, coded=has_one, has_password=self.user.has_usable_password())
        if data is None or not form.is_valid():
            return self.ask(form, status=200 if data is None else 422)
        try:
            return self.perform({"password": "", "code": "", **form.cleaned_data})
        except ScloudError as error:
            add_error(form, error)
            return self.ask(form, status=429 if error.http_status == 429 else 422)

    def ask(self, form: PasswordForm, *, status: int = 200) -> HttpResponse:
        context: dict[str, Any] = {"form": form}
        if "code" in form.fields:
            context["back"] = resolve_url("second-factor")
        return self.show("web/second_factor/ask.html", status=status, **context)


class BeginView(_ProvenView):
    """Makes a new secret, for the first app or for another one."""

    title: Text = gettext_lazy("Set up a second factor")
    text: Text = gettext_lazy(
        "Signing in then needs a code of an authenticator app on your phone or computer, besides "
        "the password."
    )
    verb = gettext_lazy("Continue")
    needs_one = False

    def ask(self, form: PasswordForm, *, status: int = 200) -> HttpResponse:
        if "code" in form.fields:
            self.title = gettext_lazy("Move to another device")
            self.text = gettext_lazy(
                "The app on the other device replaces the present one. New recovery codes are made."
            )
        return super().ask(form, status=status)

    def perform(self, data: dict[str, Any]) -> HttpResponse:
        self.request.session[PENDING_KEY] = second_factor.begin(actor=self.actor, **data)
        # Wherever the session began: it has just brought what a sign-in asks for, and will be kept.
        self.request.session[sessions.ASKED_KEY] = True
        return HttpResponseRedirect(resolve_url("second-factor-confirm"))


class ConfirmView(_OwnView):
    """Shows the new secret as a picture and as text, and takes the first code of the app."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.with_form(CodeForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Turn it on and show the recovery codes, or ask again."""
        form = CodeForm(request.POST)
        if not form.is_valid():
            return self.with_form(form, status=422)
        try:
            codes = second_factor.turn_on(
                actor=self.actor,
                pending=request.session.get(PENDING_KEY, ""),
                code=form.cleaned_data["code"],
                keep_session=request.session.session_key,
            )
        except ScloudError as error:
            add_error(form, error)
            return self.with_form(form, status=422)
        del request.session[PENDING_KEY]
        response = self.show_codes(codes)
        # It was known by the factor of before, as all others were, which are not known any more.
        devices.remember(request, response, self.user)
        return response

    def with_form(self, form: CodeForm, *, status: int = 200) -> HttpResponse:
        pending = self.request.session.get(PENDING_KEY, "")
        secret = second_factor.secret_of(actor=self.actor, pending=pending)
        if secret is None:
            if pending:
                messages.info(self.request, _("The new secret is no longer valid. Begin again."))
            return HttpResponseRedirect(resolve_url("second-factor-begin"))
        return self.show(
            "web/second_factor/confirm.html",
            form=form,
            status=status,
            secret=secret,
            grouped=" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
            picture=_picture(onetime.address_of(secret, self.user.email)),
        )


def _picture(address: str) -> SafeString:
    """Return a QR code as inline SVG, dark on light in both themes: apps read no other."""
    code = segno.make(address, error="m", micro=False)
    drawn = code.svg_inline(scale=4, border=4, dark="#000", light="#fff", omitsize=True)
    return mark_safe(drawn)  # noqa: S308 (paths that the library draws; no text of anybody)


class CodesView(_ProvenView):
    """Makes new recovery codes and shows them once."""

    title = gettext_lazy("New recovery codes")
    text = gettext_lazy("Ten new codes are made. Those of the present set become void.")
    verb = gettext_lazy("Make new codes")

    def perform(self, data: dict[str, Any]) -> HttpResponse:
        return self.show_codes(second_factor.renew_codes(actor=self.actor, **data))


class TurnOffView(_ProvenView):
    """Turns it off."""

    title = gettext_lazy("Turn off the second factor")
    text = gettext_lazy("The password alone then signs in. The recovery codes become void.")
    verb = gettext_lazy("Turn off")
    danger = True

    def perform(self, data: dict[str, Any]) -> HttpResponse:
        second_factor.turn_off(actor=self.actor, **data)
        where = "admin:index" if self.user.tenant_id is None else "profile"
        response = http.done(self.request, _("Second factor turned off."), to=where)
        devices.remember(self.request, response, self.user)
        return response
