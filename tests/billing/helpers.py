"""Shared by the billing tests."""

from decimal import Decimal
from uuid import uuid4

from django.db import transaction

from billing import ledger, money
from billing.models import Account, TransactionKind
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope


@transaction.atomic
def fund(tenant: Tenant, *, cash: str = "0", gift: str = "0") -> None:
    """Put money into a tenant's account."""
    with scope(tenant=tenant):
        account = ledger.lock_account(tenant)
        for kind, cash_minor, gift_minor in (
            (TransactionKind.RECHARGE, money.to_minor(Decimal(cash)), 0),
            (TransactionKind.GIFT, 0, money.to_minor(Decimal(gift))),
        ):
            ledger.post(
                account,
                kind,
                cash_minor=cash_minor,
                gift_minor=gift_minor,
                key=f"test:{uuid4()}",
                actor="test",
            )


def balances(tenant: Tenant) -> tuple[int, int]:
    """(cash, gift) of a tenant in minor units, as the database says now."""
    with scope(tenant=tenant):
        account: Account = ledger.account_of(tenant)
        assert ledger.imbalances(tenant) == []
        return account.cash_minor, account.gift_minor
