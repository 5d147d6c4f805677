"""The registry behind the left navigation; apps fill it in their ``AppConfig.ready``."""

from collections.abc import Callable
from dataclasses import dataclass

from django.urls import NoReverseMatch, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

Text = str | Promise

# Sections in the order in which they are shown; an unknown one comes last.
SECTIONS: dict[str, tuple[int, Text]] = {
    "": (0, ""),
    "compute": (10, _("Compute")),
    "storage": (20, _("Storage")),
    "network": (30, _("Network")),
    "monitoring": (40, _("Monitoring")),
    "billing": (50, _("Billing")),
    "account": (60, _("Account")),
}


@dataclass(frozen=True)
class NavItem:
    """One line of the navigation.

    ``section`` is a key of SECTIONS (or a name of its own); ``permission`` hides the line from
    roles without it; ``match`` is a URL prefix under which the line counts as current (default:
    the item's own URL).
    """

    section: str
    label: Text
    url_name: str
    icon: str
    permission: str = ""
    order: int = 100
    match: str = ""


@dataclass(frozen=True)
class NavLink:
    """A line as it is rendered for one request."""

    label: Text
    url: str
    icon: str
    current: bool


@dataclass(frozen=True)
class NavSection:
    """A group of lines under one heading."""

    label: Text
    links: list[NavLink]


_items: list[NavItem] = []


def register(item: NavItem) -> None:
    """Add a line; registering the same URL name again replaces the old one."""
    _items[:] = [old for old in _items if old.url_name != item.url_name]
    _items.append(item)


def items() -> list[NavItem]:
    """Return all lines in order."""
    return sorted(_items, key=lambda i: (SECTIONS.get(i.section, (999, ""))[0], i.order))


def sections(path: str, allows: Callable[[str], bool]) -> list[NavSection]:
    """Return what a caller sees on the page at ``path``.

    ``allows`` is a function from a permission to bool. A line whose URL does not exist (its app
    is not installed) is left out.
    """
    visible: list[tuple[NavItem, str]] = []
    for item in items():
        if item.permission and not allows(item.permission):
            continue
        try:
            visible.append((item, reverse(item.url_name)))
        except NoReverseMatch:
            continue
    # The longest matching prefix wins, so that "/" does not light up on every page.
    best = ""
    for item, url in visible:
        prefix = item.match or url
        hit = path == prefix or (prefix != "/" and path.startswith(prefix))
        if hit and len(prefix) > len(best):
            best = prefix
    grouped: dict[str, list[NavLink]] = {}
    for item, url in visible:
        prefix = item.match or url
        grouped.setdefault(item.section, []).append(
            NavLink(item.label, url, item.icon, current=bool(best) and prefix == best)
        )
    return [NavSection(SECTIONS.get(key, (999, key))[1], links) for key, links in grouped.items()]
