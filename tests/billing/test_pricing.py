"""Prices, durations, rounding, calendar periods, upgrades and refunds: figures and properties."""

import doctest
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import pricing
from billing.pricing import (
    DifferenceLine,
    Held,
    Item,
    Line,
    Method,
    PaidLine,
    Part,
    PriceBook,
    Tier,
    UsedUp,
    anchor_day_of,
    begun_hour,
    check_discount,
    check_periods,
    check_sku,
    due_with_next,
    from_minor,
    held_beyond,
    line_amount,
    parts_of,
    per_period,
    period_end,
    periods_between,
    price_line,
    price_lines,
    refund_amount,
    refund_less_used,
    renewals_until,
    round_money,
    split_gift,
    split_refund,
    to_minor,
    total,
    unused_from,
    unused_periods,
    upgrade_lines,
)
from scloud.lib.errors import InvalidInput

SHANGHAI = ZoneInfo("Asia/Shanghai")
BOOK = PriceBook(
    "7",
    {
        ("vcpu", Method.HOUR): Decimal("0.06"),
        ("memory_gib", Method.HOUR): Decimal("0.03"),
        ("vcpu", Method.MONTH): Decimal(30),
        ("memory_gib", Method.MONTH): Decimal("15.123456"),
        ("disk_gib:ssd", Method.MONTH): Decimal("0.7"),
        ("vcpu", Method.YEAR): Decimal(300),
    },
)


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("module", "examples"),
    [
        (pricing.values, 3),
        (pricing.amounts, 5),
        (pricing.periods, 15),
        (pricing.lines, 22),
        (pricing.refunds, 6),
        (pricing.holding, 6),
    ],
)
def test_the_examples_in_the_docstrings_are_true(module: ModuleType, examples: int) -> None:
    names = {**vars(pricing), "UTC": UTC, "datetime": datetime, "timedelta": timedelta}
    result = doctest.testmod(module, extraglobs=names)
    assert result.attempted >= examples
    assert result.failed == 0


# --- names, ranges, rounding


@pytest.mark.parametrize("sku", ["vcpu", "memory_gib", "disk_gib:ssd", "gpu:T4", "mbps:bgp-1.a"])
def test_a_well_formed_sku_is_accepted(sku: str) -> None:
    assert check_sku(sku) == sku


