"""What console views share about requests and responses: types, toasts, HTMX answers."""

import json
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.utils.functional import Promise
from django_htmx.middleware import HtmxDetails

from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User

Level = Literal["ok", "info", "warn", "error"]
Text = str | Promise

_MESSAGE_LEVELS: dict[Level, int] = {
    "ok": messages.SUCCESS,
    "info": messages.INFO,
    "warn": messages.WARNING,
    "error": messages.ERROR,
}


class ConsoleRequest(HttpRequest):
    """A request inside the console: somebody of a tenant is signed in."""

    actor: Actor
    htmx: HtmxDetails
    # Looked up when it is needed. Ask whether it is true: what it stands for may be None.
    region: Region | None
    user: User


def trigger(response: HttpResponse, name: str, detail: Any = None) -> HttpResponse:
    """Make the browser fire an event when it has received the response."""
    events: dict[str, Any] = json.loads(response.headers.get("HX-Trigger", "{}"))
    if name in events and isinstance(events[name], list) and isinstance(detail, list):
        events[name].extend(detail)
    else:
        events[name] = detail if detail is not None else True
    # Headers are ASCII; json.dumps escapes everything else.
    response.headers["HX-Trigger"] = json.dumps(events)
    return response


@dataclass(frozen=True)
class Undo:
    """How what was just done is taken back: a POST to ``url``.

    Until it is complete the URL answers 404; an event of the resource ``live`` (``kind:id``) tells
    when to try again.
    """

    url: str
    live: str

    def packed(self) -> str:
        """Return it as the tags of a message; see :func:`undo_of`."""
        return f"undo {self.url} {self.live}"


def undo_of(tags: str | None) -> Undo | None:
    """Return what the tags of a message carry."""
    parts = (tags or "").split(" ")
    return Undo(parts[1], parts[2]) if parts[0] == "undo" and len(parts) == 3 else None


def toast(
    response: HttpResponse,
    text: Text,
    *,
    level: Level = "ok",
    remedy: Text = "",
    undo: Undo | None = None,
) -> HttpResponse:
    """Show a toast when an HTMX request comes back."""
    entry: dict[str, Any] = {"text": str(text), "level": level, "remedy": str(remedy or "")}
    if undo is not None:
        entry["undo"] = {"url": undo.url, "live": undo.live}
    return trigger(response, "toast", [entry])


def changed(response: HttpResponse, kind: str, *ids: str) -> HttpResponse:
    """Make the page fetch rows and facts of these resources again, push or no push."""
    return trigger(response, "resource-changed", [{"kind": kind, "id": i} for i in ids])


def done(
    request: HttpRequest,
    text: Text = "",
    *,
    to: Any = None,
    level: Level = "ok",
    undo: Undo | None = None,
) -> HttpResponse:
    """Answer a successful action: close the dialog with a toast, or go to another page.

    ``to`` is a URL, a URL name or an object with ``get_absolute_url``. Without HTMX a redirect is
    the only possible answer; it goes to ``to`` or the front page. The toast offers ``undo`` there
    and here.
    """
    tags = undo.packed() if undo is not None else ""
    htmx = getattr(request, "htmx", None)
    if not htmx:
        if text:
            messages.add_message(request, _MESSAGE_LEVELS[level], str(text), tags)
        return HttpResponseRedirect(resolve_url(to if to is not None else "home"))
    response = HttpResponse(status=204)
    if to is not None:
        if text:
            messages.add_message(request, _MESSAGE_LEVELS[level], str(text), tags)
        response.headers["HX-Redirect"] = resolve_url(to)
        return response
    trigger(response, "dialog-close")
    return toast(response, text, level=level, undo=undo) if text else response


def login_redirect(request: HttpRequest) -> HttpResponse:
    """Send somebody who is not signed in to the login page, and back afterwards."""
    htmx = getattr(request, "htmx", None)
    here = (htmx.current_url_abs_path if htmx else request.get_full_path()) or "/"
    url = resolve_url("login") + "?" + urlencode({"next": here})
    if htmx:
        response = HttpResponse(status=401)
        response.headers["HX-Redirect"] = url
        return response
    return HttpResponseRedirect(url)


def second_factor_redirect(request: HttpRequest) -> HttpResponse:
    """Send somebody who has to set up a second factor to the page that does it."""
    url = resolve_url("second-factor")
    if request.headers.get("HX-Request") == "true":
        response = HttpResponse(status=403)
        response.headers["HX-Redirect"] = url
        return response
    return HttpResponseRedirect(url)
