"""Moving money. Everything here runs inside the caller's transaction, on a locked account."""

from dataclasses import dataclass

from django.db.models import BigIntegerField, F, OuterRef, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _

from billing import money, pricelock
from billing.models import (
    Account,
    LedgerEntry,
    LedgerTransaction,
    Order,
    Pocket,
    TransactionKind,
)
from billing.pricing import split_gift
from scloud.lib.errors import InsufficientBalance
from scloud.tenancy.models import Tenant

_COUNTERPART = {
    TransactionKind.RECHARGE: Pocket.FUNDING,
    TransactionKind.GIFT: Pocket.PROMOTION,
    TransactionKind.DEDUCTION: Pocket.REVENUE,
    TransactionKind.REFUND: Pocket.REVENUE,
}


def account_of(tenant: Tenant) -> Account:
    """The tenant's account as it stands, not locked; an empty one that is not saved if none is."""
    return Account.objects.filter(tenant=tenant).first() or Account(tenant=tenant)


def lock_account(tenant: Tenant) -> Account:
    """The tenant's account, locked until the transaction ends; prices do not change meanwhile.

    It is the first lock in the documented order: account, quota, addresses, resource.
    """
    pricelock.for_charging()
    Account.objects.bulk_create([Account(tenant=tenant)], ignore_conflicts=True)
    account: Account = Account.objects.select_for_update(no_key=True).get(tenant=tenant)
    return account


def require(account: Account, amount_minor: int, *, later_minor: int = 0) -> None:
    """Raise InsufficientBalance with the figures unless the account has ``amount_minor``.

    ``later_minor`` is the part of it that is not charged now, for the words of the refusal.
    """
    if amount_minor > account.balance_minor:
        missing = amount_minor - account.balance_minor
        words = (
            _(
                "The balance must cover %(amount)s %(currency)s, of which %(later)s is charged "
                "later for hours that have begun, but it is %(balance)s."
            )
            if later_minor
            else _("This costs %(amount)s %(currency)s, but the balance is %(balance)s.")
        )
        raise InsufficientBalance(
            words
            % {
                "amount": money.show(amount_minor),
                "later": money.show(later_minor),
                "currency": money.currency(),
                "balance": money.show(account.balance_minor),
            },
            remedy=_("Top up at least %(amount)s %(currency)s.")
            % {"amount": money.show(missing), "currency": money.currency()},
            numbers={
                "needed": money.show(amount_minor),
                "balance": money.show(account.balance_minor),
                "missing": money.show(missing),
                "currency": money.currency(),
            },
        )


def take(account: Account, amount_minor: int) -> tuple[int, int]:
    """How ``amount_minor`` will be paid from a locked account: (gift, cash), gift first.

    Raises InsufficientBalance with the figures; nothing has moved then.
    """
    require(account, amount_minor)
    return split_gift(amount_minor, account.gift_minor)


def post(
    account: Account,
    kind: TransactionKind,
    *,
    cash_minor: int,
    gift_minor: int,
    key: str,
    actor: str,
    order: Order | None = None,
    note: str = "",
) -> LedgerTransaction | None:
    """Change a locked account's balances and write down why; None if nothing moves.

    ``cash_minor`` and ``gift_minor`` are the signed changes. The unique ``key`` names the cause:
    a second posting for the same cause fails with IntegrityError and takes its transaction along.
    """
    if cash_minor == 0 and gift_minor == 0:
        return None
    Account.objects.filter(pk=account.pk).update(
        cash_minor=F("cash_minor") + cash_minor, gift_minor=F("gift_minor") + gift_minor
    )
    account.cash_minor += cash_minor
    account.gift_minor += gift_minor
    moved: LedgerTransaction = LedgerTransaction.objects.create(
        account=account,
        tenant_id=account.tenant_id,
        kind=kind,
        amount_minor=cash_minor + gift_minor,
        cash_after_minor=account.cash_minor,
        gift_after_minor=account.gift_minor,
        order=order,
        note=note,
        actor=actor,
        idempotency_key=key,
    )
    sides = {
        Pocket.CASH: cash_minor,
        Pocket.GIFT: gift_minor,
        _COUNTERPART[kind]: -(cash_minor + gift_minor),
    }
    LedgerEntry.objects.bulk_create(
        [
            LedgerEntry(
                transaction=moved, tenant_id=account.tenant_id, pocket=pocket, amount_minor=amount
            )
            for pocket, amount in sides.items()
            if amount
        ]
    )
    return moved


@dataclass(frozen=True)
class Imbalance:
    """A cached balance that is not what the entries say. There should never be one."""

    tenant_id: str
    pocket: str
    cached_minor: int
    entries_minor: int


def imbalances(tenant: Tenant) -> list[Imbalance]:
    """Compare a tenant's cached balances with the sum of the entries.

    All are read by one statement, so that a movement in between cannot look like a difference.
    """
    entries = LedgerEntry.objects.filter(tenant=OuterRef("pk")).order_by()

    def total(**pocket: str) -> Coalesce:
        found = entries.filter(**pocket).values("tenant").annotate(total=Sum("amount_minor"))
        return Coalesce(Subquery(found.values("total")), 0, output_field=BigIntegerField())

    row = (
        Account.objects.filter(tenant=tenant)
        .annotate(cash=total(pocket=Pocket.CASH), gift=total(pocket=Pocket.GIFT), all=total())
        .values("cash_minor", "gift_minor", "cash", "gift", "all")
        .first()
    )
    if row is None:
        return []
    compared = [
        (Pocket.CASH.value, row["cash_minor"], row["cash"]),
        (Pocket.GIFT.value, row["gift_minor"], row["gift"]),
        ("all", 0, row["all"]),
    ]
    return [
        Imbalance(tenant.pk, pocket, cached, summed)
        for pocket, cached, summed in compared
        if cached != summed
    ]
