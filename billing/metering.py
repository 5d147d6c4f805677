"""Measuring what is charged afterwards, and charging it once a day is over.

The sweeper calls :func:`run` every few minutes. Each call looks at what is held and writes it down
for the hour: what was seen at any time of an hour counts for all of it, with the largest quantity
that was seen. An hour in which nothing was measured, because the platform stood still, is never
charged. A day that is over is charged in orders, each resource by itself, the oldest day first, as
far as the balance covers them; what it does not cover stays open and is tried again.

Each tenant has transactions of its own, under its account's lock: sweeps may overlap, stop anywhere
and be repeated, and what fails for one tenant harms no other.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import Final

from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import catalog, hooks, ledger, money, orders, quotes, usage
from billing.models import Account, Order, OrderKind, Subscription, Usage
from billing.orders import ChargeDraft, OrderDraft, ResourceRef
from billing.pricing import Method, PriceBook
from billing.services.common import tell
from scloud.jobs.rows import Rota, each
from scloud.lib.backoff import Said
from scloud.lib.errors import ScloudError
from scloud.recovery import freezing
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope, scopes_disabled

logger = logging.getLogger(__name__)

BATCH: Final = 200
# Charges of one order; a day of more resources takes several.
CHARGES: Final = 500
# Orders in one transaction, while purchases of the same tenant wait.
ORDERS: Final = 20
said = Said(logger)
_due = Rota("created_at", BATCH)

Hour = tuple[datetime, datetime]
Key = tuple[str, str]


@dataclass(frozen=True)
class _Wanted:
    """What a resource holds of a SKU that has a price."""

    sku: str
    held: hooks.Held

    @property
    def key(self) -> Key:
        return self.held.resource_kind, self.held.resource_id


def run(now: datetime | None = None) -> list[Order]:
    """Measure the present hour and charge the days that are over; return the orders.

    Nothing of it while a restored database is frozen: what it knows of may not be there.
    """
    at = now or timezone.now()
    if freezing.is_frozen():
        return []
    measure(at)
    return charge(at)


# --- measuring


def measure(at: datetime) -> None:
    """Write down what is held in the hour of ``at``; what is known of it already stays."""
    hour = usage.hour_of(at)
    with scopes_disabled():
        regions = {region.pk: region for region in Region.objects.all()}
        wanted: dict[str, list[_Wanted]] = {}
        for one in _unknown(_held(regions, hour), hour):
            wanted.setdefault(one.held.tenant_id, []).append(one)
        tenants = list(Tenant.objects.filter(pk__in=wanted).order_by("pk"))
    each(
        tenants,
        lambda tenant: _measure(tenant, wanted[tenant.pk], regions, hour),
        "measuring usage",
    )


def _held(regions: dict[str, Region], hour: Hour) -> Iterator[_Wanted]:
    """What is held of the SKUs that the lists in force in this hour have a price for."""
    sold: dict[str, set[str]] = {}
    for region in regions.values():
        try:
            book = catalog.book_of(catalog.price_list_at(region, hour[0]))
        except ScloudError:
            continue
        for sku in hooks.meters():
            if usage.is_sold(book, sku):
                sold.setdefault(sku, set()).add(region.pk)
    for sku, places in sold.items():
        for held in _read(hooks.meters()[sku]):
            if held.region_id in places:
                yield _Wanted(sku, held)


def _read(meter: hooks.Meter) -> list[hooks.Held]:
    """What a meter says; nothing where it fails, which says nothing of the others."""
    try:
        found = list(meter.read())
    except Exception as error:
        if not connection.in_atomic_block and not connection.is_usable():
            raise
        if said.say(meter.sku, repr(error)[:200], logging.ERROR, "meter %s failed", meter.sku):
            logger.error("%s is not measured", meter.sku, exc_info=error)
        return []
    said.over(meter.sku)
    return found


def _unknown(wanted: Iterable[_Wanted], hour: Hour) -> Iterator[_Wanted]:
    """What is not written down for the hour yet, or with fewer units.

    Looked at without a lock, so that most calls find nothing to do.
    """
    known = {
        (kind, pk): (sku, quantity)
        for kind, pk, sku, quantity in Usage.objects.filter(
            charge=None, begin__lte=hour[0], end__gt=hour[0]
        ).values_list("resource_kind", "resource_id", "sku", "quantity")
    }
    # What lies in the bin is paid for as long as its paid time goes on.
    paid = set(
        Subscription.objects.filter(in_bin=True, paid_until__gt=hour[0]).values_list(
            "resource_kind", "resource_id"
        )
    )
    for one in wanted:
        if one.key in paid:
            continue
        sku, quantity = known.get(one.key, ("", Decimal(0)))
        if not sku or (sku == one.sku and one.held.quantity > quantity):
            yield one


@transaction.atomic
def _measure(tenant: Tenant, wanted: list[_Wanted], regions: dict[str, Region], hour: Hour) -> None:
    """Write down what one tenant holds."""
    begin, end = hour
    with scope(tenant=tenant):
        # Nobody else measures or charges this tenant meanwhile, and no price changes.
        ledger.lock_account(tenant)
        lookup = quotes.Lookup([tenant.pk])
        skus = sorted({one.sku for one in wanted})
        bases = {
            region: lookup.basis(tenant, regions[region], skus, begin)
            for region in sorted({one.held.region_id for one in wanted})
        }
        last: dict[Key, Usage] = {}
        for row in Usage.objects.filter(tenant=tenant, end__gte=begin).order_by("end"):
            last[row.resource_kind, row.resource_id] = row
        longer: list[int] = []
        new: list[Usage] = []
        for one in wanted:
            found = bases[one.held.region_id]
            if not usage.is_sold(found.book, one.sku):
                continue
            fresh = Usage(
                tenant=tenant,
                region_id=one.held.region_id,
                price_list=found.price_list,
                sku=one.sku,
                resource_kind=one.held.resource_kind,
                resource_id=one.held.resource_id,
                resource_name=one.held.resource_name[:100],
                quantity=one.held.quantity,
                discount=found.discounts.get(one.sku, Decimal(0)),
                begin=begin,
                end=end,
            )
            known = last.get(one.key)
            if known is not None and known.end > begin:
                if _grew(known, fresh):
                    new.append(fresh)
            elif known is not None and known.end == begin and _goes_on(known, fresh):
                longer.append(known.pk)
            else:
                new.append(fresh)
        Usage.objects.filter(pk__in=longer).update(end=end)
        Usage.objects.bulk_create(new, batch_size=1000)


def _goes_on(known: Usage, fresh: Usage) -> bool:
    """Whether a row can be made longer by the hour of ``fresh``: the same day, units and price."""
    same = ("sku", "quantity", "discount", "price_list_id", "region_id", "tenant_id")
    return fresh.begin != usage.day_of(fresh.begin)[0] and all(
        getattr(known, name) == getattr(fresh, name) for name in same
    )


def _grew(known: Usage, fresh: Usage) -> bool:
    """Take the hour of ``fresh`` out of a row that knows of fewer units; whether that was so.

    A resource that goes to the bin within an hour has it charged as what it was first.
    """
    if (
        known.charge_id is not None
        or known.sku != fresh.sku
        or known.quantity >= fresh.quantity
        or known.begin > fresh.begin
    ):
        return False
    mine = Usage.objects.filter(pk=known.pk)
    if known.begin == fresh.begin:
        mine.delete()
    else:
        mine.update(end=fresh.begin)
    return True


# --- charging


def charge(at: datetime) -> list[Order]:
    """Charge what up to 200 tenants owe for days that are over at ``at``."""
    made: list[Order] = []
    with scopes_disabled():
        rows = Usage.objects.filter(
            tenant=OuterRef("pk"), charge=None, end__lte=usage.day_of(at)[0]
        )
        tenants = _due.take(Tenant.objects.filter(Exists(rows)))

    def pay(tenant: Tenant) -> None:
        while orders_made := _charge(tenant, at):
            made.extend(orders_made)

    each(tenants, pay, "charging usage")
    return made


@transaction.atomic
def _charge(tenant: Tenant, at: datetime) -> list[Order]:
    """Charge one tenant's oldest days; nothing where the balance does not cover the next order."""
    made: list[Order] = []
    with scope(tenant=tenant):
        account = ledger.lock_account(tenant)
        if account.gift_minor:
            # Nobody pays with a gift that the sweep has not taken back yet.
            ledger.expire_gifts(account, at)
        rows = (
            Usage.objects.filter(tenant=tenant, charge=None, end__lte=usage.day_of(at)[0])
            .select_related("region", "price_list")
            .order_by("end", "region", "begin", "pk")[: CHARGES * ORDERS]
        )
        books = catalog.books_of({row.price_list_id for row in rows})
        for part in _parts(rows):
            order = _pay(account, part, books, at)
            if order is None:
                break
            made.append(order)
    return made


