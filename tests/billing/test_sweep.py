"""Time passes: renewals, expiry, and the late."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from billing import hooks, services, sweep
from billing.hooks import SubscriptionHooks
from billing.models import Order, PriceList, Subscription
from billing.pricing import Method
from scloud.audit.models import Event
from scloud.lib.errors import Conflict
from scloud.tenancy.models import Tenant
from tests.billing.helpers import balances, fund

pytestmark = pytest.mark.usefixtures("prices", "scoped")

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the hooks of VMs were told."""
    calls: list[tuple[str, str]] = []
    monkeypatch.setattr(hooks, "_hooks", {})
    hooks.register(
        "vm",
        SubscriptionHooks(
            expired=lambda tenant, id_: calls.append(("expired", id_)),
            renewed=lambda tenant, id_: calls.append(("renewed", id_)),
            overdue=lambda tenant, id_: calls.append(("overdue", id_)),
        ),
    )
    return calls


@pytest.fixture
def hourly(buy: Callable[..., Order], at: Callable[[datetime], None]) -> Callable[[str], None]:
    """A function that buys vm-a for one hour at noon (0.24) with some money in the account."""

    def run(cash: str) -> None:
        at(NOON)
        buy("vm-a", method=Method.HOUR, cash=cash)

    return run


def subscription() -> Subscription:
    return Subscription.objects.get(resource_id="vm-a")


def test_what_is_not_due_is_left_alone(hourly: Callable[[str], None]) -> None:
    hourly("1")
    assert sweep.run(NOON + HOUR - timedelta(seconds=1)) == sweep.SweepReport()


def test_what_is_due_is_renewed_for_one_period(
    hourly: Callable[[str], None], tenant: Tenant, heard: list[tuple[str, str]]
) -> None:
    hourly("1")
    report = sweep.run(NOON + HOUR)
    assert (report.renewed, report.expired) == (["vm-a"], [])
    assert subscription().paid_until == NOON + 2 * HOUR
    assert balances(tenant) == (52, 0)
    assert sweep.run(NOON + HOUR) == sweep.SweepReport()
    assert heard == []


def test_a_platform_that_stood_still_catches_up(
    hourly: Callable[[str], None], tenant: Tenant
) -> None:
    hourly("2")
    assert sweep.run(NOON + 4 * HOUR + timedelta(minutes=1)).renewed == ["vm-a"]
    assert subscription().paid_until == NOON + 5 * HOUR
    assert balances(tenant) == (200 - 5 * 24, 0)


def test_without_money_it_expires_and_its_owner_hears_once(
    hourly: Callable[[str], None], heard: list[tuple[str, str]]
) -> None:
    hourly("0.47")
    report = sweep.run(NOON + HOUR)
    assert (report.renewed, report.expired) == ([], ["vm-a"])
    assert (subscription().status, subscription().expired_at) == ("expired", NOON + HOUR)
    sweep.run(NOON + 2 * HOUR)
    assert heard == [("expired", "vm-a")]
    assert Event.objects.filter(kind="billing.expired", resource_id="vm-a").count() == 1


@pytest.mark.parametrize("change", [{"auto_renew": False}, {"in_bin": True}])
def test_what_does_not_renew_by_itself_expires(
    hourly: Callable[[str], None], tenant: Tenant, change: dict[str, bool]
) -> None:
    hourly("10")
    Subscription.objects.update(**change)
    assert sweep.run(NOON + HOUR).expired == ["vm-a"]
    assert balances(tenant) == (976, 0)


def test_after_the_grace_it_is_handed_over_once(
    hourly: Callable[[str], None], heard: list[tuple[str, str]]
) -> None:
    hourly("0.24")
    sweep.run(NOON + HOUR)
    week = NOON + HOUR + timedelta(days=7)
    assert sweep.run(week - timedelta(seconds=1)).overdue == []
    assert sweep.run(week).overdue == ["vm-a"]
    assert sweep.run(week).overdue == []
    assert heard == [("expired", "vm-a"), ("overdue", "vm-a")]


def test_what_was_renewed_in_the_meantime_is_neither_expired_nor_handed_over(
    hourly: Callable[[str], None], tenant: Tenant
) -> None:
    hourly("1")
    call = {"tenant": tenant, "resource_id": "vm-a", "now": NOON}
    assert services.expire_due(**call) is False  # type: ignore[arg-type]  # keywords under test
    assert services.mark_overdue(**call, expired_before=NOON) is False  # type: ignore[arg-type]  # keywords under test
    assert services.renew_due(**call) is None  # type: ignore[arg-type]  # keywords under test


def test_a_hook_that_fails_undoes_the_expiry_and_is_called_again(
    hourly: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    hourly("0.24")
    monkeypatch.setattr(hooks, "_hooks", {})

    def fail(tenant: Tenant, resource_id: str) -> None:
        raise RuntimeError("boom")

    hooks.register("vm", SubscriptionHooks(expired=fail))
    assert sweep.run(NOON + HOUR).failed == ["vm-a"]
    assert subscription().status == "active"
    hooks.register("vm", SubscriptionHooks())
    assert sweep.run(NOON + HOUR).expired == ["vm-a"]


def test_a_late_one_whose_hook_fails_is_handed_over_again(
    hourly: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    hourly("0.24")
    sweep.run(NOON + HOUR)
    monkeypatch.setattr(hooks, "_hooks", {})

    def fail(tenant: Tenant, resource_id: str) -> None:
        raise RuntimeError("boom")

    hooks.register("vm", SubscriptionHooks(overdue=fail))
    week = NOON + HOUR + timedelta(days=7)
    assert sweep.run(week).failed == ["vm-a"]
    assert subscription().overdue_at is None


def test_a_region_that_lost_its_prices_keeps_its_resources(
    hourly: Callable[[str], None], prices: PriceList, monkeypatch: pytest.MonkeyPatch
) -> None:
    hourly("10")

    def gone(*_args: object) -> None:
        raise Conflict("no prices", code="no_price_list")

    monkeypatch.setattr("billing.catalog.price_list_at", gone)
    report = sweep.run(NOON + HOUR)
    assert (report.failed, report.expired) == (["vm-a"], [])
    assert subscription().status == "active"


def test_an_expired_one_that_gets_money_must_be_renewed_by_hand(
    hourly: Callable[[str], None], tenant: Tenant
) -> None:
    hourly("0.24")
    sweep.run(NOON + HOUR)
    fund(tenant, cash="10")
    assert sweep.run(NOON + 2 * HOUR) == sweep.SweepReport()
