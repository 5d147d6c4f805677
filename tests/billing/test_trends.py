"""What was spent over days and months, and the bars of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace

import pytest
from django.test import Client

from billing import history, queries
from billing.models import Charge
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope
from scloud.web.charts import Bar, bars, spark
from tests.compute.factories import Platform, make_vm

# Already the fifth in the zone of the bills, Asia/Shanghai.
NOW = datetime(2026, 3, 4, 17, tzinfo=UTC)


AMOUNTS = {
    NOW: 300,
    datetime(2026, 2, 28, 16, tzinfo=UTC): 50,
    datetime(2026, 2, 28, 15, 59, tzinfo=UTC): 7,
}


@pytest.fixture
def _charges(
    platform: Platform, actor: Actor, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was charged today, on the first of the month, and at the very end of February."""
    make_vm(platform, actor)
    with scope(tenant=tenant):
        charge = Charge.objects.get()
        for at, amount in AMOUNTS.items():
            charge.pk, charge.created_at, charge.amount_minor = None, at, amount
            charge.save(force_insert=True)
    for module in (queries, history):
        monkeypatch.setattr(module, "timezone", SimpleNamespace(now=lambda: NOW))


@pytest.mark.usefixtures("_charges")
def test_days_and_months_are_those_of_the_bills(tenant: Tenant) -> None:
    with scope(tenant=tenant):
        days = queries.spent_by_day(tenant, 30)
        months = history.by_type(tenant)
    assert {str(day): amount for day, amount in days if amount} == {
        "2026-02-28": Decimal("0.07"),
        "2026-03-01": Decimal("0.50"),
        "2026-03-05": Decimal("3.00"),
    }
    assert (len(days), len(months.periods), str(months.periods[0])) == (30, 12, "2025-04-01")
    (line,) = months.lines
    assert list(line.values[-2:]) == [Decimal("0.07"), Decimal("3.50")]


@pytest.mark.usefixtures("_charges")
def test_the_dashboard_has_bars_and_a_table(console: Client) -> None:
    page = console.get("/").content.decode()
    assert page.count("<rect") >= 30
    assert "Cost per day, last 30 days" in page
    assert re.search(r'<th scope="row" class="tabular">2026-03-05</th>', page)


def test_nothing_spent_is_no_bars(console: Client) -> None:
    assert "Cost per day" not in console.get("/").content.decode()


def test_refunds_point_down() -> None:
    drawn = bars("Cost", [Bar("a", Decimal(30)), Bar("b", Decimal(-10))], str)
    places = re.findall(r'y="([0-9.]+)" width="8" height="([0-9.]+)"', drawn)
    assert places == [("0.00", "75.00"), ("75.00", "25.00")]
    assert "<title>b: -10</title>" in drawn
    assert "M0 75.00" in drawn


def test_a_line_is_broken_where_nothing_was_measured() -> None:
    path = re.search(r'd="([^"]+)"', spark([0.0, 1.0, None, 2.0], top=1.0))
    assert path is not None
    assert path[1] == "M0 13.0h0L1 1.0M3 1.0h0"
