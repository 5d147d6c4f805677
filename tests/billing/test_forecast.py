"""What the month will cost, and the examples in the docstrings."""

import doctest
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import ModuleType

import pytest
from django.utils import timezone

from billing import orders, pricelists, queries
from billing.models import Order, Price, PriceList, Subscription
from billing.pricing import Method
from scloud.tenancy.models import Tenant

pytestmark = pytest.mark.usefixtures("scoped")


@pytest.mark.parametrize("module", [orders, pricelists])
def test_the_examples_are_true(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_a_month_begins_at_midnight_of_the_billing_zone() -> None:
    # 20:00 UTC on the last of October is already November in Shanghai.
    month = queries.month_of(datetime(2026, 10, 31, 20, tzinfo=UTC))
    assert month.begin == datetime(2026, 10, 31, 16, tzinfo=UTC)
    assert month.end == datetime(2026, 11, 30, 16, tzinfo=UTC)


def test_the_forecast_counts_the_hours_that_will_be_renewed(
    buy: Callable[..., Order], tenant: Tenant, at: Callable[[datetime], None]
) -> None:
    at(datetime(2026, 11, 30, 6, tzinfo=UTC))  # ten hours before the month ends
    buy("vm-a", method=Method.HOUR, periods=2)
    buy("vm-b", method=Method.MONTH)
    found = queries.overview(tenant)
    assert found.spent == Decimal("120.48")
    assert found.forecast == Decimal("120.48") + 8 * Decimal("0.24")
    Subscription.objects.update(auto_renew=False)
    assert queries.overview(tenant).forecast == Decimal("120.48")


def test_what_has_no_price_any_more_counts_as_nothing(
    buy: Callable[..., Order], tenant: Tenant, prices: PriceList, at: Callable[[datetime], None]
) -> None:
    at(datetime(2026, 11, 30, 6, tzinfo=UTC))
    buy("vm-a", method=Method.HOUR)
    fewer = pricelists.draft(prices.region, {("gpu:T4", Method.HOUR): Decimal(4)})
    pricelists.publish(fewer)
    assert Price.objects.filter(price_list=fewer).count() == 1
    assert queries.due_until(tenant, queries.month_of(timezone.now()).end, timezone.now()) == 0


def test_expiring_resources_are_counted(buy: Callable[..., Order], tenant: Tenant) -> None:
    buy("vm-a")
    buy("vm-b", method=Method.HOUR)
    assert queries.expiring_soon(tenant) == 0
    Subscription.objects.filter(resource_id="vm-a").update(
        auto_renew=False, paid_until=timezone.now() + timedelta(days=3)
    )
    assert queries.expiring_soon(tenant) == 1
    Subscription.objects.filter(resource_id="vm-b").update(status="expired")
    assert queries.expiring_soon(tenant) == 2
