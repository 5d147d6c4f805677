"""The process: its rhythm, and its end."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from alarms.collecting.clock import Clock
from alarms.collecting.rounds import Collecting
from alarms.management.commands.collector import collect
from alarms.models import Collector, HostCollection
from alarms.store.fake import FakeStore
from tests.compute.factories import Platform


class Ending(threading.Event):
    """Ends the process after some rounds, and lets its clock run in the waits between."""

    def __init__(self, rounds: int, now: list[float]) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._rounds, self._now = rounds, now

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self._now[0] += timeout
        if len(self.waits) == self._rounds:
            self.set()
        return self.is_set()


class Slow(Collecting):
    """Takes its time for each round."""

    takes_s: float = 0.0

    def round(self) -> int:
        now[0] += self.takes_s
        return super().round()


now = [0.0]


@pytest.fixture(autouse=True)
def _keep_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own transaction is on it."""
    monkeypatch.setattr("alarms.management.commands.collector.connection.close", lambda: None)


@pytest.mark.parametrize(
    ("takes_s", "waits"), [(0.0, [30.0] * 3), (4.0, [26.0] * 3), (40.0, [0.0] * 3)]
)
def test_rounds_begin_every_30_seconds(
    platform: Platform, takes_s: float, waits: list[float], settings: Any
) -> None:
    settings.SCLOUD_COLLECT_EVERY_S = 30.0
    now[0] = 1000.0
    collecting = Slow("a", FakeStore(), Clock(lambda: now[0]))
    collecting.takes_s = takes_s
    ending = Ending(3, now)
    collect(collecting, ending)
    assert ending.waits == waits


def test_one_that_ends_gives_its_hosts_back(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = Ending(1, now)
    collecting = Collecting("a", FakeStore(), Clock(lambda: now[0]))
    shares: list[int] = []

    def count() -> bool:
        found = Collecting.share(collecting)
        shares.append(HostCollection.objects.filter(collector="a").count())
        return found

    monkeypatch.setattr(collecting, "share", count)
    collect(collecting, ending)
    assert shares == [2]
    assert not HostCollection.objects.exclude(collector="").exists()
    assert not Collector.objects.exists()


def test_one_that_breaks_gives_its_hosts_back_too(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    collecting = Collecting("a", FakeStore(), Clock(lambda: now[0]))

    def defect() -> int:
        assert HostCollection.objects.filter(collector="a").count() == 2
        raise ZeroDivisionError

    monkeypatch.setattr(collecting, "round", defect)
    with pytest.raises(ZeroDivisionError):
        collect(collecting, Ending(1, now))
    assert not HostCollection.objects.exclude(collector="").exists()
