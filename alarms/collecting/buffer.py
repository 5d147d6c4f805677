"""Samples that wait for the store: bounded, so that an outage costs the oldest and no memory."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from alarms.store.base import MetricsStore, Sample, StoreRefused
from scloud.lib.backoff import Said

log = logging.getLogger(__name__)
said = Said(log)

#: Numbers, not samples: five rounds of 3,000 VMs.
LIMIT = 600_000
BATCH = 1000
#: A slow store gets the rest in the next rounds: hosts are asked in between, and leases renewed.
FLUSH_S = 15.0


class Buffer:
    """First in, first out. Not for several threads."""

    def __init__(self, limit: int = LIMIT, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._waiting: deque[Sample] = deque()
        self.numbers = 0
        #: Samples that were lost since the start, because there was no room or the store refused.
        self.lost = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, samples: Iterable[Sample]) -> None:
        """Keep the samples; the oldest go where there is no room."""
        for sample in samples:
            self._waiting.append(sample)
            self.numbers += _size(sample)
        while self.numbers > self._limit:
            self._drop(1)
            self.lost += 1

    def flush(self, store: MetricsStore) -> int:
        """Write what waits, oldest first; return how many samples were written.

        No batch begins after `FLUSH_S`. Raises StoreUnavailable; what was not written waits on.
        """
        written, end_s = 0, self._clock() + FLUSH_S
        while self._waiting and self._clock() < end_s:
            batch = [self._waiting[place] for place in range(min(BATCH, len(self._waiting)))]
            written += self._write(store, batch)
            self._drop(len(batch))
        return written

    def _write(self, store: MetricsStore, batch: Sequence[Sample]) -> int:
        """Write a batch; what the store will never take is left out."""
        try:
            store.write(batch)
        except StoreRefused as error:
            if len(batch) > 1:
                half = len(batch) // 2
                return self._write(store, batch[:half]) + self._write(store, batch[half:])
            self.lost += 1
            said.say(
                batch[0].resource,
                error.code,
                logging.ERROR,
                "a sample of %s is not kept: %s",
                batch[0].resource,
                error.message,
            )
            return 0
        return len(batch)

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self.numbers -= _size(self._waiting.popleft())


def _size(sample: Sample) -> int:
    return len(sample.values) + len(sample.totals)
