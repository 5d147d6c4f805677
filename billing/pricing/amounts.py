"""Amounts of money: rounding, minor units, and how a payment is parted."""

from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Final

INTERNAL_DECIMALS: Final = 6
INTERNAL_STEP: Final = Decimal(1).scaleb(-INTERNAL_DECIMALS)
# Wide enough that a product of a price, a quantity, periods and a discount is exact.
EXACT_DIGITS: Final = 80
LARGEST: Final = Decimal(10) ** 12
"""Amounts and balances are below this, in whole currency units: a unit price has twelve digits
before its point, and the sums of a tenant fit into the columns for minor units."""


def round_money(amount: Decimal, decimals: int = 2) -> Decimal:
    """Round half away from zero to ``decimals``.

    >>> round_money(Decimal("0.125")), round_money(Decimal("-0.125")), round_money(Decimal("7"), 0)
    (Decimal('0.13'), Decimal('-0.13'), Decimal('7'))
    """
    with localcontext() as exact:
        exact.prec = EXACT_DIGITS
        return amount.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)


def to_minor(amount: Decimal, decimals: int = 2) -> int:
    """Money as whole minor units (fen, cents). ``amount`` must already be rounded.

    >>> to_minor(Decimal("12.30"))
    1230
    """
    minor = amount.scaleb(decimals)
    if minor != minor.to_integral_value():
        raise ValueError(f"{amount} has more than {decimals} decimals")
    return int(minor)


def from_minor(minor: int, decimals: int = 2) -> Decimal:
    """The reverse of :func:`to_minor`.

    >>> from_minor(1230)
    Decimal('12.30')
    """
    return Decimal(minor).scaleb(-decimals)


def average(amount: Decimal, count: Decimal) -> Decimal:
    """The average of ``count``, with six decimals; of none, the amount."""
    if count == 0:
        return amount
    with localcontext() as exact:
        exact.prec = EXACT_DIGITS
        return (amount / count).quantize(INTERNAL_STEP, rounding=ROUND_HALF_UP)


def split_gift(amount_minor: int, gift_balance_minor: int) -> tuple[int, int]:
    """How a payment is taken: (gift, cash). Gift goes first.

    >>> split_gift(500, 200)
    (200, 300)
    """
    gift = min(amount_minor, gift_balance_minor)
    return gift, amount_minor - gift


def split_refund(refund_minor: int, gift_paid_minor: int, amount_minor: int) -> tuple[int, int]:
    """How a refund is given back: (gift, cash), in the proportion in which it was paid.

    Gift never turns into cash: neither part exceeds what was paid from it.

    >>> split_refund(50, 20, 100)
    (10, 40)
    """
    if amount_minor == 0:
        return 0, 0
    gift = (2 * refund_minor * gift_paid_minor + amount_minor) // (2 * amount_minor)
    return gift, refund_minor - gift
