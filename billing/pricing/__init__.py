"""What things cost: pure functions over a frozen price list and an interval.

Nothing here reads a clock, a setting or a database. Quote, charge, refund and replay all call
these functions with the same inputs, so they cannot disagree.

The rules, in words:

* A price belongs to one SKU and one billing method and is for **one unit and one period**. The
  monthly price is its own figure, not 720 times the hourly one.
* A price may have **tiers**: the units of a resource above a number of them cost another price
  each, those below keep theirs. A free allowance is a first tier that costs nothing. A line names
  how many units of its resource lie below it (``above``), so that what is bought bit by bit costs
  what it costs at once.
* A line costs ``unit price x quantity x periods x (1 - discount)``; over several tiers, the sum of
  their units at their prices takes the place of unit price x quantity. It is computed exactly and
  rounded **once**, half away from zero, to the decimals of the currency. Totals are sums of
  rounded lines; nothing is rounded again.
* Fractions of a period are fixed at six decimals (the internal precision), half up, so that the
  figures printed on an order line explain its amount completely.
* Hours are 3600 s. Months and years follow the calendar of the billing time zone, with the time
  of day kept. A period that starts on the 31st (the *anchor day*) ends on the last day of a
  shorter month and returns to the 31st in the next longer one: 31 Jan, 28 Feb, 31 Mar. The
  anchor travels with the subscription, so renewals do not drift. 29 Feb plus one year is 28 Feb.
* An hour that has begun is used up. Of months and years the unused time counts to the
  microsecond.
* An upgrade pays, for the time already paid, only for the units that are *added*, at the price of
  today. Units paid earlier keep the price they were bought at.
* An hourly upgrade pays from the next full hour on. What is held of the hour that has begun beyond
  what that hour was paid at stays open (:class:`Held`). It is charged with the next hour as far as
  that hour is smaller, so that the next hour costs what the largest configuration of the hour
  before costs, and at the end of the resource at the latest.
* What is destroyed gives back the months and years that have not begun, whole, and of the one that
  has begun what is left after the time used is priced anew: whole months by the month, the rest by
  the hour, whatever is cheapest. Never more than was paid for it, never less than nothing.
* ``docs/pricing.md`` says this for tenants, with examples that are tests.
"""

from billing.pricing.amounts import (
    LARGEST,
    from_minor,
    round_money,
    split_gift,
    split_refund,
    to_minor,
)
from billing.pricing.holding import due_with_next, held_beyond
from billing.pricing.lines import (
    check_amounts,
    cost_of,
    item_of,
    line_amount,
    parts_of,
    per_period,
    price_items,
    price_line,
    price_lines,
    total,
    upgrade_lines,
)
from billing.pricing.periods import (
    anchor_day_of,
    begun_hour,
    period_end,
    periods_between,
    renewals_until,
    unused_from,
    unused_periods,
)
from billing.pricing.refunds import refund_amount, refund_less_used
from billing.pricing.values import (
    DURATIONS,
    DifferenceLine,
    Held,
    Item,
    Line,
    Method,
    PaidLine,
    Part,
    PriceBook,
    RefundRule,
    Tier,
    UsedUp,
    check_discount,
    check_periods,
    check_sku,
)

__all__ = [
    "DURATIONS",
    "LARGEST",
    "DifferenceLine",
    "Held",
    "Item",
    "Line",
    "Method",
    "PaidLine",
    "Part",
    "PriceBook",
    "RefundRule",
    "Tier",
    "UsedUp",
    "anchor_day_of",
    "begun_hour",
    "check_amounts",
    "check_discount",
    "check_periods",
    "check_sku",
    "cost_of",
    "due_with_next",
    "from_minor",
    "held_beyond",
    "item_of",
    "line_amount",
    "parts_of",
    "per_period",
    "period_end",
    "periods_between",
    "price_items",
    "price_line",
    "price_lines",
    "refund_amount",
    "refund_less_used",
    "renewals_until",
    "round_money",
    "split_gift",
    "split_refund",
    "to_minor",
    "total",
    "unused_from",
    "unused_periods",
    "upgrade_lines",
]
