"""Signing in and out."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth import authenticate, login, logout
from django.contrib.sessions.models import Session
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from scloud.audit.models import Operation
from scloud.lib.bodies import BodyRule
from scloud.lib.errors import InvalidInput, ScloudError
from scloud.tenancy import lockout, ratelimit
from scloud.tenancy.clientip import client_ip
from scloud.tenancy.models import User, UserSession
from scloud.tenancy.scoping import scopes_disabled
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


def write_login(user: User, ip: str | None, verb: str, error: ScloudError | None = None) -> None:
    """Write a sign-in or sign-out into the operation log of the user's tenant."""
    with scopes_disabled():
        Operation.objects.create(
            tenant=user.tenant,
            actor=user.email,
            user_id=user.pk,
            via="console",
            ip=ip,
            verb=verb,
            succeeded=error is None,
            error_code=error.code if error else "",
            error_message=error.message if error else "",
        )


@method_decorator([never_cache, sensitive_post_parameters("password")], name="dispatch")
class LoginView(View):
    """The login page."""

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
        email, ip = form.cleaned_data["email"].strip(), client_ip(request)
        try:
            ratelimit.hit(f"login:{ip}", limit=settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE)
            lockout.check(email)
            user = authenticate(request, username=email, password=form.cleaned_data["password"])
            lockout.record(email, ip, succeeded=user is not None)
            if not isinstance(user, User):
                refusal = InvalidInput(
                    _("The e-mail address or the password is wrong."), code="login_failed"
                )
                known = User.objects.filter(email__iexact=email).first()
                if known is not None:
                    write_login(known, ip, "tenancy.sign_in", refusal)
                raise refusal
        except ScloudError as error:
            add_error(form, error)
            return self.show(request, form, status=429 if error.http_status == 429 else 422)
        login(request, user)
        # login() has cycled the key; saving makes sure that there is one to remember.
        request.session.save()
        UserSession.objects.update_or_create(
            session_key=request.session.session_key,
            defaults={
                "user": user,
                "ip": ip,
                "user_agent": request.headers.get("User-Agent", "")[:300],
                "last_seen_at": timezone.now(),
            },
        )
        write_login(user, ip, "tenancy.sign_in")
        return HttpResponseRedirect(self.landing(request, user))

    def landing(self, request: HttpRequest, user: User) -> str:
        """Return the first page: administrators of the platform work in Django admin."""
        home = resolve_url("home") if user.tenant_id else resolve_url("admin:index")
        return safe_next(request, home)

    def show(self, request: HttpRequest, form: LoginForm, *, status: int = 200) -> HttpResponse:
        """Render the page."""
        context: dict[str, Any] = {"form": form, "next": safe_next(request, "")}
        return render(request, "registration/login.html", context, status=status)


class LogoutView(View):
    """Signing out; by POST only, so that no link or picture can do it."""

    http_method_names = ["post", "options"]

    def post(self, request: HttpRequest) -> HttpResponse:
        """End the session."""
        if isinstance(request.user, User):
            UserSession.objects.filter(session_key=request.session.session_key).delete()
            write_login(request.user, client_ip(request), "tenancy.sign_out")
        logout(request)
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


def end_session(session_key: str) -> None:
    """Make a browser's session invalid at once."""
    Session.objects.filter(session_key=session_key).delete()
    UserSession.objects.filter(session_key=session_key).delete()
