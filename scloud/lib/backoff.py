"""Waits between tries, and saying once what stays the same."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Hashable


def delay_s(tries: int, *, first_s: float, ceiling_s: float) -> float:
    """Return how long to wait after the ``tries``-th failure in a row, in seconds.

    It doubles up to the ceiling; a fifth more or less keeps those that failed together from
    coming back together.
    """
    doubled = first_s * 2.0 ** min(max(tries, 1) - 1, 60)
    return min(ceiling_s, doubled) * random.uniform(0.8, 1.2)  # noqa: S311 (no secret)


class Backoff:
    """Counts failures in a row of one thing that is tried again and again."""

    def __init__(self, *, first_s: float, ceiling_s: float) -> None:
        self.first_s = first_s
        self.ceiling_s = ceiling_s
        self.failures = 0

    def failed(self) -> float:
        """Count a failure and return the wait before the next try, in seconds."""
        self.failures += 1
        return delay_s(self.failures, first_s=self.first_s, ceiling_s=self.ceiling_s)

    def worked(self) -> bool:
        """Forget the failures; return whether there were any."""
        had, self.failures = self.failures > 0, 0
        return had


class Said:
    """Logs a state of an object when it changes, and not each time that it is found again."""

    KEEP = 10_000

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._last: dict[Hashable, str] = {}

    def say(self, key: Hashable, state: str, level: int, message: str, *values: object) -> bool:
        """Log the message unless the object's last state was the same; return whether it was."""
        with self._lock:
            if self._last.get(key) == state:
                return False
            if len(self._last) >= self.KEEP:
                # Objects come and go for as long as the process runs.
                self._last.clear()
            self._last[key] = state
        self._log.log(level, message, *values)
        return True

    def over(self, key: Hashable, message: str = "", *values: object) -> bool:
        """Note that the object is well again; log the message if something else was said before."""
        with self._lock:
            had = self._last.pop(key, None) is not None
        if had and message:
            self._log.info(message, *values)
        return had
