"""Where a request came from."""

from django.conf import settings
from django.http import HttpRequest


def client_ip(request: HttpRequest) -> str | None:
    """Return the caller's address; ``X-Forwarded-For`` counts only from a trusted proxy."""
    peer: str | None = request.META.get("REMOTE_ADDR") or None
    if peer in settings.SCLOUD_TRUSTED_PROXIES:
        forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
        last = forwarded.split(",")[-1].strip()
        return last or peer
    return peer
