"""The registry of resource kinds: what search, links and the recycle bin know of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import models
from django.utils.functional import Promise


@dataclass(frozen=True)
class BinVerbs:
    """The recycle-bin actions of a kind; each takes ``actor`` and ``resource``.

    ``order`` says where the kind stands among those of the bin, the lowest first.
    """

    restore: Callable[..., Any]
    destroy: Callable[..., Any]
    renew: Callable[..., Any] | None = None
    order: int = 100


@dataclass(frozen=True)
class Kind:
    """One kind of resource.

    ``model`` is ``app.Model``; ``url_name`` takes the id as its only argument; ``icon`` is a
    name of the icon set; ``search_fields`` are looked at by the search over all resources;
    ``live`` narrows the rows to those that exist for the user (not destroyed).
    """

    kind: str
    model: str
    label: str | Promise
    label_plural: str | Promise
    icon: str
    url_name: str | None = None
    search_fields: tuple[str, ...] = ("id", "name", "remark")
    live: Callable[[models.QuerySet[Any]], models.QuerySet[Any]] | None = None
    bin: BinVerbs | None = None
    view_permission: str = ""

    def model_class(self) -> type[models.Model]:
        return apps.get_model(self.model)

    def rows(self) -> models.QuerySet[Any]:
        """Return the rows of the open scope that exist for the user."""
        queryset: models.QuerySet[Any] = self.model_class()._default_manager.all()
        return self.live(queryset) if self.live else queryset


_kinds: dict[str, Kind] = {}


def register(kind: Kind) -> None:
    _kinds[kind.kind] = kind


def get(kind: str) -> Kind:
    """Return a kind; KeyError if there is none."""
    return _kinds[kind]


def all_kinds() -> list[Kind]:
    """Return the kinds in the order in which they were registered."""
    return list(_kinds.values())


def binnable() -> list[Kind]:
    """Return the kinds that can lie in the recycle bin, in its order."""
    found = [(kind.bin.order, kind) for kind in _kinds.values() if kind.bin is not None]
    return [kind for _order, kind in sorted(found, key=lambda one: one[0])]
