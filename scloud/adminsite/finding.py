"""Finds rows of all pages of the administration by an id, an address, or another name of theirs.

A page says in ``found_by`` by which columns, beside an id in letters, its rows are found; in
``also_found(text)`` the ids of rows that other tables know by the text; and in ``found_as`` that
its rows are parts of what people look for.

Exact matches only, each by an index or in a table that is small: it answers "what is 10.0.0.7?",
not "which VMs are called like that?", which the lists do.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.contrib.admin import ModelAdmin as DjangoModelAdmin
from django.db import models
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst

if TYPE_CHECKING:
    # Generic for the type checker only.
    ModelAdmin = DjangoModelAdmin[Any]
else:
    ModelAdmin = DjangoModelAdmin

PER_PAGE: Final = 20
LONGEST: Final = 100


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that was found. The lowest rank is what people look for, others are its parts."""

    kind: str
    name: str
    url: str
    rank: int


def _usable(field: models.Field[Any, Any], text: str) -> Any:
    """Return the text as a value of the column; None where it can be none."""
    if isinstance(field, models.GenericIPAddressField):
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            return None
    if isinstance(field, models.UUIDField):
        try:
            return uuid.UUID(text)
        except ValueError:
            return None
    return text if isinstance(field, models.CharField) else None


def _field(model: type[models.Model], path: str) -> models.Field[Any, Any]:
    *steps, last = path.split("__")
    for step in steps:
        related = model._meta.get_field(step).related_model
        assert isinstance(related, type)
        model = related
    field: Any = model._meta.get_field(last)
    return field  # type: ignore[no-any-return]  # a column, as its page says


def rows_named(rows: QuerySet[Any], names: Iterable[str], text: str) -> QuerySet[Any]:
    """Return the rows of which one of the columns is exactly the text."""
    wanted = Q()
    for name in names:
        field = _field(rows.model, name)
        value = _usable(field, text)
        if value is not None:
            # Addresses of people and of cards are kept in lower case.
            whole = "iexact" if name in ("email", "mac") else "exact"
            wanted |= Q(**{f"{name}__{whole}": value})
    return rows.filter(wanted).distinct() if wanted else rows.none()


def _rows(page: ModelAdmin, request: HttpRequest, text: str) -> QuerySet[Any]:
    every = page.get_queryset(request)
    names = (page.opts.pk.name, *getattr(page, "found_by", ()))
    rows = rows_named(every, names, text)
    also = getattr(page, "also_found", None)
    return rows if also is None else rows | every.filter(pk__in=also(text)).distinct()


def search(pages: Iterable[ModelAdmin], request: HttpRequest, text: str) -> list[Hit]:
    """Return what is called so, of what the user may look at, the most wanted first."""
    found = []
    for page in pages:
        if not page.has_view_permission(request):
            continue
        options = page.model._meta
        name = f"admin:{options.app_label}_{options.model_name}_change"
        for row in _rows(page, request, text)[:PER_PAGE]:
            url = reverse(name, args=[row.pk])
            kind = capfirst(str(options.verbose_name))
            found.append(Hit(kind, str(row), url, getattr(page, "found_as", 0)))
    return sorted(found, key=lambda hit: hit.rank)
