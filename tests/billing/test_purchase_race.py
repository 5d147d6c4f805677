"""Fifty buyers at once for the last money and the last quota, over real connections.

The controls do the same without the lock and must go wrong: they prove that the race is there,
so that a green test above them means something.
"""

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from django.db import DatabaseError, connection, connections, transaction

from billing import ledger, quotas, services
from billing.models import (
    Account,
    Charge,
    Order,
    PriceList,
    QuotaAnchor,
    QuotaClaim,
    QuotaLimit,
    Subscription,
)
from billing.pricing import Method
from billing.services import QuoteItem, ResourceRef
from scloud.lib.errors import Conflict, InsufficientBalance, QuotaExceeded
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope
from tests.billing.helpers import balances, fund

pytestmark = pytest.mark.django_db(transaction=True)

BUYERS = 50
ITEMS = [QuoteItem("vcpu", 1)]  # 30.00 a month


def race(work: Callable[[int], None], buyers: int = BUYERS) -> Counter[str]:
    """Run ``work`` in as many threads as there are buyers, all let go at once."""
    gate = threading.Barrier(buyers, timeout=60)
    results: list[str] = []

    def run(number: int) -> None:
        try:
            connection.ensure_connection()
            gate.wait()
            work(number)
            results.append("ok")
        except (InsufficientBalance, QuotaExceeded, Conflict) as error:
            results.append(error.code)
        except DatabaseError as error:
            results.append(type(error).__name__)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(buyers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(results) == buyers
    return Counter(results)


def buy(actor: Actor, region: Region, resource_id: str) -> Order:
    assert actor.tenant is not None
    quoted = services.quote(
        tenant=actor.tenant, region=region, items=ITEMS, method=Method.MONTH, periods=1
    )
    return services.purchase(
        actor=actor,
        region=region,
        quote_token=quoted.token,
        items=ITEMS,
        method=Method.MONTH,
        periods=1,
        resources=[ResourceRef("vm", resource_id)],
    )


def test_the_last_money_buys_exactly_what_it_can(
    prices: PriceList, tenant: Tenant, region: Region, actor: Actor
) -> None:
    fund(tenant, cash="100", gift="65")  # five and a half
    results = race(lambda n: void(buy(actor, region, f"vm-{n}")))
    assert results == {"ok": 5, "insufficient_balance": 45}
    assert balances(tenant) == (1500, 0)
    with scope(tenant=tenant):
        assert Subscription.objects.count() == Charge.objects.count() == 5


def test_the_last_quota_is_taken_exactly_once(tenant: Tenant, region: Region) -> None:
    QuotaLimit.objects.create(tenant=tenant, item="vms", limit=7)

    def work(number: int) -> None:
        with transaction.atomic():
            quotas.take(tenant, region, {"vms": 1, "vcpu": 2}, f"vm-{number}")

    assert race(work) == {"ok": 7, "quota_exceeded": 43}
    assert quotas.usage(tenant, region)["vms"].used == 7


def test_money_and_quota_together_are_all_or_nothing(
    prices: PriceList, tenant: Tenant, region: Region, actor: Actor
) -> None:
    fund(tenant, cash="180")  # six, but the quota stops at four
    QuotaLimit.objects.create(tenant=tenant, item="vms", limit=4)

    def work(number: int) -> None:
        with transaction.atomic():
            buy(actor, region, f"vm-{number}")
            quotas.take(tenant, region, {"vms": 1}, f"vm-{number}")

    results = race(work)
    assert results["ok"] == 4
    assert results["quota_exceeded"] + results["insufficient_balance"] == 46
    assert balances(tenant) == (6000, 0)
    assert quotas.usage(tenant, region)["vms"].used == 4
    with scope(tenant=tenant):
        assert Order.objects.count() == 4


def test_one_quote_sent_fifty_times_is_charged_once(
    prices: PriceList, tenant: Tenant, region: Region, actor: Actor
) -> None:
    fund(tenant, cash="3000")
    token = services.quote(
        tenant=tenant, region=region, items=ITEMS, method=Method.MONTH, periods=1
    ).token

    def work(number: int) -> None:
        services.purchase(
            actor=actor,
            region=region,
            quote_token=token,
            items=ITEMS,
            method=Method.MONTH,
            periods=1,
            resources=[ResourceRef("vm", f"vm-{number}")],
        )

    assert race(work) == {"ok": 1, "quote_used": 49}
    assert balances(tenant) == (297000, 0)


def test_purchases_and_refunds_at_once_neither_deadlock_nor_lose_a_cent(
    prices: PriceList, tenant: Tenant, region: Region, actor: Actor
) -> None:
    fund(tenant, cash="3000", gift="45")
    for number in range(0, 20, 2):
        buy(actor, region, f"vm-{number}")

    def work(number: int) -> None:
        with transaction.atomic():
            if number % 2:
                buy(actor, region, f"vm-{number}")
                quotas.take(tenant, region, {"vms": 1}, f"vm-{number}")
            else:
                services.refund_failed(f"vm-{number}", "failed")

    assert race(work, 20) == {"ok": 20}
    assert sum(balances(tenant)) == 304500 - 10 * 3000


def test_a_refund_asked_for_fifty_times_is_paid_once(
    prices: PriceList, tenant: Tenant, region: Region, actor: Actor
) -> None:
    fund(tenant, cash="30")
    buy(actor, region, "vm-a")
    assert race(lambda n: void(services.refund_failed("vm-a", "failed"))) == {"ok": 50}
    assert balances(tenant) == (3000, 0)


def test_control_without_the_account_lock_the_last_money_is_promised_too_often(
    prices: PriceList,
    tenant: Tenant,
    region: Region,
    actor: Actor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fund(tenant, cash="30")
    looked = threading.Barrier(2, timeout=60)

    def unlocked(owner: Tenant) -> Account:
        account = ledger.account_of(owner)
        looked.wait()
        return account

    monkeypatch.setattr(ledger, "lock_account", unlocked)
    # Both saw enough money; only the constraint of the table stops the second one.
    assert race(lambda n: void(buy(actor, region, f"vm-{n}")), 2) == {"ok": 1, "IntegrityError": 1}


def test_control_without_the_anchor_lock_the_last_quota_is_taken_twice(
    tenant: Tenant, region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    QuotaLimit.objects.create(tenant=tenant, item="vms", limit=1)
    checked = threading.Barrier(2, timeout=60)
    really = quotas.check

    def slowly(*args: object) -> None:
        really(*args)  # type: ignore[arg-type]  # passed through unchanged
        checked.wait()

    monkeypatch.setattr(quotas, "check", slowly)
    monkeypatch.setattr(quotas, "_lock", lambda tenant, region: None)

    def work(number: int) -> None:
        with transaction.atomic():
            quotas.take(tenant, region, {"vms": 1}, f"vm-{number}")

    assert race(work, 2) == {"ok": 2}
    with scope(tenant=tenant):
        assert QuotaClaim.objects.count() == 2
        assert not QuotaAnchor.objects.exists()


def void(_value: object) -> None:
    """Drop a result, so that a lambda fits where nothing is returned."""