@pytest.mark.parametrize(
    "sku", ["", "VCPU", "disk:", ":ssd", "a b", "gpu:T4:x", "vcpu\n", "x" * 99]
)
def test_a_malformed_sku_is_refused(sku: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_sku(sku)
    assert refusal.value.code == "sku_invalid"


@pytest.mark.parametrize(
    ("method", "low", "high"), [(Method.HOUR, 1, 24), (Method.MONTH, 1, 11), (Method.YEAR, 1, 5)]
)
def test_durations_have_their_bounds(method: Method, low: int, high: int) -> None:
    assert check_periods(method, low) == low
    assert check_periods(method, high) == high
    for outside in (low - 1, high + 1, -1):
        with pytest.raises(InvalidInput) as refusal:
            check_periods(method, outside)
        assert refusal.value.code == "duration_out_of_range"
        assert refusal.value.numbers == {"min": low, "max": high, "asked": outside}


@pytest.mark.parametrize("discount", ["-0.01", "1.01"])
def test_a_discount_outside_zero_to_one_is_refused(discount: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_discount(Decimal(discount))
    assert refusal.value.code == "discount_out_of_range"


@pytest.mark.parametrize(
    ("amount", "rounded"),
    [("1.005", "1.01"), ("1.004999", "1.00"), ("-1.005", "-1.01"), ("0", "0.00")],
)
def test_money_rounds_half_away_from_zero(amount: str, rounded: str) -> None:
    assert str(round_money(Decimal(amount))) == rounded


def test_unrounded_money_has_no_minor_units() -> None:
    with pytest.raises(ValueError, match="more than 2 decimals"):
        to_minor(Decimal("0.001"))


@given(st.integers(-(10**15), 10**15), st.integers(0, 4))
def test_minor_units_go_there_and_back(minor: int, decimals: int) -> None:
    assert to_minor(from_minor(minor, decimals), decimals) == minor


# --- lines


def test_a_line_is_rounded_once_and_not_per_unit() -> None:
    # 0.333 x 3 = 0.999; rounding each unit first would give 0.99.
    amount = line_amount(
        unit_price=Decimal("0.333"), quantity=Decimal(3), periods=Decimal(1), discount=Decimal(0)
    )
    assert amount == Decimal("1.00")


def test_a_total_is_the_sum_of_rounded_lines() -> None:
    lines = price_lines(
        BOOK,
        [Item("memory_gib", Decimal(1)), Item("memory_gib", Decimal(1))],
        Method.MONTH,
        1,
    )
    assert [line.amount for line in lines] == [Decimal("15.12"), Decimal("15.12")]
    assert total(lines) == Decimal("30.24")


def test_each_sku_has_its_own_discount() -> None:
    lines = price_lines(
        BOOK,
        [Item("vcpu", Decimal(4)), Item("memory_gib", Decimal(8))],
        Method.HOUR,
        10,
        {"vcpu": Decimal("0.25")},
    )
    assert lines[0] == Line(
        "vcpu", Decimal(4), Decimal("0.06"), Decimal(10), Decimal("0.25"), Decimal("1.80")
    )
    assert lines[1].amount == Decimal("2.40")


def test_what_has_no_price_is_refused_with_its_name() -> None:
    with pytest.raises(InvalidInput) as refusal:
        price_lines(BOOK, [Item("gpu:T4", Decimal(1))], Method.MONTH, 1)
    assert refusal.value.code == "price_missing"
    assert refusal.value.numbers == {"sku": "gpu:T4", "method": "month", "price_list": "7"}


def test_nothing_cannot_be_priced() -> None:
    with pytest.raises(InvalidInput) as refusal:
        price_lines(BOOK, [], Method.MONTH, 1)
    assert refusal.value.code == "nothing_to_price"


@pytest.mark.parametrize("quantity", ["0", "-1"])
def test_a_quantity_must_be_positive(quantity: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        price_lines(BOOK, [Item("vcpu", Decimal(quantity))], Method.MONTH, 1)
    assert refusal.value.code == "quantity_not_positive"


prices = st.decimals(0, 100_000, places=6)
quantities = st.decimals("0.000001", 100_000, places=6)
discounts = st.decimals(0, 1, places=4)


@given(prices, quantities, st.integers(1, 24), discounts)
def test_a_rounded_line_is_within_half_a_minor_unit_of_the_exact_amount(
    price: Decimal, quantity: Decimal, periods: int, discount: Decimal
) -> None:
    amount = line_amount(
        unit_price=price, quantity=quantity, periods=Decimal(periods), discount=discount
    )
    exact = Fraction(price) * Fraction(quantity) * periods * (1 - Fraction(discount))
    assert abs(Fraction(amount) - exact) <= Fraction(1, 200)


@given(prices, quantities, st.integers(1, 23), discounts, discounts)
def test_more_time_never_costs_less_and_more_discount_never_more(
    price: Decimal, quantity: Decimal, periods: int, one: Decimal, other: Decimal
) -> None:
    def cost(periods: int, discount: Decimal) -> Decimal:
        return line_amount(
            unit_price=price, quantity=quantity, periods=Decimal(periods), discount=discount
        )

    assert cost(periods + 1, one) >= cost(periods, one) >= 0
    assert cost(periods, max(one, other)) <= cost(periods, min(one, other))


# --- calendar


@pytest.mark.parametrize(
    ("start", "method", "periods", "end"),
    [
        ("2026-01-31", Method.MONTH, 1, "2026-02-28"),
        ("2028-01-31", Method.MONTH, 1, "2028-02-29"),
        ("2026-01-31", Method.MONTH, 2, "2026-03-31"),
        ("2026-01-31", Method.MONTH, 3, "2026-04-30"),
        ("2026-12-15", Method.MONTH, 1, "2027-01-15"),
        ("2026-03-31", Method.MONTH, -1, "2026-02-28"),
        ("2028-02-29", Method.YEAR, 1, "2029-02-28"),
        ("2028-02-29", Method.YEAR, 4, "2032-02-29"),
        ("2026-05-06", Method.YEAR, 5, "2031-05-06"),
        ("2026-05-06", Method.YEAR, 0, "2026-05-06"),
        ("2026-12-31T23:30:00", Method.HOUR, 2, "2027-01-01T01:30:00"),
    ],
)
def test_periods_end_on_the_calendar(start: str, method: Method, periods: int, end: str) -> None:
    assert period_end(day(start), method, periods) == day(end)


def test_a_renewal_returns_to_the_anchor_day_after_a_short_month() -> None:
    assert period_end(day("2026-02-28"), Method.MONTH, 1, anchor_day=31) == day("2026-03-31")
    assert period_end(day("2026-04-30"), Method.MONTH, 1, anchor_day=31) == day("2026-05-31")
    assert period_end(day("2029-02-28"), Method.YEAR, 3, anchor_day=29) == day("2032-02-29")


def test_an_anchor_day_counts_only_at_the_end_of_a_month() -> None:
    assert period_end(day("2026-04-12"), Method.MONTH, 1, anchor_day=31) == day("2026-05-12")


def test_months_follow_the_calendar_of_the_billing_zone() -> None:
    # 1 March 00:30 in Shanghai is still February in UTC; the month bought is March all the same.
    start = datetime(2026, 3, 1, 0, 30, tzinfo=SHANGHAI)
    assert anchor_day_of(start, SHANGHAI) == 1
    assert period_end(start, Method.MONTH, 1, zone=SHANGHAI) == datetime(
        2026, 4, 1, 0, 30, tzinfo=SHANGHAI
    )


def test_the_time_of_day_survives_a_change_to_summer_time() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 3, 15, 9, tzinfo=berlin)
    assert period_end(start, Method.MONTH, 1, zone=berlin).astimezone(berlin).hour == 9


@pytest.mark.parametrize("month", [3, 10])
@pytest.mark.parametrize("method", [Method.MONTH, Method.YEAR])
def test_whole_periods_that_begin_or_end_in_an_hour_that_is_skipped_or_repeated(
    month: int, method: Method
) -> None:
    """Counted back as they were counted on; the hour around them is none of them."""
    berlin = ZoneInfo("Europe/Berlin")
    change = datetime(2026, month, 29 if month == 3 else 25, 1, tzinfo=UTC)
    for periods in (1, 2, 5):
        for minutes in range(-150, 151, 30):
            for start in (
                change + timedelta(minutes=minutes),
                period_end(change, method, -periods, zone=berlin) + timedelta(minutes=minutes),
            ):
                anchor = anchor_day_of(start, berlin)
                end = period_end(start, method, periods, anchor_day=anchor, zone=berlin)
                found = periods_between(start, end, method, anchor_day=anchor, zone=berlin)
                assert found == periods, (start, end)
                later = periods_between(
                    start + timedelta(days=2), end, method, anchor_day=anchor, zone=berlin
                )
                assert periods - Decimal("0.08") < later < periods


def test_a_naive_start_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="aware"):
        period_end(day("2026-01-01").replace(tzinfo=None), Method.HOUR, 1)


instants = st.datetimes(
    day("2024-01-01").replace(tzinfo=None),
    day("2036-01-01").replace(tzinfo=None),
    timezones=st.just(UTC),
)
methods = st.sampled_from(list(Method))
zones = st.sampled_from([UTC, SHANGHAI])


@given(instants, methods, st.integers(1, 24), st.integers(1, 24), zones)
def test_renewing_step_by_step_ends_where_one_long_purchase_ends(
    start: datetime, method: Method, first: int, second: int, zone: ZoneInfo
) -> None:
    anchor = anchor_day_of(start, zone)
    step = period_end(start, method, first, anchor_day=anchor, zone=zone)
    assert period_end(step, method, second, anchor_day=anchor, zone=zone) == period_end(
        start, method, first + second, anchor_day=anchor, zone=zone
    )


@given(instants, methods, st.integers(0, 40), zones)
def test_a_bought_span_has_exactly_the_periods_bought(
    start: datetime, method: Method, periods: int, zone: ZoneInfo
) -> None:
    anchor = anchor_day_of(start, zone)
    end = period_end(start, method, periods, anchor_day=anchor, zone=zone)
    assert periods_between(start, end, method, anchor_day=anchor, zone=zone) == periods
    assert renewals_until(start, end, method, anchor_day=anchor, zone=zone) == periods


@given(instants, methods, st.integers(1, 24), st.floats(0, 1), st.floats(0, 1))
def test_paid_time_only_shrinks(
    start: datetime, method: Method, periods: int, one: float, other: float
) -> None:
    anchor = anchor_day_of(start)
    end = period_end(start, method, periods, anchor_day=anchor)
    early, late = (start + (end - start) * part for part in sorted((one, other)))
    left = [unused_periods(at, end, method, anchor_day=anchor) for at in (start, early, late, end)]
    assert left == sorted(left, reverse=True)
    assert left[0] == periods
    assert left[-1] == 0
    assert early <= unused_from(early, end, method) <= end


def test_half_of_february_is_half_a_month() -> None:
    assert periods_between(day("2026-02-15"), day("2026-03-01"), Method.MONTH) == Decimal("0.5")
    # The day before 2024-03-01 lies in a year of 366 days.
    leap = periods_between(day("2024-02-29"), day("2026-03-01"), Method.YEAR)
    assert leap == Decimal("2.002732")


def test_a_begun_hour_is_used_and_nothing_is_left_after_the_end() -> None:
    noon = day("2026-05-01T12:00:00")
    assert unused_periods(noon + timedelta(minutes=1), noon + timedelta(hours=1), Method.HOUR) == 0
    assert unused_periods(noon + timedelta(hours=3), noon, Method.HOUR) == 0
    assert unused_periods(noon + timedelta(hours=3), noon, Method.YEAR) == 0
    assert unused_from(noon + timedelta(hours=3), noon, Method.HOUR) == noon
    assert unused_from(noon + timedelta(hours=3), noon, Method.MONTH) == noon


@pytest.mark.parametrize(
    ("until", "horizon", "method", "count"),
    [
        ("2026-05-31", "2026-05-31", Method.MONTH, 0),
        ("2026-05-31", "2026-05-30", Method.MONTH, 0),
        ("2026-05-31", "2026-06-01", Method.MONTH, 1),
        ("2026-05-31", "2026-07-01", Method.MONTH, 2),
        ("2026-05-31", "2028-06-01", Method.YEAR, 3),
        ("2026-05-31", "2026-05-30", Method.HOUR, 0),
        ("2026-05-31T10:00:00", "2026-06-01", Method.HOUR, 14),
        ("2026-05-31T10:00:01", "2026-05-31T12:00:02", Method.HOUR, 3),
    ],
)
def test_renewals_before_a_horizon_are_counted(
    until: str, horizon: str, method: Method, count: int
) -> None:
    assert renewals_until(day(until), day(horizon), method) == count


# --- upgrades


HALF = Decimal("0.005")


def month_of(sku: str, quantity: int) -> PaidLine:
    return PaidLine(sku, Decimal(quantity), day("2026-04-01"), day("2026-05-01"))


def amounts(found: tuple[DifferenceLine, ...]) -> dict[str, Decimal]:
    return {entry.line.sku: entry.line.amount for entry in found}


def test_an_upgrade_pays_only_the_added_units_for_the_time_left() -> None:
    found = upgrade_lines(
        BOOK,
        [month_of("vcpu", 2), month_of("memory_gib", 4)],
        [Item("vcpu", Decimal(4)), Item("memory_gib", Decimal(4))],
        Method.MONTH,
        at=day("2026-04-11"),
    )
    # 2 added vCPU x 30.00 x 20/30 of the month
    assert amounts(found) == {"vcpu": Decimal("40.00")}
    assert (found[0].begin, found[0].end) == (day("2026-04-11"), day("2026-05-01"))


def test_fewer_units_give_a_negative_line() -> None:
    found = upgrade_lines(
        BOOK,
        [month_of("vcpu", 4), month_of("memory_gib", 4)],
        [Item("vcpu", Decimal(2)), Item("memory_gib", Decimal(8))],
        Method.MONTH,
        at=day("2026-04-16"),
        discounts={"vcpu": Decimal("0.5")},
    )
    assert amounts(found) == {"vcpu": Decimal("-15.00"), "memory_gib": Decimal("30.25")}


def test_a_sku_that_is_given_up_counts_back_whole() -> None:
    found = upgrade_lines(BOOK, [month_of("vcpu", 1)], [], Method.MONTH, at=day("2026-04-16"))
    assert amounts(found) == {"vcpu": Decimal("-15.00")}


def test_stretches_with_different_quantities_are_priced_apart() -> None:
    paid = [
        month_of("vcpu", 4),
        PaidLine("vcpu", Decimal(2), day("2026-05-01"), day("2026-06-01")),
        PaidLine("vcpu", Decimal(9), day("2026-01-01"), day("2026-02-01")),
    ]
    found = upgrade_lines(
        BOOK, paid, [Item("vcpu", Decimal(4))], Method.MONTH, at=day("2026-04-16")
    )
    assert [(entry.begin, entry.line.quantity, entry.line.amount) for entry in found] == [
        (day("2026-05-01"), Decimal(2), Decimal("60.00"))
    ]


def test_an_hourly_upgrade_pays_from_the_next_hour_on() -> None:
    noon = day("2026-05-01T12:00:00")
    paid = [PaidLine("vcpu", Decimal(1), noon, noon + timedelta(hours=24))]
    [found] = upgrade_lines(
        BOOK, paid, [Item("vcpu", Decimal(2))], Method.HOUR, at=noon + timedelta(minutes=1)
    )
    assert (found.begin, found.line.periods) == (noon + timedelta(hours=1), Decimal(23))
    assert found.line.amount == Decimal("1.38")


def test_in_the_last_paid_hour_an_upgrade_costs_nothing_yet() -> None:
    noon = day("2026-05-01T12:00:00")
    paid = [PaidLine("vcpu", Decimal(1), noon, noon + timedelta(hours=1))]
    later = noon + timedelta(minutes=1)
    assert upgrade_lines(BOOK, paid, [Item("vcpu", Decimal(8))], Method.HOUR, at=later) == ()


def test_without_paid_time_there_is_no_difference() -> None:
    assert (
        upgrade_lines(BOOK, [], [Item("vcpu", Decimal(8))], Method.HOUR, at=day("2026-05-01")) == ()
    )


@given(st.integers(1, 64), st.integers(1, 64), st.floats(0, 1))
def test_going_up_and_back_down_never_earns_money(old: int, new: int, part: float) -> None:
    begin, end = day("2026-04-01"), day("2026-05-01")
    at = begin + (end - begin) * part
    up = upgrade_lines(
        BOOK, [month_of("vcpu", old)], [Item("vcpu", Decimal(new))], Method.MONTH, at=at
    )
    after = [month_of("vcpu", old)] + [
        PaidLine(entry.line.sku, entry.line.quantity, entry.begin, entry.end) for entry in up
    ]
    down = upgrade_lines(BOOK, after, [Item("vcpu", Decimal(old))], Method.MONTH, at=at)
    assert sum(e.line.amount for e in up) + sum(e.line.amount for e in down) == 0


# --- tiers


TIERED = PriceBook(
    "8",
    {("mbps", Method.MONTH): Decimal(0), ("mbps", Method.HOUR): Decimal("0.01")},
    tiers={("mbps", Method.MONTH): [Tier(Decimal(5), Decimal(18)), Tier(Decimal(20), Decimal(12))]},
)


def for_a_month(quantity: str, above: str = "0", book: PriceBook = TIERED) -> Line:
    item = Item("mbps", Decimal(quantity), Decimal(above))
    return price_line(book, item, Method.MONTH, Decimal(1))


def test_each_unit_has_the_price_of_its_tier() -> None:
    assert parts_of(TIERED, Item("mbps", Decimal(30)), Method.MONTH) == (
        Part(Decimal(0), Decimal(5), Decimal(0)),
        Part(Decimal(5), Decimal(15), Decimal(18)),
        Part(Decimal(20), Decimal(10), Decimal(12)),
    )
    whole = for_a_month("30")
    assert (whole.amount, whole.unit_price) == (Decimal("390.00"), Decimal(13))
    assert whole.parts == parts_of(TIERED, Item("mbps", Decimal(30)), Method.MONTH)
    # The average does not come out even; the amount does.
    odd = for_a_month("7", above="18")
    assert (odd.amount, odd.unit_price) == (Decimal("96.00"), Decimal("13.714286"))
    back = for_a_month("-7", above="25")
    assert (back.amount, back.unit_price, back.parts) == (-odd.amount, odd.unit_price, odd.parts)
    # Exactly the edges, fractions of units, and what costs nothing.
    assert for_a_month("15", above="5").parts == (Part(Decimal(5), Decimal(15), Decimal(18)),)
    assert for_a_month("0.5", above="4.75").amount == Decimal("4.50")
    assert str(for_a_month("-5", above="5").amount) == "0.00"
    assert for_a_month("0", above="20") == Line(
        "mbps", Decimal(0), Decimal(0), Decimal(1), Decimal(0), Decimal(0), Decimal(20)
    )
    hour = price_line(TIERED, Item("mbps", Decimal(30)), Method.HOUR, Decimal(1))
    assert (hour.amount, hour.parts) == (Decimal("0.30"), ())


@st.composite
def books(draw: st.DrawFn) -> PriceBook:
    """Prices per month of any tiers, dearer or cheaper above."""
    edges = sorted(draw(st.sets(st.integers(1, 60), max_size=4)))
    first, *others = (draw(st.decimals(0, 99, places=2)) for _ in range(len(edges) + 1))
    tiers = [Tier(Decimal(edge), price) for edge, price in zip(edges, others, strict=True)]
    key = ("mbps", Method.MONTH)
    return PriceBook("9", {key: first}, tiers={key: tiers} if tiers else {})


@given(books(), st.lists(st.integers(0, 70), min_size=1, max_size=8))
def test_a_price_with_tiers_is_the_sum_of_its_units_whichever_way_they_are_bought(
    book: PriceBook, sizes: list[int]
) -> None:
    units = [for_a_month("1", above=str(unit), book=book).amount for unit in range(70)]
    sums = [for_a_month(str(size), book=book).amount for size in range(71)]
    assert sums == [sum(units[:size]) for size in range(71)]
    assert sums == sorted(sums)
    # Bought bit by bit and given back again, it costs what the last size costs.
    begin, end = day("2026-04-01"), day("2026-05-01")
    paid, spent = [PaidLine("mbps", Decimal(1), begin, end)], sums[1]
    for size in sizes:
        wanted = [Item("mbps", Decimal(size))]
        for found in upgrade_lines(book, paid, wanted, Method.MONTH, at=begin):
            spent += found.line.amount
            paid.append(PaidLine("mbps", found.line.quantity, found.begin, found.end))
        assert spent == sums[size]


@given(books(), st.integers(0, 60), st.integers(1, 60), st.integers(0, 70))
def test_what_is_held_and_the_next_hour_cost_what_the_larger_size_costs(
    book: PriceBook, above: int, more: int, following: int
) -> None:
    entry = Held("mbps", Decimal(above), Decimal(above + more))
    due, rest = due_with_next(entry, [Item("mbps", Decimal(following))])

    def cost(of: Held | None) -> Decimal:
        return (
            Decimal(0) if of is None else for_a_month(str(of.quantity), str(of.above), book).amount
        )

    assert cost(due) + cost(rest) == cost(entry)
    largest = max(following, above + more)
    if due is not None and following >= above:
        assert cost(due) + for_a_month(str(following), book=book).amount == (
            for_a_month(str(largest), book=book).amount
        )


def test_time_used_is_priced_by_the_tiers_in_which_a_line_lies() -> None:
    book = PriceBook(
        "8", TIERED.prices, tiers={**TIERED.tiers, ("mbps", Method.HOUR): [Tier(Decimal(20), HALF)]}
    )
    # Made larger by 10, of which 5 lie above 20: 5 x 18 + 5 x 12.
    line = for_a_month("10", above="15", book=book)
    found = refund_less_used(
        book,
        [line],
        Method.MONTH,
        amount=line.amount,
        periods_paid=Decimal(1),
        begin=day("2026-04-01"),
        end=day("2026-05-01"),
        at=day("2026-04-02"),
    )
    # 24 hours of 5 x 0.01 + 5 x 0.005.
    assert (line.amount, found.amount) == (Decimal("150.00"), Decimal("148.20"))
    assert [(used.above, used.unit_price) for used in found.used] == [
        (Decimal(15), Decimal("0.0075"))
    ]


# --- hours held at a larger size


NOON = day("2026-05-01T12:00:00")
PAID_HOUR = (NOON, NOON + timedelta(hours=1))


def held(sku: str, above: int, upto: int) -> Held:
    return Held(sku, Decimal(above), Decimal(upto))


def test_an_hour_has_begun_until_it_is_over() -> None:
    until = NOON + timedelta(hours=2)
    assert begun_hour(NOON, until) is None
    assert begun_hour(NOON + timedelta(microseconds=1), until) == PAID_HOUR
    assert begun_hour(PAID_HOUR[1] - timedelta(microseconds=1), until) == PAID_HOUR
    assert begun_hour(PAID_HOUR[1], until) is None


def test_what_is_held_counts_beyond_what_is_paid_and_what_is_open() -> None:
    paid = [
        PaidLine("vcpu", Decimal(1), *PAID_HOUR),
        PaidLine("vcpu", Decimal(2), NOON - timedelta(hours=1), NOON + timedelta(hours=3)),
        # Neither of these is for the whole hour.
        PaidLine("vcpu", Decimal(9), PAID_HOUR[1], NOON + timedelta(hours=2)),
        PaidLine("vcpu", Decimal(9), NOON - timedelta(hours=1), NOON),
    ]
    wanted = [Item("vcpu", Decimal(9)), Item("memory_gib", Decimal(2)), Item("gpu:T4", Decimal(1))]
    open_before = [held("vcpu", 3, 5), held("vcpu", 5, 6), held("gpu:T4", 0, 1)]
    assert held_beyond(paid, open_before, wanted, PAID_HOUR) == (
        held("vcpu", 6, 9),
        held("memory_gib", 0, 2),
    )


@pytest.mark.parametrize(
    ("following", "due", "rest"),
    [
        (0, (2, 8), None),
        (2, (2, 8), None),
        (3, (3, 8), (2, 3)),
        (7, (7, 8), (2, 7)),
        (8, None, (2, 8)),
        (64, None, (2, 8)),
    ],
)
def test_what_the_next_hour_is_smaller_is_due_with_it(
    following: int, due: tuple[int, int] | None, rest: tuple[int, int] | None
) -> None:
    found = due_with_next(
        held("vcpu", 2, 8), [Item("memory_gib", Decimal(9)), Item("vcpu", Decimal(following))]
    )
    assert found == (due and held("vcpu", *due), rest and held("vcpu", *rest))


def test_what_is_given_up_altogether_is_due_as_a_whole() -> None:
    assert due_with_next(held("vcpu", 0, 8), []) == (held("vcpu", 0, 8), None)


# --- refunds and the two pockets


ALL_METHODS = PriceBook(
    "8",
    {
        ("vcpu", Method.HOUR): Decimal("0.06"),
        ("vcpu", Method.MONTH): Decimal(26),
        ("vcpu", Method.YEAR): Decimal(260),
        ("ip", Method.MONTH): Decimal(10),
        ("ip", Method.YEAR): Decimal(100),
        ("name", Method.YEAR): Decimal(12),
    },
)


def given_up(
    end: str,
    at: str,
    *,
    sku: str = "vcpu",
    method: Method = Method.YEAR,
    periods: str = "1",
    begin: str = "2026-01-31",
    amount: str = "",
    anchor_day: int | None = 31,
    discount: str = "0",
) -> tuple[str, list[tuple[str, str]]]:
    """What comes back, and periods and amounts of the used time."""
    line = price_line(
        ALL_METHODS, Item(sku, Decimal(1)), method, Decimal(periods), Decimal(discount)
    )
    found = refund_less_used(
        ALL_METHODS,
        [line],
        method,
        amount=Decimal(amount) if amount else line.amount,
        periods_paid=Decimal(periods),
        begin=day(begin),
        end=day(end),
        at=day(at),
        anchor_day=anchor_day,
    )
    assert found.amount == found.amount.quantize(Decimal("0.01"))
    return str(found.amount), [(str(x.periods), str(x.amount)) for x in found.used]


def test_what_has_not_begun_comes_back_whole() -> None:
    assert given_up("2027-01-31", "2026-01-31") == ("260.00", [])
    assert given_up("2027-01-31", "2026-01-01") == ("260.00", [])


def test_used_time_costs_what_the_cheapest_way_to_buy_it_costs() -> None:
    # A second, a day and a second: hours that have begun.
    assert given_up("2027-01-31", "2026-01-31T00:00:01") == ("259.94", [("1", "0.06")])
    assert given_up("2027-01-31", "2026-02-01T00:00:01") == ("258.50", [("25", "1.50")])
    # To the end of February, which is a month after the end of January, and an hour more.
    assert given_up("2027-01-31", "2026-02-27T23:00:00") == ("234.00", [("1", "26.00")])
    assert given_up("2027-01-31", "2026-02-28") == ("234.00", [("1", "26.00")])
    assert given_up("2027-01-31", "2026-02-28T01:00:00") == (
        "233.94",
        [("1", "26.00"), ("1", "0.06")],
    )
    # The next month ends on the 31st again.
    assert given_up("2027-01-31", "2026-03-31") == ("208.00", [("2", "52.00")])
    # Eleven months would cost more than the year.
    assert given_up("2027-01-31", "2026-12-31") == ("0.00", [])
    assert given_up("2027-01-31", "2028-01-01") == ("0.00", [])


def test_a_discount_holds_for_the_used_time_as_well() -> None:
    found = given_up("2027-01-31", "2026-02-01", discount="0.5")
    assert found == ("129.28", [("24", "0.72")])


def test_whole_periods_used_cost_what_was_paid_for_them() -> None:
    year: dict[str, Any] = {"periods": "3", "end": "2029-01-31"}
    assert given_up(at="2027-01-31", **year) == ("520.00", [])
    assert given_up(at="2027-02-01", **year) == ("518.56", [("24", "1.44")])
    month: dict[str, Any] = {"periods": "3", "end": "2026-04-30", "method": Method.MONTH}
    assert given_up(at="2026-02-28", **month) == ("52.00", [])
    assert given_up(at="2026-03-01", **month) == ("50.56", [("24", "1.44")])
    # So late that the hours cost more than the month: it is used up, the next one comes back.
    assert given_up(at="2026-03-30", **month) == ("26.00", [])


def test_a_begun_hour_is_used_up_and_the_others_come_back() -> None:
    hours: dict[str, Any] = {"method": Method.HOUR, "periods": "5", "end": "2026-01-31T05:00:00"}
    assert given_up(at="2026-01-31T01:30:00", **hours) == ("0.18", [])


def test_an_upgrade_comes_back_from_its_own_instant_on() -> None:
    """It paid for 20 of 30 days; a day of them is used, counted from when it began."""
    late: dict[str, Any] = {
        "begin": "2026-04-11",
        "end": "2026-05-01",
        "periods": "0.666667",
        "amount": "17.33",
    }
    assert given_up(at="2026-04-12", method=Method.MONTH, anchor_day=1, **late) == (
        "15.89",
        [("24", "1.44")],
    )


def test_what_is_not_sold_by_the_hour_counts_by_months() -> None:
    year: dict[str, Any] = {"sku": "ip", "end": "2027-01-31"}
    assert given_up(at="2026-02-01", **year) == ("90.00", [("1", "10.00")])
    assert given_up(at="2026-02-28", **year) == ("90.00", [("1", "10.00")])
    assert given_up(at="2026-03-01", **year) == ("80.00", [("2", "20.00")])
    assert given_up("2027-01-31", "2026-02-01", sku="name") == ("0.00", [])


def test_units_that_were_given_back_by_a_change_cannot_earn_money() -> None:
    """Where the used time of what was dropped weighs more, the used time costs nothing."""
    lines = [
        Line("vcpu", Decimal(-2), Decimal(26), Decimal(1), Decimal(0), Decimal("-52.00")),
        Line("ip", Decimal(6), Decimal(10), Decimal(1), Decimal(0), Decimal("60.00")),
    ]
    book = PriceBook("9", {**ALL_METHODS.prices, ("ip", Method.HOUR): Decimal(0)})
    found = refund_less_used(
        book,
        lines,
        Method.MONTH,
        amount=Decimal("8.00"),
        periods_paid=Decimal(1),
        begin=day("2026-04-01"),
        end=day("2026-05-01"),
        at=day("2026-04-02"),
    )
    assert found == UsedUp(Decimal("8.00"), Decimal(1))


def test_the_price_of_a_period() -> None:
    assert per_period(Decimal(100), Decimal(3)) == Decimal("33.333333")
    assert per_period(Decimal("0.00"), Decimal(0)) == 0


def test_a_refund_is_proportional_and_capped() -> None:
    paid, three = Decimal("100.00"), Decimal(3)
    assert refund_amount(amount=paid, periods_paid=three, periods_unused=Decimal(1)) == Decimal(
        "33.33"
    )
    assert refund_amount(amount=paid, periods_paid=three, periods_unused=Decimal(9)) == paid
    assert refund_amount(amount=paid, periods_paid=three, periods_unused=Decimal(0)) == 0


@given(
    st.decimals(0, 10**6, places=2),
    st.decimals("0.000001", 24, places=6),
    st.decimals(0, 24, places=6),
)
def test_a_refund_lies_between_nothing_and_the_price(
    amount: Decimal, paid: Decimal, unused: Decimal
) -> None:
    refund = refund_amount(amount=amount, periods_paid=paid, periods_unused=unused)
    assert 0 <= refund <= amount


def test_gift_is_spent_first() -> None:
    assert split_gift(500, 0) == (0, 500)
    assert split_gift(500, 800) == (500, 0)


def test_a_free_line_gives_back_nothing() -> None:
    assert split_refund(0, 0, 0) == (0, 0)


@given(st.integers(1, 10**14), st.floats(0, 1), st.floats(0, 1))
def test_a_refund_goes_back_to_the_pockets_it_came_from(
    amount: int, gift_part: float, refund_part: float
) -> None:
    gift_paid, refund = min(int(amount * gift_part), amount), min(int(amount * refund_part), amount)
    gift, cash = split_refund(refund, gift_paid, amount)
    assert gift + cash == refund
    assert 0 <= gift <= gift_paid
    assert 0 <= cash <= amount - gift_paid
