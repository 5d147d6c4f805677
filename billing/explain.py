"""One charge in words, from its order to its prices and its period, for those who pay it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing import catalog, money, pricing, replay, tiers
from billing.models import Charge, LedgerTransaction, OrderKind, OrderLine
from billing.pricing import Method, Part, PriceBook, RefundRule
from billing.replay import Difference
from scloud.lib.decimals import plain
from scloud.lib.errors import NotFound
from scloud.tenancy.models import Tenant
from scloud.web import ui


@dataclass(frozen=True)
class Step:
    """One sentence. ``key`` says what of: ``order``, ``period``, ``prices``, ``tier``, ``line``,
    ``total``, ``payment``, ``check``."""

    key: str
    title: str
    text: str


@dataclass(frozen=True)
class Explanation:
    """A charge with the sentences that lead to its amount.

    ``number`` is its place in the order, from 1. ``differences`` are what computing it again from
    the same inputs found; there should never be any.
    """

    charge: Charge
    number: int
    steps: tuple[Step, ...]
    differences: tuple[Difference, ...]

    @property
    def adds_up(self) -> bool:
        """True if the same amount comes out again."""
        return not self.differences


def explain(tenant: Tenant, order_id: str, number: int) -> Explanation:
    """Explain the charge that is the ``number``-th of an order, within the tenant's open scope.

    Raises NotFound where the tenant has no such order, or the order no such charge.
    """
    keys = list(
        Charge.objects.filter(tenant=tenant, order=order_id)
        .order_by("pk")
        .values_list("pk", flat=True)
    )
    if not 1 <= number <= len(keys):
        raise NotFound(
            _("Order %(order_id)s has no charge %(number)s.")
            % {"order_id": order_id, "number": number}
        )
    charge: Charge = (
        Charge.objects.select_related(*replay.RELATED)
        .prefetch_related(*replay.PREFETCHED)
        .get(pk=keys[number - 1])
    )
    moved = LedgerTransaction.objects.filter(tenant=tenant, order=charge.order_id).first()
    books: dict[str, PriceBook] = {}
    differences = tuple(replay.of_charge(charge, books))
    steps = [
        Step("order", _("Order"), _order(charge)),
        Step("period", _("Period"), _period(charge)),
        *_prices(charge),
        *(step for line in charge.lines.all() for step in _steps(line, charge, books)),
        Step("total", _("Total"), _total(charge)),
        Step("payment", _("Payment"), _payment(charge, moved)),
        Step("check", _("Check"), _check(differences)),
    ]
    return Explanation(charge, number, tuple(steps), differences)


def _order(charge: Charge) -> str:
    order = charge.order
    if charge.held_hours.all():
        words = _(
            "%(resource)s was larger for a part of an hour than what the hour was paid at. The "
            "difference was charged on %(at)s with order %(order)s, by %(actor)s."
        )
    elif order.kind == OrderKind.USAGE:
        words = _(
            "What %(resource)s held was measured every hour and charged once the day was over, on "
            "%(at)s with order %(order)s, by %(actor)s."
        )
    elif order.kind == OrderKind.NEW:
        words = _("%(resource)s was bought on %(at)s with order %(order)s, by %(actor)s.")
    elif order.kind == OrderKind.RENEWAL:
        words = _("%(resource)s was renewed on %(at)s with order %(order)s, by %(actor)s.")
    elif order.kind == OrderKind.UPGRADE:
        words = _(
            "%(resource)s was made larger on %(at)s with order %(order)s, by %(actor)s. The "
            "difference is paid for the rest of the paid time."
        )
    else:
        words = _("Money for %(resource)s came back on %(at)s with order %(order)s, by %(actor)s.")
    return words % {
        "resource": charge.resource_name or charge.resource_id,
        "at": _moment(order.created_at),
        "order": order.pk,
        "actor": order.actor,
    }


def _period(charge: Charge) -> str:
    words = (
        _("It gives back %(begin)s to %(end)s (%(zone)s): %(span)s of order %(order)s.")
        if charge.refunds is not None
        else _("It pays for %(begin)s to %(end)s (%(zone)s): %(span)s.")
    )
    return words % {
        "begin": _moment(charge.begin),
        "end": _moment(charge.end),
        "zone": str(money.zone()),
        "span": _span(Method(charge.method), charge.periods),
        "order": "" if charge.refunds is None else charge.refunds.order_id,
    }


def _prices(charge: Charge) -> Iterator[Step]:
    listed = {
        "version": charge.price_list.version,
        "region": charge.order.region.name,
        "since": _moment(charge.price_list.effective_from),
        "at": _moment(charge.priced_at),
    }
    title = _("Prices")
    if charge.order.kind == OrderKind.USAGE:
        yield Step(
            "prices",
            title,
            _(
                "Prices are those of list %(version)s of region %(region)s, in effect since "
                "%(since)s and on %(at)s, when these hours began."
            )
            % listed,
        )
        return
    if charge.refunds is None:
        yield Step(
            "prices",
            title,
            _(
                "Prices are those of list %(version)s of region %(region)s, in effect since "
                "%(since)s and on %(at)s, when the price was quoted."
            )
            % listed,
        )
        return
    # Whole where none of it was used, else by the rule of then.
    if charge.begin <= charge.refunds.begin:
        yield Step("prices", title, _("None of the time was used, so all of it comes back."))
    elif charge.refunds.comes_back_by(charge.order.refund_rule) is RefundRule.LESS_USED:
        yield Step(
            "prices",
            title,
            _(
                "Time that has not begun comes back whole. Of the month or year that has begun, "
                "the time used is taken off at the price of price list %(version)s for that time, "
                "by the hour or month."
            )
            % listed,
        )
    else:
        yield Step("prices", title, _("The unused share of what was paid comes back."))


def _label(line: OrderLine) -> str:
    return line.label or line.sku


def _steps(line: OrderLine, charge: Charge, books: dict[str, PriceBook]) -> Iterator[Step]:
    """A line, after the tiers in which it lies where its price has any."""
    parts: tuple[Part, ...] = ()
    method = Method(charge.method)
    # Of a refund they are those of another method: its lines say their average.
    book = None if charge.refunds is not None else books[charge.price_list_id]
    if book is not None and (line.sku, method) in book.tiers:
        parts = pricing.parts_of(book, pricing.item_of(catalog.line_of(line)), method)
    for part in parts:
        yield Step("tier", _label(line), tiers.say(part))
    yield Step("line", _label(line), _line(line, charge, parts))


def _line(line: OrderLine, charge: Charge, parts: Sequence[Part]) -> str:
    words = {
        "quantity": plain(line.quantity),
        "price": ui.price(line.unit_price),
        "span": _span(Method(charge.method), line.periods),
        "discount": plain(line.discount * 100),
        "amount": _amount(line.amount_minor),
    }
    if parts:
        cost = pricing.cost_of(parts)
        words["price"] = ui.price(cost if line.quantity > 0 else -cost)
        if line.discount:
            return _("%(price)s × %(span)s, less %(discount)s %% discount = %(amount)s.") % words
    if parts or line.sku == "refund":
        return _("%(price)s × %(span)s = %(amount)s.") % words
    if charge.refunds is not None:
        # Its own method is another one, hours or months, which the label does not tell apart.
        words["span"] = plain(line.periods)
    if line.discount:
        return (
            _("%(quantity)s × %(price)s × %(span)s, less %(discount)s %% discount = %(amount)s.")
            % words
        )
    return _("%(quantity)s × %(price)s × %(span)s = %(amount)s.") % words


def _total(charge: Charge) -> str:
    return ngettext(
        "The line is rounded once, half up, to %(decimals)d decimals: %(amount)s.",
        "Each of the %(n)d lines is rounded once, half up, to %(decimals)d decimals. They add up "
        "to %(amount)s.",
        len(charge.lines.all()),
    ) % {
        "n": len(charge.lines.all()),
        "decimals": money.decimals(),
        "amount": _amount(charge.amount_minor),
    }


def _payment(charge: Charge, moved: LedgerTransaction | None) -> str:
    if moved is None:
        return _("No money was moved.")
    words = (
        _(
            "%(gift)s came from the gift balance and %(cash)s from the cash balance, with "
            "transaction %(transaction)s."
        )
        if charge.amount_minor >= 0
        else _(
            "%(gift)s went back to the gift balance and %(cash)s to the cash balance, with "
            "transaction %(transaction)s."
        )
    )
    return words % {
        "gift": _amount(abs(charge.gift_minor)),
        "cash": _amount(abs(charge.amount_minor - charge.gift_minor)),
        "transaction": moved.pk,
    }


def _check(differences: Sequence[Difference]) -> str:
    if not differences:
        return _("Computed again from these figures, the same amount comes out.")
    return _(
        "Computed again from these figures, another amount comes out. Tell the administrator "
        "the number of the order."
    )


def _span(method: Method, periods: Decimal) -> str:
    n = plain(periods)
    # Parts of a period take the plural.
    count = int(periods) if periods == int(periods) else 2
    words = {
        Method.HOUR: ngettext("%(n)s hour", "%(n)s hours", count),
        Method.MONTH: ngettext("%(n)s month", "%(n)s months", count),
        Method.YEAR: ngettext("%(n)s year", "%(n)s years", count),
    }
    return words[method] % {"n": n}


def _moment(at: datetime) -> str:
    return f"{at.astimezone(money.zone()):%Y-%m-%d %H:%M:%S}"


def _amount(minor: int) -> str:
    return ui.money(money.from_minor(minor))
