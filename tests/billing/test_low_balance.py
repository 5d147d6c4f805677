"""How long a balance lasts, and that people are told once that it is low."""

import doctest
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from billing import hooks, low_balance, queries, runway, services
from billing.actions import set_low_balance
from billing.models import Account, BillingSettings, GiftLot, Order, Subscription
from billing.pricing import Method
from billing.runway import Gift, Payment, lasts_until
from scloud.audit.models import Event
from scloud.lib.errors import InvalidInput
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope
from tests.billing.helpers import fund

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HORIZON = NOW + timedelta(hours=40)
HX = {"HX-Request": "true"}

_minutes = st.integers(-90, 2400)
_payments = st.lists(st.tuples(_minutes, st.integers(0, 9)), max_size=5)
_gifts = st.lists(st.tuples(st.integers(1, 2400), st.integers(1, 30)), max_size=4)


def after(minutes: int) -> datetime:
    return NOW + timedelta(minutes=minutes)


def told_step_by_step(
    lasting: int, gifts: list[tuple[int, int]], once: Any, hourly: Any
) -> datetime | None:
    """The same by spending each amount when it is due."""
    due = [(max(minute, 0), amount) for minute, amount in once]
    for first, amount in hourly:
        due += [(max(at, 0), amount) for at in range(first, 40 * 60 + 1, 60)]
    left = {number: list(gift) for number, gift in enumerate(sorted(gifts))}
    for minute in sorted({at for at, _amount in due}):
        amount = sum(part for at, part in due if at == minute)
        for gift in left.values():
            if gift[0] > minute:
                spent = min(gift[1], amount)
                gift[1] -= spent
                amount -= spent
        lasting -= amount
        if lasting < 0:
            return after(minute)
    return None


@given(st.integers(0, 120), _gifts, _payments, _payments)
def test_it_lasts_until_money_is_missing_for_the_first_time(
    lasting: int,
    gifts: list[tuple[int, int]],
    once: list[tuple[int, int]],
    hourly: list[tuple[int, int]],
) -> None:
    found = lasts_until(
        now=NOW,
        horizon=HORIZON,
        lasting=lasting,
        gifts=[Gift(left, after(minute)) for minute, left in gifts],
        payments=[Payment(after(minute), amount) for minute, amount in once],
        hourly=[Payment(after(minute), amount) for minute, amount in hourly],
    )
    assert found == told_step_by_step(lasting, gifts, once, hourly)


def test_the_example_is_true() -> None:
    result = doctest.testmod(runway)
    assert (result.attempted > 0, result.failed) == (True, 0)


def outlook(tenant: Tenant, now: datetime = NOW) -> queries.Outlook:
    return queries.outlook(Account.objects.get(tenant=tenant), now)


@pytest.mark.usefixtures("scoped")
def test_months_of_the_calendar_hours_and_gifts_count(
    buy: Callable[..., Order], tenant: Tenant, at: Callable[[datetime], None]
) -> None:
    # The last day of January, in the evening of Shanghai: the next months end on 28 February and
    # on 31 March. A month costs 120.00, an hour 0.24.
    at(NOW)
    buy("vm-month", cash="360")
    assert outlook(tenant).lasts_until == datetime(2026, 4, 30, 12, tzinfo=UTC)
    # One cent less does not cover March.
    Account.objects.update(cash_minor=239_99)
    assert outlook(tenant).lasts_until == datetime(2026, 3, 31, 12, tzinfo=UTC)
    # A gift counts until its day, and not on it.
    account = Account.objects.get()
    Account.objects.update(gift_minor=1)
    lot = GiftLot.objects.create(
        account=account,
        tenant=tenant,
        granted_minor=1,
        left_minor=1,
        expires_at=datetime(2026, 2, 28, 12, tzinfo=UTC),
    )
    assert outlook(tenant).lasts_until == datetime(2026, 3, 31, 12, tzinfo=UTC)
    GiftLot.objects.filter(pk=lot.pk).update(
        expires_at=datetime(2026, 2, 28, 12, 0, 0, 1, tzinfo=UTC)
    )
    assert outlook(tenant).lasts_until == datetime(2026, 4, 30, 12, tzinfo=UTC)
    GiftLot.objects.all().delete()
    Account.objects.update(gift_minor=0, cash_minor=2_40)
    # By the hour: ten of them, the first when the paid one ends.
    Subscription.objects.update(auto_renew=False)
    assert outlook(tenant).lasts_until is None
    buy("vm-hour", method=Method.HOUR, cash="0.24")
    assert outlook(tenant).lasts_until == NOW + 11 * HOUR
    # What lies in the bin is not renewed.
    services.set_in_bin("vm-hour", True)
    assert outlook(tenant).lasts_until is None


