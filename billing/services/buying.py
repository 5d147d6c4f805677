"""Buying: exactly what was quoted is charged, and the subscriptions begin."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import budgets, ledger, money, pricing, quotes
from billing.models import (
    Order,
    OrderKind,
    Subscription,
)
from billing.orders import ChargeDraft, OrderDraft, ResourceRef, charge
from billing.pricing import Method
from billing.quotes import Quote, QuoteItem
from billing.services.common import (
    ask_before_paying,
    payer_of,
    refuse_used,
    tell,
)
from scloud.lib.errors import InvalidInput
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope


def quote(
    *,
    tenant: Tenant,
    region: Region,
    items: Sequence[QuoteItem],
    method: Method | str,
    periods: int,
    count: int = 1,
    tags: Mapping[str, Sequence[str]] | None = None,
) -> Quote:
    """Price a purchase as :func:`billing.quotes.quote`; takes no locks, writes nothing.

    ``tags`` are those of what is bought, by its part of the bundle. Raises Conflict
    ``budget_exceeded`` too, as the purchase would now.
    """
    found = quotes.quote(
        tenant=tenant, region=region, items=items, method=method, periods=periods, count=count
    )
    of_parts = tags or {}
    with scope(tenant=tenant):
        budgets.require(
            tenant,
            [
                budgets.Wanted(money.to_minor(line.total), of_parts.get(line.item.part, ()))
                for line in found.lines
            ],
            found.priced_at,
        )
    return found


@transaction.atomic
def purchase(
    *,
    actor: Actor,
    region: Region,
    quote_token: str,
    items: Sequence[QuoteItem],
    method: Method | str,
    periods: int,
    resources: Sequence[ResourceRef],
    auto_renew: bool | None = None,
) -> Order:
    """Charge exactly what was quoted for ``resources`` and begin their subscriptions.

    ``items`` is what each bundle needs, as in :func:`quote`; every part named in it must have the
    same number of resources. ``auto_renew`` defaults to the
    account's choice, else to the platform's switch. Call it first in
    the transaction that makes the rows: it locks the tenant's account.

    Raises StaleQuote (``quote_stale``; ``numbers.total`` is the new price), InsufficientBalance
    (``numbers`` needed, balance, missing), Conflict ``quote_used`` or ``budget_exceeded`` (with its
    figures), InvalidInput. Nothing has been written then.
    """
    tenant = payer_of(actor)
    wanted = quotes.parse_method(method)
    count = _bundle_count(items, resources)
    now = timezone.now()
    token = quotes.read(quote_token)
    with scope(tenant=tenant):
        account = ledger.lock_account(tenant)
        found = quotes.basis(tenant, region, [item.sku for item in items], now)
        lines = quotes.price_items(found, items, wanted, periods)
        quotes.require_same(
            token,
            tenant=tenant,
            content=quotes.content_of(region, items, wanted, periods, count),
            found=found,
            total=pricing.total(lines) * count,
        )
        refuse_used(token.nonce)
        ask_before_paying(actor, pricing.total(lines) * count)
        anchor = pricing.anchor_day_of(now, money.zone())
        end = pricing.period_end(now, wanted, periods, anchor_day=anchor, zone=money.zone())
        drafts = [
            ChargeDraft(
                resource=resource,
                begin=now,
                end=end,
                anchor_day=anchor,
                periods=Decimal(periods),
                lines=[
                    (item.label, line)
                    for item, line in zip(items, lines, strict=True)
                    if item.part == resource.part
                ],
            )
            for resource in resources
        ]
        budgets.require(
            tenant,
            [budgets.Wanted(draft.amount_minor, draft.resource.tags) for draft in drafts],
            now,
        )
        order = charge(
            account,
            OrderDraft(
                kind=OrderKind.NEW,
                region=region,
                method=wanted,
                price_list=found.price_list,
                priced_at=now,
                actor=actor.label,
                nonce=token.nonce,
                charges=drafts,
            ),
            now=now,
        )
        renews = account.renews_by_default if auto_renew is None else auto_renew
        Subscription.objects.bulk_create(
            [
                Subscription(
                    tenant=tenant,
                    region=region,
                    resource_kind=resource.kind,
                    resource_id=resource.id,
                    resource_name=resource.name,
                    method=wanted.value,
                    auto_renew=renews,
                    anchor_day=anchor,
                    period_start=now,
                    paid_until=end,
                    lines=[i.as_snapshot() for i in items if i.part == resource.part],
                    created_at=now,
                )
                for resource in resources
            ]
        )
        tell(tenant, "billing.ordered", order)
    return order


def _bundle_count(items: Sequence[QuoteItem], resources: Sequence[ResourceRef]) -> int:
    """How many bundles ``resources`` make; every part must have as many resources."""
    parts = {item.part for item in items}
    counts = {part: sum(1 for r in resources if r.part == part) for part in parts}
    if not counts or {r.part for r in resources} != parts or len(set(counts.values())) != 1:
        raise InvalidInput(
            _("The resources do not match the items that were quoted."),
            code="resources_mismatch",
            field="resources",
            numbers=dict(counts),
        )
    return next(iter(counts.values()))
