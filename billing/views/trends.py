"""What was spent over days, as bars and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from django.utils.formats import date_format
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from billing import queries
from scloud.tenancy.models import Tenant
from scloud.web import ui
from scloud.web.charts import Bar, bars

DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Trend:
    """Bars, and the same as rows of a table: when, and how much."""

    key: str
    title: str
    heading: str
    picture: SafeString
    rows: Sequence[tuple[str, Decimal]]


def by_day(tenant: Tenant) -> Trend | None:
    """Return the cost of each of the last days; None where there was none at all."""
    rows = queries.spent_by_day(tenant, DAYS)
    title = _("Cost per day, last %(days)d days") % {"days": DAYS}
    return _trend("days", title, _("Day"), rows, "Y-m-d")


def _trend(
    key: str, title: str, heading: str, rows: Sequence[tuple[date, Decimal]], written: str
) -> Trend | None:
    if not any(amount for _day, amount in rows):
        return None
    named = [(date_format(day, written), amount) for day, amount in rows]
    picture = bars(title, [Bar(*row) for row in named], ui.money)
    return Trend(key, title, heading, picture, named[::-1])
