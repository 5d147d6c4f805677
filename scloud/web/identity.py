"""Signing in with an identity provider, and one's own links to providers.

The way there is a page that leads on, not a redirection: the content security policy lets no form
lead elsewhere. The way back is a page whose form brings the answer, so that it comes with the CSRF
token and with cookies that other sites' requests do not carry; ``continue.js`` sends it.
"""

from typing import Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render, resolve_url
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from scloud.accounts import devices, federated, halfway
from scloud.accounts.federated import Purpose
from scloud.lib.bodies import BodyRule
from scloud.lib.errors import ScloudError
from scloud.tenancy.models import Identity, User
from scloud.web import http
from scloud.web.auth import landing, safe_next, with_next

#: What a provider's answer may consist of, and how long each may be.
_PARTS: Final = {"code": 4000, "state": 200, "iss": 1000, "error": 200}


def _say(request: HttpRequest, error: ScloudError) -> None:
    messages.error(request, " ".join(part for part in (error.message, error.remedy) if part))


@method_decorator(never_cache, name="dispatch")
class BeginView(View):
    """Leads to a provider, to sign in or for who is signed in."""

    http_method_names = ["post", "options"]
    # Nobody is known yet: a word and where to go next.
    body_rule = BodyRule(lambda: 64 * 1024)

    def post(self, request: HttpRequest, provider_id: str) -> HttpResponse:
        wanted = request.POST.get("purpose", "")
        purpose = Purpose(wanted) if wanted in set(Purpose) else Purpose.SIGN_IN
        user = request.user
        if isinstance(user, User) and purpose == Purpose.SIGN_IN:
            return HttpResponseRedirect(landing(request, user))
        provider = federated.usable(provider_id)
        home = "" if purpose == Purpose.SIGN_IN else resolve_url("identities")
        try:
            url, cookie = federated.begin(request, provider, purpose, to=safe_next(request, home))
        except ScloudError as error:
            _say(request, error)
            return HttpResponseRedirect(with_next(request, "login"))
        response = render(
            request, "registration/leaving.html", {"provider": provider, "address": url}
        )
        response.headers["Refresh"] = f"0;url={url}"
        federated.keep(response, cookie)
        return response


@method_decorator(
    [never_cache, sensitive_post_parameters("code", "state")],
    name="dispatch",
)
class AnswerView(View):
    """Where a provider sends people back."""

    # An answer is some parameters.
    body_rule = BodyRule(lambda: 64 * 1024)

    def get(self, request: HttpRequest, provider_id: str) -> HttpResponse:
        """Show the answer as a form; nothing is done by what another site has led to."""
        provider = federated.usable(provider_id)
        parts = [(name, request.GET.get(name, "")[:most]) for name, most in _PARTS.items()]
        return render(request, "registration/continue.html", {"provider": provider, "parts": parts})

    def post(self, request: HttpRequest, provider_id: str) -> HttpResponse:
        """Do what was asked for, or say why not and begin again."""
        provider = federated.usable(provider_id)
        given = {name: request.POST.get(name, "")[:most] for name, most in _PARTS.items()}
        try:
            done = federated.answer(request, provider, given)
        except ScloudError as error:
            _say(request, error)
            signed_in = isinstance(request.user, User)
            back = HttpResponseRedirect(resolve_url("identities" if signed_in else "login"))
            federated.forget(back)
            return back
        response = self.go_on(request, done)
        federated.forget(response)
        return response

    def go_on(self, request: HttpRequest, done: federated.Answered) -> HttpResponse:
        if not done.is_in:
            response = HttpResponseRedirect(with_next(request, "login-code", done.next))
            halfway.keep(response, done.user, identity_id=done.identity_id)
            return response
        if done.purpose == Purpose.SIGN_IN:
            home = resolve_url("home" if done.user.tenant_id else "admin:index")
            response = HttpResponseRedirect(done.next or home)
            devices.remember(request, response, done.user)
            return response
        if done.purpose == Purpose.LINK:
            messages.success(request, _("The identity is linked."))
        else:
            messages.success(request, _("Thank you. Now do again what you wanted to do."))
        return HttpResponseRedirect(done.next)


@method_decorator(never_cache, name="dispatch")
class _OwnView(View):
    """A page of somebody who is signed in, wherever they belong."""

    user: User

    def dispatch(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        """Let only signed-in people through."""
        if not isinstance(request.user, User):
            return http.login_redirect(request)
        self.user = request.user
        return super().dispatch(request, *args, **kwargs)


class IdentitiesView(_OwnView):
    """With which providers somebody can sign in."""

    def get(self, request: HttpRequest) -> HttpResponse:
        linked = list(Identity.objects.filter(user=self.user).select_related("provider"))
        known = {one.provider_id for one in linked}
        context = {
            "linked": linked,
            "others": [one for one in federated.offered() if one.pk not in known],
            "back": resolve_url("profile" if self.user.tenant_id else "admin:index"),
        }
        return render(request, "registration/identities.html", context)


class UnlinkView(_OwnView):
    """Takes a link away."""

    http_method_names = ["post", "options"]

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        try:
            federated.unlink(
                actor=federated.actor_in(request, self.user),
                identity_id=pk,
                keep_session=request.session.session_key,
            )
        except ScloudError as error:
            if error.http_status == 404:
                raise
            _say(request, error)
        else:
            messages.success(request, _("The identity is unlinked. Other sessions are signed out."))
        return HttpResponseRedirect(resolve_url("identities"))
