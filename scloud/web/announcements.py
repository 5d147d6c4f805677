"""Announcements of the operators in the console: which are shown, and closing one."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.utils.dateparse import parse_datetime
from django.views import View

from scloud.resources.models import AnnouncementLevel, Region
from scloud.web.auth import safe_next
from scloud.web.preferences import remember

CLOSED_COOKIE: Final = "scloud_closed"
#: Ids that a browser remembers; older ones are not shown any more by then.
_REMEMBERED: Final = 50
_TONES: Final = {AnnouncementLevel.MAINTENANCE: "warn", AnnouncementLevel.TROUBLE: "error"}


@dataclass(frozen=True, slots=True)
class Shown:
    """An announcement in the page."""

    id: int
    text: str
    tone: str
    label: str
    work_begins: datetime | None
    work_ends: datetime | None
    dismissible: bool


def closed_in(request: HttpRequest) -> list[str]:
    """Return the ids of the announcements that were closed in this browser."""
    found = request.COOKIES.get(CLOSED_COOKIE, "").split(".")
    return [one for one in found if one.isascii() and one.isdigit()][-_REMEMBERED:]


def shown(request: HttpRequest, region: Region | None) -> list[Shown]:
    """Return what is announced in a region now, but for what was closed. Asks no query."""
    closed = set(closed_in(request))
    found: list[dict[str, Any]] = getattr(region, "announced", [])
    return [
        Shown(
            id=one["id"],
            text=one["text"],
            tone=_TONES.get(one["level"], "info"),
            label=str(AnnouncementLevel(one["level"]).label),
            work_begins=_moment(one["work_begins"]),
            work_ends=_moment(one["work_ends"]),
            dismissible=one["dismissible"],
        )
        for one in found
        if one["level"] in AnnouncementLevel.values
        and not (one["dismissible"] and str(one["id"]) in closed)
    ]


def _moment(text: str | None) -> datetime | None:
    return parse_datetime(text) if text else None


class CloseView(View):
    """Closes an announcement in this browser."""

    http_method_names = ["post", "options"]

    def post(self, request: HttpRequest) -> HttpResponse:
        """Remember it, and go back."""
        response = HttpResponseRedirect(safe_next(request, resolve_url("home")))
        number = request.POST.get("announcement", "")
        if number.isascii() and number.isdigit() and len(number) < 10:
            closed = [one for one in closed_in(request) if one != number]
            remember(response, CLOSED_COOKIE, ".".join([*closed, number][-_REMEMBERED:]))
        return response
