"""Claiming, running, retrying and ending a job; workers that die, hang, and come back late."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
    connections,
)
from django.utils import timezone
from django_q.models import OrmQ

from scloud.jobs import bell, faults, handlers, leases, runner, service
from scloud.jobs.handlers import Context, Handler, LeaseLostError, Step
from scloud.jobs.models import Job, JobStatus
from scloud.lib import tracing
from scloud.lib.errors import Conflict, HostError, NotFound, ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled
from tests.jobs.conftest import Script, ago, change, fresh

Enqueue = Callable[..., Job]


def raising(error: BaseException) -> Callable[[Context], None]:
    def work(_context: Context) -> None:
        raise error

    return work


# --- the way of a job that goes well


def test_steps_run_in_order_and_the_row_tells_how_far(enqueue: Enqueue, script: Script) -> None:
    seen: list[tuple[int, str]] = []

    def look(context: Context) -> None:
        context.progress(0.5, "half")
        row = fresh(context.job)
        seen.append((row.progress_percent, row.step))
        context.progress(7.0)
        seen.append((fresh(context.job).progress_percent, ""))
        context.result["answer"] = 42

    script.works["second"] = look
    job = enqueue()
    assert [step["state"] for step in job.steps] == ["waiting", "waiting"]
    assert (job.status, job.is_active, str(job)) == ("queued", True, f"{job.id} Work")

    assert bell.ring(job.id) == "succeeded"

    assert script.calls == ["first", "second", "success"]
    # The first step weighs one, the second three: half of the second is at (1 + 1.5) / 4.
    assert seen == [(62, "half"), (100, "")]
    row = fresh(job)
    assert (row.status, row.progress_percent, row.step) == ("succeeded", 100, "")
    assert [step["state"] for step in row.steps] == ["done", "done"]
    assert row.result == {"answer": 42}
    assert (row.lease_until, row.attempt, row.is_active) == (None, 1, False)
    assert row.started_at is not None
    assert row.finished_at is not None
    assert runner.run(job.id) == "not due"


def test_a_job_without_steps_succeeds(enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing(Handler):
        def steps(self, job: Job) -> list[Step]:
            return []

    monkeypatch.setitem(handlers._handlers, "test.nothing", Nothing())
    job = enqueue(kind="test.nothing")
    assert runner.run(job.id) == "succeeded"


def test_a_report_outside_of_a_step_counts_nothing(enqueue: Enqueue, script: Script) -> None:
    script.works["success"] = lambda _context: None
    job = enqueue()
    claimed = runner.claim(job.id)
    assert claimed is not None
    with scopes_disabled():
        runner._Run(claimed, script).report(0.9, "")
    assert fresh(job).progress_percent == 0


def test_the_bell_is_rung_in_the_transaction_and_goes_with_it(enqueue: Enqueue) -> None:
    from django.db import transaction

    assert OrmQ.objects.count() == 0
    with transaction.atomic():
        enqueue()
        assert OrmQ.objects.count() == 1
        transaction.set_rollback(True)
    assert OrmQ.objects.count() == 0
    with scopes_disabled():
        assert not Job.objects.exists()
    enqueue()
    assert OrmQ.objects.count() == 1


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_a_wake_up_outlives_a_restart_of_the_database(
    enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    serve, failures = runner.serve, [error("gone"), error("starting up")]

    def tried() -> str:
        if failures:
            raise failures.pop()
        return serve()

    monkeypatch.setattr(runner, "serve", tried)
    monkeypatch.setattr("scloud.jobs.bell.connection.close", lambda: None)
    monkeypatch.setattr(bell, "AWAY_AGAIN_S", 0.0)
    job = enqueue()
    assert bell.ring(job.id) == "succeeded"
    assert fresh(job).status == "succeeded"


@pytest.mark.parametrize(
    ("error", "tries"), [(OperationalError, 3), (InterfaceError, 3), (ProgrammingError, 1)]
)
def test_a_wake_up_waits_for_the_database_only_and_not_for_ever(
    enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch, error: type[Exception], tries: int
) -> None:
    clock = iter(range(0, 1000, 12))
    seen: list[str] = []

    def fail() -> str:
        seen.append("tried")
        raise error("no")

    monkeypatch.setattr(runner, "serve", fail)
    monkeypatch.setattr("scloud.jobs.bell.connection.close", lambda: None)
    watch = SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _seconds: None)
    monkeypatch.setattr(bell, "time", watch)
    assert bell.ring(enqueue().id) == "database away"
    assert len(seen) == tries


# --- claiming


def test_nothing_is_claimed_before_its_time(enqueue: Enqueue, script: Script) -> None:
    job = enqueue(delay_s=60)
    assert runner.run(job.id) == "not due"
    assert runner.run("job-unknown00") == "not due"
    assert script.calls == []


def test_a_living_lease_is_respected_and_a_dead_one_is_taken(
    enqueue: Enqueue, script: Script
) -> None:
    job = enqueue()
    first = runner.claim(job.id)
    assert first is not None
    assert (first.attempt, first.lease_owner) == (1, runner.worker_name())
    assert runner.claim(job.id) is None
    change(job, lease_until=ago(1))
    started = fresh(job).started_at
    second = runner.claim(job.id)
    assert second is not None
    assert second.attempt == 2
    assert second.started_at == started


@pytest.mark.django_db(transaction=True)
def test_of_twenty_workers_one_gets_the_job(enqueue: Enqueue) -> None:
    job = enqueue()
    gate = threading.Barrier(20, timeout=30)
    got: list[bool] = []

    def work() -> None:
        try:
            gate.wait()
            got.append(runner.claim(job.id) is not None)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert Counter(got) == {True: 1, False: 19}
    assert fresh(job).attempt == 1


# --- takeover and fencing


def test_the_old_worker_can_write_nothing_after_a_takeover(
    enqueue: Enqueue, script: Script
) -> None:
    job = enqueue()

    def taken_over(context: Context) -> None:
        change(job, lease_until=ago(1))
        assert runner.claim(job.id) is not None
        change(job, step="of the new one")
        context.progress(0.5, "of the old one")

    script.works["first"] = taken_over
    assert runner.run(job.id) == "lost"
    row = fresh(job)
    assert (row.attempt, row.status, row.step) == (2, "running", "of the new one")
    assert script.calls == ["first"]


def test_the_old_worker_cannot_end_the_job_either(enqueue: Enqueue, script: Script) -> None:
    job = enqueue()
    script.works["second"] = lambda _context: change(job, attempt=9)
    assert runner.run(job.id) == "lost"
    assert "success" not in script.calls
    assert fresh(job).status == "running"


def test_a_failure_after_a_takeover_compensates_nothing(enqueue: Enqueue, script: Script) -> None:
    job = enqueue()

    def lost_and_broken(_context: Context) -> None:
        change(job, attempt=9)
        raise ScloudError("No.", code="no")

    script.works["first"] = lost_and_broken
    assert runner.run(job.id) == "lost"
    assert "failure no" not in script.calls
    assert fresh(job).status == "running"


def test_a_wait_ends_when_the_job_is_taken_over(enqueue: Enqueue, script: Script) -> None:
    job = enqueue()

    def wait(context: Context) -> None:
        change(job, attempt=9)
        leases.leases.beat(job.id, 1)
        context.wait_until(lambda: False, timeout_s=60, poll_s=0.01)

    script.works["first"] = wait
    began = time.monotonic()
    assert runner.run(job.id) == "lost"
    assert time.monotonic() - began < 30
    assert (job.id, 1) not in leases.leases._held


def test_a_beat_that_comes_after_the_end_leaves_no_trace(enqueue: Enqueue, script: Script) -> None:
    job = enqueue()
    assert runner.run(job.id) == "succeeded"
    leases.leases.beat(job.id, 1)
    assert (job.id, 1) not in leases.leases._held


def test_a_wait_says_whether_it_came_true(enqueue: Enqueue, script: Script) -> None:
    answers: list[bool] = []
    polls = iter([False, False, True])

    def wait(context: Context) -> None:
        answers.append(context.wait_until(lambda: next(polls), timeout_s=60, poll_s=0.001))
        answers.append(context.wait_until(lambda: False, timeout_s=0.005, poll_s=0.001))

    script.works["first"] = wait
    assert runner.run(enqueue().id) == "succeeded"
    assert answers == [True, False]


@pytest.mark.django_db(transaction=True)
def test_the_heartbeat_keeps_a_long_job(
    enqueue: Enqueue, script: Script, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SCLOUD_JOB_LEASE_S = 2.4
    # The thread of an earlier test may still sleep for as long as its leases lasted.
    monkeypatch.setattr(leases, "leases", leases.Leases())
    job = enqueue()
    seen: list[Any] = []

    def long(context: Context) -> None:
        end = time.monotonic() + 3.6
        while time.monotonic() < end:
            time.sleep(0.2)
            seen.append(fresh(job).lease_until)
            assert runner.claim(job.id) is None

    script.works["first"] = long
    assert runner.run(job.id) == "succeeded"
    assert len(set(seen)) > 1
    thread = leases.leases._thread
    if thread is not None:
        thread.join(20)
    assert leases.leases._thread is None
    assert leases.leases._held == {}


def test_a_heartbeat_without_a_database_is_no_catastrophe(
    enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = enqueue()
    closed: list[bool] = []

    def broken() -> Any:
        raise DatabaseError("away")

    book = leases.Leases()
    book.hold(job.id, 1, leases.clock())
    monkeypatch.setattr(leases, "scopes_disabled", broken)
    monkeypatch.setattr("scloud.jobs.leases.connection.close", lambda: closed.append(True))
    book.beat(job.id, 1)
    assert closed == [True]
    assert book.believed(job.id, 1)
    book.drop(job.id, 1)


# --- errors


def test_what_may_help_is_tried_again_with_growing_waits(enqueue: Enqueue, script: Script) -> None:
    script.works["second"] = raising(HostError("The host did not answer.", remedy="Wait."))
    job = enqueue()
    waits = []
    for attempt in (1, 2):
        before = timezone.now()
        assert runner.run(job.id) == "will retry"
        row = fresh(job)
        waits.append(round((row.not_before - before).total_seconds()))
        assert (row.status, row.attempt, row.error_code) == ("queued", attempt, "host_error")
        assert row.error_remedy == "Wait."
        assert [step["state"] for step in row.steps] == ["done", "failed"]
        assert runner.run(job.id) == "not due"
        change(job, not_before=ago(1))
    assert waits == [1, 2]
    assert runner.run(job.id) == "failed"
    row = fresh(job)
    assert (row.status, row.attempt, row.error_code) == ("failed", 3, "host_error")
    assert script.calls.count("failure host_error") == 1
    assert script.calls.count("clean up") == 1
    assert script.calls.count("first") == 3


def test_a_retry_that_would_come_after_the_deadline_is_not_made(
    enqueue: Enqueue, script: Script
) -> None:
    script.works["first"] = raising(HostError("Away."))
    assert runner.run(enqueue(deadline_s=0.5).id) == "failed"


def test_a_refusal_is_not_tried_again(enqueue: Enqueue, script: Script) -> None:
    script.works["first"] = raising(Conflict("No.", code="no"))
    job = enqueue()
    assert runner.run(job.id) == "failed"
    assert script.calls == ["first", "clean up", "failure no"]
    assert fresh(job).error_message == "No."


def test_a_defect_is_hidden_from_the_tenant_and_tried_again(
    enqueue: Enqueue, script: Script, caplog: Any
) -> None:
    script.works["first"] = raising(ValueError("secret detail"))
    job = enqueue()
    assert runner.run(job.id) == "will retry"
    row = fresh(job)
    assert row.error_code == "internal_error"
    assert "secret detail" not in row.error_message
    assert "secret detail" in row.error_detail
    assert "secret detail" in caplog.text


def test_a_worker_that_dies_again_and_again_is_given_up(enqueue: Enqueue, script: Script) -> None:
    job = enqueue()
    change(job, attempt=3, status="running", lease_until=ago(1))
    assert runner.run(job.id) == "failed"
    assert fresh(job).error_code == "too_many_attempts"
    assert "first" not in script.calls
    assert "failure too_many_attempts" in script.calls


def test_a_clean_up_that_fails_does_not_keep_the_job_from_ending(
    enqueue: Enqueue, script: Script, caplog: Any
) -> None:
    script.works["first"] = raising(ScloudError("No.", code="no"))
    script.works["clean up"] = raising(HostError("The host is away."))
    job = enqueue()
    assert runner.run(job.id) == "failed"
    assert "The host is away." in caplog.text
    assert fresh(job).error_code == "no"


@pytest.mark.parametrize("kind", [DatabaseError, InterfaceError])
def test_without_a_database_the_lease_is_left_to_run_out(
    enqueue: Enqueue,
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
    kind: type[Exception],
) -> None:
    monkeypatch.setattr("scloud.jobs.runner.connection.close", lambda: None)
    script.works["first"] = raising(kind("the connection is closed"))
    job = enqueue()
    assert runner.run(job.id) == "database away"
    row = fresh(job)
    assert row.status == "running"
    assert row.lease_until is not None
    assert "failure" not in " ".join(script.calls)


def test_a_kind_that_this_release_does_not_know_is_left_to_a_newer_one(enqueue: Enqueue) -> None:
    job = enqueue()
    change(job, kind="test.newer")
    assert runner.run(job.id) == "not due"
    assert runner.serve() == "not due"
    row = fresh(job)
    assert (row.status, row.attempt, row.error_code) == ("queued", 0, "")


def test_the_outcome_and_its_consequences_are_one(enqueue: Enqueue, script: Script) -> None:
    """What on_success writes is not there if ending the job fails."""
    script.works["success"] = raising(ScloudError("Too late.", code="late"))
    job = enqueue()
    assert runner.run(job.id) == "failed"
    assert fresh(job).status == "failed"
    assert script.calls[-1] == "failure late"


# --- putting in and taking out


def test_one_exclusive_job_per_target(enqueue: Enqueue) -> None:
    job = enqueue()
    with pytest.raises(Conflict) as refusal:
        enqueue()
    assert refusal.value.code == "target_busy"
    assert enqueue(exclusive=False).pk
    assert enqueue(target_id="vm-000000002").pk
    assert runner.run(job.id) == "succeeded"
    assert enqueue().pk


def test_a_superseded_worker_writes_nothing_more(enqueue: Enqueue, script: Script) -> None:
    job = enqueue()
    script.works["first"] = lambda _context: setattr(
        script, "superseded", service.supersede(job.id, "Power off was asked for.")
    )
    assert runner.run(job.id) == "lost"
    row = fresh(job)
    assert (row.status, row.error_code) == ("cancelled", "superseded")
    assert row.error_message == "Power off was asked for."
    assert "success" not in script.calls
    assert service.supersede(job.id, "again") is False
    assert enqueue().pk


def test_what_is_superseded_ends_at_once_and_the_open_pages_are_told(
    enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str]] = []
    job = enqueue()
    change(job, attempt=2, lease_until=timezone.now())
    monkeypatch.setattr(service, "tell", lambda one: told.append((one.id, one.status)))
    assert service.supersede(job.id, "Pushed aside.")
    row = fresh(job)
    # One more than the worker that holds it has: it may write nothing more.
    assert (row.attempt, row.lease_until, row.is_active) == (3, None, False)
    assert row.finished_at is not None
    assert told == [(job.id, JobStatus.CANCELLED)]
    # What has ended is left as it is, and nobody is told of it.
    assert not service.supersede(job.id, "again")
    assert fresh(job).attempt == 3
    assert len(told) == 1


def test_a_long_title_is_cut_to_its_column(enqueue: Enqueue) -> None:
    title = "".join(chr(ord("a") + number % 26) for number in range(300))
    assert fresh(enqueue(title=title)).title == title[:200]
    assert fresh(enqueue(title=title[:200], target_id="vm-000000002")).title == title[:200]


def test_an_administrator_tries_again(enqueue: Enqueue, script: Script, actor: Actor) -> None:
    script.works["first"] = raising(ScloudError("No.", code="no"))
    job = enqueue(actor=actor)
    assert job.created_by == actor.label
    with pytest.raises(Conflict) as refusal:
        service.retry(job.id)
    assert refusal.value.code == "target_busy"
    assert runner.run(job.id) == "failed"
    script.works.clear()
    again = service.retry(job.id)
    assert (again.status, again.error_code, again.max_attempts) == ("queued", "", 4)
    assert again.deadline > timezone.now()
    assert runner.run(job.id) == "succeeded"
    with pytest.raises(Conflict) as refusal:
        service.retry(job.id)
    assert refusal.value.code == "job_not_failed"
    with pytest.raises(NotFound):
        service.retry("job-unknown00")


# --- the registry, faults


def test_a_kind_is_registered_once(script: Script) -> None:
    with pytest.raises(ValueError, match="registered twice"):
        handlers.register("test.work", script)
    assert "test.work" in handlers.registered_kinds()
    handlers.register("test.other", script)
    del handlers._handlers["test.other"]
    with pytest.raises(HostError):
        handlers.handler_for("test.other")


def test_a_bare_handler_has_no_steps_and_compensates_nothing() -> None:
    job = Job(kind="x", payload={"a": 1})
    context = Context(job, still_mine=lambda: False, report=lambda fraction, words: None)
    bare = Handler()
    with pytest.raises(AssertionError, match="defines no steps"):
        bare.steps(job)
    bare.on_success(context)
    error = ScloudError("x")
    bare.before_failure(context, error)
    bare.on_failure(context, error)
    with pytest.raises(LeaseLostError):
        context.check()


def test_a_worker_told_to_die_kills_itself_once(tmp_path: Path) -> None:
    """In a child, because that is what dies."""
    marker = tmp_path / "died"
    outcomes = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:  # pragma: no cover - the child's life is not measured
            os.environ["SCLOUD_FAULT"] = "vm.create:define:after"
            os.environ["SCLOUD_FAULT_ONCE"] = str(marker)
            faults.reach("vm.create:define:before")
            faults.reach("vm.create:define:after")
            os._exit(0)
        _pid, status = os.waitpid(pid, 0)
        outcomes.append(os.WTERMSIG(status) if os.WIFSIGNALED(status) else "lived")
    assert outcomes == [9, "lived"]
    assert marker.exists()


def test_a_fault_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kills: list[int] = []
    monkeypatch.setattr("scloud.jobs.faults.os.kill", lambda pid, signal: kills.append(signal))
    faults.reach("a")
    monkeypatch.setenv("SCLOUD_FAULT", "a")
    faults.reach("b")
    assert kills == []
    faults.reach("a")
    assert kills == [9]
    monkeypatch.setenv("SCLOUD_FAULT_ONCE", str(tmp_path / "once"))
    faults.reach("a")
    faults.reach("a")
    assert kills == [9, 9]
    seen: list[str] = []
    faults.install(seen.append)
    faults.reach("c")
    assert seen == ["c"]


def test_a_platforms_job_belongs_to_no_tenant(enqueue: Enqueue, script: Script) -> None:
    job = enqueue(tenant=None)
    assert runner.run(job.id) == "succeeded"
    assert fresh(job).tenant is None


def test_status_words() -> None:
    assert {str(status.label) for status in JobStatus} == {
        "Queued",
        "Running",
        "Succeeded",
        "Failed",
        "Cancelled",
    }


# --- traces


def test_a_job_belongs_to_the_trace_that_queued_it(
    enqueue: Enqueue, script: Script, rings: list[str]
) -> None:
    seen: list[tracing.Context] = []

    def work(_context: Context) -> None:
        seen.append(tracing.current())
        if len(seen) == 1:
            raise HostError("Away.")

    script.works["first"] = work
    with tracing.request("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"):
        job = enqueue()
    assert runner.run(job.id) == "will retry"
    change(job, not_before=ago(1))
    assert runner.run(job.id) == "succeeded"
    first, second = (context.trace for context in seen)
    assert first is not None
    assert second is not None
    assert {context.job_id for context in seen} == {job.id}
    assert first.trace_id == second.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert len({first.span_id, second.span_id, fresh(job).trace.split("-")[2]}) == 3
    assert tracing.current().job_id == ""
    # What nobody asked for begins a trace of its own, which all attempts share.
    assert tracing.Trace.parse(enqueue(target_id="vm-000000002").trace) is not None
