"""Waits grow to a ceiling and differ; what stays the same is said once."""

from __future__ import annotations

import logging
from typing import Any

from scloud.lib.backoff import Backoff, Said, delay_s


def test_waits_double_up_to_the_ceiling_and_differ() -> None:
    for tries, middle in ((1, 1.0), (2, 2.0), (5, 16.0), (7, 60.0), (5000, 60.0)):
        waits = {delay_s(tries, first_s=1.0, ceiling_s=60.0) for _ in range(50)}
        assert all(middle * 0.8 <= wait <= middle * 1.2 for wait in waits), tries
        assert len(waits) > 10


def test_a_success_forgets_the_failures() -> None:
    backoff = Backoff(first_s=1.0, ceiling_s=60.0)
    assert backoff.worked() is False
    waits = [backoff.failed() for _ in range(4)]
    assert waits[3] > waits[0] * 4
    assert backoff.worked() is True
    assert backoff.failed() < 1.3


def test_one_line_per_object_and_change(caplog: Any) -> None:
    log = logging.getLogger("test.said")
    said = Said(log)
    for _ in range(5):
        said.say("vm-1", "busy", logging.WARNING, "%s is busy", "vm-1")
        said.say("vm-2", "busy", logging.WARNING, "%s is busy", "vm-2")
    said.say("vm-1", "full", logging.WARNING, "%s: pool full", "vm-1")
    caplog.set_level(logging.INFO)
    assert said.over("vm-1", "%s is well", "vm-1")
    assert not said.over("vm-1", "%s is well", "vm-1")
    said.say("vm-1", "busy", logging.WARNING, "%s is busy", "vm-1")
    assert [record.getMessage() for record in caplog.records] == [
        "vm-1 is busy",
        "vm-2 is busy",
        "vm-1: pool full",
        "vm-1 is well",
        "vm-1 is busy",
    ]


def test_what_is_remembered_is_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr(Said, "KEEP", 10)
    said = Said(logging.getLogger("test.said"))
    for number in range(100):
        said.say(number, "x", logging.DEBUG, "x")
    assert len(said._last) <= 10
