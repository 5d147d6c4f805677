"""The operators' front page says whether everything is all right, and if not, what is not."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alarms.models import PlatformAlarm
from billing.models import (
    Account,
    QuotaRequest,
    QuotaRequestStatus,
    ReplayRun,
    TopUp,
)
from compute.models import Drift
from scloud.jobs import health
from scloud.jobs.models import Heartbeat, WorkerHost
from scloud.jobs.periodic import Lane
from scloud.recovery.models import SweepFreeze
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scopes_disabled


@pytest.fixture
def everybody(db: None) -> None:
    """Worker and sweeper go round."""
    health.beat(Lane.WAKE_UPS)
    WorkerHost.objects.create(name="one", kinds=[], seen_at=timezone.now())


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root@platform.test", "a long secret 9")


@pytest.fixture
def told(root: User) -> Callable[[], list[tuple[str, str, str]]]:
    """Return a function that reads the front page: (urgency, text, where it leads) of each line."""
    client = Client()
    client.force_login(root)

    def read() -> list[tuple[str, str, str]]:
        html = client.get(reverse("admin:index")).content.decode()
        part = html.split('class="module scloud-matters"')[1].split("</section>")[0]
        heading = " ".join(re.findall(r"<h2[^>]*>(.*?)</h2>", part, re.DOTALL)[0].split())
        line = r'<span class="scloud-urgency">(.*?)</span>\s*<a href="(.*?)">(.*?)</a>'
        lines = re.findall(line, part, re.DOTALL)
        for _urgency, url, _text in lines:
            assert client.get(url.replace("&amp;", "&")).status_code == 200, url
        return [(heading, "", ""), *((urgency, text, url) for urgency, url, text in lines)]

    return read


Told = Callable[[], list[tuple[str, str, str]]]


def test_nothing_is_wrong(everybody: None, told: Told) -> None:
    assert told() == [("Everything is all right", "", "")]


def test_processes_that_are_gone_come_first(everybody: None, told: Told) -> None:
    Drift.objects.create(kind="missing", place="h1", resource_id="vm-000000001", detail="gone")
    long_ago = timezone.now() - timedelta(minutes=5)
    WorkerHost.objects.update(seen_at=long_ago)
    Heartbeat.objects.update(seen_at=long_ago)
    heading, *lines = told()
    assert heading[0] == "3 things need attention"
    assert [(urgency, text) for urgency, text, _url in lines] == [
        ("Critical", "No worker was seen lately. Nothing is carried out."),
        ("Critical", "No sweeper was seen lately. Nothing is repaired."),
        ("Warning", "1 difference between the database and the hosts"),
    ]


def test_a_restore_is_told_until_it_is_released(everybody: None, told: Told) -> None:
    row = SweepFreeze.objects.create(reason="the database was restored from a backup")
    assert [line[0] for line in told()] == ["1 thing needs attention", "Warning"]
    SweepFreeze.objects.filter(pk=row.pk).update(released_at=timezone.now())
    assert len(told()) == 1


def test_open_alarms_stand_there_until_somebody_takes_care(everybody: None, told: Told) -> None:
    now = timezone.now()
    for severity, subject, opened in (
        ("warning", "pool-1", now),
        ("critical", "h1", now),
        ("critical", "not yet", None),
    ):
        PlatformAlarm.objects.create(
            condition="host_silent",
            subject=subject,
            severity=severity,
            text=f"About {subject}.",
            first_seen_at=now,
            last_seen_at=now,
            opened_at=opened,
        )
    assert [line[:2] for line in told()[1:]] == [
        ("Critical", "About h1."),
        ("Warning", "About pool-1."),
    ]
    PlatformAlarm.objects.filter(subject="h1").update(acknowledged_at=now, acknowledged_by="root")
    PlatformAlarm.objects.filter(subject="pool-1").update(recovered_at=now)
    assert len(told()) == 1


def test_books_that_differ_are_critical_and_decisions_are_no_fault(
    everybody: None, told: Told, tenant: Tenant, region: Region, root: User
) -> None:
    end = timezone.now() - timedelta(hours=1)
    with scopes_disabled():
        QuotaRequest.objects.create(
            tenant=tenant,
            region=region,
            item="vms",
            limit_before=1,
            limit_wanted=5,
            status=QuotaRequestStatus.PENDING,
            requested_by="a@tenant.test",
        )
        Account.objects.get_or_create(tenant=tenant)
        for number in range(2):
            TopUp.objects.create(
                tenant=tenant, amount_minor=100, entered_by=root, idempotency_key=f"k{number}"
            )
    heading, *lines = told()
    assert heading[0] == "Everything is all right"
    assert [line[:2] for line in lines] == [
        ("To decide", "2 top-ups"),
        ("To decide", "1 request for a higher quota"),
    ]
    ReplayRun.objects.create(begin=end - timedelta(days=1), end=end, finished_at=end, differences=2)
    heading, *lines = told()
    assert heading[0] == "1 thing needs attention"
    assert lines[0][:2] == (
        "Critical",
        "2 figures of the books differ from what was computed again",
    )
    old = end - timedelta(days=3)
    ReplayRun.objects.update(begin=old - timedelta(days=1), end=old, differences=0)
    assert told()[1][:2] == ("Warning", "The charges of the last night were not computed again.")
