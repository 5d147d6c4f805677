"""The charts of costs: by resource, type, tag and day, and their numbers in JSON."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing import history
from billing.models import DayCost, MonthCost
from compute.models import VM
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope
from tests.compute.factories import Platform, make_vm

Months = list[date]


@pytest.fixture
def months(tenant: Tenant) -> Months:
    """The last months, in which nothing was charged yet."""
    with scope(tenant=tenant):
        MonthCost.objects.all().delete()
        DayCost.objects.all().delete()
    return history.months_until_now()


def charge(tenant: Tenant, month: date, kind: str, resource_id: str, minor: int) -> None:
    with scope(tenant=tenant):
        MonthCost.objects.create(
            tenant=tenant,
            month=month,
            resource_kind=kind,
            resource_id=resource_id,
            amount_minor=minor,
        )


def asked(console: Client, **query: str) -> Any:
    answer = console.get(reverse("billing-history"), query)
    assert answer.status_code == 200, answer.content.decode()
    return answer.json()


@pytest.fixture
def vm(platform: Platform, actor: Actor) -> VM:
    """A VM with two tags."""
    vm = make_vm(platform, actor, name="web")
    with scope(tenant=vm.tenant):
        VM.objects.filter(pk=vm.pk).update(tags=["shop", "live"])
    return vm


def test_the_last_months_end_with_this_one_and_follow_each_other(months: Months) -> None:
    assert len(months) == 12
    assert all(month.day == 1 for month in months)
    for earlier, later in pairwise(months):
        assert (earlier + timedelta(days=31)).replace(day=1) == later


def test_the_most_expensive_resources_have_lines_and_the_rest_one(
    tenant: Tenant, vm: VM, months: Months, console: Client
) -> None:
    with scope(tenant=tenant):
        MonthCost.objects.all().delete()
    charge(tenant, months[-1], "vm", vm.pk, 9000)
    charge(tenant, months[-2], "vm", vm.pk, 1000)
    for number in range(6):
        charge(tenant, months[-1], "disk", f"disk-{number}", 100 + number)
    # Longer ago than is looked back.
    charge(tenant, (months[0] - timedelta(days=1)).replace(day=1), "vm", vm.pk, 5_000_000)
    found = asked(console, by="resource")
    assert [line["label"] for line in found["lines"]] == [
        "web",
        "disk-5",
        "disk-4",
        "disk-3",
        "disk-2",
        "Others",
    ]
    assert found["periods"] == [f"{month:%Y-%m}" for month in months]
    assert found["lines"][0]["values"][-2:] == [10.0, 90.0]
    assert found["lines"][0]["values"][:-2] == [0.0] * 10
    assert found["lines"][0]["texts"][-1].endswith("90.00")
    assert found["lines"][0]["total"].endswith("100.00")
    assert found["lines"][-1]["values"][-1] == 2.01


def test_types_add_up_and_have_their_words(tenant: Tenant, months: Months, console: Client) -> None:
    for number in range(3):
        charge(tenant, months[-1], "disk", f"disk-{number}", 100)
    charge(tenant, months[-1], "vm", "vm-1", 50)
    found = asked(console, by="type")
    assert [(line["label"], line["values"][-1]) for line in found["lines"]] == [
        ("Disk", 3.0),
        ("VM", 0.5),
    ]
    assert not found["overlaps"]


def test_a_resource_counts_under_each_of_its_tags(
    tenant: Tenant, vm: VM, months: Months, console: Client
) -> None:
    with scope(tenant=tenant):
        MonthCost.objects.all().delete()
    charge(tenant, months[-1], "vm", vm.pk, 700)
    charge(tenant, months[-1], "vm", "vm-without", 100)
    found = asked(console, by="tag")
    assert [(line["label"], line["values"][-1]) for line in found["lines"]] == [
        ("live", 7.0),
        ("shop", 7.0),
    ]
    assert found["overlaps"]


def test_days_are_those_of_the_month_up_to_today(
    tenant: Tenant, months: Months, console: Client
) -> None:
    with scope(tenant=tenant):
        DayCost.objects.create(tenant=tenant, day=months[-2], amount_minor=123)
        DayCost.objects.create(tenant=tenant, day=months[-1], amount_minor=-50)
    found = asked(console, by="day", month=f"{months[-2]:%Y-%m}")
    assert found["periods"][0] == f"{months[-2]:%Y-%m-01}"
    assert len(found["periods"]) == (months[-1] - months[-2]).days
    assert found["lines"][0]["values"][0] == 1.23
    # This month, where none is named; it is not over yet.
    now = asked(console, by="day")
    assert now["periods"][0] == f"{months[-1]:%Y-%m-01}"
    assert now["lines"][0]["values"][0] == -0.5
    with scope(tenant=tenant):
        found_days = history.by_day(tenant, months[-1])
    assert found_days.lines[0].total == Decimal("-0.50")


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ({"by": "host"}, "cost_chart", "by"),
        ({"by": "day", "month": "1999-01"}, "cost_month", "month"),
        ({"by": "day", "month": "x" * 5000}, "cost_month", "month"),
    ],
)
def test_what_is_not_offered_is_refused(
    console: Client, query: dict[str, str], code: str, field: str
) -> None:
    answer = console.get(reverse("billing-history"), query)
    assert answer.status_code == 400
    assert (answer.json()["code"], answer.json()["field"]) == (code, field)


def test_nothing_charged_is_no_line(months: Months, console: Client) -> None:
    for way in ("resource", "type", "tag", "day"):
        assert asked(console, by=way)["lines"] == []


def test_the_page_offers_every_way_and_every_month(months: Months, console: Client) -> None:
    page = console.get(reverse("billing")).content.decode()
    for way in ("resource", "type", "tag", "day"):
        assert f'data-costs-by="{way}"' in page
    for month in months:
        assert f'<option value="{month:%Y-%m}">' in page
