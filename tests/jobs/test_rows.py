"""How sweeps go through rows."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from types import SimpleNamespace

import pytest
from django.db import IntegrityError, OperationalError
from django.utils import timezone

from scloud.jobs import sweep
from scloud.jobs.models import Job
from scloud.jobs.rows import Rota, each
from scloud.lib.errors import ScloudError
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled

pytestmark = pytest.mark.django_db


def tenants(count: int) -> list[Tenant]:
    return [Tenant.objects.create(name=f"Tenant {number}") for number in range(count)]


@pytest.mark.parametrize("error", [RuntimeError("x"), IntegrityError("x"), ValueError("x")])
def test_an_error_of_one_row_harms_that_row(error: Exception) -> None:
    rows = tenants(3)
    seen = []

    def run(row: Tenant) -> None:
        seen.append(row)
        if row == rows[0]:
            raise error

    assert each(rows, run, "a test") == rows[1:]
    assert seen == rows


def test_an_error_of_a_row_is_told_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    rows = tenants(2)

    def run(row: Tenant, error: str) -> None:
        if row == rows[0]:
            raise RuntimeError(error)

    for error in ("first", "first", "first", "second"):
        each(rows, partial(run, error=error), "a test that tells")
    told = [one.getMessage() for one in caplog.records if "failed" in one.getMessage()]
    assert told == [f"a test that tells: {rows[0].pk} failed"] * 2


def test_a_database_that_is_away_ends_the_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = tenants(2)
    seen = []

    def run(row: Tenant) -> None:
        seen.append(row)
        raise OperationalError("server closed the connection unexpectedly")

    away = SimpleNamespace(in_atomic_block=False, is_usable=lambda: False)
    monkeypatch.setattr("scloud.jobs.rows.connection", away)
    with pytest.raises(OperationalError):
        each(rows, run, "a test")
    assert seen == rows[:1]


def test_every_row_has_its_turn_whatever_becomes_of_the_others() -> None:
    Tenant.objects.all().delete()
    rows = tenants(5)
    rota = Rota("created_at", 2)
    turns = [rota.take(Tenant.objects.all()) for _ in range(5)]
    assert [len(batch) for batch in turns] == [2] * 5
    assert [row for batch in turns for row in batch] == rows + rows


def test_no_row_is_taken_twice_in_one_batch() -> None:
    Tenant.objects.all().delete()
    rows = tenants(3)
    rota = Rota("created_at", 10)
    assert rota.take(Tenant.objects.all()) == rows
    assert rota.take(Tenant.objects.all()) == rows
    assert rota.take(Tenant.objects.none()) == []


def test_a_job_that_cannot_be_ended_keeps_no_other_from_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = timezone.now()
    jobs = [
        Job.objects.create(
            kind="test.overdue",
            title=f"Job {number}",
            target_kind="x",
            target_id=f"x-{number}",
            max_attempts=1,
            deadline=now - timedelta(minutes=10 - number),
        )
        for number in range(2)
    ]
    ended = []

    def end(job: Job, error: ScloudError) -> bool:
        if job == jobs[0]:
            raise RuntimeError("of this job alone")
        ended.append(job)
        return True

    monkeypatch.setattr(sweep, "registered_kinds", lambda: ["test.overdue"])
    monkeypatch.setattr(sweep, "end_now", end)
    with scopes_disabled():
        sweep.end_overdue()
    assert ended == [jobs[1]]
