"""What the sweeper does, and how often.

Chores run in lanes: those of one lane one after the other, and no lane waits for another. A host
that does not answer holds up the lane that asks it, and never the wake-ups.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from django.db import DatabaseError, InterfaceError, connection

from scloud.lib.backoff import Backoff, Said

log = logging.getLogger(__name__)
said = Said(log)
FIRST_RETRY_S = 1.0
LAST_RETRY_S = 60.0


class Lane(StrEnum):
    """What a chore waits for, apart from the database."""

    WAKE_UPS = "wake-ups"  # for nothing: a retry that is due begins, whatever else goes on
    BOOKS = "books"  # for nothing, but there may be much of it: renewals, the bin, schedules
    REPLAY = "replay"  # for nothing: the books computed again, which takes as long as they are
    DEADLINES = "deadlines"  # for the hosts of what is given up
    HOSTS = "hosts"  # for all hosts, whose answers keep power states true
    DEVICES = "devices"  # for all hosts, in the background
    GUESTS = "guests"  # for guests, any of which may hang
    POOLS = "pools"  # for storage
    NETWORK = "network"  # for the fabric
    WITNESSES = "witnesses"  # for the fabric and storage, to learn which hosts are alive
    FAILOVER = "failover"  # for nothing: what hosts that died had running starts elsewhere
    BALANCE = "balance"  # for hosts that no collector asks, and for the metrics store
    ALARMS = "alarms"  # for the metrics store, to find what is wrong now
    METRICS = "metrics"  # for the metrics store, of which a backlog may take a while


@dataclass
class _Chore:
    name: str
    every_s: float
    run: Callable[[], object]
    lane: Lane
    due_at: float = 0.0
    backoff: Backoff = field(
        default_factory=lambda: Backoff(first_s=FIRST_RETRY_S, ceiling_s=LAST_RETRY_S)
    )


_chores: dict[str, _Chore] = {}


def register(name: str, every_s: float, run: Callable[[], object], lane: Lane = Lane.BOOKS) -> None:
    """Make a chore known; ``every_s`` seconds lie between the end of one run and the next."""
    _chores[name] = _Chore(name, every_s, run, lane)


def lanes() -> list[Lane]:
    """Return the lanes that have something to do."""
    return sorted({chore.lane for chore in _chores.values()})


def run_due(lane: Lane) -> list[str]:
    """Run what is due; one chore's failure does not keep the others of its lane from running."""
    ran = []
    for chore in list(_chores.values()):
        if chore.lane != lane or time.monotonic() < chore.due_at:
            continue
        wait_s = chore.every_s
        try:
            chore.run()
        except (DatabaseError, InterfaceError) as error:
            wait_s = max(wait_s, chore.backoff.failed())
            said.say(
                chore.name,
                "no database",
                logging.ERROR,
                "chore %s: the database did not answer: %s",
                chore.name,
                error,
            )
            connection.close()
        except Exception as error:
            # What fails each time fails rarely, and is told with its traceback when it changes.
            wait_s = max(wait_s, chore.backoff.failed())
            if said.say(
                chore.name, repr(error)[:200], logging.ERROR, "chore %s failed", chore.name
            ):
                log.exception("chore %s", chore.name)
        else:
            if chore.backoff.worked():
                said.over(chore.name, "chore %s works again", chore.name)
        chore.due_at = time.monotonic() + wait_s
        ran.append(chore.name)
    return ran
