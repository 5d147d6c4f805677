"""How long: leases, waits, deadlines, and what is forgotten; each at both sides of its bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import Settings

from scloud.jobs import handlers, leases, periodic, runner, service, sweep, workers
from scloud.jobs.handlers import Context
from scloud.jobs.lanes import Lane
from scloud.jobs.models import Job, JobStatus, WorkerHost
from scloud.lib.errors import HostError, ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled
from tests.jobs.conftest import Script, ago, change, fresh

pytestmark = pytest.mark.django_db
Enqueue = Callable[..., Job]


def about(found: datetime | None, wanted: datetime, within_s: float = 30) -> bool:
    return found is not None and abs((found - wanted).total_seconds()) < within_s


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


# --- in the queue


def test_a_new_job_has_its_defaults(enqueue: Enqueue, rings: list[str]) -> None:
    now = timezone.now()
    row = fresh(enqueue())
    assert (row.status, row.attempt, row.max_attempts, row.exclusive) == ("queued", 0, 3, True)
    assert (row.lane, row.limit_s, row.parked, row.created_by) == ("short", None, None, "SCloud")
    assert [(one["name"], one["state"]) for one in row.steps] == [
        ("first", "waiting"),
        ("second", "waiting"),
    ]
    assert about(row.deadline, now + timedelta(seconds=600))
    assert about(row.not_before, now)
    assert about(row.rung_at, now)
    assert rings == [row.pk]


def test_a_delayed_job_begins_later(enqueue: Enqueue) -> None:
    job = enqueue(delay_s=90, deadline_s=300)
    for row in (job, fresh(job)):
        assert about(row.not_before, timezone.now() + timedelta(seconds=90))
        assert about(row.deadline, timezone.now() + timedelta(seconds=300))
    assert runner.run(job.id) == "not due"
    change(job, not_before=ago(0.1))
    assert runner.run(job.id) == "succeeded"


def test_a_copy_may_wait_a_day_for_its_turn_and_has_its_whole_time_then(
    enqueue: Enqueue, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "lane_of", lambda payload: Lane.LONG, raising=False)
    job = fresh(enqueue(deadline_s=400))
    assert (job.lane, job.limit_s) == ("long", 400)
    assert about(job.deadline, timezone.now() + timedelta(days=1, seconds=400))
    claimed = runner.claim(job.id)
    assert claimed is not None
    for row in (claimed, fresh(job)):
        assert about(row.started_at, timezone.now())
        assert row.started_at is not None
        assert row.deadline == row.started_at + timedelta(seconds=400)
    assert claimed.lease_until is not None


def test_what_is_tried_again_has_as_much_time_as_before(
    enqueue: Enqueue, actor: Actor, rings: list[str]
) -> None:
    job = enqueue(actor=actor)
    change(
        job,
        status=JobStatus.FAILED,
        attempt=5,
        created_at=ago(3600),
        deadline=ago(3600) + timedelta(seconds=500),
        error_code="no",
        parked={"step": "first", "memory": {}},
        finished_at=ago(60),
    )
    rings.clear()
    row = service.retry(job.id)
    assert about(row.deadline, timezone.now() + timedelta(seconds=500))
    assert about(row.created_at, timezone.now())
    assert (row.max_attempts, row.parked, row.finished_at) == (8, None, None)
    assert rings == [job.id]


# --- leases


def test_a_lease_is_renewed_from_now_and_said_for_how_long_it_holds(
    enqueue: Enqueue, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SCLOUD_JOB_LEASE_S = 100.0
    clock = Clock()
    monkeypatch.setattr(leases, "clock", clock)
    job = runner.claim(enqueue().id)
    assert job is not None
    assert about(job.lease_until, timezone.now() + timedelta(seconds=100))
    book = leases.Leases()
    monkeypatch.setattr(book, "_run", lambda: None)
    assert not book.may_end_process
    book.hold(job.id, 1, clock.now)
    for later, believed in ((79.9, True), (80.0, False)):
        clock.now = 1000.0 + later
        assert book.believed(job.id, 1) is believed
    change(job, lease_until=ago(5))
    assert book.renew(job.id, 1)
    assert about(fresh(job).lease_until, timezone.now() + timedelta(seconds=100))
    assert book.believed(job.id, 1)
    # Once it is lost it stays so, whatever is said later.
    change(job, attempt=2)
    assert not book.renew(job.id, 1)
    change(job, attempt=1)
    assert book.renew(job.id, 1)
    assert not book.believed(job.id, 1)
    book.drop(job.id, 1)
    assert not book.believed(job.id, 1)


@pytest.mark.parametrize(
    "lost", [{"attempt": 2}, {"status": JobStatus.CANCELLED}, {"lease_until": None}]
)
def test_a_job_is_confirmed_only_while_it_is_the_workers(
    enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch, lost: dict[str, Any]
) -> None:
    job = runner.claim(enqueue().id)
    assert job is not None
    book = leases.Leases()
    monkeypatch.setattr(book, "_run", lambda: None)
    book.hold(job.id, 1, leases.clock())
    assert book.confirm(job.id, 1)
    assert book.believed(job.id, 1)
    change(job, **lost)
    assert not book.confirm(job.id, 1)
    assert not book.believed(job.id, 1)


def test_the_sweep_holds_what_it_ends_for_two_leases(
    enqueue: Enqueue, script: Script, settings: Settings
) -> None:
    settings.SCLOUD_JOB_LEASE_S = 100.0
    job = enqueue()
    held: list[Job] = []
    script.works["clean up"] = lambda context: held.append(fresh(job))
    assert sweep.end_now(job, ScloudError("It took too long.", code="late", remedy="Wait."))
    (row,) = held
    assert (row.status, row.attempt, row.lease_owner) == ("running", 1, "sweep")
    assert about(row.lease_until, timezone.now() + timedelta(seconds=200))
    row = fresh(job)
    assert (row.status, row.error_code, row.error_remedy) == ("failed", "late", "Wait.")
    assert (row.lease_until, row.parked) == (None, None)
    assert script.calls == ["clean up", "failure late"]
    assert not sweep.end_now(job, ScloudError("again"))


@pytest.mark.django_db(transaction=True)
def test_a_long_clean_up_of_the_sweep_holds_the_job_for_two_more_leases(
    enqueue: Enqueue, script: Script, settings: Settings
) -> None:
    settings.SCLOUD_JOB_LEASE_S = 100.0
    job = enqueue()
    held: list[Job] = []

    def clean(context: Context) -> None:
        change(job, lease_until=ago(-1))
        context.check()
        held.append(fresh(job))

    script.works["clean up"] = clean
    assert sweep.end_now(job, ScloudError("It took too long.", code="late"))
    (row,) = held
    assert about(row.lease_until, timezone.now() + timedelta(seconds=200))


# --- while it runs


def test_progress_and_steps_are_told_within_their_columns(enqueue: Enqueue, script: Script) -> None:
    seen: list[tuple[int, str]] = []

    def work(context: Context) -> None:
        context.progress(0.5, "w" * 200)
        row = fresh(context.job)
        seen.append((row.progress_percent, row.step))
        context.progress(0.25)
        row = fresh(context.job)
        seen.append((row.progress_percent, row.step))

    script.works["first"] = work
    assert runner.run(enqueue().id) == "succeeded"
    # The first of two steps that weigh 1 and 3.
    assert seen == [(12, "w" * 120), (6, "Do the first")]


def test_the_text_of_an_unforeseen_error_is_cut(enqueue: Enqueue, script: Script) -> None:
    def work(_context: Context) -> None:
        raise RuntimeError("e" * 5000)

    script.works["first"] = work
    job = enqueue()
    assert runner.run(job.id) == "will retry"
    row = fresh(job)
    assert row.error_code == "internal_error"
    assert row.error_detail == ("RuntimeError: " + "e" * 5000)[:2000]


def test_a_wait_gives_slot_and_attempt_back_and_tells_nobody(
    enqueue: Enqueue, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def work(context: Context) -> None:
        context.memory["looked"] = 1
        told.clear()
        context.park(40)

    script.works["second"] = work
    job = enqueue()
    monkeypatch.setattr(runner, "tell", lambda one: told.append(one.id))
    assert runner.run(job.id) == "waiting"
    row = fresh(job)
    assert (row.status, row.attempt, row.max_attempts) == ("queued", 1, 4)
    assert (row.lease_until, row.lease_owner) == (None, "")
    assert row.parked == {"step": "second", "memory": {"looked": 1}}
    assert about(row.not_before, timezone.now() + timedelta(seconds=40), within_s=10)
    assert row.is_parked
    assert told == []
    # It goes on at the step that waits, and what it looks at again is no news.
    script.works["second"] = lambda context: None
    change(job, not_before=ago(0.1))
    script.calls.clear()
    assert runner.run(job.id) == "succeeded"
    assert script.calls == ["second", "success"]
    assert len(told) == 1


def test_the_begin_of_every_step_is_told(
    enqueue: Enqueue, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    seen: list[int] = []

    def work(context: Context) -> None:
        seen.append(len(told))
        told.clear()
        if len(seen) == 1:
            context.park(40)

    script.works = {"first": work, "second": work}
    job = enqueue()
    monkeypatch.setattr(runner, "tell", lambda one: told.append(one.id))
    assert runner.run(job.id) == "waiting"
    change(job, not_before=ago(0.1))
    assert runner.run(job.id) == "succeeded"
    # The first at its begin, not again after its wait, then the second.
    assert seen == [1, 0, 1]


def test_what_is_busy_is_tried_again_after_five_seconds_and_costs_no_attempt(
    enqueue: Enqueue, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "waits_for", frozenset({"vm_busy"}), raising=False)

    def work(_context: Context) -> None:
        raise HostError("It is busy.", code="vm_busy")

    script.works["first"] = work
    job = enqueue()
    began = timezone.now()
    assert runner.run(job.id) == "will retry"
    row = fresh(job)
    assert began <= row.not_before - timedelta(seconds=5) <= timezone.now()
    assert (row.attempt, row.max_attempts, row.error_code) == (1, 4, "vm_busy")
    assert [one["state"] for one in row.steps] == ["failed", "waiting"]


@pytest.mark.parametrize(
    ("attempt", "most", "tries"),
    [(1, 3, 1), (2, 3, 2), (5, 6, 2), (4, 8, 1), (2, 1, 2), (2, 2, 2)],
)
def test_waits_and_smaller_limits_of_earlier_releases_count_as_no_tries(
    script: Script, attempt: int, most: int, tries: int
) -> None:
    job = Job(kind="test.work", attempt=attempt, max_attempts=most)
    assert runner.tries_of(job, script) == tries


def test_a_copy_says_every_five_seconds_that_it_moves(
    enqueue: Enqueue, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "stall_s", 500.0, raising=False)
    job = runner.claim(enqueue(deadline_s=60).id)
    assert job is not None
    run = runner._Run(job, script)
    clock = Clock()
    monkeypatch.setattr(run, "still_mine", lambda: True)
    monkeypatch.setattr(run.context, "check", lambda: None)
    monkeypatch.setattr(leases, "clock", clock)
    reported: list[float] = []
    monkeypatch.setattr(run, "report", lambda fraction, words: reported.append(fraction))
    for later, done in ((0.0, 1), (4.9, 2), (5.0, 3), (9.9, 4), (10.0, 20)):
        clock.now = 1000.0 + later
        run.moving(done, 10)
    assert reported == [0.1, 0.3, 1.0]
    # Where the whole is not known the deadline moves on all the same.
    clock.now += 5
    with scopes_disabled():
        run.moving(1, None)
    assert about(fresh(job).deadline, timezone.now() + timedelta(seconds=500))
    assert len(reported) == 3


def test_progress_never_brings_a_deadline_nearer(
    enqueue: Enqueue, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "stall_s", 60.0, raising=False)
    job = enqueue(deadline_s=900)
    before = fresh(job).deadline
    assert runner.run(job.id) == "succeeded"
    assert fresh(job).deadline == before


@pytest.mark.parametrize(("poll_until", "said"), [(0.0, "looked once"), (0.3, "looked again")])
def test_a_wait_without_a_slot_to_give_back_polls(poll_until: float, said: str) -> None:
    looks: list[str] = []
    context = Context(Job(kind="x", payload={}), still_mine=lambda: True, report=lambda *_: None)
    began = time.monotonic()

    def condition() -> bool:
        looks.append(said)
        return time.monotonic() - began >= poll_until

    assert context.wait_until(condition, timeout_s=5, poll_s=0.1)
    assert (len(looks) == 1) is (said == "looked once")
    assert context.memory == {}
    assert not context.wait_until(lambda: False, timeout_s=0)
    assert context.memory == {}


# --- what the sweep looks at


@pytest.mark.parametrize(("seconds", "woken"), [(59, 0), (61, 1)])
def test_a_wake_up_is_repeated_after_a_minute(
    enqueue: Enqueue, rings: list[str], seconds: float, woken: int
) -> None:
    job = enqueue()
    change(job, not_before=ago(300), rung_at=ago(seconds))
    rings.clear()
    assert sweep.wake_forgotten() == woken
    assert rings == [job.id] * woken


@pytest.mark.parametrize(("days", "forgotten"), [(89, 0), (91, 1)])
def test_ended_jobs_are_forgotten_after_three_months(
    enqueue: Enqueue, days: int, forgotten: int
) -> None:
    job = enqueue()
    change(job, status=JobStatus.SUCCEEDED, finished_at=ago(days * 86_400))
    assert sweep.forget_finished() == forgotten
    with scopes_disabled():
        assert Job.objects.count() == 1 - forgotten


@pytest.mark.parametrize(("hours", "revived"), [(23, 1), (25, 0)])
@pytest.mark.parametrize(("limit_s", "time_left_s"), [(600, 600), (60, 300)])
def test_jobs_of_an_unknown_kind_come_back_for_a_day(
    enqueue: Enqueue, hours: int, revived: int, limit_s: int, time_left_s: int
) -> None:
    job = enqueue()
    change(
        job,
        status=JobStatus.FAILED,
        error_code="unknown_job_kind",
        error_message="x",
        finished_at=ago(hours * 3600),
        created_at=ago(hours * 3600 + 60),
        deadline=ago(hours * 3600 + 60) + timedelta(seconds=limit_s),
    )
    assert sweep.revive_unknown() == revived
    row = fresh(job)
    assert row.status == ("queued" if revived else "failed")
    if revived:
        assert (row.error_code, row.error_message, row.finished_at) == ("", "", None)
        assert about(row.deadline, timezone.now() + timedelta(seconds=time_left_s))


# --- what workers say of themselves


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A worker that has said nothing yet, with a clock that is set by hand."""
    clock = Clock()
    monkeypatch.setattr(workers, "_announced_at", float("-inf"))
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_workers_say_what_they_know_every_half_minute(silent: Clock) -> None:
    workers.announce()
    row = WorkerHost.objects.get()
    assert row.kinds == handlers.registered_kinds()
    said = []
    for later in (29.9, 30.0, 59.9, 60.0):
        WorkerHost.objects.update(kinds=[])
        silent.now = 1000.0 + later
        workers.announce()
        said.append(bool(WorkerHost.objects.get().kinds))
    assert said == [False, True, False, True]


