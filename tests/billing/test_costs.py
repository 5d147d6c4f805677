"""Sums of days and months are what the charges say, in every zone; the replay sees to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.db.models import Sum

from billing import money, queries, services, sweep
from billing.models import Charge, DayCost, MonthCost, Order
from billing.pricing import Method
from billing.replay import replay
from scloud.tenancy.models import Tenant
from tests.billing.test_replay import tamper

pytestmark = pytest.mark.usefixtures("prices", "scoped")

# Fourteen hours before the first of May in Asia/Shanghai.
SINCE = datetime(2026, 4, 30, 2, tzinfo=UTC)
UNTIL = SINCE + timedelta(days=70)
ZONES = ("Asia/Shanghai", "UTC", "Asia/Kolkata", "Pacific/Kiritimati", "Pacific/Pago_Pago")


@pytest.fixture
def busy(buy: Callable[..., Order], at: Callable[[datetime], None]) -> None:
    """Hours around the end of a month in all zones, months, and what came back."""
    at(SINCE)
    buy("vm-a", "vm-b")
    buy("vm-h", method=Method.HOUR)
    for hours in range(1, 60):
        sweep.run(SINCE + timedelta(hours=hours))
    services.refund_failed("vm-b", "No host answered")
    services.refund_unused("vm-h", SINCE + timedelta(hours=59, minutes=30))
    sweep.run(UNTIL - timedelta(days=1))


def added_up(tenant: Tenant, month: queries.Month) -> dict[tuple[str, str], int]:
    """What the charges of a month say themselves."""
    rows = Charge.objects.filter(
        tenant=tenant, created_at__gte=month.begin, created_at__lt=month.end
    )
    summed = rows.order_by().values_list("resource_kind", "resource_id")
    return {(kind, pk): amount for kind, pk, amount in summed.annotate(Sum("amount_minor"))}


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("zone", ZONES)
def test_months_of_every_zone_are_what_the_charges_say(tenant: Tenant, zone: str) -> None:
    seen = 0
    for days in (0, 2, 35, 65):
        month = queries.month_of(SINCE + timedelta(days=days), ZoneInfo(zone))
        said = added_up(tenant, month)
        kept = queries.spent_by_resource(tenant, month)
        assert {key: amount for key, amount in kept.items() if amount} == {
            key: amount for key, amount in said.items() if amount
        }
        seen += len(said)
        if zone == str(money.zone()):
            assert queries.spent_in(tenant, month) == money.from_minor(sum(said.values()))
    assert seen > 3


@pytest.mark.usefixtures("busy")
def test_what_is_added_up_anew_is_what_was_kept_and_a_wrong_sum_is_found(tenant: Tenant) -> None:
    kept = [sorted(rows()) for rows in (days, months)]
    assert kept[0]
    assert kept[1]
    assert list(replay(tenant, SINCE, UNTIL)) == []
    # As the migration fills the tables of an installation that charged before.
    tamper("DELETE FROM billing_daycost; DELETE FROM billing_monthcost")
    fill = import_module("billing.migrations.0016_costs").FILL
    with connection.cursor() as cursor:
        cursor.execute(fill.format(zone=f"'{money.zone()}'"))
    assert [sorted(rows()) for rows in (days, months)] == kept
    DayCost.objects.filter(day="2026-05-01").update(amount_minor=1)
    MonthCost.objects.filter(resource_id="vm-h", month="2026-05-01").delete()
    found = [(one.where, one.what, one.stored) for one in replay(tenant, SINCE, UNTIL)]
    assert found == [
        ("2026-05-01", "cost of the day", "0.01"),
        ("vm-h 2026-05", "cost of the month", "0.00"),
    ]


def days() -> list[tuple[object, ...]]:
    return list(DayCost.objects.values_list("tenant", "day", "amount_minor"))


def months() -> list[tuple[object, ...]]:
    columns = ("tenant", "month", "resource_kind", "resource_id", "amount_minor")
    return list(MonthCost.objects.values_list(*columns))
