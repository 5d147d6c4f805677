"""The sweep: bells for forgotten jobs, the end of overdue ones, silent workers, old rows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.utils import timezone

from scloud.jobs import periodic, runner, sweep
from scloud.jobs.handlers import Context
from scloud.jobs.management.commands import sweeper, worker
from scloud.jobs.models import Job
from scloud.jobs.periodic import Lane
from scloud.lib.errors import HostError, ScloudError
from scloud.tenancy.scoping import scopes_disabled
from tests.jobs.conftest import Script, ago, change, fresh

Enqueue = Callable[..., Job]


# --- forgotten jobs


def test_who_is_forgotten_is_rung_for_again(enqueue: Enqueue, rings: list[str]) -> None:
    job = enqueue()
    rings.clear()
    assert sweep.wake_forgotten() == 0
    change(job, rung_at=ago(sweep.WAKE_AGAIN_S + 1))
    assert sweep.wake_forgotten() == 1
    assert rings == [job.id]
    # It was rung just now; a slow queue must not fill with bells.
    assert sweep.wake_forgotten() == 0


def test_a_lease_that_ran_out_is_rung_for_and_a_living_one_is_not(
    enqueue: Enqueue, rings: list[str]
) -> None:
    job = enqueue()
    assert runner.claim(job.id) is not None
    change(job, rung_at=ago(60))
    rings.clear()
    assert sweep.wake_forgotten() == 0
    change(job, lease_until=ago(1))
    assert sweep.wake_forgotten() == 1
    assert rings == [job.id]


def test_a_retry_is_rung_for_as_soon_as_it_is_due(enqueue: Enqueue, rings: list[str]) -> None:
    job = enqueue()
    rings.clear()
    change(job, not_before=timezone.now() + timedelta(seconds=60))
    assert sweep.wake_forgotten() == 0
    change(job, not_before=ago(0.01), rung_at=ago(1))
    assert sweep.wake_forgotten() == 1


def test_nobody_rings_for_what_is_overdue(enqueue: Enqueue, rings: list[str]) -> None:
    job = enqueue()
    rings.clear()
    change(job, rung_at=ago(60), deadline=ago(1))
    assert sweep.wake_forgotten() == 0


# --- deadlines


def test_the_deadline_ends_a_job_and_compensates_once(enqueue: Enqueue, script: Script) -> None:
    job = enqueue()
    change(job, deadline=ago(1))
    assert sweep.end_overdue() == 1
    row = fresh(job)
    assert (row.status, row.error_code) == ("failed", "deadline_exceeded")
    assert row.error_message == "Work timed out."
    assert row.error_remedy
    assert script.calls == ["clean up", "failure deadline_exceeded"]
    assert sweep.end_overdue() == 0
    assert script.calls.count("failure deadline_exceeded") == 1
    assert runner.run(job.id) == "not due"


def test_a_worker_that_is_still_at_it_loses_to_the_deadline(
    enqueue: Enqueue, script: Script
) -> None:
    job = enqueue()

    def too_long(_context: Context) -> None:
        change(job, deadline=ago(1))
        sweep.end_overdue()

    script.works["first"] = too_long
    assert runner.run(job.id) == "lost"
    assert fresh(job).status == "failed"
    assert script.calls == ["first", "clean up", "failure deadline_exceeded"]


def test_a_job_that_ended_meanwhile_is_left_alone(enqueue: Enqueue, script: Script) -> None:
    job = enqueue()
    stale = fresh(job)
    assert runner.run(job.id) == "succeeded"
    # As the sweep read it before, and as it is now.
    for row in (stale, fresh(job)):
        assert sweep.end_now(row, ScloudError("Too late.")) is False
    assert fresh(job).status == "succeeded"
    assert "clean up" not in script.calls


def test_a_job_that_was_claimed_meanwhile_is_left_to_its_worker(
    enqueue: Enqueue, script: Script
) -> None:
    job = enqueue()
    stale = fresh(job)
    ended: list[bool] = []
    script.works["first"] = lambda _context: ended.append(
        sweep.end_now(stale, ScloudError("Too late.", code="late"))
    )
    assert runner.run(job.id) == "succeeded"
    assert ended == [False]
    assert not {"clean up", "failure late"} & set(script.calls)


def test_a_job_taken_from_the_sweep_during_its_clean_up_is_left_alone(
    enqueue: Enqueue, script: Script
) -> None:
    job = enqueue()
    script.works["clean up"] = lambda _context: change(job, attempt=50)
    assert sweep.end_now(fresh(job), ScloudError("No.", code="no")) is False
    assert "failure no" not in script.calls


def test_a_clean_up_that_asks_for_the_lease_may_go_on(enqueue: Enqueue, script: Script) -> None:
    job = enqueue()

    def clean(context: Any) -> None:
        context.check()
        context.progress(0.5, "cleaning")

    script.works["clean up"] = clean
    assert sweep.end_now(fresh(job), ScloudError("No.", code="no")) is True


# --- old rows


def test_ended_jobs_are_forgotten_after_three_months(enqueue: Enqueue) -> None:
    old, young, active = enqueue(), None, None
    assert runner.run(old.id) == "succeeded"
    change(old, finished_at=timezone.now() - timedelta(days=91))
    young = enqueue()
    assert runner.run(young.id) == "succeeded"
    active = enqueue()
    assert sweep.forget_finished() == 1
    with scopes_disabled():
        assert set(Job.objects.values_list("id", flat=True)) == {young.id, active.id}


# --- silent workers


@pytest.fixture
def worker_process(settings: Any, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own whose command line says worker, with its pid file."""
    settings.SCLOUD_STATE_DIR = tmp_path
    (tmp_path / "run").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)", "worker"], start_new_session=True
    )
    # Popen returns a moment before the kernel shows the new command line.
    line = Path(f"/proc/{process.pid}/cmdline")
    for _ in range(1000):
        if b"worker" in line.read_bytes():
            break
        time.sleep(0.01)
    path = sweep.worker_pid_file()
    path.write_text(str(process.pid))
    long_ago = time.time() - 2 * sweep.SILENT_S
    os.utime(path, (long_ago, long_ago))
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()


