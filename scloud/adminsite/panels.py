"""The operators' front page: panels, and what of them somebody must look into.

Apps register their panels in ``AppConfig.ready``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from scloud.tenancy import staff
from scloud.tenancy.models import User


class Urgency(Enum):
    """How soon somebody must look; the most urgent first."""

    CRITICAL = _("Critical")
    WARNING = _("Warning")
    DECISION = _("To decide")


@dataclass(frozen=True, slots=True)
class Matter:
    """Something that somebody must look into, and the page where."""

    urgency: Urgency
    text: str
    url: str


@dataclass(frozen=True)
class Panel:
    """A table on the front page.

    ``context`` returns the template's variables, ``matters`` what of them is not as it should be.
    """

    key: str
    title: str | Promise
    template: str
    context: Callable[[], dict[str, Any]]
    # Who may look at it; without a right administrators alone.
    right: str = ""
    order: int = 100
    matters: Callable[[dict[str, Any]], Sequence[Matter]] = lambda _context: ()


_panels: dict[str, Panel] = {}


def register(panel: Panel) -> None:
    """Add a panel; the same key replaces the old one."""
    _panels[panel.key] = panel


def front(user: User) -> dict[str, Any]:
    """Return ``panels`` with their variables, in order, and the ``matters`` of all of them.

    Those that the user may look at. What is wrong comes first, then what waits for a decision.
    ``wrong`` counts the former.
    """
    seen = [panel for panel in _panels.values() if staff.may(user, panel.right)]
    ordered = sorted(seen, key=lambda panel: (panel.order, panel.key))
    shown = [(panel, panel.context()) for panel in ordered]
    found = [matter for panel, context in shown for matter in panel.matters(context)]
    order = list(Urgency)
    found.sort(key=lambda matter: order.index(matter.urgency))
    return {
        "panels": [{"panel": panel, "context": context} for panel, context in shown],
        "matters": found,
        "wrong": sum(matter.urgency is not Urgency.DECISION for matter in found),
    }
