"""Signing in and out."""

from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from scloud.accounts import devices, signin
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


def safe_next(request: HttpRequest, fallback: str = "/") -> str:
    """Return where to go afterwards; only addresses of this site count."""
    target = request.POST.get("next") or request.GET.get("next") or ""
    if url_has_allowed_host_and_scheme(
        target, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        return target
    return fallback


@method_decorator([never_cache, sensitive_post_parameters("password")], name="dispatch")
class LoginView(View):
    # Nobody is known yet: an address, a password and where to go next.
    body_rule = BodyRule(lambda: 64 * 1024)

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show the form, or go on when somebody is signed in."""
        if isinstance(request.user, User):
            return HttpResponseRedirect(self.landing(request, request.user))
        return self.show(request, LoginForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        """Sign in. The answer to a wrong address and to a wrong password is the same."""
        form = LoginForm(request.POST)
        if not form.is_valid():
            return self.show(request, form, status=422)
        data = form.cleaned_data
        try:
            user = signin.sign_in(request, email=data["email"], password=data["password"])
        except ScloudError as error:
            add_error(form, error)
            return self.show(request, form, status=429 if error.http_status == 429 else 422)
        response = HttpResponseRedirect(self.landing(request, user))
        devices.remember(request, response, user)
        return response

    def landing(self, request: HttpRequest, user: User) -> str:
        """Return the first page: administrators of the platform work in Django admin."""
        home = resolve_url("home") if user.tenant_id else resolve_url("admin:index")
        return safe_next(request, home)

    def show(self, request: HttpRequest, form: LoginForm, *, status: int = 200) -> HttpResponse:
        context: dict[str, Any] = {
            "form": form,
            "next": safe_next(request, ""),
            "has_mail": settings.SCLOUD_EMAIL_READY,
        }
        return render(request, "registration/login.html", context, status=status)


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
