"""Signing in and out."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from scloud.accounts import devices, federated, halfway, second_factor, signin
from scloud.lib.bodies import BodyRule
from scloud.lib.errors import ScloudError
from scloud.tenancy.models import User
from scloud.web.forms import add_error
from scloud.web.preferences import REGION_COOKIE, remember
from scloud.web.regions import regions_for


class LoginForm(forms.Form):
    """E-mail and password."""

    email = forms.EmailField(
        label=gettext_lazy("E-mail"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True}),
    )
    password = forms.CharField(
        label=gettext_lazy("Password"),
        max_length=200,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class LoginCodeForm(forms.Form):
    """A code of the app, or a recovery code."""

    code = forms.CharField(
        label=gettext_lazy("Code"),
        max_length=60,
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "autofocus": True}),
    )


def safe_next(request: HttpRequest, fallback: str = "/") -> str:
    """Return where to go afterwards; only addresses of this site count."""
    target = request.POST.get("next") or request.GET.get("next") or ""
    if url_has_allowed_host_and_scheme(
        target, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        return target
    return fallback


def landing(request: HttpRequest, user: User) -> str:
    """Return the first page: administrators of the platform work in Django admin."""
    home = resolve_url("home") if user.tenant_id else resolve_url("admin:index")
    return safe_next(request, home)


@method_decorator([never_cache, sensitive_post_parameters("password")], name="dispatch")
class LoginView(View):
    # Nobody is known yet: an address, a password and where to go next.
    body_rule = BodyRule(lambda: 64 * 1024)

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show the form, or go on when somebody is signed in."""
        if isinstance(request.user, User):
            return HttpResponseRedirect(landing(request, request.user))
        return self.show(request, LoginForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Sign in, or go on to the code.

        The answer to a wrong address and to a wrong password is the same.
        """
        form = LoginForm(request.POST)
        if not form.is_valid():
            return self.show(request, form, status=422)
        data = form.cleaned_data
        try:
            user, is_in = signin.sign_in(request, email=data["email"], password=data["password"])
        except ScloudError as error:
            add_error(form, error)
            return self.show(request, form, status=429 if error.http_status == 429 else 422)
        if not is_in:
            response = HttpResponseRedirect(with_next(request, "login-code"))
            halfway.keep(response, user)
            return response
        response = HttpResponseRedirect(landing(request, user))
        devices.remember(request, response, user)
        return response

    def show(self, request: HttpRequest, form: LoginForm, *, status: int = 200) -> HttpResponse:
        context: dict[str, Any] = {
            "form": form,
            "next": safe_next(request, ""),
            "has_mail": settings.SCLOUD_EMAIL_READY,
            "providers": federated.offered(),
        }
        return render(request, "registration/login.html", context, status=status)


def with_next(request: HttpRequest, url_name: str, target: str | None = None) -> str:
    """Return a page of signing in that knows where to go on afterwards."""
    if target is None:
        target = safe_next(request, "")
    return resolve_url(url_name) + (f"?{urlencode({'next': target})}" if target else "")


@method_decorator([never_cache, sensitive_post_parameters("code")], name="dispatch")
class LoginCodeView(View):
    """The second step of signing in, for whom a second factor is on."""

    body_rule = BodyRule(lambda: 64 * 1024)

    def get(self, request: HttpRequest) -> HttpResponse:
        """Ask for the code; without a right password before there is nothing to ask for."""
        if isinstance(request.user, User):
            return HttpResponseRedirect(landing(request, request.user))
        user = halfway.user_of(request)
        if user is None:
            return self.begin_again(request)
        return self.show(request, LoginCodeForm(), user)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Sign in, or ask again."""
        user = halfway.user_of(request)
        if user is None:
            return self.begin_again(request)
        form = LoginCodeForm(request.POST)
        if not form.is_valid():
            return self.show(request, form, user, status=422)
        try:
            user, used = signin.enter_code(request, code=form.cleaned_data["code"])
        except ScloudError as error:
            if error.code == "sign_in_again":
                return self.begin_again(request)
            add_error(form, error)
            return self.show(request, form, user, status=429 if error.http_status == 429 else 422)
        if used == second_factor.Used.RECOVERY:
            left = second_factor.codes_left(user)
            said = ngettext(
                "You used a recovery code. %(count)s is left.",
                "You used a recovery code. %(count)s are left.",
                left,
            )
            messages.warning(request, said % {"count": left})
        response = HttpResponseRedirect(landing(request, user))
        halfway.forget(response)
        devices.remember(request, response, user)
        return response

    def begin_again(self, request: HttpRequest) -> HttpResponse:
        messages.info(request, _("Sign in with your password first."))
        response = HttpResponseRedirect(with_next(request, "login"))
        halfway.forget(response)
        return response

    def show(
        self, request: HttpRequest, form: LoginCodeForm, user: User, *, status: int = 200
    ) -> HttpResponse:
        context = {"form": form, "email": user.email, "next": safe_next(request, "")}
        return render(request, "registration/code.html", context, status=status)


class LogoutView(View):
    """Signing out; by POST only, so that no link or picture can do it."""

    http_method_names = ["post", "options"]

    def post(self, request: HttpRequest) -> HttpResponse:
        signin.sign_out(request)
        return HttpResponseRedirect(resolve_url("login"))


class SetRegionView(View):
    """The region picker."""

    http_method_names = ["post", "options"]

    def post(self, request: HttpRequest) -> HttpResponse:
        """Remember the region and show the front page of it."""
        response = HttpResponseRedirect(resolve_url("home"))
        wanted = request.POST.get("region", "")
        if any(region.pk == wanted for region in regions_for(request)):
            remember(response, REGION_COOKIE, wanted)
        return response
