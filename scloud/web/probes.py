"""What machines ask of the console: /healthz, /readyz, and whatever apps register beside them.

They are answered before anything else looks at the request: a probe comes by address, without TLS,
without a session, and the answer must not wait for what it is about.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse

from scloud.jobs import health
from scloud.lib.backoff import Said
from scloud.lib.shared import Shared

said = Said(logging.getLogger(__name__))

#: How long a probe waits for the checks, in seconds; probes of Kubernetes wait one by default.
PATIENCE_S: Final = 0.9
#: Many may ask: what was found is good for so long.
KEEP_S: Final = 1.0

Probe = Callable[[HttpRequest], HttpResponse]

_probes: dict[str, Probe] = {}


def register(path: str, probe: Probe) -> None:
    """Answer GET and HEAD of an exact path by ``probe``."""
    _probes[path] = probe


class ProbeMiddleware:
    """Answers probes; stands before all others."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        probe = _probes.get(request.path_info)
        if probe is None:
            return self.get_response(request)
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        answer = probe(request)
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer


# -- the two of every installation -------------------------------------------------------------


def alive(request: HttpRequest) -> HttpResponse:
    """Say that this process answers, and nothing else: whoever asks ends it otherwise."""
    return JsonResponse({"status": "alive"})


def ready(request: HttpRequest) -> HttpResponse:
    """Say whether what the console needs is there: 200, or 503 with what is missing."""
    try:
        checks = _ready.get()
    except TimeoutError:
        checks = {"database": "did not answer in time"}
    wrong = {name: text for name, text in checks.items() if text != "ok"}
    if wrong:
        said.say("ready", repr(wrong), logging.WARNING, "not ready: %s", wrong)
    else:
        said.over("ready", "ready again")
    return JsonResponse(
        {"status": "not ready" if wrong else "ready", "checks": checks},
        status=503 if wrong else 200,
    )


def look() -> Mapping[str, str]:
    """Return each check with "ok" or what is wrong: words for everybody, without details."""
    try:
        if health.missing_migrations():
            # What else is asked may need the tables that are missing.
            return {"database": "ok", "migrations": "some are missing"}
        return {
            "database": "ok",
            "migrations": "ok",
            "worker": "ok" if health.workers_seen() else "not seen lately",
            "sweeper": "ok" if health.sweeper_seen() else "not seen lately",
        }
    except (DatabaseError, InterfaceError):
        return {"database": "did not answer"}


def _look() -> Mapping[str, str]:
    try:
        return look()
    finally:
        connection.close()


_ready: Final = Shared(_look, keep_s=KEEP_S, patience_s=PATIENCE_S, name="readiness")
register("/healthz", alive)
register("/readyz", ready)
