"""What buying, renewing, changing and refunding share."""

from datetime import datetime
from decimal import Decimal

from django.utils.translation import gettext as _

from billing import catalog, money, pricing
from billing.models import (
    Charge,
    Order,
    OrderKind,
    Subscription,
    SubscriptionStatus,
)
from billing.orders import RefundDraft, ResourceRef
from billing.pricing import Method, RefundRule
from scloud.audit.events import emit
from scloud.lib.errors import Conflict, InvalidInput, NotFound
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.permissions import SPEND
from scloud.tenancy.scoping import scope, scopes_disabled


def subscription_of(tenant: Tenant, resource_id: str) -> Subscription:
    """The subscription of a resource. Raises NotFound if the tenant has none by that id."""
    with scope(tenant=tenant):
        found: Subscription | None = (
            Subscription.objects.select_related("region", "tenant")
            .filter(tenant=tenant, resource_id=resource_id)
            .first()
        )
    if found is None:
        raise no_subscription(resource_id)
    return found


def no_subscription(resource_id: str) -> NotFound:
    """What is answered about the subscription of something that has none."""
    return NotFound(
        _("%(resource_id)s has no subscription.") % {"resource_id": resource_id},
        code="subscription_not_found",
        field="resource",
    )


def refund_of(
    row: Charge, at: datetime | None, rule: RefundRule = RefundRule.LESS_USED
) -> RefundDraft:
    """What a charge gives back: all of it (``at`` None), or what is unused at ``at``.

    What was bought under the rule of the first release comes back pro rata whatever ``rule`` says.
    """
    if at is None or at <= row.begin:
        return RefundDraft(row, row.begin, row.periods, row.amount_minor)
    method = Method(row.method)
    unused = pricing.unused_periods(
        at, row.end, method, anchor_day=row.anchor_day, zone=money.zone()
    )
    begin = pricing.unused_from(at, row.end, method)
    if row.comes_back_by(rule) is RefundRule.LESS_USED:
        found = pricing.refund_less_used(
            catalog.book_of(row.price_list),
            [catalog.line_of(line) for line in row.lines.all()],
            method,
            amount=money.from_minor(row.amount_minor),
            periods_paid=row.periods,
            begin=row.begin,
            end=row.end,
            at=at,
            anchor_day=row.anchor_day,
            zone=money.zone(),
        )
        return RefundDraft(
            row, begin, unused, money.to_minor(found.amount), found.returned, found.used
        )
    amount = pricing.refund_amount(
        amount=money.from_minor(row.amount_minor),
        periods_paid=row.periods,
        periods_unused=unused,
        decimals=money.decimals(),
    )
    return RefundDraft(row, begin, unused, money.to_minor(amount))


def open_charges(
    tenant: Tenant, resource_id: str, *, after: datetime | None = None
) -> list[Charge]:
    """Charges of a resource that were not given back; with ``after``, those that end later.

    Those of its subscription: what was charged afterwards, by usage, never comes back.
    """
    rows = Charge.objects.filter(
        tenant=tenant,
        resource_id=resource_id,
        refunds__isnull=True,
        refunded_by__isnull=True,
    ).exclude(order__kind=OrderKind.USAGE)
    if after is not None:
        rows = rows.filter(end__gt=after)
    return list(rows.select_related("order", "price_list").prefetch_related("lines").order_by("pk"))


def tenant_of(actor: Actor) -> Tenant:
    if actor.tenant is None:
        raise InvalidInput(_("Specify a tenant."), code="tenant_missing", field="tenant")
    return actor.tenant


def payer_of(actor: Actor) -> Tenant:
    """Return whose money is about to be spent. Raises Forbidden unless the caller may spend it."""
    tenant = tenant_of(actor)
    actor.require(SPEND)
    return tenant


def ask_before_paying(actor: Actor, amount: Decimal) -> None:
    """Have people in a browser prove who they are before they pay more than their tenant says.

    Raises ConfirmationNeeded. Call it when the amount is known and nothing has been written. What
    administrators of the platform do for a tenant is not asked.
    """
    if actor.tenant is not None and not actor.is_platform and amount > actor.tenant.ask_above:
        actor.require_confirmed()


def refuse_used(nonce: str) -> None:
    with scopes_disabled():
        earlier = Order.objects.filter(quote_nonce=nonce).first()
    if earlier is not None:
        raise Conflict(
            _("This quote was already ordered as %(earlier)s.") % {"earlier": earlier.pk},
            code="quote_used",
            field="quote_token",
            remedy=_("Check your orders, or request a new quote to order again."),
            numbers={"order": earlier.pk},
        )


def require_open(subscription: Subscription) -> None:
    if subscription.status == SubscriptionStatus.ENDED:
        raise Conflict(
            _("The subscription of %(resource_id)s has ended.")
            % {"resource_id": subscription.resource_id},
            code="subscription_ended",
        )


def require_active(subscription: Subscription) -> None:
    require_open(subscription)
    if subscription.status == SubscriptionStatus.EXPIRED:
        raise Conflict(
            _("%(resource_id)s has expired.") % {"resource_id": subscription.resource_id},
            code="resource_expired",
            remedy=_("Renew it first."),
        )


def ref_of(subscription: Subscription) -> ResourceRef:
    return ResourceRef(
        subscription.resource_kind, subscription.resource_id, subscription.resource_name
    )


def tell(tenant: Tenant, kind: str, order: Order) -> None:
    emit(
        tenant_id=tenant.pk,
        kind=kind,
        resource_kind="order",
        resource_id=order.pk,
        data={"total": money.show(order.total_minor), "currency": order.currency},
    )
