"""The one mechanism of all kinds: what changed between guard and write, and whose job it is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection
from django.utils import timezone

from compute.actions import disks as disk_verbs
from compute.models import VM, Cluster, Disk, Image, Snapshot
from compute.transitions.disks import DISKS
from compute.transitions.images import IMAGES
from compute.transitions.snapshots import SNAPSHOTS
from compute.transitions.vms import VMS
from scloud.audit.models import Event
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scope
from scloud.verbs.machine import Machine
from tests.compute.factories import Platform, make_vm


@dataclass(frozen=True)
class Case:
    """A row of a kind that stands where ``verb`` is allowed."""

    machine: Machine[Any]
    verb: str
    row: Any
    actor: Actor
    # The job that a verb of the kind joins, where it queues none of its own.
    job: Job | None = None

    def begin(self, **columns: Any) -> Job:
        """Begin the verb."""
        return self.machine.begin(self.row, self.verb, actor=self.actor, job=self.job, **columns)

    def now(self) -> Any:
        """Return the row as it is in the database."""
        return self.machine.fresh(self.row)

    def events(self) -> list[str]:
        """Return the kinds of the row's events, the oldest first."""
        rows = Event.objects.filter(resource_id=self.row.pk).order_by("pk")
        return list(rows.values_list("kind", flat=True))


def _disk(platform: Platform, actor: Actor, status: str) -> Disk:
    assert actor.tenant is not None
    disk: Disk = Disk.objects.create(
        tenant=actor.tenant,
        region=platform.region,
        name="data",
        disk_type=platform.disk_type,
        pool=platform.pool,
        size_gib=10,
        status=status,
    )
    return disk


def columns_of(rows: Any) -> dict[str, Any]:
    """Return the columns of the only row, without the count of its changes, which always grows."""
    found: dict[str, Any] = rows.values().get()
    found.pop("revision", None)
    return found


def _case(kind: str, platform: Platform, actor: Actor) -> Case:
    assert actor.tenant is not None
    if kind == "vm":
        return Case(VMS, "shut_down_vm", make_vm(platform, actor), actor)
    if kind == "disk":
        return Case(DISKS, "destroy_disk", _disk(platform, actor, "binned"), actor)
    if kind == "image":
        image = Image.objects.create(
            tenant=actor.tenant,
            region=platform.region,
            pool=platform.pool,
            name="mine",
            distribution="debian",
            status="binned",
        )
        return Case(IMAGES, "destroy_image", image, actor)
    disk = _disk(platform, actor, "unbound")
    snapshot = Snapshot.objects.create(
        tenant=actor.tenant,
        region=platform.region,
        name="before",
        disk=disk,
        size_gib=10,
        status="available",
    )
    job = DISKS.begin(disk, "roll_back_snapshot", actor=actor, payload={"snapshot": snapshot.pk})
    return Case(SNAPSHOTS, "roll_back_snapshot", snapshot, actor, job)


@pytest.fixture(params=["vm", "disk", "image", "snapshot"])
def case(request: pytest.FixtureRequest, platform: Platform, actor: Actor) -> Any:
    """One row of each kind, in its tenant's scope."""
    assert actor.tenant is not None
    with scope(tenant=actor.tenant):
        yield _case(request.param, platform, actor)


def _meanwhile(case: Case, change: Callable[[], object]) -> Any:
    """Let somebody else write between the guard and the write of a transition."""
    guard = case.machine.guard

    def guarded(row: Any, verb: str) -> None:
        guard(row, verb)
        change()

    return patch.object(case.machine, "guard", guarded)


# What another request may write to a row between guard and write.
SOON = timezone.now() + timedelta(hours=1)
ELSEWHERE: dict[str, list[dict[str, Any]]] = {
    "vm": [
        {"status": "stopped"},
        {"task": "restarting", "task_deadline": SOON},
        {"task_job": "job-other"},
        {"pause_reason": "io_error"},
    ],
    "disk": [
        {"status": "failed"},
        {"task": "detaching", "task_deadline": SOON},
        {"task_job": "job-other"},
    ],
    "image": [{"status": "available"}],
    "snapshot": [{"status": "failed"}],
}


