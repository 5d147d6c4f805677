"""The registry of dashboard cards; apps fill it in their ``AppConfig.ready``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from django.utils.functional import Promise

from scloud.web.http import ConsoleRequest


@dataclass(frozen=True)
class Card:
    """A card on the front page.

    ``context`` returns the template's variables, or None to leave the card out for this request.
    ``width`` is in twelfths of the page.
    """

    key: str
    title: str | Promise
    template: str
    context: Callable[[ConsoleRequest], dict[str, Any] | None]
    permission: str = ""
    order: int = 100
    width: Literal[3, 4, 6, 8, 12] = 4
    icon: str = ""
    link_url_name: str = ""
    link_label: str | Promise = ""


@dataclass
class ShownCard:
    card: Card
    context: dict[str, Any] = field(default_factory=dict)


_cards: dict[str, Card] = {}


def register(card: Card) -> None:
    """Add a card; the same key replaces the old one."""
    _cards[card.key] = card


def cards_for(request: ConsoleRequest) -> list[ShownCard]:
    """Return the cards that the caller may see, in order."""
    shown = []
    for card in sorted(_cards.values(), key=lambda c: (c.order, c.key)):
        if card.permission and not request.actor.allows(card.permission):
            continue
        context = card.context(request)
        if context is not None:
            shown.append(ShownCard(card, context))
    return shown
