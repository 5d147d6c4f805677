"""The API's rate limit."""

from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from scloud.lib.errors import TooManyRequests
from scloud.tenancy import ratelimit
from scloud.tenancy.actor import Actor
from scloud.tenancy.clientip import client_ip


class ActorThrottle(BaseThrottle):
    """So many requests a minute per key, user or address."""

    def __init__(self) -> None:
        self._wait_s: float | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        actor = request.auth
        if isinstance(actor, Actor) and actor.api_key is not None:
            who = actor.api_key.id
        elif isinstance(actor, Actor) and actor.user is not None:
            who = f"user:{actor.user.pk}"
        else:
            who = f"ip:{client_ip(request._request)}"
        try:
            ratelimit.hit(f"api:{who}", limit=settings.SCLOUD_API_REQUESTS_PER_MINUTE)
        except TooManyRequests as error:
            self._wait_s = float((error.numbers or {}).get("retry_after_s", 60))
            return False
        return True

    def wait(self) -> float | None:
        return self._wait_s
