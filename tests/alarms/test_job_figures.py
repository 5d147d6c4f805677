"""Figures of jobs are read by an index: finished jobs are kept for months."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from alarms.queries import platform as figures


@pytest.mark.parametrize(
    "read",
    [figures.jobs, figures.job_hours, lambda: figures.slowest_kinds(timedelta(hours=24))],
    ids=["jobs", "hours", "kinds"],
)
def test_what_ended_lately_is_found_by_an_index(read: Callable[[], Any], db: None) -> None:
    with CaptureQueriesContext(connection) as queries:
        read()
    [asked] = queries.captured_queries
    with transaction.atomic(), connection.cursor() as cursor:
        # A table of a few rows is read whole else, whatever indexes it has.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {asked['sql']}")
        assert "job_finished" in "\n".join(row[0] for row in cursor.fetchall())
