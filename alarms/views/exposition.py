"""/metrics: the platform's figures, for the operators' Prometheus."""

from __future__ import annotations

import hmac
import logging
from ipaddress import ip_address, ip_network
from typing import Any, Final

from django.conf import settings
from django.core import checks
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse

from alarms.exposition import platform
from scloud.lib import exposition
from scloud.lib.backoff import Said
from scloud.lib.shared import Shared
from scloud.tenancy.clientip import client_ip, is_forwarded

said = Said(logging.getLogger(__name__))

#: Below the 10 seconds that Prometheus waits by default.
PATIENCE_S: Final = 8.0
#: Several servers may ask; what was found is good for so long.
KEEP_S: Final = 5.0
MIN_TOKEN_LENGTH: Final = 24
_TEXT: Final = "text/plain; charset=utf-8"


def metrics(request: HttpRequest) -> HttpResponse:
    """Answer a caller from the networks of the settings, or with their token."""
    if not is_allowed(request):
        refused = HttpResponse("Not allowed.\n", status=401, content_type=_TEXT)
        refused.headers["WWW-Authenticate"] = 'Bearer realm="SCloud metrics"'
        return refused
    try:
        text = _document.get()
    except (TimeoutError, DatabaseError, InterfaceError) as error:
        words = type(error).__name__
        said.say("metrics", words, logging.ERROR, "the metrics could not be read: %s", words)
        return HttpResponse("The database did not answer.\n", status=503, content_type=_TEXT)
    said.over("metrics", "the metrics can be read again")
    return HttpResponse(text, content_type=exposition.CONTENT_TYPE)


def is_allowed(request: HttpRequest) -> bool:
    """Whether the caller has the token, or comes from one of the networks.

    What a proxy passes on comes from the proxy's address, which proves nothing unless the proxy is
    trusted to say from where it came.
    """
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    token = settings.SCLOUD_METRICS_TOKEN
    if scheme.lower() == "bearer" and token:
        return hmac.compare_digest(given.strip().encode(), token.encode())
    if (
        is_forwarded(request)
        and request.META.get("REMOTE_ADDR") not in settings.SCLOUD_TRUSTED_PROXIES
    ):
        return False
    try:
        address = ip_address(client_ip(request) or "")
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in ip_network(network) for network in settings.SCLOUD_METRICS_NETWORKS)


def check_settings(**_given: Any) -> list[checks.CheckMessage]:
    """No process starts with a token that can be guessed, or a network that is none."""
    found: list[checks.CheckMessage] = []
    if 0 < len(settings.SCLOUD_METRICS_TOKEN) < MIN_TOKEN_LENGTH:
        found.append(
            checks.Error(
                f"SCLOUD_METRICS_TOKEN has fewer than {MIN_TOKEN_LENGTH} characters.",
                hint="Make one with: openssl rand -hex 24",
                id="alarms.E002",
            )
        )
    for network in settings.SCLOUD_METRICS_NETWORKS:
        try:
            ip_network(network)
        except ValueError:
            found.append(
                checks.Error(
                    f"SCLOUD_METRICS_NETWORKS has {network!r}, which is no network.",
                    hint="Write it as 10.1.2.0/24, without host bits.",
                    id="alarms.E003",
                )
            )
    return found


def _read() -> str:
    try:
        return exposition.document(platform.families())
    finally:
        connection.close()


_document: Final = Shared(_read, keep_s=KEEP_S, patience_s=PATIENCE_S, name="metrics")