def test_a_silent_worker_is_ended(
    enqueue: Enqueue, worker_process: subprocess.Popen[bytes], caplog: Any
) -> None:
    job = enqueue()
    assert sweep.restart_silent_workers() is False
    change(job, not_before=ago(sweep.SILENT_S + 1))
    assert sweep.restart_silent_workers() is True
    assert worker_process.wait(20) == -signal.SIGKILL
    assert "silent" in caplog.text
    # The process is gone now; nobody else must be hit.
    assert sweep.restart_silent_workers() is False


def test_a_worker_that_works_is_left_alone(
    enqueue: Enqueue, worker_process: subprocess.Popen[bytes]
) -> None:
    waiting, running = enqueue(), enqueue(target_id="vm-000000002")
    change(waiting, not_before=ago(60))
    assert runner.claim(running.id) is not None
    assert sweep.restart_silent_workers() is False
    assert worker_process.poll() is None


def test_a_worker_that_has_just_begun_is_left_alone(
    enqueue: Enqueue, worker_process: subprocess.Popen[bytes]
) -> None:
    change(enqueue(), not_before=ago(60))
    os.utime(sweep.worker_pid_file())
    assert sweep.restart_silent_workers() is False


def test_a_pid_that_belongs_to_another_program_is_left_alone(
    enqueue: Enqueue, settings: Any, tmp_path: Path
) -> None:
    settings.SCLOUD_STATE_DIR = tmp_path
    change(enqueue(), not_before=ago(60))
    assert sweep.restart_silent_workers() is False
    (tmp_path / "run").mkdir()
    sweep.worker_pid_file().write_text("not a number")
    assert sweep.restart_silent_workers() is False
    other = subprocess.Popen(["sleep", "60"])
    try:
        sweep.worker_pid_file().write_text(str(other.pid))
        assert sweep.restart_silent_workers() is False
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


# --- chores


