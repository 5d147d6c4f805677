"""Region, time zone and language of the signed-in user; headers of console pages."""

import zoneinfo
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone, translation
from django.utils.cache import patch_vary_headers
from django.utils.functional import SimpleLazyObject

from scloud.lib.errors import ScloudError
from scloud.tenancy.models import User
from scloud.web import errors
from scloud.web.regions import current_region


class ConsoleMiddleware:
    """Prepares console requests; comes after the tenancy middleware, so the scope is open."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path.startswith(("/api/", settings.STATIC_URL)):
            return self.get_response(request)
        if "\x00" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
            # PostgreSQL cannot hold the character, so nothing sensible can be meant.
            return errors.bad_request(request)
        request.region = SimpleLazyObject(lambda: current_region(request))  # type: ignore[attr-defined]  # declared by ConsoleRequest
        user = request.user
        if isinstance(user, User):
            try:
                timezone.activate(zoneinfo.ZoneInfo(user.time_zone))
            except (zoneinfo.ZoneInfoNotFoundError, ValueError):
                timezone.deactivate()
            if user.language in dict(settings.LANGUAGES):
                translation.activate(user.language)
        try:
            response = self.get_response(request)
        finally:
            timezone.deactivate()
        if response.headers.get("Content-Type", "").startswith("text/html"):
            # One URL gives a page or a part of it; browsers must not mix them up, and a page of
            # one tenant must not come back from a cache after another one signed in.
            patch_vary_headers(response, ("HX-Request",))
            response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Turn a ScloudError of any HTML view into its page or toast."""
        if isinstance(exception, ScloudError) and not request.path.startswith("/api/"):
            return errors.response(request, exception)
        return None
