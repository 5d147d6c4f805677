"""The currency: its decimals, its minor units, and the zone whose calendar counts."""

from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils.translation import gettext as _

from billing import pricing
from scloud.lib.errors import InvalidInput


def currency() -> str:
    """The ISO code of the platform's currency."""
    name: str = settings.SCLOUD_CURRENCY
    return name


def decimals() -> int:
    """How many decimals the currency has."""
    count: int = settings.SCLOUD_CURRENCY_DECIMALS
    return count


def zone() -> tzinfo:
    """The time zone in whose calendar months and years are counted."""
    return ZoneInfo(getattr(settings, "SCLOUD_BILLING_TIME_ZONE", "Asia/Shanghai"))


def to_minor(amount: Decimal) -> int:
    """Rounded money in whole minor units."""
    return pricing.to_minor(amount, decimals())


def most_minor() -> int:
    """The largest balance, in minor units; see :data:`pricing.LARGEST`."""
    return min(int(pricing.LARGEST.scaleb(decimals())), 2**63) - 1


def from_minor(minor: int) -> Decimal:
    return pricing.from_minor(minor, decimals())


def show(minor: int) -> str:
    """Minor units as plain text for error numbers and logs, such as ``12.30``."""
    return str(from_minor(minor))


def end_of(day: date) -> datetime:
    """The instant after a day, in the zone whose calendar counts."""
    following = day + timedelta(days=1)
    return datetime(following.year, following.month, following.day, tzinfo=zone())


def checked_minor(amount: Decimal, most: Decimal, *, field: str = "amount") -> int:
    """An amount that somebody typed, in minor units.

    Raises InvalidInput where it is not above 0, above ``most``, or has too many decimals.
    """
    if not amount.is_finite() or not 0 < amount <= most:
        raise InvalidInput(
            _("The amount must be greater than 0 and at most %(limit)s.") % {"limit": most},
            code="amount_out_of_range",
            field=field,
            numbers={"max": str(most)},
        )
    try:
        return to_minor(amount)
    except ValueError:
        raise InvalidInput(
            _("The amount can have at most %(decimals)s decimals.") % {"decimals": decimals()},
            code="amount_too_exact",
            field=field,
            numbers={"decimals": decimals()},
        ) from None