@pytest.mark.parametrize(("seen_s", "known"), [(179, True), (181, False)])
@pytest.mark.parametrize(("due_s", "late"), [(179, False), (181, True)])
@pytest.mark.parametrize("status", ["queued", "running"])
def test_a_kind_that_no_living_worker_knows_is_told_after_three_minutes(
    enqueue: Enqueue, status: str, seen_s: float, known: bool, due_s: float, late: bool
) -> None:
    job = enqueue()
    change(
        job, kind="test.unheard_of", status=status, not_before=ago(due_s), lease_until=ago(due_s)
    )
    WorkerHost.objects.create(name="here", kinds=["test.unheard_of"], seen_at=ago(seen_s))
    WorkerHost.objects.create(name="there", kinds=["test.work"], seen_at=ago(1))
    found = [(one.kind, one.jobs) for one in workers.unknown()]
    assert found == ([("test.unheard_of", 1)] if late and not known else [])
    assert workers.tell_unknown() == len(found)


# --- chores


def test_a_chore_runs_when_it_is_due_in_its_lane_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(periodic, "_chores", {})
    monkeypatch.setattr(time, "monotonic", clock)
    ran: list[str] = []
    failing = [False]

    def run() -> None:
        ran.append("books")
        if failing[0]:
            raise RuntimeError("broken")

    periodic.register("a chore of the books", 10, run)
    periodic.register("a chore of hosts", 10, lambda: ran.append("hosts"), periodic.Lane.HOSTS)
    assert periodic.lanes() == [periodic.Lane.BOOKS, periodic.Lane.HOSTS]
    for later, found in ((0.0, 1), (9.9, 1), (10.0, 2)):
        clock.now = 1000.0 + later
        periodic.run_due(periodic.Lane.BOOKS)
        assert ran == ["books"] * found
    # One that fails is tried no sooner than it is due, and then less and less often.
    failing[0] = True
    waits = []
    for _ in range(8):
        clock.now = periodic._chores["a chore of the books"].due_at
        assert periodic.run_due(periodic.Lane.BOOKS) == ["a chore of the books"]
        waits.append(periodic._chores["a chore of the books"].due_at - clock.now)
    assert min(waits) >= 10
    # A minute at most, and what is added by chance.
    assert 10 < max(waits) <= 72
    assert periodic.run_due(periodic.Lane.HOSTS) == ["a chore of hosts"]