@pytest.fixture
def chores(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An empty list of chores; what ran is written into the list."""
    monkeypatch.setattr(periodic, "_chores", {})
    return []


def test_chores_run_when_they_are_due_and_failures_are_their_own(
    chores: list[str], monkeypatch: pytest.MonkeyPatch, caplog: Any, db: None
) -> None:
    closed: list[bool] = []
    monkeypatch.setattr("scloud.jobs.periodic.connection.close", lambda: closed.append(True))

    def no_database() -> None:
        raise DatabaseError("away")

    def broken() -> None:
        raise RuntimeError("defect")

    periodic.register("away", 60, no_database)
    periodic.register("broken", 60, broken)
    periodic.register("often", 0, lambda: chores.append("often"))
    periodic.register("elsewhere", 0, lambda: chores.append("elsewhere"), Lane.HOSTS)
    assert periodic.lanes() == [Lane.BOOKS, Lane.HOSTS]
    assert periodic.run_due(Lane.BOOKS) == ["away", "broken", "often"]
    assert periodic.run_due(Lane.BOOKS) == ["often"]
    assert chores == ["often", "often"]
    assert closed == [True]
    assert "chore broken failed" in caplog.text
    # What a chore did not foresee is told with its traceback.
    assert "RuntimeError: defect" in caplog.text


def test_chores_that_fail_wait_longer_each_time_and_are_told_once(
    chores: list[str], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    now = [0.0]
    monkeypatch.setattr("scloud.jobs.periodic.time.monotonic", lambda: now[0])
    monkeypatch.setattr("scloud.jobs.periodic.connection.close", lambda: None)
    monkeypatch.setattr(periodic.said, "_last", {})
    failing = [True]
    tries: dict[str, list[float]] = {"away": [], "broken": []}

    def run(name: str, error: Exception) -> None:
        tries[name].append(now[0])
        if failing[0]:
            raise error

    periodic.register("away", 1, lambda: run("away", DatabaseError("away")))
    periodic.register("broken", 1, lambda: run("broken", RuntimeError("defect")))
    while now[0] < 600:
        periodic.run_due(Lane.BOOKS)
        now[0] += 0.5
    for name, text in (("away", "the database did not answer"), ("broken", "broken failed")):
        gaps = [later - at for at, later in pairwise(tries[name])]
        assert len(gaps) < 20, name
        assert gaps[0] <= 2 < gaps[3], name
        assert 40 < max(gaps) <= 1.2 * periodic.LAST_RETRY_S + 1, name
        told = [row for row in caplog.records if text in row.getMessage()]
        assert len(told) == 1, name
    failing[0] = False
    now[0] += 2 * periodic.LAST_RETRY_S
    periodic.run_due(Lane.BOOKS)
    begun = now[0]
    for _ in range(10):
        now[0] += 1.0
        periodic.run_due(Lane.BOOKS)
    assert len([at for at in tries["broken"] if at >= begun]) == 11


class Enough(Exception):
    """Ends the sweeper's endless loop."""


@pytest.mark.django_db(transaction=True)
def test_the_sweeper_runs_the_chores_and_outlives_the_database(
    chores: list[str], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    rounds = iter(range(4))

    def run_due(lane: Lane) -> list[str]:
        assert lane == Lane.WAKE_UPS
        number = next(rounds)
        chores.append(f"round {number}")
        if number == 1:
            raise DatabaseError("away")
        if number == 3:
            raise Enough
        return []

    monkeypatch.setattr(periodic, "run_due", run_due)
    monkeypatch.setattr(sweeper, "run_lane", lambda *given: None)
    monkeypatch.setattr("scloud.jobs.management.commands.sweeper.time.sleep", lambda seconds: None)
    with pytest.raises(Enough):
        call_command("sweeper")
    assert chores == ["round 0", "round 1", "round 2", "round 3"]
    assert {
        "jobs.wake_up",
        "jobs.overdue",
        "jobs.watchdog",
        "jobs.forget",
        "log.seal",
        "events.forget",
    } <= set(periodic._chores)
    assert "the database did not answer" in caplog.text
    connection.close()


class Stop(BaseException):
    """Ends the sweeper out of a chore, whose exceptions it outlives."""


@pytest.mark.django_db(transaction=True)
def test_a_silent_host_does_not_hold_up_the_bell(
    chores: list[str], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    asked, answers = threading.Event(), threading.Event()

    def ask() -> None:
        asked.set()
        assert answers.wait(30)
        chores.append("the host answered")

    def ring() -> None:
        assert asked.wait(30)
        chores.append("rung")
        if len(chores) == 2:
            raise Stop

    settings.SCLOUD_SWEEP_INTERVAL_S = 0.01
    monkeypatch.setattr(sweep, "wake_forgotten", ring)
    monkeypatch.setattr(periodic, "lanes", lambda: [Lane.WAKE_UPS, Lane.HOSTS])
    periodic.register("hosts", 0, ask, Lane.HOSTS)
    try:
        with pytest.raises(Stop):
            call_command("sweeper")
        lane = next(thread for thread in threading.enumerate() if thread.name == "lane-hosts")
    finally:
        answers.set()
    lane.join(30)
    assert not lane.is_alive()
    assert chores == ["rung", "rung", "the host answered"]
    connection.close()


@pytest.mark.django_db(transaction=True)
def test_a_second_sweeper_waits(chores: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg

    settings = connection.settings_dict
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise Enough

    monkeypatch.setattr(periodic, "run_due", lambda lane: chores.append("swept"))
    monkeypatch.setattr("scloud.jobs.management.commands.sweeper.time.sleep", sleep)
    monkeypatch.setattr(sweeper, "run_lane", lambda *given: None)
    other = psycopg.connect(
        host=settings["HOST"], port=settings["PORT"], user=settings["USER"],
        password=settings["PASSWORD"] or None, dbname=settings["NAME"],
    )  # fmt: skip
    try:
        other.execute("SELECT pg_advisory_lock(%s)", [sweeper.LOCK])
        with pytest.raises(Enough):
            call_command("sweeper")
        assert chores == []
    finally:
        other.close()
    connection.close()


def test_the_worker_writes_its_pid_and_leads_its_group(
    settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SCLOUD_STATE_DIR = tmp_path
    called: list[str] = []
    groups: list[bool] = []
    monkeypatch.setattr(worker, "call_command", called.append)
    monkeypatch.setattr("os.setpgrp", lambda: groups.append(True))
    monkeypatch.setattr("os.getpgrp", lambda: 1)
    worker.Command().handle()
    assert sweep.worker_pid_file().read_text() == str(os.getpid())
    monkeypatch.setattr("os.getpgrp", os.getpid)
    worker.Command().handle()
    assert called == ["qcluster", "qcluster"]
    assert groups == [True]


def test_a_host_error_is_worth_another_try() -> None:
    assert HostError("x").retryable
    assert not ScloudError("x").retryable
