"""What operators announce stands in the console: in its region and time, until it is closed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from scloud.audit.models import Operation
from scloud.resources.models import Announcement, Region
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scopes_disabled

HOUR = timedelta(hours=1)


def announce(text: str, **values: Any) -> Announcement:
    """Announce something now, for an hour."""
    now = timezone.now()
    times = {"shown_from": now - HOUR, "shown_until": now + HOUR}
    return Announcement.objects.create(text=text, **{**times, **values})


def page(console: Client) -> str:
    return console.get("/tasks/").content.decode()


def test_it_is_shown_in_its_time(console: Client, region: Region) -> None:
    now = timezone.now()
    announce("Now & here")
    announce("Not yet", shown_from=now + HOUR / 2)
    announce("Over", shown_from=now - 2 * HOUR, shown_until=now - HOUR)
    html = page(console)
    assert "Now &amp; here" in html
    assert "Not yet" not in html
    assert ">Over<" not in html


def test_it_is_shown_in_its_region(console: Client, region: Region) -> None:
    other = Region.objects.create(id="elsewhere", name="Elsewhere", position=9)
    announce("Only elsewhere", region=other)
    announce("Only here", region=region)
    announce("Everywhere")
    html = page(console)
    assert "Only here" in html
    assert "Everywhere" in html
    assert "Only elsewhere" not in html
    console.cookies["scloud_region"] = other.pk
    html = page(console)
    assert "Only elsewhere" in html
    assert "Only here" not in html


def test_trouble_comes_first_and_planned_work_says_when(
    console: Client, user: User, region: Region
) -> None:
    begins = timezone.now().replace(hour=16, minute=5)
    announce("News of the day")
    announce("The storage is slow", level=3)
    announce("Work on hosts", level=2, work_begins=begins, work_ends=begins + HOUR)
    User.objects.filter(pk=user.pk).update(time_zone="Asia/Shanghai")
    html = page(console)
    places = [html.index(text) for text in ("The storage", "Work on hosts", "News of")]
    assert places == sorted(places)
    said = f"From {begins + 8 * HOUR:%Y-%m-%d %H:%M} until {begins + 9 * HOUR:%Y-%m-%d %H:%M} CST."
    assert said in html


def test_it_costs_no_query(console: Client, region: Region) -> None:
    page(console)
    with CaptureQueriesContext(connection) as without:
        page(console)
    for number in range(9):
        announce(f"Number {number}")
    with CaptureQueriesContext(connection) as many:
        html = page(console)
    assert len(many) == len(without)
    assert html.count('class="note note-info announcement"') == 5


def test_each_reader_closes_it(console: Client, region: Region) -> None:
    row, firm = announce("Close me"), announce("Stays open", dismissible=False)
    url = reverse("announcement-close")
    sent = {"announcement": str(row.pk), "next": "/tasks/"}
    assert console.get(url).status_code == 405
    answer = console.post(url, sent)
    assert answer.headers["Location"] == "/tasks/"
    console.post(url, {"announcement": str(firm.pk)})
    html = page(console)
    assert "Close me" not in html
    assert "Stays open" in html
    for odd in ("", "x", "-1", "9" * 40, "٣"):
        assert console.post(url, {"announcement": odd}).status_code == 302
    for number in range(200):
        console.post(url, {"announcement": str(10_000 + number)})
    assert len(console.cookies["scloud_closed"].value) < 400
    strict = Client(enforce_csrf_checks=True)
    assert strict.post(url, sent).status_code == 403


def test_it_cannot_lead_away(console: Client, region: Region) -> None:
    sent = {"announcement": "1", "next": "https://elsewhere.test/"}
    answer = console.post(reverse("announcement-close"), sent)
    assert "elsewhere" not in answer.headers["Location"]


def test_nothing_is_shown_before_people_sign_in(region: Region) -> None:
    announce("For those who are in")
    assert "For those" not in Client().get("/login/").content.decode()


@pytest.fixture
def operations(db: None) -> Client:
    client = Client()
    client.force_login(
        User.objects.create_user("o@platform.test", "x", is_staff=True, staff_role="operations")
    )
    return client


def sent(**values: str) -> dict[str, str]:
    return {
        "text": "Work tonight",
        "level": "2",
        "shown_from_0": "2030-01-01",
        "shown_from_1": "10:00",
        "shown_until_0": "2030-01-02",
        "shown_until_1": "10:00",
        **values,
    }


def test_operators_announce_and_it_is_in_the_log(operations: Client) -> None:
    url = reverse("admin:resources_announcement_add")
    assert operations.post(url, sent()).status_code == 302
    row = Announcement.objects.get()
    assert (row.text, row.level, row.region) == ("Work tonight", 2, None)
    operations.post(reverse("admin:resources_announcement_delete", args=[row.pk]), {"post": "yes"})
    assert not Announcement.objects.exists()
    with scopes_disabled():
        log = Operation.objects.filter(verb="platform.announce").order_by("id")
        assert [(one.after or one.before) for one in log] == [{"text": "Work tonight"}] * 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"shown_until_0": "2029-01-01"}, "It must end after it begins."),
        ({"work_ends_0": "2030-01-01", "work_ends_1": "11:00"}, "Say when the work begins."),
        (
            {
                "work_begins_0": "2030-01-01",
                "work_begins_1": "11:00",
                "work_ends_0": "2030-01-01",
                "work_ends_1": "10:59",
            },
            "The work must end after it begins.",
        ),
    ],
)
def test_times_that_make_no_sense_are_refused(
    operations: Client, values: dict[str, str], said: str
) -> None:
    html = operations.post(reverse("admin:resources_announcement_add"), sent(**values))
    assert said in html.content.decode()
    assert not Announcement.objects.exists()


def test_the_database_refuses_them_too(db: None) -> None:
    with pytest.raises(IntegrityError):
        announce("Never", shown_until=timezone.now() - 2 * HOUR)


def test_finance_cannot_announce(db: None) -> None:
    client = Client()
    client.force_login(
        User.objects.create_user("f@platform.test", "x", is_staff=True, staff_role="finance")
    )
    assert client.post(reverse("admin:resources_announcement_add"), sent()).status_code == 403
