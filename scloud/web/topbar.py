"""Chips in the top bar that other apps provide, such as the balance."""

from collections.abc import Callable
from dataclasses import dataclass

from django.utils.functional import Promise

from scloud.web.http import ConsoleRequest


@dataclass(frozen=True)
class TopbarChip:
    """A figure in the top bar: an icon, a label for screen readers, a value, a link."""

    icon: str
    label: str | Promise
    value: str
    url: str
    tone: str = ""


Provider = Callable[[ConsoleRequest], TopbarChip | None]
_providers: dict[str, tuple[int, Provider]] = {}


def register(key: str, provider: Provider, *, order: int = 100) -> None:
    """Add a chip. ``provider`` runs once per full page and returns None to show nothing."""
    _providers[key] = (order, provider)


def chips(request: ConsoleRequest) -> list[TopbarChip]:
    """Return the chips for a request, in order."""
    found = [provider(request) for _, provider in sorted(_providers.values(), key=lambda p: p[0])]
    return [chip for chip in found if chip is not None]
