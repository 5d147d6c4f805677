"""How long a browser's session is valid. One rule for pages, API, websockets and screens."""

from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from scloud.tenancy import factors
from scloud.tenancy.clientip import client_ip
from scloud.tenancy.models import PlatformSettings, User, UserSession

# Keys of a session: when somebody was last there, and when they signed in (both in Unix time, s).
SEEN_KEY: Final = "seen_at"
STARTED_KEY: Final = "signed_in_at"
# That the code of a second factor was asked for where there was one.
ASKED_KEY: Final = "code_asked"
# That an identity provider asked for a second factor that counts here.
FACTOR_KEY: Final = "provider_factor"
# When somebody has proven last who they are (Unix time, s), but for signing in.
CONFIRMED_KEY: Final = "confirmed_at"
# That signing in is no proof: an identity provider knew the browser, and has asked for nothing.
SILENT_KEY: Final = "silent"
# How often the life of a session is written down.
_SEEN_AGAIN_S: Final = 30.0


def begin(
    request: HttpRequest,
    user: User,
    ip: str | None,
    *,
    silent: bool = False,
    proven_at: float | None = None,
) -> None:
    """Write down the session that ``login()`` has just made, so that its owner sees it.

    ``silent`` says that nobody has proven just now who they are; if it is known when they did at
    their provider, ``proven_at`` says so (Unix time, s).
    """
    request.session[STARTED_KEY] = request.session[SEEN_KEY] = timezone.now().timestamp()
    request.session[ASKED_KEY] = True
    # login() keeps what an earlier session of the same user has held.
    request.session[SILENT_KEY] = silent
    request.session.pop(CONFIRMED_KEY, None)
    if proven_at is not None:
        request.session[CONFIRMED_KEY] = proven_at
    # login() has cycled the key; saving makes sure that there is one to remember.
    request.session.save()
    UserSession.objects.update_or_create(
        session_key=request.session.session_key,
        defaults={
            "user": user,
            "ip": ip,
            "user_agent": request.headers.get("User-Agent", "")[:300],
            "last_seen_at": timezone.now(),
        },
    )


def renew(session: SessionBase) -> None:
    """Go on under another key; what was loaded under the old one cannot be saved any more."""
    old_key = session.session_key
    with transaction.atomic():
        session.cycle_key()
        follow(session, old_key)


def follow(session: SessionBase, old_key: str | None) -> None:
    """Name a session in the list of sessions by its new key."""
    UserSession.objects.filter(session_key=old_key).update(session_key=session.session_key)


def end(session_key: str) -> None:
    """Make a browser's session invalid at once."""
    Session.objects.filter(session_key=session_key).delete()
    UserSession.objects.filter(session_key=session_key).delete()


def end_all(user: User, *, keep: str | None = None) -> int:
    """End the sessions of a user, but for the one with the key ``keep``; return how many."""
    keys = list(
        UserSession.objects.filter(user=user)
        .exclude(session_key=keep or "")
        .values_list("session_key", flat=True)
    )
    for key in keys:
        end(key)
    return len(keys)


def is_idle(session: SessionBase, limits: PlatformSettings) -> bool:
    """Tell whether nobody was there for too long."""
    return _is_past(session.get(SEEN_KEY), timedelta(minutes=limits.idle_logout_min))


def is_too_old(session: SessionBase, limits: PlatformSettings) -> bool:
    """Tell whether a session is older than any may get, however busy it is."""
    return _is_past(session.get(STARTED_KEY), timedelta(hours=limits.session_lifetime_h))


def confirm(session: SessionBase) -> None:
    """Note that somebody has just proven again who they are."""
    session[CONFIRMED_KEY] = timezone.now().timestamp()


def is_confirmed(session: SessionBase) -> bool:
    """Tell whether somebody has proven lately who they are; signing in counts if it was a proof."""
    counted = (CONFIRMED_KEY,) if session.get(SILENT_KEY) else (STARTED_KEY, CONFIRMED_KEY)
    known = [at for key in counted if (at := session.get(key)) is not None]
    span = timedelta(minutes=settings.SCLOUD_CONFIRM_MINUTES)
    return any(not _is_past(at, span) for at in known)


def lacks_code(session: SessionBase, user: User) -> bool:
    """Tell whether a session began by the password alone although its user has a second factor.

    A console of an earlier release begins such: it does not know of second factors.
    """
    # The backend has read with the user whether there is one.
    return not session.get(ASKED_KEY) and hasattr(user, "second_factor")


def lacks_factor(session: SessionBase, user: User, limits: PlatformSettings | None = None) -> bool:
    """Tell whether the user has to set a second factor up before anything else.

    Not where an identity provider asked for one when the session began, and its word counts.
    """
    return not session.get(FACTOR_KEY) and factors.is_missing(user, limits)


def _is_past(at: Any, span: timedelta) -> bool:
    return at is not None and timezone.now().timestamp() - float(at) > span.total_seconds()


def has_run_out(request: HttpRequest, user: User, limits: PlatformSettings) -> bool:
    """Tell whether the session of a signed-in request is over; else note that it is alive."""
    session = request.session
    if is_idle(session, limits) or is_too_old(session, limits) or lacks_code(session, user):
        return True
    now = timezone.now()
    last = session.get(SEEN_KEY)
    if session.get(STARTED_KEY) is None:
        session[STARTED_KEY] = now.timestamp()
    # Pages fetch by themselves what was pushed to them: that is not somebody being there.
    passive = request.headers.get("X-Scloud-Passive") == "1"
    if last is None or (not passive and now.timestamp() - float(last) > _SEEN_AGAIN_S):
        session[SEEN_KEY] = now.timestamp()
        UserSession.objects.filter(session_key=session.session_key).update(
            last_seen_at=now, ip=client_ip(request)
        )
    return False


def carries_session(request: HttpRequest) -> bool:
    """Tell whether a request came with a session's cookie at all."""
    return settings.SESSION_COOKIE_NAME in request.COOKIES


def user_of(session_key: str | None) -> User | None:
    """Return the user of a living session, for what outlasts a request: websockets.

    None when it was ended or is over, when the password was changed, when the user or the tenant
    may not sign in any more, while the user has to set up a second factor, and when the session
    began without the code of one.
    """
    if not session_key:
        return None
    request: Any = HttpRequest()
    request.session = SessionStore(session_key)
    limits = PlatformSettings.load()
    if is_idle(request.session, limits) or is_too_old(request.session, limits):
        return None
    user = get_user(request)
    if not isinstance(user, User) or lacks_code(request.session, user):
        return None
    if lacks_factor(request.session, user, limits):
        return None
    return user
