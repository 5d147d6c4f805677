"""The books refuse what would make them wrong, even from raw SQL."""

from collections.abc import Callable

import pytest
from django.db import IntegrityError, NotSupportedError, connection, transaction
from django.utils import timezone

from billing import ledger
from billing.models import (
    Account,
    Charge,
    LedgerEntry,
    LedgerTransaction,
    Order,
    OrderLine,
    Pocket,
    Price,
    PriceList,
    TransactionKind,
)
from scloud.tenancy.models import Tenant
from tests.billing.helpers import balances, fund

pytestmark = pytest.mark.usefixtures("scoped")


def moved(tenant: Tenant, key: str, amount: int) -> LedgerTransaction:
    return LedgerTransaction.objects.create(
        account=ledger.lock_account(tenant),
        tenant=tenant,
        kind=TransactionKind.RECHARGE,
        amount_minor=amount,
        cash_after_minor=amount,
        gift_after_minor=0,
        actor="test",
        idempotency_key=key,
    )


@pytest.mark.parametrize("table", [LedgerTransaction, LedgerEntry, Order, OrderLine, Charge])
@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET tenant_id = tenant_id", "DELETE FROM {}", "TRUNCATE {} CASCADE"]
)
def test_history_is_never_changed_or_deleted(
    buy: Callable[..., Order], table: type[Order], statement: str
) -> None:
    buy("vm-a")
    name = table._meta.db_table
    with connection.cursor() as cursor:
        # Otherwise checks that wait for the end of the test would keep TRUNCATE out by themselves.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    with (
        pytest.raises(IntegrityError, match=r"rows of \w+ are never"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement.format(name))
    assert table.objects.exists()


@pytest.mark.parametrize("statement", ["TRUNCATE {}", "TRUNCATE {} CASCADE"])
@pytest.mark.parametrize("table", [PriceList, Price])
def test_published_prices_are_never_emptied(
    prices: PriceList, table: type[PriceList], statement: str
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    with (
        # What refers to the table is looked at before its triggers are.
        pytest.raises((IntegrityError, NotSupportedError)),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement.format(table._meta.db_table))
    assert table.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_entries_that_do_not_add_up_are_refused_at_the_commit(tenant: Tenant) -> None:
    with pytest.raises(IntegrityError, match="add up to 100, not to 0"), transaction.atomic():
        LedgerEntry.objects.create(
            transaction=moved(tenant, "k", 100),
            tenant=tenant,
            pocket=Pocket.CASH,
            amount_minor=100,
        )
    assert not LedgerEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_transaction_without_entries_is_refused_at_the_commit(tenant: Tenant) -> None:
    with (
        pytest.raises(IntegrityError, match="states 100, its entries move 0"),
        transaction.atomic(),
    ):
        moved(tenant, "k", 100)
    assert not LedgerTransaction.objects.exists()


def test_the_same_cause_cannot_move_money_twice(tenant: Tenant) -> None:
    fund(tenant, cash="1")
    account = ledger.lock_account(tenant)
    post = {"cash_minor": 100, "gift_minor": 0, "key": "order:x", "actor": "test"}
    ledger.post(account, TransactionKind.RECHARGE, **post)  # type: ignore[arg-type]  # keywords
    with pytest.raises(IntegrityError), transaction.atomic():
        ledger.post(account, TransactionKind.RECHARGE, **post)  # type: ignore[arg-type]  # keywords
    assert balances(tenant) == (200, 0)


@pytest.mark.parametrize("column", ["cash_minor", "gift_minor"])
def test_a_balance_below_zero_is_refused(tenant: Tenant, column: str) -> None:
    fund(tenant, cash="1", gift="1")
    with pytest.raises(IntegrityError), transaction.atomic():
        Account.objects.update(**{column: -1})


def test_a_cached_balance_that_lies_is_found(tenant: Tenant) -> None:
    fund(tenant, cash="1", gift="2")
    assert ledger.imbalances(tenant) == []
    Account.objects.update(cash_minor=999)
    [found] = ledger.imbalances(tenant)
    assert (found.pocket, found.cached_minor, found.entries_minor) == ("cash", 999, 100)


def test_entries_that_do_not_add_up_are_found(tenant: Tenant) -> None:
    with transaction.atomic():
        LedgerEntry.objects.create(
            transaction=moved(tenant, "k", 100),
            tenant=tenant,
            pocket=Pocket.CASH,
            amount_minor=100,
        )
        found = {one.pocket: one.entries_minor for one in ledger.imbalances(tenant)}
        # The guard would refuse it at the commit.
        transaction.set_rollback(True)
    assert found == {"cash": 100, "all": 100}


def test_nothing_to_move_writes_nothing(tenant: Tenant) -> None:
    account = ledger.lock_account(tenant)
    nothing = ledger.post(
        account, TransactionKind.REFUND, cash_minor=0, gift_minor=0, key="k", actor="test"
    )
    assert nothing is None
    assert not LedgerTransaction.objects.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda prices: prices.prices.update(unit_price=0),
        lambda prices: prices.prices.all().delete(),
        lambda prices: Price.objects.create(
            price_list=prices, sku="x", method="hour", unit_price=1
        ),
        lambda prices: PriceList.objects.filter(pk=prices.pk).update(effective_from=timezone.now()),
        lambda prices: PriceList.objects.filter(pk=prices.pk).update(published_at=None),
    ],
)
def test_a_published_price_list_never_changes(
    prices: PriceList, change: Callable[[PriceList], object]
) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        change(prices)
