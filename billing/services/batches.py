"""Renewing many subscriptions that are due in one transaction, with few statements.

What is read (prices, discounts, hours held, balances) is read once for all, everything is planned
in memory by the functions that also renew a single one, and then written at once. The rows are
those that :func:`renewing.renew_due` writes for one after the other. What it would refuse is not
touched here: the caller lets it say why.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from billing import ledger, money, pricing, quotes
from billing.models import Account, GiftLot, Order, Subscription, SubscriptionStatus
from billing.orders import Taken, charge_all
from billing.services import holding, renewing
from scloud.audit import events
from scloud.audit.models import Event
from scloud.lib.backoff import Said
from scloud.lib.errors import ScloudError
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)

MOST_PERIODS: Final = 1000
"""How many periods a batch pays. More are due where the platform has stood still."""


@dataclass
class Batch:
    """What became of subscriptions: renewed for all that is due, or for a part of it.

    ``refused`` are the keys of those that a single renewal refuses. ``locked`` are the ids of
    tenants whose account somebody else holds at the moment, or cannot be charged before the clock
    has caught up with their last statement; ``unfinished`` the keys of those of which more is due
    than one batch pays.
    """

    renewed: list[Subscription] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    unfinished: list[int] = field(default_factory=list)
    locked: set[str] = field(default_factory=set)


@dataclass
class _Purse:
    """What an account has left while a batch is planned, without gifts that have expired."""

    account: Account
    cash: int
    gift: int


@dataclass(frozen=True)
class _Paid:
    subscription: Subscription
    renewal: renewing.Renewal
    taken: Taken


def due(now: datetime) -> list[tuple[int, str]]:
    """(key, tenant id) of what renews by itself and is due at ``now``, the oldest first."""
    with scopes_disabled():
        return list(
            Subscription.objects.filter(
                status=SubscriptionStatus.ACTIVE,
                paid_until__lte=now,
                auto_renew=True,
                in_bin=False,
            )
            .order_by("paid_until", "pk")
            .values_list("pk", "tenant_id")
        )


@transaction.atomic
def renew_batch(keys: Collection[int], tenants: Collection[str], *, now: datetime) -> Batch:
    """Pay what is due at ``now`` of the subscriptions ``keys``, which belong to ``tenants``.

    Each is paid period by period, in the order in which they fell due, at the prices of ``now``.
    Waits for no account. All or nothing: whatever it raises, nothing has been written.
    """
    batch = Batch()
    with scopes_disabled():
        accounts = ledger.lock_accounts(tenants)
        batch.locked = _there(set(tenants) - accounts.keys()) | _behind(accounts)
        for tenant in batch.locked & accounts.keys():
            del accounts[tenant]
        # Read under the accounts' locks: every change of a subscription holds one.
        rows = list(
            Subscription.objects.filter(
                pk__in=keys,
                tenant__in=accounts,
                status=SubscriptionStatus.ACTIVE,
                paid_until__lte=now,
                auto_renew=True,
                in_bin=False,
            ).order_by("paid_until", "pk")
        )
        if rows:
            _name(rows)
            _pay(_plan(rows, accounts, batch, now), now)
    return batch


def _name(rows: list[Subscription]) -> None:
    """Give subscriptions their tenants and regions: few rows for many subscriptions."""
    tenants = Tenant.objects.in_bulk({row.tenant_id for row in rows})
    regions = Region.objects.in_bulk({row.region_id for row in rows})
    for row in rows:
        row.tenant = tenants[row.tenant_id]
        row.region = regions[row.region_id]


class _Prices:
    """What the next period of subscriptions costs at an instant; equal ones are priced once."""

    def __init__(self, lookup: quotes.Lookup, at: datetime) -> None:
        self._lookup = lookup
        self._at = at
        self._known: dict[tuple[object, ...], renewing.Priced] = {}

    def of(self, row: Subscription) -> renewing.Priced:
        """Raises what :func:`renewing.price` does."""
        lines = tuple((line["sku"], line["quantity"], line.get("label", "")) for line in row.lines)
        # Discounts are the tenant's.
        key = (row.tenant_id, row.region_id, row.method, lines)
        found = self._known.get(key)
        if found is None:
            found = renewing.price(row, 1, self._at, basis=self._lookup.basis)
            self._known[key] = found
        return found


def _behind(accounts: dict[str, Account]) -> set[str]:
    """Ids of tenants of which a month is closed that is not over by the clock."""
    now = timezone.now()
    behind = {tenant for tenant, account in accounts.items() if ledger.is_behind(account, now)}
    for tenant in accounts:
        if tenant in behind:
            words = "the clock was set back: %s has a statement of a month that is not over"
            said.say(tenant, "behind", logging.ERROR, words, tenant)
        else:
            said.over(tenant)
    return behind


def _there(tenants: Collection[str]) -> set[str]:
    """Those of ``tenants`` that have an account at all."""
    if not tenants:
        return set()
    return set(Account.objects.filter(tenant__in=tenants).values_list("tenant_id", flat=True))


def _plan(
    rows: list[Subscription], accounts: dict[str, Account], batch: Batch, now: datetime
) -> list[_Paid]:
    lookup = quotes.Lookup(accounts)
    prices = _Prices(lookup, now)
    held = holding.open_rows_of(rows)
    purses = _purses(accounts, now)
    paid: list[_Paid] = []
    for row in rows:
        before = len(paid)
        purse = purses[row.tenant_id]
        still_open = held.get(row.pk, [])
        while row.paid_until <= now:
            if len(paid) >= MOST_PERIODS:
                batch.unfinished.append(row.pk)
                break
            try:
                renewal = renewing.draft(
                    row,
                    1,
                    Actor.system(row.tenant).label,
                    now,
                    priced=prices.of(row),
                    rows=still_open,
                    basis=lookup.basis,
                )
                drafted = renewing.order_of(row, renewal, nonce=None, note=renewing.AUTOMATIC)
            except DatabaseError:
                raise
            except Exception as error:
                if not isinstance(error, ScloudError):
                    log.debug("%s is left to a renewal of its own", row.pk, exc_info=True)
                batch.refused.append(row.pk)
                break
            total = drafted.total_minor
            if total > purse.cash + purse.gift:
                batch.refused.append(row.pk)
                break
            gift, cash = pricing.split_gift(total, purse.gift)
            purse.gift -= gift
            purse.cash -= cash
            paid.append(_Paid(row, renewal, Taken(purse.account, drafted, gift, cash)))
            row.paid_until = renewal.end
            # Of what is open, the first period has charged what the following ones do not hold.
            still_open = []
        if len(paid) > before:
            batch.renewed.append(row)
    return paid


def _purses(accounts: dict[str, Account], now: datetime) -> dict[str, _Purse]:
    lapsed: dict[str, int] = {}
    given = [tenant for tenant, account in accounts.items() if account.gift_minor]
    if given:
        for lot in GiftLot.objects.filter(account__in=given, left_minor__gt=0, expires_at__lte=now):
            lapsed[lot.account_id] = lapsed.get(lot.account_id, 0) + lot.left_minor
    return {
        tenant: _Purse(
            account,
            account.cash_minor,
            account.gift_minor - lapsed.get(tenant, 0),
        )
        for tenant, account in accounts.items()
    }


def _pay(paid: list[_Paid], now: datetime) -> None:
    """Write down what was planned."""
    if not paid:
        return
    for account in {entry.taken.account.pk: entry.taken.account for entry in paid}.values():
        if account.gift_minor:
            # Nobody pays with a gift that the sweep has not taken back yet.
            ledger.expire_gifts(account, now)
    holding.split([held for entry in paid for held in entry.renewal.held])
    orders = charge_all([entry.taken for entry in paid], now=now)
    _go_on(paid)
    events.emit_many([_told(order) for order in orders])


def _go_on(paid: list[_Paid]) -> None:
    """Let the subscriptions be paid until the end of what was paid."""
    begins: dict[int, datetime] = {}
    ends: dict[int, datetime] = {}
    for entry in paid:
        begins.setdefault(entry.subscription.pk, entry.renewal.begin)
        ends[entry.subscription.pk] = entry.renewal.end
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE billing_subscription AS row"
            " SET paid_until = paid.until, expired_at = NULL, overdue_at = NULL"
            " FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[])"
            " AS paid (id, since, until)"
            " WHERE row.id = paid.id AND row.status = 'active' AND row.paid_until = paid.since",
            [list(ends), list(begins.values()), list(ends.values())],
        )
        if cursor.rowcount != len(ends):
            # The accounts' locks keep others away; this stops who takes none.
            raise RuntimeError(f"{len(ends) - cursor.rowcount} subscriptions changed meanwhile")


def _told(order: Order) -> Event:
    """The event that a renewal writes, see :func:`common.tell`."""
    return Event(
        tenant_id=order.tenant_id,
        kind="billing.renewed",
        resource_kind="order",
        resource_id=order.pk,
        data={"total": money.show(order.total_minor), "currency": order.currency},
    )
