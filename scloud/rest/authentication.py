"""API callers: a bearer key, or the console's session."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from scloud.lib import tracing
from scloud.lib.errors import Forbidden, Unauthenticated
from scloud.tenancy import apikeys, lockout, ratelimit, sessions
from scloud.tenancy.actor import Actor
from scloud.tenancy.clientip import client_ip
from scloud.tenancy.middleware import actor_of
from scloud.tenancy.models import User


class ApiKeyAuthentication(BaseAuthentication):
    """``Authorization: Bearer sck_...``."""

    def authenticate(self, request: Request) -> tuple[User, Actor] | None:
        header = request.headers.get("Authorization", "")
        scheme, _space, secret = header.partition(" ")
        if scheme.lower() != "bearer":
            return None
        ip = client_ip(request._request)
        try:
            key = apikeys.lookup(secret.strip(), ip)
        except Unauthenticated as error:
            # Whoever tries secrets is slowed down as callers are; there is no actor to count by.
            ratelimit.hit(
                f"api-guess:{lockout.source_of(ip)}", limit=settings.SCLOUD_API_REQUESTS_PER_MINUTE
            )
            raise AuthenticationFailed(error.message, code=error.code) from error
        actor = Actor(
            tenant=key.tenant,
            user=key.user,
            api_key=key,
            role=key.user.role,
            ip=ip,
            via="api",
            request_id=tracing.request_id(),
        )
        return key.user, actor

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="SCloud"'


class ConsoleSessionAuthentication(SessionAuthentication):
    """A signed-in console user; state changes need the CSRF token."""

    def authenticate(self, request: Request) -> tuple[User, Any] | None:
        found = super().authenticate(request)
        if found is None:
            return None
        user = found[0]
        if not isinstance(user, User) or user.tenant is None:
            return None
        if sessions.lacks_factor(request._request.session, user):
            raise Forbidden(
                _("Your account requires a second factor."),
                code="second_factor_missing",
                remedy=_("Open the console and set it up."),
            )
        http: HttpRequest = request._request
        return user, actor_of(http, user)


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself
    """Describes the bearer key in the OpenAPI schema."""

    target_class = "scloud.rest.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "sck_..."}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself
    """Describes the console's session in the OpenAPI schema."""

    target_class = "scloud.rest.authentication.ConsoleSessionAuthentication"
    name = "consoleSession"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "scloud_session"}
