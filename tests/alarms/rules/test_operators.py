"""The conditions that operators are told of: at the threshold, below it, and in which words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from alarms.rules.operators import (
    TITLES,
    WORDS,
    CapacityFigures,
    Condition,
    Course,
    Damping,
    Figures,
    HostFigures,
    PoolFigures,
    Severity,
    Thresholds,
    course,
    findings,
)

NOW = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)
LIMITS = Thresholds()


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def ahead(days: float) -> datetime:
    return NOW + timedelta(days=days)


HOST = HostFigures("h1", True, None, ago(30))
POOL = CapacityFigures("fast", True, 0.5, None)

# Of each condition: figures that meet it exactly, the same a little below, words, severity.
CASES = {
    Condition.HOST_SUSPECT: (
        Figures(
            NOW,
            hosts=[
                replace(HOST, unreachable_since=ago(900), suspect_since=ago(130), reason="No sign.")
            ],
        ),
        Figures(NOW, hosts=[HOST]),
        "Host h1 has given no sign of life for 2 min. No sign.",
        Severity.CRITICAL,
    ),
    Condition.HOST_NOT_OFF: (
        Figures(NOW, hosts=[replace(HOST, not_off="It has no fence device.")]),
        Figures(NOW, hosts=[HOST]),
        "Host h1 is not known to be off. It has no fence device.",
        Severity.CRITICAL,
    ),
    Condition.HOST_OFF: (
        Figures(
            NOW,
            hosts=[replace(HOST, unreachable_since=ago(900), off_since=ago(130), waiting=2)],
        ),
        Figures(NOW, hosts=[HOST]),
        "Host h1 has been off for 2 min. VMs that wait to be started again: 2.",
        Severity.CRITICAL,
    ),
    Condition.HOST_SILENT: (
        Figures(NOW, hosts=[replace(HOST, unreachable_since=ago(120), measured_at=ago(900))]),
        Figures(NOW, hosts=[replace(HOST, unreachable_since=ago(119))]),
        "Host h1 has not answered for 2 min.",
        Severity.CRITICAL,
    ),
    Condition.HOST_NOT_MEASURED: (
        Figures(NOW, hosts=[replace(HOST, measured_at=ago(300))]),
        Figures(NOW, hosts=[replace(HOST, measured_at=ago(299)), replace(HOST, measured_at=None)]),
        "The newest measurement of host h1 is 5 min old.",
        Severity.WARNING,
    ),
    Condition.PROCESS_SILENT: (
        Figures(NOW, processes=[("sweeper", ago(90))]),
        Figures(NOW, processes=[("sweeper", ago(89)), ("worker", None)]),
        "The sweeper was last seen 1 min ago.",
        Severity.CRITICAL,
    ),
    Condition.POOL_UNUSABLE: (
        Figures(NOW, pools=[PoolFigures("fast", ago(60), "The storage directory is not there.")]),
        Figures(NOW, pools=[PoolFigures("fast", None)]),
        "Storage pool fast has not been usable for 1 min: The storage directory is not there.",
        Severity.CRITICAL,
    ),
    Condition.POOL_NEARLY_FULL: (
        Figures(NOW, capacities=[replace(POOL, used_ratio=0.85, days_left=3)]),
        Figures(NOW, capacities=[replace(POOL, used_ratio=0.849), replace(POOL, used_ratio=None)]),
        "Storage pool fast is 85 % full.",
        Severity.WARNING,
    ),
    Condition.CAPACITY_ENDS_SOON: (
        Figures(NOW, capacities=[replace(POOL, is_pool=False, used_ratio=0.99, days_left=14)]),
        Figures(NOW, capacities=[replace(POOL, days_left=14.1)]),
        "fast will be full on 2026-05-18 if it grows as before.",
        Severity.WARNING,
    ),
    Condition.JOBS_BACKLOG: (
        Figures(NOW, jobs_due=1, oldest_due_s=300),
        Figures(NOW, jobs_due=99, oldest_due_s=299),
        "Jobs that wait for a worker: 1. The oldest has waited 5 min.",
        Severity.CRITICAL,
    ),
    Condition.JOBS_FAILED: (
        Figures(NOW, jobs_failed=10),
        Figures(NOW, jobs_failed=9),
        "Jobs that failed within the last hour: 10.",
        Severity.WARNING,
    ),
    Condition.JOBS_UNKNOWN: (
        Figures(NOW, unknown_jobs=[("vm.pause", 3)]),
        Figures(NOW),
        "Waiting jobs of kind vm.pause, which no worker supports: 3.",
        Severity.WARNING,
    ),
    Condition.LEDGER_DIFFERS: (
        Figures(NOW, ledger_differences=2),
        Figures(NOW, ledger_differences=0),
        "Figures of the ledger that differ from their inputs: 2.",
        Severity.CRITICAL,
    ),
    Condition.DATE_ENDS_SOON: (
        Figures(NOW, dates=[("The certificate of console.example", ahead(30))]),
        Figures(NOW, dates=[("The certificate of console.example", ahead(30.1))]),
        "The certificate of console.example ends on 2026-06-03.",
        Severity.WARNING,
    ),
}


def test_every_condition_has_words_and_a_case() -> None:
    assert set(CASES) == set(Condition) == set(WORDS) == set(TITLES)


@pytest.mark.parametrize("condition", Condition)
def test_at_the_threshold_and_below(condition: Condition) -> None:
    met, below, words, severity = CASES[condition]
    (found,) = findings(met, LIMITS)
    assert (found.condition, found.words, found.severity) == (condition, words, severity)
    assert findings(below, LIMITS) == []


def test_worse_is_critical_and_comes_first() -> None:
    figures = Figures(
        NOW,
        jobs_due=100,
        capacities=[replace(POOL, used_ratio=0.95)],
        dates=[("Licence of the guests", ahead(7)), ("Old licence", ago(1))],
    )
    found = findings(figures, LIMITS)
    assert [one.severity for one in found] == [Severity.CRITICAL] * 3 + [Severity.WARNING]
    assert found[2].words == "Old licence ended on 2026-05-04."
    assert found[3].condition is Condition.JOBS_BACKLOG


@pytest.mark.parametrize(
    ("holds", "first_s", "last_s", "is_open", "expected"),
    [
        (True, 59, 30, False, Course.STAYS),
        (True, 60, 30, False, Course.OPENS),
        (True, 9999, 30, True, Course.STAYS),
        (False, 59, 30, False, Course.FORGOTTEN),
        (False, 9999, 299, True, Course.STAYS),
        (False, 9999, 300, True, Course.RECOVERS),
    ],
)
def test_what_becomes_of_a_condition(
    holds: bool, first_s: float, last_s: float, is_open: bool, expected: Course
) -> None:
    found = course(
        Damping(60, 300),
        NOW,
        holds=holds,
        first_seen=ago(first_s),
        last_seen=ago(last_s),
        is_open=is_open,
    )
    assert found is expected


def test_a_host_that_was_taken_out_is_nobodys_alarm() -> None:
    out = HostFigures("h1", False, ago(9999), ago(9999))
    assert findings(Figures(NOW, hosts=[out]), LIMITS) == []


def test_thresholds_are_above_zero() -> None:
    with pytest.raises(ValueError, match="backlog_s"):
        Thresholds(backlog_s=0)
    assert findings(Figures(NOW, jobs_failed=3), Thresholds(failed_jobs=3))


def test_a_host_that_is_off_and_whose_vms_run_elsewhere_is_a_warning() -> None:
    figures = Figures(NOW, hosts=[replace(HOST, off_since=ago(10))])
    (found,) = findings(figures, LIMITS)
    assert (found.condition, found.severity) == (Condition.HOST_OFF, Severity.WARNING)
