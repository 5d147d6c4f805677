"""The currency: its decimals, its minor units, and the zone whose calendar counts."""

from datetime import tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.conf import settings

from billing import pricing


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


def from_minor(minor: int) -> Decimal:
    return pricing.from_minor(minor, decimals())


def show(minor: int) -> str:
    """Minor units as plain text for error numbers and logs, such as ``12.30``."""
    return str(from_minor(minor))
