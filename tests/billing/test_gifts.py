"""Gifts with a last day: spent first, given back to where they came from, taken back once."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from billing import ledger, queries, services, sweep
from billing.models import GiftLot, GiftMove, LedgerTransaction, Order
from billing.replay import replay
from billing.services import QuoteItem
from billing.topping_up import enter_top_up
from scloud.audit.models import Event
from scloud.lib.errors import InsufficientBalance
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope
from tests.billing.helpers import balances, fund

MAY = datetime(2026, 4, 30, 16, tzinfo=UTC)  # the first of May in Shanghai
TENTH = date(2026, 5, 10)
LAPSED = datetime(2026, 5, 10, 16, tzinfo=UTC)
VCPU = [QuoteItem("vcpu", 1)]  # 30.00 a month


@pytest.fixture
def give(tenant: Tenant) -> Callable[..., None]:
    """A function that gives the tenant a gift with a last day."""
    root = User.objects.create_superuser("root@platform.test", "x")

    def run(amount: int, until: date | None) -> None:
        enter_top_up(
            actor=Actor.administrator(root, tenant),
            amount=Decimal(amount),
            gift=True,
            valid_until=until,
        )

    return run


def left() -> list[int]:
    return list(GiftLot.objects.order_by("expires_at").values_list("left_minor", flat=True))


@pytest.mark.usefixtures("scoped")
def test_the_life_of_gifts(
    give: Callable[..., None],
    buy: Callable[..., Order],
    at: Callable[[datetime], None],
    tenant: Tenant,
) -> None:
    at(MAY)
    give(20, date(2026, 5, 20))
    give(50, TENTH)
    fund(tenant, gift="15")
    assert balances(tenant) == (0, 8500)
    assert queries.gifts(tenant.pk, MAY) == [
        (Decimal("50.00"), LAPSED),
        (Decimal("20.00"), LAPSED + timedelta(days=10)),
    ]
    # The one that expires first is spent first, what never expires last.
    buy("vm-a", "vm-b", items=VCPU, cash="0")
    assert (balances(tenant), left()) == ((0, 2500), [0, 1000])
    # Back to the one that lasts longest, then to the other; never more than came from each.
    services.refund_failed("vm-a", "No host answered")
    assert (balances(tenant), left()) == ((0, 5500), [2000, 2000])
    at(LAPSED - timedelta(seconds=1))
    assert sweep.run(LAPSED - timedelta(seconds=1)).gifts == []
    # From its last instant on nobody pays with it, whether the sweep has come or not.
    at(LAPSED)
    with pytest.raises(InsufficientBalance):
        buy("vm-c", items=[*VCPU, QuoteItem("memory_gib", 1)], cash="0")
    assert left() == [2000, 2000]
    assert sweep.run(LAPSED).gifts == [tenant.pk]
    assert sweep.run(LAPSED).gifts == []
    assert (balances(tenant), left()) == ((0, 3500), [0, 2000])
    assert Event.objects.get(kind="billing.gift_expired").data["amount"] == "20.00"
    # What comes back later goes the same way, and is taken back once more.
    services.refund_failed("vm-b", "No host answered")
    assert (balances(tenant), left()) == ((0, 6500), [3000, 2000])
    buy("vm-e", items=VCPU, cash="0")
    assert (balances(tenant), left()) == ((0, 500), [0, 0])
    assert LedgerTransaction.objects.filter(kind="expiry").count() == 2
    assert list(replay(tenant, MAY, LAPSED + timedelta(days=1))) == []


@pytest.mark.usefixtures("scoped")
def test_the_moves_of_gifts_are_guarded(
    give: Callable[..., None], at: Callable[[datetime], None], tenant: Tenant
) -> None:
    at(MAY)
    give(20, TENTH)
    with pytest.raises(IntegrityError), transaction.atomic():
        GiftMove.objects.update(amount_minor=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        GiftLot.objects.update(left_minor=2001)
    GiftLot.objects.update(granted_minor=9000, left_minor=9000)
    [found] = ledger.imbalances(tenant)
    assert (found.pocket, found.cached_minor, found.entries_minor) == (
        "gifts with expiry",
        2000,
        9000,
    )


def test_gifts_are_shown_with_their_last_day(
    console: Client, give: Callable[..., None], tenant: Tenant
) -> None:
    day = (datetime.now(UTC) + timedelta(days=9)).date()
    give(20, day)
    assert "¥20.00 of the gift expires" in console.get(reverse("billing")).content.decode()
    [told] = console.get("/api/v1/billing/account").json()["gifts"]
    assert told["left"] == "20.00"
    with scope(tenant=tenant):
        assert GiftLot.objects.get().expires_at.isoformat()[:10] in told["expires_at"]
