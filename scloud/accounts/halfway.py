"""A sign-in whose password was right, or whom a provider knows, and whose code is still to come.

There is no session yet. The browser carries a signed cookie, which names the user and is valid for
five minutes, and as long as password, second factor and last sign-in of the user are what they
were: so it is good for one sign-in. Where an identity came instead of the password, it has to be
linked still, and its provider on. It opens nothing by itself.
"""

from datetime import timedelta
from typing import Final

from django.conf import settings
from django.core import signing
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare, salted_hmac

from scloud.tenancy import factors
from scloud.tenancy.backends import EmailBackend
from scloud.tenancy.models import Identity, User

COOKIE: Final = "scloud_half"
LIVES: Final = timedelta(minutes=5)
_SALT: Final = "scloud.accounts.halfway"


def keep(response: HttpResponse, user: User, *, identity_id: int | None = None) -> None:
    """Let the browser go on with the code, after a password or an identity."""
    response.set_cookie(
        COOKIE,
        signing.dumps({"user": user.pk, "mark": _mark(user), "identity": identity_id}, salt=_SALT),
        max_age=LIVES,
        httponly=True,
        secure=settings.SESSION_COOKIE_SECURE,
        samesite="Strict",
    )


def forget(response: HttpResponse) -> None:
    """Take the cookie back."""
    response.delete_cookie(COOKIE, samesite="Strict")


def user_of(request: HttpRequest) -> User | None:
    """Return whose password or identity it was; None if nobody's, or if it counts no more."""
    try:
        held = signing.loads(request.COOKIES.get(COOKIE, ""), salt=_SALT, max_age=LIVES)
    except signing.BadSignature:
        return None
    user = User.objects.select_related("tenant").filter(pk=held["user"]).first()
    if user is None or not EmailBackend().user_can_authenticate(user):
        return None
    if held.get("identity") is not None and not _is_linked(held["identity"], user):
        return None
    return user if constant_time_compare(held["mark"], _mark(user)) else None


def _is_linked(identity_id: int, user: User) -> bool:
    rows = Identity.objects.filter(pk=identity_id, user=user, provider__is_on=True)
    return rows.filter(issuer=F("provider__issuer")).exists()


def _mark(user: User) -> str:
    """Return what fits the present state of the user only, and does not tell it."""
    since = factors.turned_on_at(user)
    return salted_hmac(_SALT, f"{user.pk} {user.password} {since} {user.last_login}").hexdigest()
