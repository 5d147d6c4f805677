"""Where a request came from."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.http import HttpRequest

# Headers by which proxies tell whom they speak for.
FORWARDING: Final = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP")


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address of one entry, whatever port stands behind it; None if it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    if isinstance(found, IPv6Address):
        if found.scope_id is not None:
            return None
        return found.ipv4_mapped or found
    return found


def client_ip(request: HttpRequest) -> str | None:
    """Return the caller's address; ``X-Forwarded-For`` counts only from a trusted proxy.

    What the proxies wrote is read from its end: entries of trusted proxies are passed over, the
    first other one is the caller. An entry that is no address ("unknown") says nothing, and the
    request then counts as the proxy's own.
    """
    peer: str | None = request.META.get("REMOTE_ADDR") or None
    if peer not in settings.SCLOUD_TRUSTED_PROXIES:
        return peer
    for entry in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        found = _address(entry)
        if found is None:
            return peer
        if str(found) not in settings.SCLOUD_TRUSTED_PROXIES:
            return str(found)
    return peer


def is_forwarded(request: HttpRequest) -> bool:
    """Whether a proxy says of itself that it passed the request on."""
    return any(request.META.get(name) for name in FORWARDING)


def check_proxies(**kwargs: object) -> list[CheckMessage]:
    """Refuse settings by which all callers would count as one."""
    found: list[CheckMessage] = [
        Error(
            f"SCLOUD_TRUSTED_PROXIES has {text!r}, which is not an IP address.",
            hint="Give the addresses from which the proxies connect, comma-separated.",
            id="scloud.E001",
        )
        for text in settings.SCLOUD_TRUSTED_PROXIES
        if str(_address(text)) != text
    ]
    if settings.SCLOUD_PROXY not in {"none", "trusted"}:
        found.append(
            Error(
                f"SCLOUD_PROXY is {settings.SCLOUD_PROXY!r}.",
                hint='It is "none" or "trusted".',
                id="scloud.E002",
            )
        )
    elif settings.SCLOUD_PROXY == "trusted" and not settings.SCLOUD_TRUSTED_PROXIES:
        found.append(
            Error(
                "SCLOUD_PROXY is trusted, but SCLOUD_TRUSTED_PROXIES names no proxy.",
                hint="All callers would share the rate limits of one address.",
                id="scloud.E003",
            )
        )
    elif settings.SCLOUD_HTTPS and not settings.SCLOUD_PROXY_SAID:
        found.append(
            Error(
                "SCLOUD_HTTPS is on, so a proxy ends TLS, but nothing says which one.",
                hint="Set SCLOUD_TRUSTED_PROXIES to its addresses, or SCLOUD_PROXY=none "
                "if it connects from addresses of its callers (transparent).",
                id="scloud.E004",
            )
        )
    return found
