"""Renewing several resources at once: each by the same number of periods, or all to one date.

All of them or none. A resource that is paid by the month or year can be renewed until the beginning
of a day, in the billing time zone: the time until then is priced by its part of the periods, and
the calendar of its later renewals starts anew on that day, so that they stay together.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import hooks, ledger, money, pricing, quotes
from billing.models import Order, Subscription
from billing.pricing import DURATIONS, Method
from billing.quotes import items_of
from billing.services import holding, renewing
from billing.services.common import (
    ask_before_paying,
    no_subscription,
    payer_of,
    refuse_used,
    require_open,
)
from billing.services.renewing import Renewal
from scloud.lib.errors import Conflict, InvalidInput, ScloudError
from scloud.resources import kinds
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope

MAX_TOGETHER: Final = 100
# As many as the books keep.
_NAME_CHARACTERS: Final = 100


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


@dataclass(frozen=True)
class Choice:
    """Of several resources those that can be renewed together; ``refused``, by id, says why the
    others cannot."""

    subscriptions: list[Subscription] = field(default_factory=list)
    refused: dict[str, ScloudError] = field(default_factory=dict)


def sort_out(tenant: Tenant, resource_ids: Sequence[str]) -> Choice:
    """Say which of several resources can be renewed together.

    Those cannot that nothing is paid for alone (``subscription_not_found``), that have ended
    (``subscription_ended``), and those billed by the hour among others that are not
    (``billed_by_the_hour``): a number of hours is not a number of months, nor a date.
    """
    choice = Choice()
    with scope(tenant=tenant):
        found = _subscriptions(tenant, resource_ids)
    for resource_id in dict.fromkeys(resource_ids):
        row = found.get(resource_id)
        if row is None:
            choice.refused[resource_id] = Conflict(
                _("It is not billed separately."), code="subscription_not_found"
            )
            continue
        try:
            require_open(row)
        except Conflict as error:
            choice.refused[resource_id] = error
        else:
            choice.subscriptions.append(row)
    hourly = [row for row in choice.subscriptions if Method(row.method) is Method.HOUR]
    if len(hourly) < len(choice.subscriptions):
        for row in hourly:
            choice.subscriptions.remove(row)
            choice.refused[row.resource_id] = Conflict(
                _("It is billed by the hour."),
                code="billed_by_the_hour",
                remedy=_("Renew it separately, for a number of hours."),
            )
    return choice


def _subscriptions(tenant: Tenant, resource_ids: Sequence[str]) -> dict[str, Subscription]:
    """The subscriptions of a tenant's resources, by their ids, under the names that these have now.

    Subscriptions and charges keep the name that a resource had when they were written.
    """
    rows = Subscription.objects.select_related("region", "tenant").filter(
        tenant=tenant, resource_id__in=resource_ids
    )
    found = {row.resource_id: row for row in rows}
    names = names_of(tenant, list(found), {row.resource_kind for row in found.values()})
    for resource_id, name in names.items():
        found[resource_id].resource_name = name[:_NAME_CHARACTERS]
    return found


def names_of(
    tenant: Tenant, resource_ids: Sequence[str], of: Collection[str] | None = None
) -> dict[str, str]:
    """What a tenant's resources are called now, by id; what is gone or foreign is left out.

    Of the kinds ``of``, or else of all kinds that can be paid for.
    """
    wanted = hooks.kinds() if of is None else of
    names: dict[str, str] = {}
    with scope(tenant=tenant):
        for kind in kinds.all_kinds():
            if kind.kind in wanted:
                rows = kind.model_class()._default_manager.filter(
                    tenant=tenant, pk__in=resource_ids
                )
                names.update(rows.exclude(status="destroyed").values_list("pk", "name"))
    return names


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
        ask_before_paying(actor, total)
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
    found = _subscriptions(tenant, ids)
    for resource_id in ids:
        if resource_id not in found:
            raise no_subscription(resource_id)
        require_open(found[resource_id])
    subscriptions = [found[resource_id] for resource_id in ids]
    # Prices and discounts are the same for all: they are read once.
    basis = quotes.Lookup([tenant.pk]).basis
    if extent.until is not None:
        target = _beginning_of(extent.until, now)
        return tuple(
            Part(row, _until(row, target, actor, now, since, basis)) for row in subscriptions
        )
    assert extent.periods is not None, "asked above"
    if len({row.method for row in subscriptions}) > 1:
        raise Conflict(
            _("The selected resources are billed by different methods."),
            code="methods_differ",
            field="resources",
            remedy=_("Renew those of one billing method together, or all until a date."),
        )
    held = holding.open_rows_of(subscriptions)
    return tuple(
        Part(
            row,
            renewing.draft(row, extent.periods, actor, now, rows=held.get(row.pk, []), basis=basis),
        )
        for row in subscriptions
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
    subscription: Subscription,
    target: datetime,
    actor: str,
    now: datetime,
    since: datetime,
    basis: holding.FindBasis,
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
    found = basis(subscription.tenant, subscription.region, [i.sku for i in items], now)
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
