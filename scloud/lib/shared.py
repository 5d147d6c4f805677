"""One computation for all who ask at the same time, and nobody waits for it for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass
class Shared(Generic[T]):
    """Runs ``compute`` in a thread of its own: never twice at once.

    What it returned is given to whoever asks within ``keep_s`` seconds after. One that hangs is
    waited for by the next callers too, each for ``patience_s`` seconds: it costs a single thread
    and connection.
    """

    compute: Callable[[], T]
    keep_s: float
    patience_s: float
    name: str
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _running: Future[T] | None = None
    _ended_s: float = 0.0

    def get(self) -> T:
        """Return the answer. Raises TimeoutError, and what ``compute`` raised."""
        with self._lock:
            running = self._running
            if running is None or (
                running.done() and time.monotonic() - self._ended_s >= self.keep_s
            ):
                running = self._running = Future()
                threading.Thread(
                    target=self._run, args=(running,), name=self.name, daemon=True
                ).start()
        return running.result(timeout=self.patience_s)

    def _run(self, answer: Future[T]) -> None:
        try:
            found = self.compute()
        except BaseException as error:
            self._ended_s = time.monotonic()
            answer.set_exception(error)
        else:
            self._ended_s = time.monotonic()
            answer.set_result(found)
