"""Login lockout: five failures in a row lock the account for fifteen minutes."""

from datetime import timedelta

from django.utils import timezone

from scloud.lib.errors import TooManyRequests
from scloud.tenancy.models import LoginAttempt, PlatformSettings

MAX_FAILURES = 5
LOCK = timedelta(minutes=15)


def check(email: str) -> None:
    """Raise TooManyRequests (code ``account_locked``) while the account is locked."""
    if not PlatformSettings.load().login_lockout:
        return
    since = timezone.now() - LOCK
    recent = list(
        LoginAttempt.objects.filter(email=email.lower(), at__gt=since).order_by("-at")[
            :MAX_FAILURES
        ]
    )
    if len(recent) == MAX_FAILURES and not any(attempt.succeeded for attempt in recent):
        wait_s = int((recent[-1].at + LOCK - timezone.now()).total_seconds()) + 1
        raise TooManyRequests(
            f"{MAX_FAILURES} failed logins: this account is locked.",
            code="account_locked",
            remedy=f"Try again in {max(1, wait_s // 60)} min.",
            numbers={"failures": MAX_FAILURES, "retry_after_s": wait_s},
        )


def record(email: str, ip: str | None, *, succeeded: bool) -> None:
    """Write down a sign-in."""
    LoginAttempt.objects.create(email=email.lower()[:254], ip=ip, succeeded=succeeded)