def test_whatever_is_compared_is_compared_right_before_the_write(case: Case) -> None:
    kind = case.machine.table.kind
    changes = list(ELSEWHERE[kind])
    if kind == "disk":
        other = VM.objects.create(
            tenant=case.row.tenant,
            region=case.row.region,
            name="other",
            cluster=Cluster.objects.get(),
            image=Image.objects.filter(tenant=None).get(),
            vcpus=1,
            memory_mib=1024,
        )
        changes.append({"vm": other, "target": "vdb"})
    tried = {name for change in changes for name in change}
    assert {name.removesuffix("_id") for name in case.machine.compared} <= tried
    for change in changes:
        rows = case.machine.model._default_manager.filter(pk=case.row.pk)
        before = columns_of(rows)
        jobs, events = Job.objects.count(), case.events()
        with (
            _meanwhile(case, partial(rows.update, **change)),
            pytest.raises(Conflict) as refused,
        ):
            case.begin()
        assert refused.value.code == f"{kind}_state", change
        assert refused.value.remedy
        # Nothing was queued, told or written. (What the other one wrote went back with it here,
        # because both write in one connection.)
        assert (Job.objects.count(), case.events()) == (jobs, events), change
        assert columns_of(rows) == before


def test_a_verb_puts_its_row_in_flight_with_event_and_job(case: Case) -> None:
    job = case.begin()
    now = case.now()
    rule = case.machine.table.rule(case.verb)
    if case.machine.has_task:
        assert (now.task, now.task_job) == (rule.task, job.pk)
        assert now.task_deadline > job.deadline
        assert (case.row.task, case.row.task_job) == (rule.task, job.pk)
    else:
        assert now.status == case.row.status == rule.task
    assert case.events()[-1] == f"{case.machine.table.kind}.{rule.task}"


def test_a_verb_does_not_begin_twice(case: Case) -> None:
    case.begin()
    jobs = Job.objects.count()
    with pytest.raises(Conflict) as refused:
        case.begin()
    assert refused.value.code == f"{case.machine.table.kind}_state"
    assert Job.objects.count() == jobs


def test_a_completed_verb_lands_its_row_and_tells(case: Case) -> None:
    job = case.begin()
    status = "stopped" if case.machine.table.kind == "vm" else "destroyed"
    assert case.machine.complete(case.row, job, case.verb, status)
    now = case.now()
    assert now.status == status
    assert now.failure == ""
    if case.machine.has_task:
        assert (now.task, now.task_job, now.task_deadline) == ("", "", None)
    assert case.events()[-1] == case.machine.table.rule(case.verb).event
    # A second time it is nobody's any more.
    assert not case.machine.complete(case.row.pk, job, case.verb, status)


def test_a_failed_verb_leaves_the_reason_where_its_row_stands(case: Case) -> None:
    stood = case.row.status
    job = case.begin()
    error = ScloudError("The host is on fire.", code="fire")
    assert case.machine.fail(case.row.pk, job, case.verb, error, stood)
    now = case.now()
    assert (now.status, now.failure) == (stood, "The host is on fire.")
    if case.machine.has_task:
        assert (now.task, now.failure_code) == ("", "fire")
    table = case.machine.table
    assert case.events()[-1] == f"{table.kind}.{table.name(case.verb)}_failed"
    assert not case.machine.fail(case.row.pk, job, case.verb, error, stood)


@pytest.mark.parametrize("given", [None, 900.0])
def test_a_task_ends_a_minute_after_its_job_at_the_latest(case: Case, given: float | None) -> None:
    if not case.machine.has_task:
        assert "task_deadline" not in columns_of(
            case.machine.model._default_manager.filter(pk=case.row.pk)
        )
        return
    limit_s = given or case.machine.table.rule(case.verb).deadline_s
    began = timezone.now()
    job = case.machine.begin(case.row, case.verb, actor=case.actor, deadline_s=given)
    ended = timezone.now()
    for found, after_s in ((job.deadline, limit_s), (case.now().task_deadline, limit_s + 60)):
        assert began <= found - timedelta(seconds=after_s) <= ended


def test_a_long_reason_is_cut_to_its_columns(case: Case) -> None:
    stood = case.row.status
    job = case.begin()
    error = ScloudError("m" * 2000, code="c" * 100, detail="d" * 2000)
    assert case.machine.fail(case.row.pk, job, case.verb, error, stood)
    now = case.now()
    longest = case.machine.model._meta.get_field("failure").max_length
    assert now.failure == "m" * longest
    if case.machine.has_task:
        assert now.failure_code == "c" * 60
        assert now.failure_detail == "d" * 2000


def test_what_joins_a_job_queues_none(case: Case) -> None:
    job = case.job or Job.objects.create(
        tenant=case.row.tenant,
        kind="vm.start",
        title="Another",
        target_kind="vm",
        target_id="vm-other",
        deadline=SOON,
        steps=[],
    )
    jobs = Job.objects.count()
    assert case.machine.begin(case.row, case.verb, actor=case.actor, job=job) == job
    assert Job.objects.count() == jobs
    now = case.now()
    assert getattr(now, "task_job", job.pk) == job.pk


