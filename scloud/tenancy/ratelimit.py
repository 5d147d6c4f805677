"""Rate limits counted in PostgreSQL, so that they hold over all web processes."""

from datetime import UTC, datetime, timedelta

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext

from scloud.lib.errors import TooManyRequests
from scloud.tenancy.models import RateCounter


def hit(key: str, *, limit: int, window_s: int = 60) -> None:
    """Count one request; raise TooManyRequests above ``limit`` per window of ``window_s`` s."""
    now = timezone.now()
    start = datetime.fromtimestamp(int(now.timestamp()) // window_s * window_s, tz=UTC)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO tenancy_ratecounter (key, window_start, count) VALUES (%s, %s, 1) "
            "ON CONFLICT (key, window_start) DO UPDATE SET count = tenancy_ratecounter.count + 1 "
            "RETURNING count",
            [key[:120], start],
        )
        row = cursor.fetchone()
    count = int(row[0]) if row else 0
    if count > limit:
        wait_s = int((start + timedelta(seconds=window_s) - now).total_seconds()) + 1
        raise TooManyRequests(
            gettext("More than %(limit)s requests in %(window_s)s s.")
            % {"limit": limit, "window_s": window_s},
            remedy=gettext("Wait %(wait_s)s s and try again.") % {"wait_s": wait_s},
            numbers={"limit": limit, "window_s": window_s, "retry_after_s": wait_s},
        )


def forget_old_windows() -> int:
    """Delete counters older than an hour; return how many."""
    deleted, _ = RateCounter.objects.filter(
        window_start__lt=timezone.now() - timedelta(hours=1)
    ).delete()
    return deleted
