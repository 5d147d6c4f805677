"""Quotes: what a paid action will cost, signed, so that exactly that is charged.

A token is bound to the tenant, the content, the price list version and the instant it was priced
for, is good for ten minutes and for one order.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.core import signing
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import catalog, ledger, money, pricing, tiers
from billing.models import PriceList
from billing.pricing import Item, Line, Method
from scloud.lib import keys
from scloud.lib.decimals import plain
from scloud.lib.errors import InvalidInput, StaleQuote
from scloud.lib.keys import Purpose
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope

QUOTE_LIFETIME: Final = timedelta(minutes=10)
MAX_COUNT: Final = 100
_SALT: Final = "billing.quote"


@dataclass(frozen=True)
class QuoteItem:
    """A quantity of a SKU that each resource needs.

    ``part`` names the member of a bundle that pays for it: a VM, its data disk and its external IP
    are bought together but are three subscriptions. ``label`` is what the order line says.
    """

    sku: str
    quantity: Decimal | int
    label: str = ""
    part: str = "main"

    def priced(self) -> Item:
        """The item as the pure functions take it."""
        return Item(self.sku, Decimal(self.quantity))

    def as_snapshot(self) -> dict[str, str]:
        """The item as a subscription keeps it."""
        return {"sku": self.sku, "quantity": plain(self.quantity), "label": self.label}


def items_of(snapshot: Sequence[dict[str, str]]) -> list[QuoteItem]:
    """The items that a subscription's snapshot holds."""
    return [
        QuoteItem(line["sku"], Decimal(line["quantity"]), line.get("label", ""))
        for line in snapshot
    ]


@dataclass(frozen=True)
class PricedLine:
    """An item with its price for one resource; ``total`` is for all resources of the quote."""

    item: QuoteItem
    line: Line
    total: Decimal

    @property
    def tiers(self) -> list[str]:
        """The tiers of its price in words, for one resource and period; none without."""
        return [tiers.say(part) for part in self.line.parts]


def tiers_as_dicts(line: Line) -> list[dict[str, str]]:
    """The tiers in which a line lies, for JSON; none where its price has none."""
    return [
        {
            "above": plain(part.above),
            "quantity": plain(part.quantity),
            "unit_price": str(part.unit_price),
        }
        for part in line.parts
    ]


@dataclass(frozen=True)
class Quote:
    """What a paid action costs, and whether the account can pay for it."""

    currency: str
    method: Method
    periods: int
    count: int
    lines: tuple[PricedLine, ...]
    total: Decimal
    per_period: Decimal
    balance: Decimal
    price_list_id: str
    priced_at: datetime
    expires_at: datetime
    token: str

    @property
    def balance_after(self) -> Decimal:
        """The balance once this is paid; negative where it cannot be."""
        return self.balance - self.total

    @property
    def affordable(self) -> bool:
        """True if the balance covers it now."""
        return self.balance_after >= 0

    def as_dict(self) -> dict[str, Any]:
        """The quote for JSON: money as text with the decimals of the currency."""
        return {
            "currency": self.currency,
            "billing_method": self.method.value,
            "periods": self.periods,
            "count": self.count,
            "lines": [
                {
                    "part": entry.item.part,
                    "label": entry.item.label,
                    "sku": entry.line.sku,
                    "quantity": plain(entry.line.quantity),
                    "unit_price": str(entry.line.unit_price),
                    "discount": str(entry.line.discount),
                    "amount": str(entry.line.amount),
                    "total": str(entry.total),
                    "tiers": tiers_as_dicts(entry.line),
                }
                for entry in self.lines
            ],
            "total": str(self.total),
            "per_period": str(self.per_period),
            "balance": str(self.balance),
            "balance_after": str(self.balance_after),
            "affordable": self.affordable,
            "expires_at": self.expires_at.isoformat(),
            "token": self.token,
        }


@dataclass(frozen=True)
class Basis:
    """The price list and discounts that hold for a tenant at an instant."""

    price_list: PriceList
    book: pricing.PriceBook
    discounts: dict[str, Decimal]
    at: datetime


def basis(tenant: Tenant, region: Region, skus: Sequence[str], at: datetime) -> Basis:
    """Look up what holds at ``at``. Raises Conflict ``no_price_list``."""
    price_list = catalog.price_list_at(region, at)
    return Basis(
        price_list, catalog.book_of(price_list), catalog.discounts_at(tenant, skus, at), at
    )


class Lookup:
    """What :func:`basis` says for many resources of ``tenants``, with each thing read once.

    To be used in one transaction in which no price changes, see :mod:`billing.pricelock`.
    """

    def __init__(self, tenants: Iterable[str]) -> None:
        self._discounts = catalog.discounts_of(tenants)
        self._lists: dict[tuple[str, datetime], PriceList] = {}
        self._books: dict[str, pricing.PriceBook] = {}

    def basis(self, tenant: Tenant, region: Region, skus: Sequence[str], at: datetime) -> Basis:
        """What holds at ``at``. Raises Conflict ``no_price_list``."""
        price_list = self._lists.get((region.pk, at))
        if price_list is None:
            price_list = self._lists[region.pk, at] = catalog.price_list_at(region, at)
        book = self._books.get(price_list.pk)
        if book is None:
            book = self._books[price_list.pk] = catalog.book_of(price_list)
        rows = self._discounts.get(tenant.pk, ())
        return Basis(price_list, book, catalog.discounts_among(rows, skus, at), at)


