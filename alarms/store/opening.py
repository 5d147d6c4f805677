"""Which engine keeps the measurements of an installation."""

from __future__ import annotations

from alarms.store.base import MetricsStore
from alarms.store.postgres import Connect, PostgresStore
from alarms.store.victoria import VictoriaStore

POSTGRES = "postgres"


def open_store(where: str, *, connect: Connect) -> MetricsStore:
    """The engine for ``postgres``, reached by ``connect``, or for the URL of a VictoriaMetrics.

    Raises ValueError for anything else. Cheap: nothing is asked before the first call.
    """
    if where == POSTGRES:
        return PostgresStore(connect)
    return VictoriaStore(where)
