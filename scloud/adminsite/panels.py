"""Panels of the operators' front page; apps register theirs in ``AppConfig.ready``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise


@dataclass(frozen=True)
class Panel:
    """A table on the front page: ``context`` returns the template's variables."""

    key: str
    title: str | Promise
    template: str
    context: Callable[[], dict[str, Any]]
    order: int = 100


_panels: dict[str, Panel] = {}


def register(panel: Panel) -> None:
    """Add a panel; the same key replaces the old one."""
    _panels[panel.key] = panel


def shown() -> list[dict[str, Any]]:
    """Return the panels with their variables, in order."""
    ordered = sorted(_panels.values(), key=lambda panel: (panel.order, panel.key))
    return [{"panel": panel, "context": panel.context()} for panel in ordered]