@pytest.mark.parametrize("end", ["complete", "fail"])
def test_another_job_or_another_task_lands_nothing(case: Case, end: str) -> None:
    job = case.begin()
    rows = case.machine.model._default_manager.filter(pk=case.row.pk)
    others: list[dict[str, Any]] = [{"status": "failed"}]
    if case.machine.has_task:
        others = [{"task_job": "job-other"}, {"task": "creating"}]
    for other in others:
        before = columns_of(rows)
        rows.update(**other)
        events = case.events()
        if end == "complete":
            landed = case.machine.complete(case.row, job, case.verb, "destroyed")
        else:
            error = ScloudError("No.", code="no")
            landed = case.machine.fail(case.row, job, case.verb, error, "destroyed")
        assert landed is False, other
        assert columns_of(rows) == {**before, **other}
        assert case.events() == events
        rows.update(**before)


def test_what_changes_right_before_the_landing_is_left_alone(case: Case) -> None:
    job = case.begin()
    rows = case.machine.model._default_manager.filter(pk=case.row.pk)
    other = {"task_job": "job-other"} if case.machine.has_task else {"status": "failed"}
    before, events = columns_of(rows), case.events()
    landing = case.machine.landing

    def slow(row: Any, status: str | None) -> str | None:
        rows.update(**other)
        return landing(row, status)

    with patch.object(case.machine, "landing", slow):
        assert case.machine.complete(case.row, job, case.verb, "destroyed") is False
    assert columns_of(rows) == {**before, **other}
    assert case.events() == events


def test_a_stuck_row_is_landed_unless_it_moved_on(case: Case) -> None:
    case.begin()
    seen = case.now()
    rows = case.machine.model._default_manager.filter(pk=case.row.pk)
    error = ScloudError("It did not end.", code="deadline_exceeded")
    before = columns_of(rows)
    rows.update(status="failed")
    assert not case.machine.land(seen, "failed", error)
    rows.update(**before)
    assert case.machine.land(seen, "failed", error)
    assert (case.now().status, case.now().failure) == ("failed", "It did not end.")
    assert case.events()[-1] == f"{case.machine.table.kind}.landed"


def test_what_takes_effect_at_once_is_compared_too(platform: Platform, actor: Actor) -> None:
    assert actor.tenant is not None
    with scope(tenant=actor.tenant):
        disk = _disk(platform, actor, "unbound")
        case = Case(DISKS, "expire_disk", disk, actor)
        rows = Disk.objects.filter(pk=disk.pk)
        with (
            _meanwhile(case, lambda: rows.update(task="expanding", task_deadline=SOON)),
            pytest.raises(Conflict),
        ):
            DISKS.move(disk, "expire_disk", "expired", actor=actor)
        assert DISKS.fresh(disk).status == "unbound"
        moved = DISKS.move(disk, "expire_disk", "expired", actor=actor)
        assert (moved.status, disk.status) == ("expired", "expired")
        assert case.events() == ["disk.expired"]


@pytest.mark.django_db(transaction=True)
def test_one_disk_is_never_attached_to_two_vms(platform: Platform, actor: Actor) -> None:
    first = make_vm(platform, actor, name="first")
    second = make_vm(platform, actor, name="second")
    tenant = actor.tenant
    assert tenant is not None

    def other_request() -> None:
        try:
            with scope(tenant=tenant):
                disk_verbs.attach_disk(actor=actor, vm=second, disk=Disk.objects.get(pk=disk.pk))
        finally:
            connection.close()

    def faster() -> None:
        with ThreadPoolExecutor(max_workers=1) as pool:
            pool.submit(other_request).result(timeout=30)

    with scope(tenant=tenant):
        disk = _disk(platform, actor, "unbound")
        guard, calls = DISKS.guard, iter([False, True])

        def guarded(row: Disk, verb: str) -> None:
            guard(row, verb)
            # The action's own look is the first; the one right before the write is the second.
            if threading.current_thread() is threading.main_thread() and next(calls):
                faster()

        with patch.object(DISKS, "guard", guarded), pytest.raises(Conflict) as refused:
            disk_verbs.attach_disk(actor=actor, vm=first, disk=disk)
        assert refused.value.code == "disk_state"
        now = DISKS.fresh(disk)
        assert (now.vm_id, now.task) == (second.pk, "attaching")
        attaching = Job.objects.filter(kind="disk.attach")
        assert [job.target_id for job in attaching] == [second.pk]
