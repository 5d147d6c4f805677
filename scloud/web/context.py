"""What every console page needs: navigation, region, chips, theme."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.functional import cached_property

from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from scloud.web import announcements, nav, topbar
from scloud.web.preferences import NAV_COOKIE, theme_of
from scloud.web.regions import regions_for


@dataclass
class Console:
    """The frame's data. Everything is lazy, because fragments do not draw the frame."""

    request: Any

    @property
    def actor(self) -> Actor | None:
        """Who is signed in, None on the login page."""
        return getattr(self.request, "actor", None)

    @cached_property
    def user(self) -> User | None:
        user = self.acting_as or getattr(self.request, "user", None)
        return user if isinstance(user, User) else None

    @property
    def acting_as(self) -> User | None:
        """As whom a member of the staff looks at this page."""
        return getattr(self.request, "acting_as", None)

    @property
    def acting_until(self) -> datetime | None:
        """When that ends by itself."""
        return getattr(self.request, "acting_until", None)

    @cached_property
    def nav_sections(self) -> list[nav.NavSection]:
        """The left navigation for this caller and page."""
        actor = self.actor
        return nav.sections(self.request.path, actor.allows) if actor else []

    @cached_property
    def chips(self) -> list[topbar.TopbarChip]:
        """Figures of the top bar."""
        return topbar.chips(self.request) if self.actor else []

    @cached_property
    def regions(self) -> list[Region]:
        return regions_for(self.request)

    @cached_property
    def region(self) -> Region | None:
        return getattr(self.request, "region", None)

    @cached_property
    def announcements(self) -> list[announcements.Shown]:
        """What the operators tell everybody; nothing before people sign in."""
        return announcements.shown(self.request, self.region) if self.actor else []

    @cached_property
    def theme(self) -> str:
        """auto, light or dark."""
        return theme_of(self.request)

    @cached_property
    def nav_state(self) -> str:
        return "collapsed" if self.request.COOKIES.get(NAV_COOKIE) == "collapsed" else "open"

    @cached_property
    def initials(self) -> str:
        """One or two letters for the account button."""
        if self.user is None:
            return ""
        words = self.user.full_name.split() or [self.user.email]
        return "".join(word[0] for word in words[:2])

    @cached_property
    def show_styleguide(self) -> bool:
        """Whether the style guide is linked: in development only."""
        return bool(settings.DEBUG)

    @property
    def languages(self) -> list[tuple[str, str]]:
        return list(settings.LANGUAGES)


def console(request: HttpRequest) -> dict[str, Any]:
    """The context processor: one variable, ``console``."""
    return {"console": Console(request)}
