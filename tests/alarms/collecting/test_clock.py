"""Samples have the database's time, whatever the machine's own clock says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from alarms.collecting.clock import Clock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_the_databases_time_is_carried_on() -> None:
    now = [1000.0]
    clock = Clock(lambda: now[0])
    now[0] = 1002.0
    # Asked two seconds ago: it was noon a second ago, as far as anybody can tell.
    clock.sync(NOON, 1000.0)
    assert clock.at(1001.0) == NOON
    assert clock.at(1031.0) == NOON + timedelta(seconds=30)


def test_before_the_first_answer_it_is_the_machines_time() -> None:
    clock = Clock()
    assert abs(clock.at(clock.seconds()) - datetime.now(UTC)) < timedelta(seconds=5)
