"""What waits for the store is bounded, in order, and lost only where there is no other way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from alarms.collecting.buffer import BATCH, Buffer
from alarms.store.base import Sample, SeriesKey, StoreRefused, StoreUnavailable
from alarms.store.fake import FakeStore

START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = SeriesKey("cpu_usage_ratio")


def sample(number: int) -> Sample:
    return Sample("tenant-a", f"vm-{number}", START + timedelta(seconds=number), {KEY: 0.5})


class Picky(FakeStore):
    """Takes everything but one VM's samples."""

    def write(self, samples: object) -> None:
        assert isinstance(samples, list)
        if any(one.resource == "vm-7" for one in samples):
            raise StoreRefused("not vm-7")
        super().write(samples)


def test_all_is_written_in_batches() -> None:
    buffer, store = Buffer(), FakeStore()
    buffer.add(sample(number) for number in range(2 * BATCH + 5))
    assert buffer.flush(store) == 2 * BATCH + 5
    assert len(store.samples) == 2 * BATCH + 5
    assert (len(buffer), buffer.numbers, buffer.lost) == (0, 0, 0)


def test_what_could_not_be_written_waits() -> None:
    buffer, store = Buffer(), FakeStore()
    store.faults.away = True
    buffer.add([sample(1), sample(2)])
    with pytest.raises(StoreUnavailable):
        buffer.flush(store)
    assert len(buffer) == 2
    store.faults.away = False
    buffer.add([sample(3)])
    assert buffer.flush(store) == 3
    assert len(store.samples) == 3


def test_an_answer_that_was_lost_doubles_nothing() -> None:
    buffer, store = Buffer(), FakeStore()
    store.faults.lost_answers = 1
    buffer.add([sample(1)])
    with pytest.raises(StoreUnavailable):
        buffer.flush(store)
    assert buffer.flush(store) == 1
    assert len(store.samples) == 1


def test_the_oldest_go_where_there_is_no_room() -> None:
    buffer, store = Buffer(limit=10), FakeStore()
    buffer.add(sample(number) for number in range(25))
    assert (len(buffer), buffer.numbers, buffer.lost) == (10, 10, 15)
    buffer.flush(store)
    assert {one.resource for one in store.samples.values()} == {f"vm-{n}" for n in range(15, 25)}


def test_a_sample_that_is_refused_stops_no_other() -> None:
    buffer, store = Buffer(), Picky()
    buffer.add(sample(number) for number in range(20))
    assert buffer.flush(store) == 19
    assert (len(buffer), buffer.lost) == (0, 1)
    assert len(store.samples) == 19


def test_a_slow_store_holds_nobody_up() -> None:
    now = 0.0

    class Slow(FakeStore):
        def write(self, samples: Sequence[Sample]) -> None:
            nonlocal now
            now += 10
            super().write(samples)

    buffer, store = Buffer(clock=lambda: now), Slow()
    buffer.add(sample(number) for number in range(5 * BATCH))
    assert buffer.flush(store) == 2 * BATCH
    assert len(buffer) == 3 * BATCH
    assert buffer.flush(store) == 2 * BATCH
