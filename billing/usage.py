"""What is measured and charged afterwards: prices, what is owed, what a day costs. Reads only.

Hours are counted from midnight of the billing time zone. What a resource held in the hours of a
day is charged once the day is over, rounded once for each row of :class:`billing.models.Usage`: an
hour of a few GB would be less than the smallest unit of money.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Final

from django.db.models import Count
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import catalog, hooks, ledger, money, pricing
from billing.models import Usage
from billing.pricing import Item, Line, Method, PriceBook
from billing.runway import Payment
from scloud.lib import sizes
from scloud.lib.errors import InsufficientBalance, ScloudError
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope

HOUR: Final = timedelta(hours=1)
_DAY_HOURS: Final = Decimal(24)


def day_of(at: datetime) -> tuple[datetime, datetime]:
    """The day of the billing time zone that ``at`` lies in: its two midnights, in UTC."""
    day = at.astimezone(money.zone()).date()
    begin = datetime.combine(day, time(), money.zone())
    return begin.astimezone(UTC), money.end_of(day).astimezone(UTC)


def hour_of(at: datetime) -> tuple[datetime, datetime]:
    """The hour that ``at`` lies in, counted from midnight; the last one of a day ends with it."""
    midnight, following = day_of(at)
    begin = midnight + (at - midnight) // HOUR * HOUR
    return begin, min(begin + HOUR, following)


def is_sold(book: PriceBook, sku: str) -> bool:
    """Whether a list has a price for a metered SKU. What it does not price is free."""
    return (sku, Method.HOUR) in book.prices


def periods_of(begin: datetime, end: datetime) -> Decimal:
    """How many hours lie between two instants."""
    return pricing.periods_between(begin, end, Method.HOUR, zone=money.zone())


def line_of(book: PriceBook, row: Usage) -> Line:
    """A row with its price, by the list that it names."""
    return _line(book, row.sku, row.quantity, row.discount, periods_of(row.begin, row.end))


def _line(
    book: PriceBook, sku: str, quantity: Decimal, discount: Decimal, periods: Decimal
) -> Line:
    return pricing.price_line(book, Item(sku, quantity), Method.HOUR, periods, discount)


def price_of(tenant: Tenant, region: Region, sku: str) -> Decimal | None:
    """What a unit costs per hour now, the tenant's discount taken off; None where it is free."""
    now = timezone.now()
    try:
        book = catalog.book_of(catalog.price_list_at(region, now))
    except ScloudError:
        return None
    if not is_sold(book, sku):
        return None
    with scope(tenant=tenant):
        discount = catalog.discounts_at(tenant, [sku], now).get(sku, Decimal(0))
    return book.unit_price(sku, Method.HOUR) * (1 - discount)


@dataclass
class OfMeter:
    """What a tenant holds of a meter's SKU in the present hour, and what that costs per day."""

    label: str
    quantity: Decimal = Decimal(0)
    daily_minor: int = 0
    today_minor: int = 0

    @property
    def size(self) -> str:
        """The quantity as people read it."""
        return sizes.size_gib(int(self.quantity))

    @property
    def daily(self) -> Decimal:
        """In whole currency units, as are the others."""
        return money.from_minor(self.daily_minor)

    @property
    def today(self) -> Decimal:
        return money.from_minor(self.today_minor)


@dataclass(frozen=True)
class Standing:
    """What is measured and not charged yet, minor units.

    ``owed_minor`` is for days that are over, ``meters`` say what is held now, by SKU.
    """

    owed_minor: int
    meters: dict[str, OfMeter] = field(default_factory=dict)

    @property
    def owed(self) -> Decimal:
        return money.from_minor(self.owed_minor)

    @property
    def today_minor(self) -> int:
        """What the hours of the present day cost so far."""
        return sum(one.today_minor for one in self.meters.values())

    @property
    def daily_minor(self) -> int:
        """What a day of all that is held now costs."""
        return sum(one.daily_minor for one in self.meters.values())

    def payments(self, now: datetime, until: datetime) -> list[Payment]:
        """What will be charged before ``until`` while all stays as it is."""
        found = [Payment(now, self.owed_minor)] if self.owed_minor else []
        midnight = day_of(now)[1]
        hours_left = Decimal((midnight - now) // HOUR)
        # Today has what was measured and the hours that are left; the days after it are whole.
        amount = self.today_minor + round(self.daily_minor * hours_left / _DAY_HOURS)
        while midnight < until and (amount or self.daily_minor):
            found.append(Payment(midnight, amount))
            amount, midnight = self.daily_minor, day_of(midnight)[1]
        return found

    def due_before(self, until: datetime, now: datetime) -> Decimal:
        """The sum of it, in whole currency units."""
        return money.from_minor(sum(one.amount for one in self.payments(now, until)))


def standing(tenant: Tenant, now: datetime) -> Standing:
    """What a tenant's usage costs, within its open scope. Equal rows are priced together."""
    midnight = day_of(now)[0]
    # The discounts of then are in the rows, so a row needs nothing but its list.
    found = list(
        Usage.objects.filter(tenant=tenant, charge=None)
        .order_by()
        .values("price_list", "sku", "quantity", "discount", "begin", "end")
        .annotate(count=Count("pk"))
    )
    books = catalog.books_of({row["price_list"] for row in found})
    owed = 0
    meters: dict[str, OfMeter] = {}
    for row in found:
        sku, count = row["sku"], row["count"]
        terms = (books[row["price_list"]], sku, row["quantity"], row["discount"])
        amount = money.to_minor(_line(*terms, periods_of(row["begin"], row["end"])).amount) * count
        if row["end"] <= midnight:
            owed += amount
            continue
        one = meters.setdefault(sku, OfMeter(label_of(sku)))
        one.today_minor += amount
        if row["begin"] <= now < row["end"]:
            one.quantity += row["quantity"] * count
            one.daily_minor += money.to_minor(_line(*terms, _DAY_HOURS).amount) * count
    return Standing(owed, dict(sorted(meters.items())))


def label_of(sku: str) -> str:
    """What people call a metered SKU."""
    meter = hooks.meters().get(sku)
    return sku if meter is None else str(meter.label)


def require_paid(tenant: Tenant) -> None:
    """Refuse more metered storage while the balance does not cover what is owed for past days.

    Raises InsufficientBalance ``usage_unpaid`` with the figures. Nothing that exists is deleted.
    """
    with scope(tenant=tenant):
        owed = standing(tenant, timezone.now()).owed_minor
        balance = ledger.account_of(tenant).balance_minor if owed else 0
    if owed <= balance:
        return
    missing = money.show(owed - balance)
    raise InsufficientBalance(
        _(
            "%(owed)s %(currency)s are owed for snapshots, images and the recycle bin, but the "
            "balance is %(balance)s."
        )
        % {
            "owed": money.show(owed),
            "currency": money.currency(),
            "balance": money.show(balance),
        },
        code="usage_unpaid",
        remedy=_("Top up at least %(amount)s %(currency)s.")
        % {"amount": missing, "currency": money.currency()},
        numbers={
            "owed": money.show(owed),
            "balance": money.show(balance),
            "missing": missing,
            "currency": money.currency(),
        },
    )