@pytest.mark.usefixtures("scoped")
def test_a_low_balance_is_told_once_and_again_after_it_was_not(
    buy: Callable[..., Order],
    actor: Actor,
    tenant: Tenant,
    at: Callable[[datetime], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[hooks.Notice] = []
    monkeypatch.setattr(hooks, "_listeners", [heard.append])
    at(NOW)
    # What is left is exactly the platform's amount: not below it.
    buy("vm-a", cash="220")
    assert low_balance.run() == []
    Account.objects.update(cash_minor=99_99)
    Subscription.objects.update(auto_renew=False)
    assert low_balance.run() == []
    Subscription.objects.update(auto_renew=True)
    assert low_balance.run() == [tenant.pk]
    assert low_balance.run() == []
    (notice,) = heard
    assert (notice.kind, notice.tenant, notice.resource_kind) == (
        "billing.low_balance",
        tenant,
        "account",
    )
    assert notice.data == {
        "balance": "99.99",
        "below": "100.00",
        "currency": "CNY",
        "lasts_until": "2026-02-28T12:00:00+00:00",
        "owed": "0.00",
    }
    assert Event.objects.filter(kind="billing.low_balance", resource_id=tenant.pk).count() == 1
    assert outlook(tenant).is_low
    # Above, then below again; then a lower amount of the tenant's own, and none at all.
    fund(tenant, cash="0.01")
    assert low_balance.run() == []
    Account.objects.update(cash_minor=50)
    assert low_balance.run() == [tenant.pk]
    assert set_low_balance(actor=actor, below=Decimal("0.5")).low_balance_minor == 50
    assert low_balance.run() == []
    assert Account.objects.get().low_since is None
    Account.objects.update(cash_minor=49)
    set_low_balance(actor=actor, below=Decimal(0))
    assert low_balance.run() == []
    assert not outlook(tenant).is_low
    set_low_balance(actor=actor, below=None)
    BillingSettings.objects.create(low_balance_below=None)
    assert low_balance.run() == []
    BillingSettings.objects.update(low_balance_below=Decimal("0.495"))
    # Rounded as money is.
    assert low_balance.run() == [tenant.pk]
    assert len(heard) == 3

    def fail(notice: hooks.Notice) -> None:
        raise RuntimeError("no mail today")

    Account.objects.update(low_since=None)
    monkeypatch.setattr(hooks, "_listeners", [fail])
    assert low_balance.run() == []
    assert Account.objects.get().low_since is None
    for wrong in (Decimal(-1), Decimal("0.001")):
        with pytest.raises(InvalidInput) as refused:
            set_low_balance(actor=actor, below=wrong)
        assert refused.value.field == "below"


def test_console_and_api_show_and_set_it(
    console: Client, tenant: Tenant, actor: Actor, region: Any, buy: Callable[..., Order]
) -> None:
    with scope(tenant=tenant):
        buy("vm-a", cash="130")
    url, account = reverse("billing-low-balance"), "/api/v1/billing/account"
    page = console.get(reverse("billing")).content.decode()
    assert "The balance is below" in page
    assert "Covers renewals until" in page
    assert url in page
    assert "Covers renewals until" in console.get(reverse("home")).content.decode()
    assert console.post(url, {"below": "5"}, headers=HX).status_code == 204
    assert 'value="5.00"' in console.get(url, headers=HX).content.decode()
    page = console.get(reverse("billing")).content.decode()
    assert "The balance is below" not in page
    assert "You are warned when the balance falls below" in page
    told = console.get(account).json()
    assert (told["low_balance_below"], told["warns_below"]) == ("5.00", "5.00")
    assert told["low_since"] is None
    with scope(tenant=tenant):
        assert told["lasts_until"][:10] == f"{Subscription.objects.get().paid_until:%Y-%m-%d}"
    path = f"{account}/set-low-balance"
    for below, shown in (("0", None), (None, "100.00"), ("12.500000", "12.50")):
        answer = console.post(path, {"below": below}, content_type="application/json")
        assert (answer.status_code, answer.json()["warns_below"]) == (200, shown)
    refused = console.post(path, {"below": "0.001"}, content_type="application/json")
    assert (refused.status_code, refused.json()["field"]) == (400, "below")


@pytest.mark.parametrize(("below", "status"), [(None, 200), ("0.50", 200), ("", 400), (" ", 400)])
def test_an_empty_text_is_not_nothing(
    console: Client, tenant: Tenant, below: str | None, status: int
) -> None:
    answer = console.post(
        "/api/v1/billing/account/set-low-balance",
        {"below": below},
        content_type="application/json",
    )
    assert answer.status_code == status
