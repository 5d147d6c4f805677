"""The region that a user works in: picked top-left, remembered by the browser."""

from typing import cast

from django.http import HttpRequest

from scloud.resources.announcing import with_announcements
from scloud.resources.models import Region
from scloud.web.preferences import REGION_COOKIE


def regions_for(request: HttpRequest) -> list[Region]:
    """Return the enabled regions, asked once per request."""
    cached = getattr(request, "_scloud_regions", None)
    if cached is None:
        # With what is announced there, in the same query.
        cached = list(with_announcements(Region.objects.filter(enabled=True)))
        request._scloud_regions = cached  # type: ignore[attr-defined]  # a cache for this request
    return cast(list[Region], cached)


def current_region(request: HttpRequest) -> Region | None:
    """Return the region of the cookie, else the first; None only when there is none at all."""
    regions = regions_for(request)
    wanted = request.COOKIES.get(REGION_COOKIE, "")
    for region in regions:
        if region.pk == wanted:
            return region
    return regions[0] if regions else None
