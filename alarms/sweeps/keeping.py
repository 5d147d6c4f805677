"""Keeping the metrics store: steps are closed, what is too old is dropped, capacity is noted."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Final

from django.db import connection

from alarms.queries import capacity
from alarms.queries.engine import metrics_store, retention
from alarms.store.base import StoreUnavailable
from scloud.lib.backoff import Said

log = logging.getLogger(__name__)
said = Said(log)

#: Calls of one run: a backlog takes several runs, and lets what else there is to do go on.
CALLS_AT_ONCE: Final = 50


def roll_up() -> int:
    """Close what is due; return how many steps were closed."""
    closed = 0
    try:
        now = _now()
        for _ in range(CALLS_AT_ONCE):
            some = metrics_store().roll_up(now)
            closed += some
            if not some:
                break
    except StoreUnavailable as error:
        said.say("store", "away", logging.ERROR, "the metrics store did not answer: %s", error)
        return closed
    said.over("store", "the metrics store is back")
    return closed


def prune() -> int:
    """Make room, and drop what is older than is kept; return how many parts were dropped."""
    try:
        return metrics_store().prune(_now(), retention())
    except StoreUnavailable as error:
        said.say("prune", "away", logging.ERROR, "the metrics store did not answer: %s", error)
        return 0


def note_capacity() -> int:
    """Keep how full pools and clusters are now; return of how many something was written."""
    found = capacity.samples(_now())
    try:
        metrics_store().write(found)
    except StoreUnavailable as error:
        said.say("capacity", "away", logging.ERROR, "the metrics store did not answer: %s", error)
        return 0
    said.over("capacity", "the metrics store is back")
    return len(found)


def _now() -> datetime:
    """The database's time, which samples have, too."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now
