"""Errors as HTML: a toast for a part of a page, a page of its own otherwise."""

import sys
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render, resolve_url
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from scloud.lib.errors import (
    Forbidden,
    InternalError,
    InvalidInput,
    NotFound,
    ScloudError,
    TooLarge,
)
from scloud.lib.outage import outage_of
from scloud.web.http import toast

_TITLES = {
    400: gettext_lazy("Bad request"),
    403: gettext_lazy("Not allowed"),
    404: gettext_lazy("Not found"),
    409: gettext_lazy("Not possible now"),
    413: gettext_lazy("Too large"),
    429: gettext_lazy("Too many requests"),
    500: gettext_lazy("Something went wrong"),
    502: gettext_lazy("A host did not respond"),
    503: gettext_lazy("Unavailable"),
}


def response(request: HttpRequest, error: ScloudError) -> HttpResponse:
    """Return what a browser gets for a ScloudError: its status, message, remedy and code."""
    if request.path.startswith("/api/"):
        # What does not even reach a view of the API is answered in the API's form all the same.
        return _with_retry(JsonResponse(error.as_dict(), status=error.http_status), error)
    htmx = getattr(request, "htmx", None)
    if htmx or (htmx is None and request.headers.get("HX-Request") == "true"):
        answer = HttpResponse(status=error.http_status)
        answer.headers["HX-Reswap"] = "none"
        toast(answer, error.message, level="error", remedy=error.remedy or "")
        return _with_retry(answer, error)
    return _with_retry(page(request, error), error)


def _with_retry(answer: HttpResponse, error: ScloudError) -> HttpResponse:
    seconds = (error.numbers or {}).get("retry_after_s")
    if seconds is not None:
        answer.headers["Retry-After"] = str(seconds)
    return answer


def page(request: HttpRequest, error: ScloudError, *, status: int | None = None) -> HttpResponse:
    """Return the error page; inside the console's frame when somebody is signed in."""
    code = status or error.http_status
    framed = getattr(request, "actor", None) is not None
    template = "errors/error.html" if framed else "errors/lone.html"
    title = _TITLES.get(code, _("Something went wrong"))
    return render(request, template, {"title": title, "status": code, "error": error}, status=code)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's handler400."""
    if isinstance(exception, RequestDataTooBig):
        return response(
            request,
            TooLarge(_("The request is too large."), remedy=_("Send a smaller file or less text.")),
        )
    return response(request, InvalidInput(_("The request could not be understood.")))


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's handler403."""
    return response(request, Forbidden(_("You do not have permission to do this.")))


def page_not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's handler404: the same for what does not exist and what belongs to others."""
    return response(
        request,
        NotFound(
            _("This page does not exist, or you do not have access to it."),
            remedy=_("Check the address, or search for the resource by name or id."),
        ),
    )


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500. Touches no database: that may be the cause.

    It is called while the error is being handled, so it can tell a database that is away.
    """
    outage = outage_of(sys.exc_info()[1])
    if outage is not None:
        return unavailable(request, outage)
    if request.path.startswith("/api/"):
        defect = InternalError(
            _("Something went wrong. No changes were made."), remedy=_("Try again later.")
        )
        return JsonResponse(defect.as_dict(), status=500)
    if request.headers.get("HX-Request") == "true":
        answer = HttpResponse(status=500)
        answer.headers["HX-Reswap"] = "none"
        return toast(
            answer,
            _("Something went wrong. No changes were made."),
            level="error",
            remedy=_("Try again in a moment."),
        )
    return HttpResponse(render_to_string("errors/500.html"), status=500)


def unavailable(request: HttpRequest, error: ScloudError) -> HttpResponse:
    """Return the answer while the database is away; touches no database."""
    if request.path.startswith("/api/"):
        answer: HttpResponse = JsonResponse(error.as_dict(), status=error.http_status)
    elif request.headers.get("HX-Request") == "true":
        answer = HttpResponse(status=error.http_status)
        answer.headers["HX-Reswap"] = "none"
        toast(answer, error.message, level="error", remedy=error.remedy or "")
    else:
        text = render_to_string("errors/503.html", {"error": error})
        answer = HttpResponse(text, status=error.http_status)
    answer.headers["Cache-Control"] = "no-store"
    return _with_retry(answer, error)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The page was open too long, or the request came from elsewhere."""
    return response(
        request,
        Forbidden(
            _("This page is no longer valid."),
            code="csrf_failed",
            remedy=_("Reload the page and try again."),
        ),
    )


def no_tenant(request: HttpRequest) -> HttpResponse:
    """Tell a platform administrator where to go."""
    context: dict[str, Any] = {"admin_url": resolve_url("admin:index")}
    return render(request, "errors/no_tenant.html", context, status=403)
