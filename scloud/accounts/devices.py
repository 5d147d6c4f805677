"""Browsers that somebody has signed in with before, known by a long-lived cookie.

A known browser is not delayed while strangers guess at the account. The cookie opens nothing: it
carries a random name of the browser and whose browser it is, signed; a new password makes it
worthless, and so does a second factor that is turned on or moved: each known browser has a count of
wrong codes of its own, and who knows the password only could make many known beforehand.
"""

import secrets
from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare, salted_hmac

from scloud.tenancy import factors
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
    mark = held["users"].get(str(user.pk))
    if mark is None:
        return None
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    basis = _basis(user)
    fits = any(constant_time_compare(mark, _mark(basis, key)) for key in keys)
    return str(held["name"]) if fits else None


def remember(request: HttpRequest, response: HttpResponse, user: User) -> None:
    """Make the browser known to the user from now on."""
    held = _read(request) or {"name": secrets.token_urlsafe(12), "users": {}}
    users = {key: mark for key, mark in held["users"].items() if key != str(user.pk)}
    users[str(user.pk)] = _mark(_basis(user), settings.SECRET_KEY)
    kept = dict(list(users.items())[-_MAX_USERS:])
    response.set_cookie(
        COOKIE,
        signing.dumps({"name": held["name"], "users": kept}, salt=_SALT),
        max_age=KEEP,
        httponly=True,
        secure=settings.SESSION_COOKIE_SECURE,
        samesite="Strict",
    )


def _basis(user: User) -> str:
    """Return what a browser is known by: the user, with the present password and second factor."""
    since = factors.turned_on_at(user)
    return f"{user.pk} {user.password}" + (f" {since.isoformat()}" if since is not None else "")


def _mark(basis: str, key: str) -> str:
    return salted_hmac(_SALT, basis, secret=key).hexdigest()[:32]


def _read(request: HttpRequest) -> dict[str, Any] | None:
    try:
        held = signing.loads(request.COOKIES.get(COOKIE, ""), salt=_SALT, max_age=KEEP)
    except signing.BadSignature:
        return None
    return dict(held)
