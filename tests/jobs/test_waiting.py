"""Jobs that wait give their slot back; the next turn is fair; unknown kinds are left alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django_q.models import OrmQ

from scloud.jobs import choosing, handlers, runner, service, sweep, workers
from scloud.jobs.actions import cancel_job
from scloud.jobs.handlers import Context
from scloud.jobs.lanes import Lane
from scloud.jobs.models import Job, WorkerHost
from scloud.lib import lease
from scloud.lib.errors import Conflict, HostError, ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scopes_disabled
from tests.jobs.conftest import Script, ago, change, fresh

Enqueue = Callable[..., Job]


@pytest.fixture
def copy(monkeypatch: pytest.MonkeyPatch) -> Script:
    """The handler of ``test.copy``, which is long work."""
    found = Script()
    found.lane = Lane.LONG
    monkeypatch.setitem(handlers._handlers, "test.copy", found)
    return found


@pytest.fixture
def queue(enqueue: Enqueue) -> Callable[..., list[Job]]:
    """Return a function that queues a number of jobs, each with a target of its own."""

    def put(count: int, name: str, **values: Any) -> list[Job]:
        return [enqueue(target_id=f"{name}-{number}", **values) for number in range(count)]

    return put


def take_all() -> list[Job]:
    """Claim like workers that never end what they took, until nothing may begin."""
    taken = []
    with scopes_disabled():
        while (job := runner.claim_next()) is not None:
            taken.append(job)
    return taken


# --- waiting without a slot


def test_a_wait_gives_the_slot_back_and_goes_on_where_it_was(
    enqueue: Enqueue, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "KEEPS_SLOT_S", 0.0)
    answers = iter([False, False, False, True])
    memories: list[Any] = []

    def wait(context: Context) -> None:
        memories.append(context.memory.get("asked"))
        context.memory["asked"] = len(memories)
        assert context.wait_until(lambda: next(answers), timeout_s=60, poll_s=0.001)

    script.works["second"] = wait
    job = enqueue()
    for _ in range(3):
        assert runner.run(job.id) == "waiting"
        row = fresh(job)
        assert (row.status, row.lease_until, row.is_parked) == ("queued", None, True)
        assert row.not_before > timezone.now()
        assert [step["state"] for step in row.steps] == ["done", "running"]
        # The wait used up none of the tries.
        assert row.max_attempts - row.attempt == 3
        assert runner.run(job.id) == "not due"
        change(job, not_before=ago(0.01))
    assert runner.run(job.id) == "succeeded"
    assert memories == [None, 1, 2, 3]
    assert script.calls == ["first", "second", "second", "second", "second", "success"]
    assert fresh(job).parked is None


def test_a_wait_ends_by_its_own_limit_however_often_it_was_woken(
    enqueue: Enqueue, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "KEEPS_SLOT_S", 0.0)
    now = [1000.0]
    monkeypatch.setattr("scloud.jobs.handlers.time.time", lambda: now[0])
    answers: list[bool] = []
    script.works["first"] = lambda context: answers.append(
        context.wait_until(lambda: False, timeout_s=120, poll_s=0.001)
    )
    job = enqueue()
    assert runner.run(job.id) == "waiting"
    now[0] += 119
    change(job, not_before=ago(0.01))
    assert runner.run(job.id) == "waiting"
    now[0] += 2
    change(job, not_before=ago(0.01))
    assert runner.run(job.id) == "succeeded"
    assert answers == [False]


def test_a_retry_begins_anew_after_a_wait(
    enqueue: Enqueue, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "KEEPS_SLOT_S", 0.0)
    answers = iter([False, True])

    def wait(context: Context) -> None:
        context.wait_until(lambda: next(answers), timeout_s=60)
        if script.calls.count("second") == 2:
            raise HostError("Away.")

    script.works["second"] = wait
    job = enqueue()
    assert runner.run(job.id) == "waiting"
    change(job, not_before=ago(0.01))
    before = timezone.now()
    assert runner.run(job.id) == "will retry"
    # It is the first failure, so the wait is the first one.
    assert (fresh(job).not_before - before).total_seconds() < 2
    assert fresh(job).parked is None
    script.works.clear()
    change(job, not_before=ago(0.01))
    assert runner.run(job.id) == "succeeded"
    assert script.calls.count("first") == 2


def test_what_is_busy_is_waited_for_without_using_up_tries(
    enqueue: Enqueue, script: Script
) -> None:
    script.waits_for = frozenset({"volume_busy"})
    busy = HostError("Open elsewhere.", code="volume_busy")

    def work(_context: Context) -> None:
        if script.calls.count("first") < 8:
            raise busy

    script.works["first"] = work
    job = enqueue()
    for _ in range(7):
        assert runner.run(job.id) == "will retry"
        change(job, not_before=ago(0.01))
    assert runner.run(job.id) == "succeeded"

    script.calls.clear()
    again = enqueue()
    change(again, started_at=ago(runner.BUSY_PATIENCE_S + 1))
    for _ in range(2):
        assert runner.run(again.id) == "will retry"
        change(again, not_before=ago(0.01))
    assert runner.run(again.id) == "failed"


def wait_in_vain(context: Context) -> None:
    context.wait_until(lambda: False, timeout_s=60)


def test_a_superseded_wait_is_over(
    enqueue: Enqueue, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "KEEPS_SLOT_S", 0.0)
    script.works["first"] = wait_in_vain
    job = enqueue()
    assert runner.run(job.id) == "waiting"
    assert service.supersede(job.id, "Pushed aside.")
    change(job, not_before=ago(1))
    assert runner.run(job.id) == "not due"
    assert enqueue().pk


# --- wake-ups


def test_the_end_of_a_wait_is_told_once_and_a_lost_wake_up_once_a_minute(
    enqueue: Enqueue, script: Script, monkeypatch: pytest.MonkeyPatch, rings: list[str]
) -> None:
    monkeypatch.setattr(handlers, "KEEPS_SLOT_S", 0.0)
    script.works["first"] = wait_in_vain
    job = enqueue()
    assert runner.run(job.id) == "waiting"
    change(job, not_before=timezone.now() - timedelta(milliseconds=1), rung_at=ago(1))
    rings.clear()
    assert [sweep.wake_forgotten() for _ in range(5)] == [1, 0, 0, 0, 0]
    for seconds, expected in ((6, 0), (59, 0), (61, 1)):
        change(job, not_before=ago(seconds + 1), rung_at=ago(seconds))
        assert sweep.wake_forgotten() == expected, seconds
    assert rings == [job.id, job.id]


def test_one_wake_up_serves_all_that_is_due(
    queue: Callable[..., list[Job]], script: Script
) -> None:
    jobs = queue(5, "vm")
    assert runner.serve() == "succeeded"
    assert [fresh(job).status for job in jobs] == ["succeeded"] * 5


# --- fair share


def test_a_tenant_leaves_slots_for_the_next_one(
    queue: Callable[..., list[Job]], tenant: Tenant, other_tenant: Tenant, settings: Any
) -> None:
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "workers": 10}
    settings.SCLOUD_TENANT_SLOTS = 5
    queue(50, "vm")
    first = take_all()
    assert len(first) == 5
    (late,) = queue(1, "late", tenant=other_tenant)
    assert [job.pk for job in take_all()] == [late.pk]


def test_many_greedy_tenants_leave_a_slot_too(
    queue: Callable[..., list[Job]], other_tenant: Tenant, settings: Any, db: None
) -> None:
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "workers": 10}
    settings.SCLOUD_TENANT_SLOTS = 10
    queue(20, "a")
    for number in range(2):
        queue(20, f"b{number}", tenant=Tenant.objects.create(name=f"Greedy {number}"))
    assert len(take_all()) < 10
    (late,) = queue(1, "late", tenant=other_tenant)
    assert late.pk in [job.pk for job in take_all()]


def test_whose_turn_was_longest_ago_comes_first(
    queue: Callable[..., list[Job]], script: Script, tenant: Tenant, other_tenant: Tenant
) -> None:
    """One slot: the tenants take turns, though one of them was first with all of its jobs."""
    order: list[str] = []
    script.works["first"] = lambda context: order.append(str(context.job.tenant_id))
    queue(4, "a")
    queue(2, "b", tenant=other_tenant)
    runner.serve()
    a, b = tenant.pk, other_tenant.pk
    assert order == [a, b, a, b, a, a]


def test_long_work_never_has_all_slots(
    queue: Callable[..., list[Job]],
    copy: Script,
    other_tenant: Tenant,
    settings: Any,
) -> None:
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "workers": 10}
    settings.SCLOUD_LONG_SLOTS, settings.SCLOUD_TENANT_SLOTS = 4, 10
    queue(20, "image", kind="test.copy")
    queue(20, "other", kind="test.copy", tenant=other_tenant)
    taken = take_all()
    owners = sorted(job.tenant_id or "" for job in taken)
    assert len(taken) == 4
    assert len(set(owners)) == 2
    assert {job.lane for job in taken} == {"long"}
    (quick,) = queue(1, "vm")
    assert [job.pk for job in take_all()] == [quick.pk]


def test_of_two_long_slots_a_tenant_has_one(
    queue: Callable[..., list[Job]], copy: Script, other_tenant: Tenant, settings: Any
) -> None:
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "workers": 10}
    settings.SCLOUD_LONG_SLOTS, settings.SCLOUD_TENANT_SLOTS = 2, 10
    queue(5, "image", kind="test.copy")
    assert len(take_all()) == 1
    (other,) = queue(1, "other", kind="test.copy", tenant=other_tenant)
    assert [job.pk for job in take_all()] == [other.pk]


def test_a_dead_worker_holds_nobody_up(queue: Callable[..., list[Job]], settings: Any) -> None:
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "workers": 2}
    settings.SCLOUD_TENANT_SLOTS = 1
    jobs = queue(2, "vm")
    (first,) = take_all()
    change(first, lease_until=ago(1))
    assert len(take_all()) == 1
    assert len(jobs) == 2


def test_other_machines_have_slots_of_their_own(
    queue: Callable[..., list[Job]], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "workers": 4}
    settings.SCLOUD_TENANT_SLOTS = 2
    queue(10, "vm")
    assert len(take_all()) == 2
    monkeypatch.setattr(choosing, "machine", lambda: "an_other%")
    assert len(take_all()) == 2


def test_the_time_in_the_queue_is_not_the_copys(
    queue: Callable[..., list[Job]], copy: Script, enqueue: Enqueue
) -> None:
    (job,) = queue(1, "image", kind="test.copy", deadline_s=600)
    change(job, created_at=ago(7200), not_before=ago(7200))
    assert sweep.end_overdue() == 0
    with scopes_disabled():
        claimed = runner.claim(job.pk)
    assert claimed is not None
    left = (fresh(job).deadline - timezone.now()).total_seconds()
    assert 590 < left <= 600


def test_progress_moves_the_deadline_and_a_stall_does_not(enqueue: Enqueue, script: Script) -> None:
    script.stall_s = 900
    seen: list[float] = []

    def work(context: Context) -> None:
        change(context.job, deadline=timezone.now() + timedelta(seconds=10))
        context.progress(0.5)
        seen.append((fresh(context.job).deadline - timezone.now()).total_seconds())

    script.works["second"] = work
    assert runner.run(enqueue().pk) == "succeeded"
    assert 890 < seen[0] <= 900


def test_a_copy_of_unknown_length_moves_the_deadline_too(
    enqueue: Enqueue, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.stall_s = 900
    monkeypatch.setattr(runner, "SIGN_OF_LIFE_S", 0.0)
    seen: list[float] = []

    def work(context: Context) -> None:
        change(context.job, deadline=timezone.now() + timedelta(seconds=10))
        lease.moving(65536)
        seen.append((fresh(context.job).deadline - timezone.now()).total_seconds())

    script.works["second"] = work
    assert runner.run(enqueue().pk) == "succeeded"
    assert 890 < seen[0] <= 900


# --- kinds of newer releases


@pytest.fixture
def newer(enqueue: Enqueue) -> Job:
    """A job of a kind that this release does not know, long past its deadline."""
    job = enqueue()
    change(job, kind="test.newer", deadline=ago(3600), not_before=ago(3600), rung_at=ago(3600))
    return fresh(job)


def test_nothing_is_done_about_a_kind_of_a_newer_release(
    newer: Job, script: Script, rings: list[str]
) -> None:
    assert sweep.wake_forgotten() == 0
    assert sweep.end_overdue() == 0
    assert sweep.end_now(newer, ScloudError("No.", code="no")) is False
    row = fresh(newer)
    assert (row.status, row.attempt, row.error_code) == ("queued", 0, "")
    assert sweep.restart_silent_workers() is False
    with pytest.raises(Conflict) as refusal:
        cancel_job(actor=Actor.system(None), job=newer)
    assert refusal.value.code == "job_kind_unknown"
    assert (script.calls, rings) == ([], [])


def test_operators_are_told_once_that_no_worker_knows_a_kind(
    newer: Job, caplog: Any, client: Client
) -> None:
    client.force_login(User.objects.create_superuser("op@platform.test", "correct horse 9 b"))
    workers._announced_at = float("-inf")
    workers.announce()
    assert "test.work" in WorkerHost.objects.get().kinds
    (found,) = workers.unknown()
    assert (found.kind, found.jobs) == ("test.newer", 1)
    assert [workers.tell_unknown(), workers.tell_unknown()] == [1, 1]
    assert caplog.text.count("no worker knows jobs of kind test.newer") == 1
    page = client.get("/admin/").content.decode()
    assert "No worker supports jobs of kind test.newer" in page
    # A newer machine joins.
    WorkerHost.objects.create(name="new", kinds=["test.newer"], seen_at=timezone.now())
    assert workers.unknown() == []


def test_what_an_older_release_failed_is_queued_again(enqueue: Enqueue, script: Script) -> None:
    job = enqueue()
    change(
        job,
        status="failed",
        error_code="unknown_job_kind",
        error_message="No handler for job kind test.work.",
        finished_at=timezone.now(),
        attempt=1,
    )
    OrmQ.objects.all().delete()
    assert sweep.revive_unknown() == 1
    assert OrmQ.objects.count() == 1
    assert fresh(job).deadline > timezone.now() + timedelta(minutes=4)
    assert runner.run(job.pk) == "succeeded"
    assert sweep.revive_unknown() == 0


def test_one_whose_target_has_another_job_by_now_keeps_no_other_waiting(enqueue: Enqueue) -> None:
    unknown = {"status": "failed", "error_code": "unknown_job_kind"}
    # The one that can be queued again is neither the first nor the last.
    jobs = {name: enqueue(target_id=f"vm-{name}") for name in ("busy", "free", "taken")}
    for job in jobs.values():
        change(job, **unknown, finished_at=timezone.now())
    others = [enqueue(target_id=f"vm-{name}") for name in ("busy", "taken")]
    assert sweep.revive_unknown() == 1
    assert {name: fresh(job).status for name, job in jobs.items()} == {
        "busy": "failed", "free": "queued", "taken": "failed",
    }  # fmt: skip
    assert {fresh(job).status for job in others} == {"queued"}


def test_a_job_has_ten_minutes_where_nothing_else_is_said(enqueue: Enqueue) -> None:
    job = enqueue()
    assert abs(job.deadline - job.created_at - timedelta(seconds=600)) < timedelta(seconds=0.5)
