"""Region, time zone and language of the signed-in user; headers of console pages."""

import logging
import time
import zoneinfo
from collections.abc import Callable
from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.urls import Resolver404, resolve
from django.utils import timezone, translation
from django.utils.cache import patch_vary_headers
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _

from scloud.accounts.federated import Purpose
from scloud.lib import bodies, tracing
from scloud.lib.errors import Forbidden, ScloudError, Unavailable
from scloud.tenancy import acting
from scloud.tenancy.clientip import is_forwarded
from scloud.tenancy.models import User
from scloud.web import errors
from scloud.web.http import login_redirect, second_factor_redirect
from scloud.web.regions import current_region

log = logging.getLogger(__name__)
access = logging.getLogger("scloud.access")


class TraceMiddleware:
    """Gives each request an id, and takes part in the trace that its caller may have begun.

    ``traceresponse`` is the answer's counterpart of ``traceparent`` in the second level of the
    W3C's recommendation.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began_s = time.monotonic()
        with tracing.request(request.headers.get("traceparent", "")) as context:
            response = self.get_response(request)
            response.headers["X-Request-Id"] = context.request_id
            if context.trace is not None:
                response.headers["traceresponse"] = context.trace.header
            if settings.SCLOUD_ACCESS_LOG:
                # Without the query: what people search for is theirs, and may be a secret.
                fields = {
                    "method": request.method,
                    "path": request.path,
                    "status": response.status_code,
                    "duration_ms": round((time.monotonic() - began_s) * 1000, 1),
                }
                access.info(
                    "%(method)s %(path)s %(status)s %(duration_ms)s ms", fields, extra=fields
                )
        return response


class CompressingMiddleware(GZipMiddleware):
    """Compresses pages and parts of them.

    Whoever can have somebody's browser send words of their choice, and sees how long the answers
    are, could guess a secret that stands beside those words (BREACH). Django adds some random
    length and masks the CSRF token anew in each answer. What is shown once (passwords, keys,
    recovery codes) is in answers to POST or in pages that say so, and neither is compressed.
    """

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Return the answer, compressed where it is a page that was asked for by GET."""
        html = response.headers.get("Content-Type", "").startswith("text/html")
        if request.method != "GET" or not html or getattr(response, "holds_secret", False):
            return response
        return super().process_response(request, response)


class ProxyMiddleware:
    """Refuses what an unannounced proxy passes on, rather than let all callers share one limit."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not settings.SCLOUD_PROXY_SAID and is_forwarded(request):
            peer = request.META.get("REMOTE_ADDR", "")
            log.error("a proxy at %s passes requests on; set SCLOUD_TRUSTED_PROXIES", peer)
            error = Unavailable(
                _("The proxy in front of this installation is not configured."),
                code="proxy_unknown",
                remedy=_(
                    "The operator has to set SCLOUD_TRUSTED_PROXIES to its address, or "
                    "SCLOUD_PROXY=none to ignore what it says."
                ),
            )
            return errors.unavailable(request, error)
        return self.get_response(request)


class BodyMiddleware:
    """Refuses bodies that are too large, and lets files of a form come in only from known people.

    It stands before the middleware that compares CSRF tokens, which reads the whole form.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        refusal = getattr(request, "body_refusal", None)
        if isinstance(refusal, ScloudError):
            return errors.response(request, refusal)
        try:
            return self.get_response(request)
        finally:
            handler = getattr(request, "body_handler", None)
            if handler is not None:
                handler.upload_interrupted()

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        """Look at the caller of a view that streams the files of a form, then let them in."""
        rule = bodies.rule_of(view, request.method or "")
        if rule.handler is None or not rule.streams(request.content_type or ""):
            return None
        if not request.user.is_authenticated:
            return login_redirect(request)
        try:
            if rule.staff:
                _require_administrator(request)
            else:
                actor = getattr(request, "actor", None)
                if actor is None:
                    return errors.no_tenant(request)
                permission = getattr(getattr(view, "view_class", None), "permission", "")
                if permission:
                    actor.require(permission)
        except ScloudError as error:
            return errors.response(request, error)
        request.body_handler = rule.handler(request)  # type: ignore[attr-defined]  # for __call__
        request.upload_handlers = [request.body_handler]  # type: ignore[attr-defined]  # as above
        return None


def _require_administrator(request: HttpRequest) -> None:
    """Raise Forbidden unless an administrator of the platform asks."""
    user = request.user
    if not (isinstance(user, User) and user.is_active and user.is_staff and user.tenant_id is None):
        raise Forbidden(_("This page is for administrators of the platform."))


# What is open to somebody who has to set up a second factor: that, and signing out. Where they have
# no password it needs a proof of the identity provider, who answers there.
_SETTING_UP: Final = frozenset({
    "second-factor", "second-factor-begin", "second-factor-confirm", "logout", "admin:logout",
    "identity-answer",
})  # fmt: skip


def _sets_up(request: HttpRequest) -> bool:
    try:
        name = resolve(request.path_info).view_name
    except Resolver404:
        return False
    if name == "identity-begin":
        return request.method == "POST" and request.POST.get("purpose") == Purpose.CONFIRM
    return name in _SETTING_UP


class SecondFactorMiddleware:
    """Leads who has to set up a second factor there, wherever they wanted to go.

    Pages of console and admin; the API and websockets refuse them by themselves.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        missing = getattr(request, "factor_missing", False)
        if missing and not _sets_up(request):
            return second_factor_redirect(request)
        return self.get_response(request)


class ActingMiddleware:
    """Refuses whatever could change something while staff looks at a tenant's console.

    The administration is not the tenant's console, and goes on as always.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        actor = getattr(request, "actor", None)
        if actor is not None and actor.is_acting and acting.is_refused(request):
            error = Forbidden(
                _("You look at this account as one of its users. Nothing can be changed."),
                code="acting_read_only",
                remedy=_("Use the administration."),
            )
            return errors.response(request, error)
        return self.get_response(request)


class ConsoleMiddleware:
    """Prepares console requests; comes after the tenancy middleware, so the scope is open."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.startswith(("/api/", settings.STATIC_URL)):
            return self.get_response(request)
        if "\x00" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
            # PostgreSQL cannot hold the character, so nothing sensible can be meant.
            return errors.bad_request(request)
        request.region = SimpleLazyObject(lambda: current_region(request))  # type: ignore[attr-defined]  # declared by ConsoleRequest
        user = request.user
        if isinstance(user, User):
            try:
                timezone.activate(zoneinfo.ZoneInfo(user.time_zone))
            except (zoneinfo.ZoneInfoNotFoundError, ValueError):
                timezone.deactivate()
            if user.language in dict(settings.LANGUAGES):
                translation.activate(user.language)
        try:
            response = self.get_response(request)
        finally:
            timezone.deactivate()
        if response.headers.get("Content-Type", "").startswith("text/html"):
            # One URL gives a page or a part of it; browsers must not mix them up, and a page of
            # one tenant must not come back from a cache after another one signed in.
            patch_vary_headers(response, ("HX-Request",))
            response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Turn a ScloudError of any HTML view into its page or toast."""
        if isinstance(exception, ScloudError) and not request.path.startswith("/api/"):
            return errors.response(request, exception)
        return None
