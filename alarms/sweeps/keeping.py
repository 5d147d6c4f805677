"""Keeping the metrics store: steps are closed, what is too old is dropped, capacity is noted."""

from __future__ import annotations

import logging
from typing import Final

from alarms.queries import capacity, clock
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
        now = clock.now()
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
        return metrics_store().prune(clock.now(), retention())
    except StoreUnavailable as error:
        said.say("prune", "away", logging.ERROR, "the metrics store did not answer: %s", error)
        return 0


def note_capacity() -> int:
    """Keep how full pools and clusters are now; return of how many something was written."""
    found = capacity.samples(clock.now())
    try:
        metrics_store().write(found)
    except StoreUnavailable as error:
        said.say("capacity", "away", logging.ERROR, "the metrics store did not answer: %s", error)
        return 0
    said.over("capacity", "the metrics store is back")
    return len(found)
