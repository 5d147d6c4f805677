"""Browsers that somebody has signed in with before, known by a long-lived cookie.

A known browser is not delayed while strangers guess at the account. The cookie opens nothing: it
carries a random name of the browser and whose browser it is, signed; a new password makes it
worthless.
"""

import secrets
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare, salted_hmac

from scloud.tenancy.models import User

COOKIE: Final = "scloud_browser"
KEEP: Final = timedelta(days=180)
_SALT: Final = "scloud.accounts.devices"
# Of so many users one browser is remembered; the one who came first is forgotten first.
_MAX_USERS: Final = 8


def name_of(request: HttpRequest, user: User | None) -> str | None:
    """Return the name of the browser if the user has signed in with it before; else None."""
    held = _read(request)
    if user is None or held is None:
        return None
    mark = held["users"].get(str(user.pk), "")
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    fits = any(constant_time_compare(mark, _mark(user, key)) for key in keys)
    return str(held["name"]) if fits else None


def remember(request: HttpRequest, response: HttpResponse, user: User) -> None:
    """Make the browser known to the user from now on."""
    held = _read(request) or {"name": secrets.token_urlsafe(12), "users": {}}
    users = {key: mark for key, mark in held["users"].items() if key != str(user.pk)}
    users[str(user.pk)] = _mark(user, settings.SECRET_KEY)
    kept = dict(list(users.items())[-_MAX_USERS:])
    response.set_cookie(
        COOKIE,
        signing.dumps({"name": held["name"], "users": kept}, salt=_SALT),
        max_age=KEEP,
        httponly=True,
        secure=settings.SESSION_COOKIE_SECURE,
        samesite="Strict",
    )


def _mark(user: User, key: str) -> str:
    """Return what fits the user's present password only."""
    return salted_hmac(_SALT, f"{user.pk} {user.password}", secret=key).hexdigest()[:32]


def _read(request: HttpRequest) -> dict[str, Any] | None:
    try:
        held = signing.loads(request.COOKIES.get(COOKIE, ""), salt=_SALT, max_age=KEEP)
    except signing.BadSignature:
        return None
    return dict(held)