def quote(
    *,
    tenant: Tenant,
    region: Region,
    items: Sequence[QuoteItem],
    method: Method | str,
    periods: int,
    count: int = 1,
) -> Quote:
    """Price ``count`` equal bundles of ``items`` for ``periods``; takes no locks, writes nothing.

    Raises InvalidInput for durations, SKUs or counts that are not sold.
    """
    wanted = parse_method(method)
    if not 1 <= count <= MAX_COUNT:
        raise InvalidInput(
            _("The count must be 1 to %(limit)s.") % {"limit": MAX_COUNT},
            code="count_out_of_range",
            field="count",
            numbers={"min": 1, "max": MAX_COUNT, "asked": count},
        )
    now = timezone.now()
    with scope(tenant=tenant):
        found = basis(tenant, region, [item.sku for item in items], now)
        priced = price_items(found, items, wanted, periods)
        one = price_items(found, items, wanted, 1)
        balance = money.from_minor(ledger.account_of(tenant).balance_minor)
    total = pricing.total(priced) * count
    content = content_of(region, items, wanted, periods, count)
    return Quote(
        currency=money.currency(),
        method=wanted,
        periods=periods,
        count=count,
        lines=tuple(
            PricedLine(item, line, line.amount * count)
            for item, line in zip(items, priced, strict=True)
        ),
        total=total,
        per_period=pricing.total(one) * count,
        balance=balance,
        price_list_id=found.price_list.pk,
        priced_at=now,
        expires_at=now + QUOTE_LIFETIME,
        token=sign(tenant, content, found, total),
    )


def parse_method(method: Method | str) -> Method:
    """The billing method named; InvalidInput ``billing_method_unknown`` if there is none."""
    try:
        return Method(method)
    except ValueError:
        raise InvalidInput(
            _("The billing method is hour, month or year."),
            code="billing_method_unknown",
            field="billing_method",
        ) from None


def price_items(
    found: Basis, items: Sequence[QuoteItem], method: Method, periods: int
) -> tuple[Line, ...]:
    """Price ``items`` of one resource. Raises InvalidInput, ``amount_too_large`` among others."""
    lines = pricing.price_lines(
        found.book, [item.priced() for item in items], method, periods, found.discounts
    )
    pricing.check_amounts(lines)
    return lines


def price_part(
    found: Basis, items: Sequence[QuoteItem], method: Method, periods: Decimal
) -> tuple[Line, ...]:
    """The same for any length of time, see :func:`pricing.price_items`."""
    lines = pricing.price_items(
        found.book, [item.priced() for item in items], method, periods, found.discounts
    )
    pricing.check_amounts(lines)
    return lines


def content_of(
    region: Region, items: Sequence[QuoteItem], method: Method, periods: int, count: int
) -> dict[str, Any]:
    """What a purchase token is bound to. Labels are words, not content."""
    return {
        "verb": "purchase",
        "region": region.pk,
        "items": [[i.part, i.sku, str(Decimal(i.quantity).normalize())] for i in items],
        "method": method.value,
        "periods": periods,
        "count": count,
    }


def sign(tenant: Tenant, content: dict[str, Any], found: Basis, total: Decimal) -> str:
    return signing.dumps(
        {
            "tenant": tenant.pk,
            "content": _digest(content),
            "prices": found.price_list.pk,
            "at": found.at.isoformat(),
            "total": str(total),
            "nonce": secrets.token_urlsafe(18),
        },
        key=keys.ring(Purpose.QUOTES)[0],
        salt=_SALT,
    )


@dataclass(frozen=True)
class Token:
    """A token that was really given out by us, perhaps too long ago."""

    tenant_id: str
    content: str
    price_list_id: str
    at: datetime
    total: Decimal
    nonce: str
    expired: bool


def read(token: str) -> Token:
    """Open a token. Raises InvalidInput ``quote_invalid`` for anything we did not sign."""
    expired = False
    first, *rest = keys.ring(Purpose.QUOTES)
    old: list[str | bytes] = [*rest]
    try:
        try:
            data = signing.loads(
                token, key=first, fallback_keys=old, salt=_SALT, max_age=QUOTE_LIFETIME
            )
        except signing.SignatureExpired:
            expired = True
            data = signing.loads(token, key=first, fallback_keys=old, salt=_SALT)
    except signing.BadSignature:
        raise InvalidInput(
            _("This quote is not valid."),
            code="quote_invalid",
            field="quote_token",
            remedy=_("Request a new quote."),
        ) from None
    return Token(
        tenant_id=data["tenant"],
        content=data["content"],
        price_list_id=data["prices"],
        at=datetime.fromisoformat(data["at"]),
        total=Decimal(data["total"]),
        nonce=data["nonce"],
        expired=expired,
    )


def require_same(
    token: Token, *, tenant: Tenant, content: dict[str, Any], found: Basis, total: Decimal
) -> None:
    """Refuse a token that does not promise exactly ``total`` for exactly this content.

    Raises StaleQuote ``quote_stale`` with the old and the new total, so that the caller can show
    the new price and ask again. A token of another tenant is as unknown as a forged one.
    """
    if token.tenant_id != tenant.pk:
        raise InvalidInput(
            _("This quote is not valid."),
            code="quote_invalid",
            field="quote_token",
        )
    same_content = token.content == _digest(content)
    if (
        token.expired
        or not same_content
        or token.price_list_id != found.price_list.pk
        or token.total != total
    ):
        reason = (
            _("The quote is older than ten minutes.")
            if token.expired
            else _("The order differs from the quote.")
            if not same_content
            else _("The price has changed since the quote.")
        )
        raise StaleQuote(
            _("%(reason)s It now costs %(total)s %(currency)s.")
            % {"reason": reason, "total": total, "currency": money.currency()},
            field="quote_token",
            remedy=_("Review the new price and confirm again."),
            numbers={
                "quoted": str(token.total),
                "total": str(total),
                "currency": money.currency(),
            },
        )


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
