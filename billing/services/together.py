"""Renewing several resources at once: each by the same number of periods, or all to one date.

All of them or none. A resource that is paid by the month or year can be renewed until the beginning
of a day, in the billing time zone: the time until then is priced by its part of the periods, and
the calendar of its later renewals starts anew on that day, so that they stay together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import ledger, money, pricing, quotes
from billing.models import Order, Subscription
from billing.pricing import DURATIONS, Method
from billing.quotes import items_of
from billing.services import renewing
from billing.services.common import (
    payer_of,
    refuse_used,
    require_open,
    subscription_of,
)
from billing.services.renewing import Renewal
from scloud.lib.errors import Conflict, InvalidInput
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope

MAX_TOGETHER: Final = 100


@dataclass(frozen=True)
class Extent:
    """How much more: ``periods`` of each, or until the beginning of the day ``until``."""

    periods: int | None = None
    until: date | None = None


@dataclass(frozen=True)
class Part:
    """What one resource of several pays, and until when it is paid then."""

    subscription: Subscription
    renewal: Renewal

    @property
    def total(self) -> Decimal:
        return self.renewal.total

    @property
    def paid_until(self) -> datetime:
        return self.renewal.end


@dataclass(frozen=True)
class TogetherQuote:
    """What renewing several resources costs, each and all."""

    currency: str
    parts: tuple[Part, ...]
    total: Decimal
    balance: Decimal
    expires_at: datetime
    token: str

    @property
    def balance_after(self) -> Decimal:
        return self.balance - self.total

    @property
    def affordable(self) -> bool:
        """True if the balance covers all of it now."""
        return self.balance_after >= 0

    def as_dict(self) -> dict[str, Any]:
        """The quote for JSON: money as text with the decimals of the currency."""
        return {
            "currency": self.currency,
            "resources": [
                {
                    "resource_kind": part.subscription.resource_kind,
                    "resource_id": part.subscription.resource_id,
                    "resource_name": part.subscription.resource_name,
                    "billing_method": part.subscription.method,
                    "paid_until": part.paid_until,
                    "total": str(part.total),
                }
                for part in self.parts
            ],
            "total": str(self.total),
            "balance": str(self.balance),
            "balance_after": str(self.balance_after),
            "affordable": self.affordable,
            "expires_at": self.expires_at,
            "token": self.token,
        }


def quote_renewals(*, tenant: Tenant, resource_ids: Sequence[str], extent: Extent) -> TogetherQuote:
    """Price a renewal of several resources; nothing is charged.

    Raises InvalidInput for what ``extent`` cannot be, NotFound, and Conflict for a resource that
    cannot be renewed so: ``subscription_ended``, ``methods_differ``, ``billed_by_the_hour``,
    ``paid_beyond``.
    """
    now = timezone.now()
    with scope(tenant=tenant):
        parts = _parts(tenant, resource_ids, extent, "", now, since=now)
        total = sum((part.total for part in parts), Decimal(0))
        balance = money.from_minor(ledger.account_of(tenant).balance_minor)
    return TogetherQuote(
        currency=money.currency(),
        parts=parts,
        total=total,
        balance=balance,
        expires_at=now + quotes.QUOTE_LIFETIME,
        token=quotes.sign(tenant, _content(parts, extent), parts[0].renewal.found, total),
    )


@transaction.atomic
def renew_together(
    *, actor: Actor, resource_ids: Sequence[str], extent: Extent, quote_token: str
) -> list[Order]:
    """Renew several resources at exactly the quoted price: all of them, or none.

    Returns one order for each. Raises as :func:`quote_renewals`, StaleQuote, InsufficientBalance.
    """
    tenant = payer_of(actor)
    token = quotes.read(quote_token)
    with scope(tenant=tenant):
        account = ledger.lock_account(tenant)
        # The time of what has expired begins with the quote, or no price would hold for a second.
        parts = _parts(tenant, resource_ids, extent, actor.label, timezone.now(), since=token.at)
        total = sum((part.total for part in parts), Decimal(0))
        quotes.require_same(
            token,
            tenant=tenant,
            content=_content(parts, extent),
            found=parts[0].renewal.found,
            total=total,
        )
        nonces = [f"{token.nonce}.{number}" for number in range(len(parts))]
        refuse_used(nonces[0])
        ledger.require(account, money.to_minor(total))
        return [
            renewing.carry_out(account, part.subscription, part.renewal, nonce=nonce)
            for part, nonce in zip(parts, nonces, strict=True)
        ]


def _parts(
    tenant: Tenant,
    resource_ids: Sequence[str],
    extent: Extent,
    actor: str,
    now: datetime,
    *,
    since: datetime,
) -> tuple[Part, ...]:
    ids = sorted(set(resource_ids))
    if not 1 <= len(ids) <= MAX_TOGETHER:
        raise InvalidInput(
            _("Select 1 to %(max)d resources.") % {"max": MAX_TOGETHER},
            code="count_out_of_range",
            field="resources",
            numbers={"min": 1, "max": MAX_TOGETHER, "asked": len(ids)},
        )
    if (extent.periods is None) == (extent.until is None):
        raise InvalidInput(
            _("Specify either a duration or a date."), code="extent_missing", field="periods"
        )
    subscriptions = [subscription_of(tenant, resource_id) for resource_id in ids]
    for subscription in subscriptions:
        require_open(subscription)
    if extent.until is not None:
        target = _beginning_of(extent.until, now)
        return tuple(Part(row, _until(row, target, actor, now, since)) for row in subscriptions)
    assert extent.periods is not None, "asked above"
    if len({row.method for row in subscriptions}) > 1:
        raise Conflict(
            _("The selected resources are billed by different methods."),
            code="methods_differ",
            field="resources",
            remedy=_("Renew those of one billing method together, or all until a date."),
        )
    return tuple(
        Part(row, renewing.draft(row, extent.periods, actor, now)) for row in subscriptions
    )


def _beginning_of(day: date, now: datetime) -> datetime:
    """The instant at which a day begins in the billing time zone."""
    years = DURATIONS[Method.YEAR][-1] + 1
    if abs(day.year - now.year) > 2 * years:
        # Nobody pays so far ahead, and the calendar ends somewhere.
        raise _out_of_range(years)
    return datetime(day.year, day.month, day.day, tzinfo=money.zone()).astimezone(UTC)


def _out_of_range(years: int) -> InvalidInput:
    return InvalidInput(
        _("Resources cannot be renewed until that date."),
        code="date_out_of_range",
        field="until",
        remedy=_("Choose a later date than the resources are paid until, and not too far ahead."),
        numbers={"max_years": years},
    )


def _until(
    subscription: Subscription, target: datetime, actor: str, now: datetime, since: datetime
) -> Renewal:
    method = Method(subscription.method)
    words = {"name": subscription.resource_name or subscription.resource_id}
    if method is Method.HOUR:
        raise Conflict(
            _("%(name)s is billed by the hour and cannot be aligned to a date.") % words,
            code="billed_by_the_hour",
            field="resources",
            remedy=_("Leave it out, or renew it for a number of hours."),
        )
    begin = renewing.begin_of(subscription, since)
    anchor = pricing.anchor_day_of(target, money.zone())
    periods = pricing.periods_between(begin, target, method, anchor_day=anchor, zone=money.zone())
    if periods <= 0:
        raise Conflict(
            _("%(name)s is already paid beyond that date.") % words,
            code="paid_beyond",
            field="until",
            remedy=_("Choose a later date, or leave it out."),
            numbers={"paid_until": subscription.paid_until.isoformat()},
        )
    longest = DURATIONS[method][-1]
    if periods > longest:
        raise InvalidInput(
            _("%(name)s can be renewed for at most %(max)d billing periods at once.")
            % {**words, "max": longest},
            code="duration_out_of_range",
            field="until",
            numbers={"max": longest, "asked": str(periods)},
        )
    items = items_of(subscription.lines)
    found = quotes.basis(subscription.tenant, subscription.region, [i.sku for i in items], now)
    lines = quotes.price_part(found, items, method, periods)
    return Renewal(
        found=found,
        total=pricing.total(lines),
        periods=periods,
        actor=actor,
        now=now,
        begin=begin,
        end=target,
        anchor_day=anchor,
        lines=[(item.label, line) for item, line in zip(items, lines, strict=True)],
        held=[],
    )


def _content(parts: Sequence[Part], extent: Extent) -> dict[str, Any]:
    return {
        "verb": "renew together",
        "until": extent.until.isoformat() if extent.until else None,
        "each": [
            {
                **renewing.content_of(part.subscription, extent.periods or 0, part.renewal.held),
                # To a date, the price depends on from where.
                "paid_until": part.subscription.paid_until.isoformat(),
            }
            for part in parts
        ],
    }
