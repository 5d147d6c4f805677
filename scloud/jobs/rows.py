"""How sweeps go through rows: an error of one row harms that row."""

import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from django.db import Error as DatabaseFailure
from django.db import connection
from django.db.models import Model, Q, QuerySet

from scloud.lib.backoff import Said


class HasKey(Protocol):
    @property
    def pk(self) -> object:
        """Its primary key."""


Row = TypeVar("Row", bound=HasKey)
AnyModel = TypeVar("AnyModel", bound=Model)
log = logging.getLogger(__name__)
said = Said(log)


def each(rows: Iterable[Row], run: Callable[[Row], object], what: str) -> list[Row]:
    """Call ``run`` with each row and return those for which it did not raise.

    Whatever one raises is logged once, as ``what`` with the row's id, and keeps no other from
    its turn. Only a database that is away ends the round: it would fail for every row.
    """
    done = []
    for row in rows:
        try:
            run(row)
        except DatabaseFailure as error:
            _tell(what, row, error)
            if not connection.in_atomic_block and not connection.is_usable():
                raise
        except Exception as error:
            _tell(what, row, error)
        else:
            done.append(row)
            said.over((what, row.pk))
    return done


def _tell(what: str, row: HasKey, error: Exception) -> None:
    """Log an error with its traceback when it is a new one of the row."""
    if said.say((what, row.pk), repr(error)[:200], logging.ERROR, "%s: %s failed", what, row.pk):
        log.error("%s: %s", what, row.pk, exc_info=error)


class Rota:
    """Takes rows in batches, in the order of a column, so that each has its turn.

    A row that cannot be dealt with is met again only after all others that were due. Where the
    last batch ended is remembered in this process; a new process begins with the first.
    """

    def __init__(self, column: str, size: int) -> None:
        self._column = column
        self._size = size
        self._last: tuple[Any, Any] | None = None

    def take(self, rows: QuerySet[AnyModel]) -> list[AnyModel]:
        """Return the next batch of ``rows``."""
        ordered = rows.order_by(self._column, "pk")
        if self._last is None:
            batch = list(ordered[: self._size])
        else:
            value, pk = self._last
            after = Q(**{f"{self._column}__gt": value}) | Q(**{self._column: value, "pk__gt": pk})
            batch = list(ordered.filter(after)[: self._size])
            if len(batch) < self._size:
                # Round to the beginning.
                batch += list(ordered.exclude(after)[: self._size - len(batch)])
        if batch:
            self._last = (getattr(batch[-1], self._column), batch[-1].pk)
        return batch
