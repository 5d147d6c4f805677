"""Moving money. Everything here runs inside the caller's transaction, on a locked account."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection
from django.db.models import BigIntegerField, Count, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import money, pricelock
from billing.models import (
    Account,
    GiftLot,
    GiftMove,
    LedgerEntry,
    LedgerTransaction,
    Order,
    Pocket,
    PrunedMonth,
    Statement,
    TransactionKind,
)
from billing.models.ledger import transaction_id
from billing.pricing import split_gift
from scloud.lib.copying import copy_rows
from scloud.lib.errors import Conflict, InsufficientBalance, Unavailable
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant

# Who does what nobody asked for, as in the log.
PLATFORM: Final = Actor.system(None).label

_TRANSACTION: Final = (
    "id",
    "account_id",
    "tenant_id",
    "kind",
    "amount_minor",
    "cash_after_minor",
    "gift_after_minor",
    "order_id",
    "note",
    "actor",
    "idempotency_key",
    "created_at",
)
_ENTRY: Final = ("transaction_id", "tenant_id", "pocket", "amount_minor")

_COUNTERPART = {
    TransactionKind.RECHARGE: Pocket.FUNDING,
    TransactionKind.GIFT: Pocket.PROMOTION,
    TransactionKind.DEDUCTION: Pocket.REVENUE,
    TransactionKind.REFUND: Pocket.REVENUE,
    TransactionKind.EXPIRY: Pocket.PROMOTION,
    TransactionKind.PAYOUT: Pocket.FUNDING,
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
    account: Account = _with_closed().select_for_update(no_key=True).get(tenant=tenant)
    return account


def lock_accounts(tenants: Iterable[str]) -> dict[str, Account]:
    """Accounts by tenant id, locked as by :func:`lock_account`, for what looks after many at once.

    Accounts that are locked by others are left out, as are those that are not there: who holds
    many locks must wait for none.
    """
    pricelock.for_charging()
    rows = _with_closed().filter(tenant__in=tenants).order_by("tenant")
    return {row.tenant_id: row for row in rows.select_for_update(no_key=True, skip_locked=True)}


def _with_closed() -> QuerySet[Account]:
    """Accounts, each with the end of the last month that is closed."""
    closed = Statement.objects.filter(tenant=OuterRef("tenant")).order_by("-month")
    end = Subquery(closed.values("end")[:1])
    # The annotation fills the attribute that the model declares for it.
    return Account.objects.annotate(closed_until=end)  # type: ignore[no-redef]


def is_behind(account: Account, now: datetime) -> bool:
    """True while a locked account's last closed month is not over at ``now``.

    The clock was set back since, and nothing can be booked until it has caught up.
    """
    return account.closed_until is not None and now < account.closed_until


def _require_open_month(account: Account, now: datetime) -> None:
    if is_behind(account, now):
        assert account.closed_until is not None, "says is_behind"
        missing_s = math.ceil((account.closed_until - now).total_seconds())
        raise Unavailable(
            _("The month until %(time)s is closed, and it is not over by the server's clock.")
            % {"time": f"{account.closed_until.astimezone(money.zone()):%Y-%m-%d %H:%M}"},
            code="clock_behind",
            remedy=_("Try again later. If it stays so, tell the administrator."),
            numbers={
                "closed_until": account.closed_until.isoformat(),
                "retry_after_s": missing_s,
            },
        )


def require_room(account: Account, amount_minor: int) -> None:
    """Raise Conflict ``balance_too_large`` if the amount would make the balance too large."""
    most = money.most_minor()
    if amount_minor > 0 and account.balance_minor + amount_minor > most:
        raise Conflict(
            _("The balance would be %(balance)s %(currency)s, but it can be at most %(most)s.")
            % {
                "balance": money.show(account.balance_minor + amount_minor),
                "currency": money.currency(),
                "most": money.show(most),
            },
            code="balance_too_large",
            numbers={
                "amount": money.show(amount_minor),
                "balance": money.show(account.balance_minor),
                "max": money.show(most),
                "currency": money.currency(),
            },
        )


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
    expires_at: datetime | None = None,
    returns: Mapping[str, int] | None = None,
    lapsed: GiftLot | None = None,
) -> LedgerTransaction | None:
    """Change a locked account's balances and write down why; None if nothing moves.

    ``cash_minor`` and ``gift_minor`` are the signed changes. The unique ``key`` names the cause:
    a second posting for the same cause fails with IntegrityError and takes its transaction along.

    A gift may have an instant at which it ``expires_at``. Of gifts the one that expires next is
    spent first. ``returns`` says which orders' gift money comes back, so that it does to the gifts
    it came from; ``lapsed`` is the gift that is taken back.

    Raises Conflict ``balance_too_large``, and Unavailable ``clock_behind`` where the month of the
    present instant is closed already. Nothing has moved then.
    """
    if cash_minor == 0 and gift_minor == 0:
        return None
    require_room(account, cash_minor + gift_minor)
    _require_open_month(account, timezone.now())
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
    if gift_minor:
        _move_lots(account, moved, gift_minor, expires_at, returns or {}, lapsed)
    return moved


@dataclass(frozen=True)
class Deduction:
    """What an order takes from a locked account: amounts as in :func:`take`, not negative."""

    account: Account
    order: Order
    cash_minor: int
    gift_minor: int
    actor: str
    note: str = ""

    @property
    def amount_minor(self) -> int:
        return self.cash_minor + self.gift_minor


def post_deductions(deductions: Sequence[Deduction]) -> None:
    """Take money from locked accounts for orders, in turn, and write down why.

    The rows are those that :func:`post` writes for each order; the number of statements does not
    grow with them. Deductions of one account must share its object.

    Raises Unavailable ``clock_behind`` as :func:`post` does.
    """
    moving = [one for one in deductions if one.amount_minor]
    now = timezone.now()
    for one in moving:
        _require_open_month(one.account, now)
    changes: dict[str, tuple[int, int]] = {}
    transactions: list[tuple[object, ...]] = []
    entries: list[tuple[str, str, str, int]] = []
    spent: list[tuple[Deduction, str]] = []
    for one in moving:
        account = one.account
        account.cash_minor -= one.cash_minor
        account.gift_minor -= one.gift_minor
        cash, gift = changes.get(account.tenant_id, (0, 0))
        changes[account.tenant_id] = (cash - one.cash_minor, gift - one.gift_minor)
        moved = transaction_id()
        transactions.append(
            (
                moved,
                account.tenant_id,
                account.tenant_id,
                TransactionKind.DEDUCTION.value,
                -one.amount_minor,
                account.cash_minor,
                account.gift_minor,
                one.order.pk,
                one.note,
                one.actor,
                f"order:{one.order.pk}",
                # Each its own instant: by it they are shown in the order in which they were paid.
                timezone.now(),
            )
        )
        if one.gift_minor:
            spent.append((one, moved))
        sides = {
            Pocket.CASH: -one.cash_minor,
            Pocket.GIFT: -one.gift_minor,
            Pocket.REVENUE: one.amount_minor,
        }
        entries += [
            (moved, account.tenant_id, pocket.value, amount)
            for pocket, amount in sides.items()
            if amount
        ]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE billing_account AS account"
            " SET cash_minor = account.cash_minor + change.cash,"
            " gift_minor = account.gift_minor + change.gift"
            " FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS change (tenant, cash, gift)"
            " WHERE account.tenant_id = change.tenant",
            [
                list(changes),
                [cash for cash, _gift in changes.values()],
                [gift for _cash, gift in changes.values()],
            ],
        )
    copy_rows(LedgerTransaction, _TRANSACTION, transactions)
    copy_rows(LedgerEntry, _ENTRY, entries)
    _spend_lots(spent)


def _spend_lots(spent: Sequence[tuple[Deduction, str]]) -> None:
    """Write down what deductions take from gifts with expiry, the next to expire first.

    With each is the id of its transaction.
    """
    if not spent:
        return
    lots: dict[str, list[GiftLot]] = {}
    accounts = {one.account.tenant_id for one, _moved in spent}
    for lot in GiftLot.objects.filter(account__in=accounts, left_minor__gt=0):
        lots.setdefault(lot.account_id, []).append(lot)
    parts: list[GiftMove] = []
    for one, moved in spent:
        need = one.gift_minor
        for lot in lots.get(one.account.tenant_id, ()):
            # Nothing of a lot that an order before this one has emptied.
            part = min(need, lot.left_minor)
            lot.left_minor -= part
            need -= part
            parts.append(
                GiftMove(
                    lot=lot,
                    tenant_id=one.account.tenant_id,
                    transaction_id=moved,
                    order=one.order,
                    amount_minor=-part,
                )
            )
    moves = [move for move in parts if move.amount_minor]
    used: Counter[int] = Counter()
    for move in moves:
        used[move.lot_id] -= move.amount_minor
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE billing_giftlot AS lot SET left_minor = lot.left_minor - used.amount"
            " FROM unnest(%s::bigint[], %s::bigint[]) AS used (id, amount) WHERE lot.id = used.id",
            [list(used), list(used.values())],
        )
    GiftMove.objects.bulk_create(moves)


def _move_lots(
    account: Account,
    moved: LedgerTransaction,
    gift_minor: int,
    expires_at: datetime | None,
    returns: Mapping[str, int],
    lapsed: GiftLot | None,
) -> None:
    """Write down what a transaction does to gifts with expiry."""
    tenant_id = account.tenant_id
    moves: list[GiftMove] = []

    def move(lot: GiftLot, amount: int, order_id: str | None) -> None:
        GiftLot.objects.filter(pk=lot.pk).update(left_minor=F("left_minor") + amount)
        moves.append(
            GiftMove(
                lot=lot,
                tenant_id=tenant_id,
                transaction=moved,
                order_id=order_id,
                amount_minor=amount,
            )
        )

    if lapsed is not None:
        move(lapsed, gift_minor, None)
    elif gift_minor < 0:
        need = -gift_minor
        for lot in GiftLot.objects.filter(account=account, left_minor__gt=0):
            part = min(need, lot.left_minor)
            move(lot, -part, moved.order_id)
            need -= part
            if not need:
                break
    elif expires_at is not None:
        lot = GiftLot.objects.create(
            account=account,
            tenant_id=tenant_id,
            granted_minor=gift_minor,
            left_minor=0,
            expires_at=expires_at,
        )
        move(lot, gift_minor, None)
    for order_id, amount in returns.items():
        rest = amount
        # To the gift that lasts longest first.
        spent = (
            GiftLot.objects.filter(moves__order=order_id)
            .annotate(used=-Sum("moves__amount_minor", filter=Q(moves__order=order_id)))
            .order_by("-expires_at", "-pk")
        )
        for lot in spent:
            part = min(rest, lot.used)
            if part > 0:
                move(lot, part, order_id)
                rest -= part
    GiftMove.objects.bulk_create(moves)


def expire_gifts(account: Account, at: datetime) -> int:
    """Take back what is left of gifts that have expired at ``at``; return how much, minor units.

    What comes back of an order after its gift has expired is taken back then.
    """
    total = 0
    lots = GiftLot.objects.filter(account=account, left_minor__gt=0, expires_at__lte=at)
    # How often it has expired before: these moves are never deleted.
    expired = Count("moves", filter=Q(moves__transaction__kind=TransactionKind.EXPIRY))
    for lot in lots.annotate(number=expired):
        post(
            account,
            TransactionKind.EXPIRY,
            cash_minor=0,
            gift_minor=-lot.left_minor,
            key=f"gift:{lot.pk}:expired:{lot.number}",
            actor=PLATFORM,
            lapsed=lot,
        )
        total += lot.left_minor
    return total


@dataclass(frozen=True)
class Imbalance:
    """A cached balance that is not what the entries say. There should never be one."""

    tenant_id: str
    pocket: str
    cached_minor: int
    entries_minor: int


def imbalances(tenant: Tenant) -> list[Imbalance]:
    """Compare a tenant's cached balances with the sum of the entries.

    What the entries of months without details had added up to counts, too. All are read by one
    statement, so that a movement in between cannot look like a difference.
    """
    entries = LedgerEntry.objects.filter(tenant=OuterRef("pk")).order_by()

    def total(**pocket: str) -> Coalesce:
        found = entries.filter(**pocket).values("tenant").annotate(total=Sum("amount_minor"))
        return Coalesce(Subquery(found.values("total")), 0, output_field=BigIntegerField())

    def pruned(column: str) -> Coalesce:
        months = PrunedMonth.objects.filter(tenant=OuterRef("pk")).order_by().values("tenant")
        return Coalesce(
            Subquery(months.annotate(total=Sum(column)).values("total")),
            0,
            output_field=BigIntegerField(),
        )

    lots = (
        GiftLot.objects.filter(tenant=OuterRef("pk"))
        .order_by()
        .values("tenant")
        .annotate(total=Sum("left_minor"))
    )
    row = (
        Account.objects.filter(tenant=tenant)
        .annotate(
            cash=total(pocket=Pocket.CASH) + pruned("cash_minor"),
            gift=total(pocket=Pocket.GIFT) + pruned("gift_minor"),
            all=total(),
            lots=Coalesce(Subquery(lots.values("total")), 0, output_field=BigIntegerField()),
        )
        .values("cash_minor", "gift_minor", "cash", "gift", "all", "lots")
        .first()
    )
    if row is None:
        return []
    compared = [
        (Pocket.CASH.value, row["cash_minor"], row["cash"]),
        (Pocket.GIFT.value, row["gift_minor"], row["gift"]),
        ("all", 0, row["all"]),
        # Gifts with expiry are a part of the gift balance.
        ("gifts with expiry", min(row["lots"], row["gift_minor"]), row["lots"]),
    ]
    return [
        Imbalance(tenant.pk, pocket, cached, summed)
        for pocket, cached, summed in compared
        if cached != summed
    ]
