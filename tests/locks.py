"""Which locks on rows a piece of work takes."""

from __future__ import annotations

from collections.abc import Callable

from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext


def locking(work: Callable[[], object]) -> list[str]:
    """Return the statements of ``work`` that lock rows, without what they ask for."""
    with CaptureQueriesContext(connection) as seen, transaction.atomic():
        work()
    locks = [query["sql"] for query in seen if " FOR " in query["sql"]]
    return [sql[sql.index(" FOR ") :].strip() for sql in locks]
