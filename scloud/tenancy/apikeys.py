"""Making and looking up API keys."""

import secrets
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from scloud.lib import crypto
from scloud.lib.errors import Unauthenticated
from scloud.tenancy.models import ApiKey, User
from scloud.tenancy.scoping import scopes_disabled

PREFIX = "sck_"


def issue(
    *, user: User, name: str, scopes: list[str] | None = None, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """Return a new key and its secret, which is shown this once only."""
    if user.tenant is None:
        raise ValueError("an API key belongs to a tenant's user")
    secret = PREFIX + secrets.token_urlsafe(32)
    key = ApiKey.objects.create(
        tenant=user.tenant,
        user=user,
        name=name,
        digest=crypto.digest(secret, settings.SECRET_KEY),
        scopes=scopes or [],
        expires_at=expires_at,
    )
    return key, secret


def lookup(secret: str) -> ApiKey:
    """Return the usable key with this secret, or raise Unauthenticated."""
    with scopes_disabled():
        digests = [
            crypto.digest(secret, key)
            for key in [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
        ]
        key = ApiKey.objects.select_related("user", "tenant").filter(digest__in=digests).first()
        if key is None or not key.is_usable or not key.user.is_active or not key.tenant.is_active:
            raise Unauthenticated(
                "This API key is unknown, expired or revoked.",
                code="invalid_api_key",
                remedy="Create a new key on the profile page of the console.",
            )
        now = timezone.now()
        if key.last_used_at is None or now - key.last_used_at > timedelta(minutes=1):
            # Once a minute is enough to tell whether a key is still used.
            ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
        found: ApiKey = key
    return found
