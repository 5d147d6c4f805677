"""A failed job that somebody has seen is told of no more, until it fails again."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from scloud.audit.models import Operation
from scloud.jobs import runner, sweep
from scloud.jobs.actions import acknowledge_job, cancel_job, retry_job
from scloud.jobs.handlers import Context
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scopes_disabled
from tests.jobs.conftest import Script, ago, change, fresh

Enqueue = Callable[..., Job]
FAILED: dict[str, Any] = {"status": "failed", "error_code": "host_error"}


@pytest.fixture
def root(db: None) -> User:
    """A platform administrator."""
    return User.objects.create_superuser("root@platform.test", "a long secret 9")


@pytest.fixture
def operator(root: User) -> Actor:
    return Actor.administrator(root, None)


@pytest.fixture
def browser(root: User) -> Client:
    """The administration, signed in."""
    client = Client()
    client.force_login(root)
    return client


def test_a_failure_is_acknowledged_once(enqueue: Enqueue, operator: Actor) -> None:
    job = enqueue()
    change(job, **FAILED, finished_at=timezone.now())
    before = timezone.now()
    acknowledge_job(actor=operator, job=job)
    row = fresh(job)
    assert row.acknowledged_at is not None
    assert row.acknowledged_at >= before
    assert row.acknowledged_by == operator.label
    other = User.objects.create_superuser("other@platform.test", "a long secret 9")
    with pytest.raises(Conflict) as refusal:
        acknowledge_job(actor=Actor.administrator(other, None), job=job)
    assert refusal.value.code == "job_acknowledged"
    assert operator.label in refusal.value.message
    assert fresh(job).acknowledged_by == operator.label


@pytest.mark.parametrize("status", ["queued", "running", "succeeded", "cancelled"])
def test_only_failures_are_acknowledged(enqueue: Enqueue, operator: Actor, status: str) -> None:
    job = enqueue()
    change(job, status=status)
    with pytest.raises(Conflict) as refusal:
        acknowledge_job(actor=operator, job=job)
    assert refusal.value.code == "job_not_failed"
    assert refusal.value.numbers == {"status": status}
    assert fresh(job).acknowledged_at is None


def test_one_that_is_tried_again_is_told_of_anew(enqueue: Enqueue, operator: Actor) -> None:
    job = enqueue()
    change(job, **FAILED)
    acknowledge_job(actor=operator, job=job)
    retry_job(actor=operator, job=job)
    row = fresh(job)
    assert (row.status, row.acknowledged_at, row.acknowledged_by) == ("queued", None, "")


@pytest.mark.parametrize("by", ["worker", "sweep"])
def test_one_that_an_earlier_release_tried_again_is_told_of_anew(
    enqueue: Enqueue, script: Script, operator: Actor, by: str
) -> None:
    job = enqueue()
    change(job, **FAILED)
    acknowledge_job(actor=operator, job=job)
    # It does not know who has seen the failure, and leaves it as it is.
    change(job, status="queued", error_code="")
    if by == "worker":
        script.works["first"] = refuse
        assert runner.run(job.id) == "failed"
    else:
        change(job, deadline=ago(1))
        assert sweep.end_overdue() == 1
    row = fresh(job)
    assert (row.status, row.acknowledged_at, row.acknowledged_by) == ("failed", None, "")
    acknowledge_job(actor=operator, job=job)
    assert fresh(job).acknowledged_by == operator.label


def refuse(_context: Context) -> None:
    raise ScloudError("No.", code="no")


def test_who_cancels_a_job_knows_of_it(enqueue: Enqueue, operator: Actor) -> None:
    job = enqueue()
    cancel_job(actor=operator, job=job)
    row = fresh(job)
    assert (row.status, row.error_code) == ("failed", "cancelled")
    assert row.acknowledged_by == operator.label


def test_operators_acknowledge_several_at_once_and_the_front_page_counts_the_rest(
    enqueue: Enqueue, browser: Client
) -> None:
    jobs = [enqueue(target_id=f"vm-00000000{number}") for number in range(3)]
    for job in jobs:
        change(job, **FAILED, finished_at=timezone.now())
    front = reverse("admin:index")
    assert "3 failed jobs that nobody has acknowledged" in browser.get(front).content.decode()
    listed = reverse("admin:jobs_job_changelist")
    browser.post(
        listed,
        {"action": "acknowledge", "_selected_action": [jobs[0].pk, jobs[1].pk]},
    )
    assert [fresh(job).acknowledged_at is not None for job in jobs] == [True, True, False]
    html = browser.get(front).content.decode()
    assert "1 failed job that nobody has acknowledged" in html
    link = "?status__exact=failed&amp;acknowledged_at__isempty=1"
    assert link in html
    rest = browser.get(listed, {"status__exact": "failed", "acknowledged_at__isempty": "1"})
    shown = rest.context["cl"].result_list
    assert [row.pk for row in shown] == [jobs[2].pk]
    with scopes_disabled():
        told = Operation.objects.filter(verb="platform.acknowledge_job", succeeded=True)
        assert len(told) == 2
        assert {jobs[0].pk, jobs[1].pk} == {row.resources[0]["id"] for row in told}
    page = browser.get(reverse("admin:jobs_job_change", args=[jobs[0].pk])).content.decode()
    assert "has acknowledged it already." in page
