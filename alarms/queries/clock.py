"""The time that samples, marks and alarms have: the database's."""

from __future__ import annotations

from datetime import datetime

from django.db import connection


def now() -> datetime:
    """Return the database's time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        moment: datetime = cursor.fetchone()[0]
        return moment
