"""What is priced and paid: SKUs, items, tiers, price lists, lines."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, localcontext
from enum import StrEnum
from typing import Final

from django.utils.translation import gettext as _

from billing.pricing.amounts import EXACT_DIGITS
from scloud.lib.errors import InvalidInput

_SKU_PATTERN: Final = re.compile(r"[a-z][a-z0-9_]{0,31}(:[A-Za-z0-9][A-Za-z0-9._-]{0,63})?")


class Method(StrEnum):
    """Billing method: the length of one period."""

    HOUR = "hour"
    MONTH = "month"
    YEAR = "year"


class RefundRule(StrEnum):
    """What a destroyed resource gets back of the month or year that has begun."""

    LESS_USED = "less_used"
    """Its price less the time used at the price of that time, by the hour or month."""
    PRO_RATA = "pro_rata"
    """Its unused share."""


DURATIONS: Final[Mapping[Method, range]] = {
    Method.HOUR: range(1, 25),
    Method.MONTH: range(1, 12),
    Method.YEAR: range(1, 6),
}
"""How many periods can be bought or renewed at once."""


@dataclass(frozen=True, slots=True)
class Item:
    """A quantity of one SKU, per resource: the units above the first ``above`` of them.

    A negative quantity is of the units below ``above``, which are given back.
    """

    sku: str
    quantity: Decimal
    above: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Tier:
    """The price of each unit of a resource above the first ``above``."""

    above: Decimal
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class Part:
    """Units of a line that lie in one tier: ``quantity`` of them above the first ``above``."""

    above: Decimal
    quantity: Decimal
    unit_price: Decimal

    @property
    def cost(self) -> Decimal:
        """What they cost for one period, exactly."""
        with localcontext() as exact:
            exact.prec = EXACT_DIGITS
            return self.quantity * self.unit_price


@dataclass(frozen=True, slots=True)
class PriceBook:
    """A published price list, frozen.

    ``prices`` maps (SKU, method) to the price of one unit for one period, in whole currency
    units with up to six decimals. ``decimals`` is the number of decimals that money has. ``tiers``
    are those after the first, from the lowest to the highest, where a price has any.
    """

    version: str
    prices: Mapping[tuple[str, Method], Decimal]
    decimals: int = 2
    tiers: Mapping[tuple[str, Method], Sequence[Tier]] = field(default_factory=dict)

    def tiers_of(self, sku: str, method: Method) -> tuple[Tier, ...]:
        """All tiers of a price, the first one included. Raises as :meth:`unit_price` does."""
        first = Tier(Decimal(0), self.unit_price(sku, method))
        return (first, *self.tiers.get((sku, method), ()))

    def unit_price(self, sku: str, method: Method) -> Decimal:
        """The price of the first unit of ``sku`` for one period.

        Raises InvalidInput ``price_missing`` if the list does not sell it that way.
        """
        try:
            return self.prices[sku, method]
        except KeyError:
            raise InvalidInput(
                _("There is no price per %(method)s for %(sku)s.")
                % {"method": method.value, "sku": sku},
                code="price_missing",
                field="billing_method",
                remedy=_("Choose another billing method or ask the administrator for a price."),
                numbers={"sku": sku, "method": method.value, "price_list": self.version},
            ) from None


@dataclass(frozen=True, slots=True)
class Line:
    """One priced order line of one resource. ``amount`` is rounded; the rest explains it.

    ``above`` is how many units of the resource lie below it, which other lines pay for. Where the
    price has tiers, ``parts`` are those that the line lies in, and ``unit_price`` is the average
    of its units, with six decimals.
    """

    sku: str
    quantity: Decimal
    unit_price: Decimal
    periods: Decimal
    discount: Decimal
    amount: Decimal
    above: Decimal = Decimal(0)
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class PaidLine:
    """What was paid for ``quantity`` of a SKU during [``begin``, ``end``).

    ``quantity`` is negative where an upgrade of one SKU gave back units of another.
    """

    sku: str
    quantity: Decimal
    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """Units of a SKU that a resource held in an hour which was paid at less.

    They are those above ``above`` up to ``upto``, both counts of units: a VM that grew from 1 to
    64 vCPU within a paid hour held those from 1 to 64.
    """

    sku: str
    above: Decimal
    upto: Decimal

    @property
    def quantity(self) -> Decimal:
        """How many units these are."""
        return self.upto - self.above

    @property
    def item(self) -> Item:
        """The units as they are priced."""
        return Item(self.sku, self.quantity, self.above)


@dataclass(frozen=True, slots=True)
class UsedUp:
    """What a charge gives back when its resource is destroyed, and why.

    Of the price, ``returned`` periods come back first; of these, ``used`` is paid again: the time
    used of the period that has begun, priced anew. ``amount`` is what remains, rounded.
    """

    amount: Decimal
    returned: Decimal
    used: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class DifferenceLine:
    """A line of an upgrade: the units added (or given back) during [``begin``, ``end``)."""

    line: Line
    begin: datetime
    end: datetime


def check_sku(sku: str) -> str:
    """Return ``sku`` if it is well formed: ``name`` or ``name:variant``.

    >>> check_sku("gpu:T4")
    'gpu:T4'
    """
    if not _SKU_PATTERN.fullmatch(sku):
        raise InvalidInput(
            _("%(sku)s is not a SKU name.") % {"sku": repr(sku)}, code="sku_invalid", field="sku"
        )
    return sku


def check_periods(method: Method, periods: int) -> int:
    """Return ``periods`` if that many can be bought at once: 1-24 h, 1-11 months, 1-5 years.

    >>> check_periods(Method.MONTH, 11)
    11
    """
    allowed = DURATIONS[method]
    if periods not in allowed:
        low, high = allowed[0], allowed[-1]
        raise InvalidInput(
            _("The duration must be %(low)s to %(high)s when paying by the %(method)s.")
            % {"low": low, "high": high, "method": method.value},
            code="duration_out_of_range",
            field="periods",
            numbers={"min": low, "max": high, "asked": periods},
        )
    return periods


def check_discount(discount: Decimal) -> Decimal:
    """Return ``discount`` if it is a part between 0 (full price) and 1 (free).

    >>> check_discount(Decimal("0.15"))
    Decimal('0.15')
    """
    if not 0 <= discount <= 1:
        raise InvalidInput(
            _("A discount lies between 0 and 1."), code="discount_out_of_range", field="discount"
        )
    return discount
