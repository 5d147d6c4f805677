"""Guessing passwords: what is counted, and who has to wait.

Attempts are counted per account *and* source, so that a stranger's failures never lock somebody
else out: five in a row keep that source away from that account for a quarter of an hour. A known
browser (see scloud.accounts.devices) is a source of its own.

Many sources together could still guess. Once an account has seen so many failures, each unknown
source has to wait before an attempt. It waits for itself: after its minute it is let in for one
attempt, however many others fail meanwhile, so that nobody is shut out for longer.

An attempt is written down as failed before the password is looked at, under a lock of the account.
Guesses side by side are counted like guesses one after the other.
"""

import ipaddress
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Final

from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from scloud.lib.errors import TooManyRequests
from scloud.lib.locks import advisory_key
from scloud.tenancy.models import (
    LoginAttempt,
    PlatformSettings,
    SignInWait,
    User,
    canonical_email,
)

MAX_FAILURES: Final = 5
LOCK: Final = timedelta(minutes=15)
# Failures of all unknown sources together within LOCK, from which on each has to wait first.
MANY_FAILURES: Final = 25
WAIT: Final = timedelta(minutes=1)
# Who has waited may come within this time.
TURN: Final = timedelta(minutes=10)


def account_of(email: str, user: User | None) -> str:
    """Return what attempts are counted by: the user, whatever the spelling of the address.

    Addresses that nobody has are counted too: the answer must not tell which ones exist.
    """
    return f"user:{user.pk}" if user is not None else f"email:{canonical_email(email)}"[:270]


def source_of(ip: str | None) -> str:
    """Return where an attempt comes from: an IPv4 address, or a network of IPv6 (/64).

    One customer of a provider has a whole /64; each of its addresses is not somebody else.
    """
    try:
        address = ipaddress.ip_address(ip or "")
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)


def begin(
    *,
    account: str,
    email: str,
    ip: str | None,
    source: str,
    known_browser: bool = False,
    always: bool = False,
) -> LoginAttempt:
    """Count an attempt as failed and let it go on, or raise TooManyRequests.

    Codes: ``account_locked`` when this source failed too often, ``sign_in_delayed`` when the
    account is being guessed at and the source has to wait. ``always`` is for what is guessed in so
    few tries that the platform's setting must not turn the lock off.
    """
    refusal: TooManyRequests | None = None
    with transaction.atomic():
        if always or PlatformSettings.load().login_lockout:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_advisory_xact_lock(%s)", [advisory_key(f"sign-in {account}")]
                )
            refusal = _refusal(account, source, known_browser)
        if refusal is None:
            return LoginAttempt.objects.create(
                email=canonical_email(email)[:254],
                ip=ip,
                succeeded=False,
                account=account,
                source=source,
                known_browser=known_browser,
            )
    # Raised outside of the transaction, which would take back the note that the source waits.
    raise refusal


def succeeded(attempt: LoginAttempt) -> None:
    """The password was right after all."""
    attempt.succeeded = True
    LoginAttempt.objects.filter(pk=attempt.pk).update(succeeded=True)


def proven(user: User, *, ip: str | None) -> None:
    """Count a success of another kind: somebody has shown what only the user is sent."""
    LoginAttempt.objects.create(
        email=user.email,
        ip=ip,
        succeeded=True,
        account=account_of(user.email, user),
        source=source_of(ip),
    )


def _refusal(account: str, source: str, known_browser: bool) -> TooManyRequests | None:
    now = timezone.now()
    recent = LoginAttempt.objects.filter(account=account, at__gt=now - LOCK)
    own = list(recent.filter(source=source).order_by("-at", "-pk")[:MAX_FAILURES])
    if len(own) == MAX_FAILURES and not any(attempt.succeeded for attempt in own):
        return _too_many(
            _("%(count)s failed logins: this account is locked for your address.")
            % {"count": MAX_FAILURES},
            "account_locked",
            own[-1].at + LOCK - now,
            {"failures": MAX_FAILURES},
        )
    if known_browser:
        return None
    failed = recent.filter(succeeded=False, known_browser=False).count()
    return _waiting(account, source, now, failed) if failed >= MANY_FAILURES else None


def _waiting(account: str, source: str, now: datetime, failed: int) -> TooManyRequests | None:
    """Tell a source to wait, or let one in that has waited."""
    waits = SignInWait.objects.filter(account=account, source=source)
    wait = waits.first()
    if wait is None or now > wait.since + WAIT + TURN:
        waits.delete()
        wait = SignInWait.objects.create(account=account, source=source, since=now)
    elif now >= wait.since + WAIT:
        waits.delete()
        return None
    return _too_many(
        _("Somebody is guessing the password of this account."),
        "sign_in_delayed",
        wait.since + WAIT - now,
        {"failures": failed},
    )


def _too_many(message: str, code: str, wait: timedelta, numbers: dict[str, Any]) -> TooManyRequests:
    wait_s = max(1, ceil(wait.total_seconds()))
    minutes = max(1, -(-wait_s // 60))
    return TooManyRequests(
        message,
        code=code,
        remedy=ngettext(
            "Try again in %(count)s minute.", "Try again in %(count)s minutes.", minutes
        )
        % {"count": minutes},
        numbers={**numbers, "retry_after_s": wait_s},
    )
