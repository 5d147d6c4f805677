"""Inserting many rows that nobody reads back, by COPY: several times as fast as INSERT."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db import connection
from django.db.models import Model
from psycopg import sql


def new_keys(model: type[Model], count: int) -> list[int]:
    """Take ``count`` keys of ``model`` from the database, for rows that others refer to."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)",
            [connection.ops.quote_name(model._meta.db_table), count],
        )
        return sorted(key for (key,) in cursor.fetchall())


def copy_rows(model: type[Model], columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Insert ``rows`` into the table of ``model``, one statement for all.

    ``columns`` are names of columns. The others get the defaults of the database, not those of the
    model; keys that are not given are made by the database. Constraints and triggers hold as ever.
    Must run inside a transaction that is rolled back where it fails.
    """
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(model._meta.db_table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
