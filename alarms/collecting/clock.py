"""The time of samples: the database's, carried on by a clock that nobody sets.

All collectors and the store then mean the same by "now", and a machine whose own clock is set
writes neither into the future nor twice into the past.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime


class Clock:
    """Says what time it is; `seconds` counts on from an unknown beginning."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._offset_s = datetime.now(UTC).timestamp() - seconds()

    def sync(self, moment: datetime, asked_s: float) -> None:
        """Take over a time that was asked for at `asked_s` of this clock and answered by now."""
        self._offset_s = moment.timestamp() - (asked_s + self.seconds()) / 2

    def at(self, seconds: float) -> datetime:
        """Return the time at which this clock showed `seconds`."""
        return datetime.fromtimestamp(seconds + self._offset_s, UTC)
