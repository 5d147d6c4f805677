"""What the sweeper does, and how often."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.db import DatabaseError, connection

log = logging.getLogger(__name__)


@dataclass
class _Chore:
    name: str
    every_s: float
    run: Callable[[], object]
    due_at: float = 0.0


_chores: dict[str, _Chore] = {}


def register(name: str, every_s: float, run: Callable[[], object]) -> None:
    """Make a chore known; ``every_s`` seconds lie between the end of one run and the next."""
    _chores[name] = _Chore(name, every_s, run)


def run_due() -> list[str]:
    """Run what is due; one chore's failure does not keep the others from running."""
    ran = []
    for chore in list(_chores.values()):
        if time.monotonic() < chore.due_at:
            continue
        try:
            chore.run()
        except DatabaseError:
            log.exception("chore %s: the database did not answer", chore.name)
            connection.close()
        except Exception:
            log.exception("chore %s failed", chore.name)
        chore.due_at = time.monotonic() + chore.every_s
        ran.append(chore.name)
    return ran