def _parts(rows: Iterable[Usage]) -> Iterator[list[Usage]]:
    """Rows of one day and region, up to as many as an order has charges."""

    def whose(row: Usage) -> tuple[datetime, str]:
        return usage.day_of(row.begin)[0], row.region_id

    for _key, group in groupby(sorted(rows, key=whose), whose):
        same = list(group)
        for start in range(0, len(same), CHARGES):
            yield same[start : start + CHARGES]


def _pay(
    account: Account, rows: list[Usage], books: dict[str, PriceBook], at: datetime
) -> Order | None:
    """Charge rows of one day and region in one order; None where the balance does not cover it."""
    first = rows[0]
    drafts = [_draft(row, books) for row in rows]
    if sum(draft.amount_minor for draft in drafts) > account.balance_minor:
        return None
    order = orders.charge(
        account,
        OrderDraft(
            kind=OrderKind.USAGE,
            region=first.region,
            method=Method.HOUR,
            price_list=first.price_list,
            priced_at=first.begin,
            charges=drafts,
            actor=Actor.system(account.tenant).label,
            note=_("Usage on %(day)s")
            % {"day": f"{first.begin.astimezone(money.zone()):%Y-%m-%d}"},
        ),
        now=at,
    )
    charges = {
        (found.resource_kind, found.resource_id, found.begin): found
        for found in order.charges.all()
    }
    for row in rows:
        row.charge = charges[row.resource_kind, row.resource_id, row.begin]
    Usage.objects.bulk_update(rows, ["charge"])
    _tell(account.tenant, order)
    return order


def _tell(tenant: Tenant, order: Order) -> None:
    tell(tenant, "billing.usage_charged", order)


def _draft(row: Usage, books: dict[str, PriceBook]) -> ChargeDraft:
    meter = hooks.meters().get(row.sku)
    return ChargeDraft(
        resource=ResourceRef(row.resource_kind, row.resource_id, row.resource_name),
        begin=row.begin,
        end=row.end,
        anchor_day=row.begin.astimezone(money.zone()).day,
        periods=usage.periods_of(row.begin, row.end),
        lines=[
            (
                row.sku if meter is None else meter.words(row.quantity)[:120],
                usage.line_of(books[row.price_list_id], row),
            )
        ],
        price_list=row.price_list,
        priced_at=row.begin,
    )
