"""Search over all resources, from the registry of kinds."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from scloud.lib import search
from scloud.resources import kinds
from scloud.web.views import ConsoleView

PER_KIND = 5
PER_KIND_ON_PAGE = 50


@dataclass
class Hit:
    name: str
    id: str
    url: str
    icon: str


@dataclass
class Group:
    label: str | Promise
    hits: list[Hit]


def find(actor: Any, words: str, limit: int) -> list[Group]:
    """Return what matches all words, by kind; only kinds that the caller may see.

    Raises InvalidInput (``search_too_long``).
    """
    groups = []
    for kind in kinds.all_kinds():
        if kind.url_name is None or (
            kind.view_permission and not actor.allows(kind.view_permission)
        ):
            continue
        match = search.containing(kind.model_class(), kind.search_fields)
        rows = search.narrow(kind.rows(), words, match, field="q")
        hits = []
        for row in rows.order_by("pk")[:limit]:
            try:
                url = reverse(kind.url_name, args=[row.pk])
            except NoReverseMatch:
                break
            hits.append(Hit(str(getattr(row, "name", "") or row.pk), str(row.pk), url, kind.icon))
        if hits:
            groups.append(Group(capfirst(str(kind.label_plural)), hits))
    return groups


class SearchView(ConsoleView):
    """The search box: a fragment while typing, a page on Enter."""

    title = _("Search")

    def get(self, request: HttpRequest) -> HttpResponse:
        words = request.GET.get("q", "").replace("\x00", "").strip()
        as_part = bool(self.request.htmx)
        groups = find(self.actor, words, PER_KIND if as_part else PER_KIND_ON_PAGE) if words else []
        template = "web/search/results.html" if as_part else "web/search/page.html"
        return self.render(template, {"words": words, "groups": groups})
