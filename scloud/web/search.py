"""Search over all resources, from the registry of kinds."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Case, Q, SmallIntegerField, When
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from scloud.lib import search
from scloud.resources import kinds
from scloud.resources.kinds import Kind
from scloud.web import commands
from scloud.web.views import ConsoleView

PER_KIND = 5
PER_KIND_ON_PAGE = 50


@dataclass
class Hit:
    name: str
    id: str
    url: str
    icon: str
    rank: int = 0


@dataclass
class Group:
    label: str | Promise
    hits: list[Hit]


def find(actor: Any, words: str, limit: int) -> list[Group]:
    """Return what matches all words, by kind, the best first; only what the caller may see.

    Pages and what can be done, by their words, stand above it.

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
        rows = rows.annotate(search_rank=_rank(kind, words)).order_by("search_rank", "pk")
        hits = []
        for row in rows[:limit]:
            try:
                url = reverse(kind.url_name, args=[row.pk])
            except NoReverseMatch:
                break
            rank = row.search_rank
            name = str(getattr(row, "name", "") or row.pk)
            hits.append(Hit(name, str(row.pk), url, kind.icon, rank))
        if hits:
            groups.append(Group(capfirst(str(kind.label_plural)), hits))
    # Those whose first hit is best come first, else in the order of the kinds.
    groups.sort(key=lambda group: group.hits[0].rank)
    said = commands.find(actor, search.words_of(words, field="q"), limit)
    if said:
        pages = [Hit(one.label, "", one.url, one.icon) for one in said]
        groups.insert(0, Group(_("Pages and actions"), pages))
    return groups


def _rank(kind: Kind, words: str) -> Case:
    """Where a row stands: 0 the name or id itself, 1 names that begin so, 2 ids, 3 others."""
    text = words.strip()
    named = [
        field
        for field in ("name", "resource_name")
        if field in {one.name for one in kind.model_class()._meta.concrete_fields}
    ]
    same, begins = Q(pk__iexact=text), Q(pk__in=[])
    for field in named:
        same |= Q(**{f"{field}__iexact": text})
        begins |= Q(**{f"{field}__istartswith": text})
    return Case(
        When(same, then=0),
        When(begins, then=1),
        When(pk__istartswith=text, then=2),
        default=3,
        output_field=SmallIntegerField(),
    )


class SearchView(ConsoleView):
    """The search box: a fragment while typing, a page on Enter."""

    title = _("Search")

    def get(self, request: HttpRequest) -> HttpResponse:
        words = request.GET.get("q", "").replace("\x00", "").strip()
        as_part = bool(self.request.htmx)
        groups = find(self.actor, words, PER_KIND if as_part else PER_KIND_ON_PAGE) if words else []
        template = "web/search/results.html" if as_part else "web/search/page.html"
        return self.render(template, {"words": words, "groups": groups})
