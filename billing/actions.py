"""The verbs of billing that people invoke. Console, API and admin call these."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import uuid4

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import hooks, ledger, money, pricelists, quotas, services
from billing.models import (
    Account,
    LedgerTransaction,
    Order,
    PriceList,
    QuotaApprovalLimit,
    QuotaItem,
    QuotaLimit,
    QuotaRequest,
    QuotaRequestStatus,
    Subscription,
    TransactionKind,
)
from scloud.audit.action import action, note
from scloud.audit.events import emit
from scloud.lib.errors import Conflict, Forbidden, InvalidInput
from scloud.lib.text import unix_lines
from scloud.resources import kinds
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor

MAX_RECHARGE: Final = Decimal(10_000_000)
MAX_QUOTA: Final = 10**9
MAX_REASON: Final = 1000
LONGEST_RAISE: Final = timedelta(days=3660)


@action("billing.recharge")
def recharge(
    *, actor: Actor, amount: Decimal, remark: str = "", gift: bool = False, key: str = ""
) -> LedgerTransaction:
    """Put money into the account of ``actor.tenant``: cash, or a gift of the platform.

    On a demonstration installation tenants may recharge themselves; administrators enter top-ups
    by :mod:`billing.topping_up`, with their receipt. ``key`` names the cause: a form sent twice
    recharges once. Raises InvalidInput for an amount that is not above 0 or has too many decimals,
    Forbidden.
    """
    if not actor.is_platform and not (settings.SCLOUD_DEMO and not gift):
        raise Forbidden(
            _("Only an administrator can top up an account."),
            remedy=_("Ask your administrator to top up the account."),
        )
    if actor.tenant is None:
        raise InvalidInput(_("Specify a tenant."), code="tenant_missing", field="tenant")
    minor = money.checked_minor(amount, MAX_RECHARGE)
    account = ledger.lock_account(actor.tenant)
    before = money.show(account.balance_minor)
    cause = f"recharge:{actor.tenant.pk}:{key or uuid4()}"
    if LedgerTransaction.objects.filter(idempotency_key=cause).exists():
        raise Conflict(_("This top-up has already been made."), code="recharge_repeated")
    moved = ledger.post(
        account,
        TransactionKind.GIFT if gift else TransactionKind.RECHARGE,
        cash_minor=0 if gift else minor,
        gift_minor=minor if gift else 0,
        key=cause,
        actor=actor.label,
        note=remark[:300],
    )
    assert moved is not None, "the amount is above 0"
    note(
        moved,
        before={"balance": before},
        after={"balance": money.show(account.balance_minor), "remark": remark},
    )
    emit(
        tenant_id=actor.tenant.pk,
        kind="billing.recharged",
        resource_kind="account",
        resource_id=actor.tenant.pk,
        data={"amount": money.show(minor), "currency": money.currency(), "gift": gift},
    )
    return moved


@action("billing.renew_resource")
def renew_resource(*, actor: Actor, resource_id: str, periods: int, quote_token: str) -> Order:
    """Pay ``periods`` more for one resource, at exactly the quoted price."""
    order = services.renew(
        actor=actor, resource_id=resource_id, periods=periods, quote_token=quote_token
    )
    assert actor.tenant is not None, "services.renew refuses an actor without one"
    subscription = services.subscription_of(actor.tenant, resource_id)
    _note(subscription)
    note(
        order,
        after={
            "paid_until": subscription.paid_until.isoformat(),
            "total": money.show(order.total_minor),
        },
    )
    return order


@action("billing.renew_resources")
def renew_resources(
    *, actor: Actor, resource_ids: Sequence[str], extent: services.Extent, quote_token: str
) -> list[Order]:
    """Renew several resources at exactly the quoted price: all, or none.

    Raises as :func:`billing.services.renew_together`.
    """
    orders = services.renew_together(
        actor=actor, resource_ids=resource_ids, extent=extent, quote_token=quote_token
    )
    for order in orders:
        note(order)
    note(
        after={
            "resources": sorted(set(resource_ids)),
            "periods": extent.periods,
            "until": extent.until.isoformat() if extent.until else None,
            "total": money.show(sum(order.total_minor for order in orders)),
        }
    )
    return orders


@action("billing.set_default_auto_renew")
def set_default_auto_renew(*, actor: Actor, auto_renew: bool | None) -> Account:
    """Say whether what the tenant buys from now on renews by itself.

    None leaves it to the platform's switch. What was bought before keeps its own.
    """
    if actor.tenant is None:
        raise InvalidInput(_("Specify a tenant."), code="tenant_missing", field="tenant")
    account = ledger.lock_account(actor.tenant)
    before = account.auto_renew
    Account.objects.filter(pk=account.pk).update(auto_renew=auto_renew)
    note(account, before={"auto_renew": before}, after={"auto_renew": auto_renew})
    account.auto_renew = auto_renew
    return account


@action("billing.set_low_balance")
def set_low_balance(*, actor: Actor, below: Decimal | None) -> Account:
    """Say below what balance, in whole currency units, the tenant is warned; 0 for never.

    None leaves it to the platform. Raises InvalidInput.
    """
    if actor.tenant is None:
        raise InvalidInput(_("Specify a tenant."), code="tenant_missing", field="tenant")
    minor: int | None = None
    if below is not None:
        minor = money.checked_minor(below, MAX_RECHARGE, field="below") if below else 0
    account = ledger.lock_account(actor.tenant)
    before = account.low_balance_minor
    Account.objects.filter(pk=account.pk).update(low_balance_minor=minor)
    note(
        account,
        before={"low_balance": None if before is None else money.show(before)},
        after={"low_balance": None if minor is None else money.show(minor)},
    )
    account.low_balance_minor = minor
    return account


@action("billing.set_auto_renew")
def set_auto_renew(*, actor: Actor, resource_id: str, auto_renew: bool) -> Subscription:
    """Switch automatic renewal of one resource on or off. Raises NotFound, Conflict."""
    if actor.tenant is None:
        raise InvalidInput(_("Specify a tenant."), code="tenant_missing", field="tenant")
    subscription = services.subscription_of(actor.tenant, resource_id)
    changed = Subscription.objects.filter(pk=subscription.pk).exclude(status="ended")
    if not changed.update(auto_renew=auto_renew):
        raise Conflict(
            _("The subscription of %(resource_id)s has ended.") % {"resource_id": resource_id},
            code="subscription_ended",
        )
    _note(subscription)
    note(before={"auto_renew": subscription.auto_renew}, after={"auto_renew": auto_renew})
    subscription.auto_renew = auto_renew
    return subscription


@action("billing.request_quota")
def request_quota(
    *, actor: Actor, region: Region, item: str, limit_wanted: int, reason: str = ""
) -> QuotaRequest:
    """Ask for a higher limit than the one that lasts; a raise that expires does not count.

    Raises InvalidInput, and Conflict while a request is pending.
    """
    if actor.tenant is None:
        raise InvalidInput(_("Specify a tenant."), code="tenant_missing", field="tenant")
    if item not in QuotaItem.values:
        raise InvalidInput(
            _("There is no quota %(item)s.") % {"item": item}, code="quota_unknown", field="item"
        )
    current = quotas.limits_of(actor.tenant, region)[item].lasting
    if not current < limit_wanted <= MAX_QUOTA:
        raise InvalidInput(
            _("The requested limit must be higher than the current limit of %(current)s.")
            % {"current": current},
            code="quota_not_higher",
            field="limit_wanted",
            numbers={"limit": current, "asked": limit_wanted, "max": MAX_QUOTA},
        )
    try:
        with transaction.atomic():
            request = QuotaRequest.objects.create(
                tenant=actor.tenant,
                region=region,
                item=item,
                limit_wanted=limit_wanted,
                limit_before=current,
                reason=_reason(reason),
                requested_by=actor.label,
            )
    except IntegrityError:
        raise Conflict(
            _("A request for this quota is waiting for an answer."),
            code="quota_request_pending",
            remedy=_("Wait for the administrator's answer."),
        ) from None
    note(request, before={"limit": current}, after={"limit_wanted": limit_wanted})
    return request


def _reason(text: str) -> str:
    cleaned = unix_lines(text).strip()
    if len(cleaned) > MAX_REASON:
        raise InvalidInput(
            _("At most %(max)d characters are allowed here.") % {"max": MAX_REASON},
            code="text_too_long",
            field="reason",
            numbers={"max": MAX_REASON, "length": len(cleaned)},
        )
    return cleaned


@action("platform.decide_quota_request")
def decide_quota_request(
    *,
    actor: Actor,
    quota_request: QuotaRequest,
    approve: bool,
    answer: str = "",
    last_day: date | None = None,
) -> QuotaRequest:
    """Approve or reject a request.

    An approval raises the limit for good, or until the end of ``last_day`` in the billing time
    zone. Above the approval limit of the item it takes two administrators: the first approval is
    noted, with its last day, and the request stays pending. One is enough to reject.

    Raises Conflict if it was decided, InvalidInput for a last day that cannot be, and Forbidden
    ``second_administrator_needed`` for the one who approved first.
    """
    current = (
        QuotaRequest.objects.select_for_update(no_key=True)
        .select_related("tenant", "region")
        .get(pk=quota_request.pk)
    )
    if current.status != QuotaRequestStatus.PENDING:
        raise Conflict(_("This request has already been decided."), code="quota_request_decided")
    now = timezone.now()
    if approve and _takes_two(current):
        if current.first_approved_at is None:
            _approve_first(current, actor, last_day, now)
            quota_request.refresh_from_db()
            return quota_request
        if actor.user is None or actor.user.pk == current.first_approved_by_id:
            raise Forbidden(
                _("Another administrator than the one who approved first must decide."),
                code="second_administrator_needed",
            )
    if approve and current.first_approved_at is None:
        current.expires_at = _end_of(last_day, now)
    if approve and current.expires_at is not None and current.expires_at <= now:
        raise Conflict(
            _("The last day that was approved first is over."),
            code="last_day_over",
            remedy=_("Reject the request."),
        )
    current.status = QuotaRequestStatus.APPROVED if approve else QuotaRequestStatus.REJECTED
    current.answer = answer[:300]
    current.decided_by = actor.user
    current.decided_at = now
    if not approve:
        current.expires_at = None
    current.save(update_fields=["status", "answer", "decided_by", "decided_at", "expires_at"])
    if approve and current.expires_at is None:
        QuotaLimit.objects.update_or_create(
            tenant=current.tenant,
            region=current.region,
            item=current.item,
            defaults={"limit": current.limit_wanted},
        )
    until = current.expires_at.isoformat() if current.expires_at else None
    note(after={"approved": approve, "item": current.item, "answer": answer, "until": until})
    emit(
        tenant_id=current.tenant_id,
        kind="billing.quota_decided",
        resource_kind="quota_request",
        resource_id=current.pk,
        data={"approved": approve, "item": current.item, "until": until},
    )
    quota_request.refresh_from_db()
    return quota_request


def _takes_two(request: QuotaRequest) -> bool:
    return QuotaApprovalLimit.objects.filter(
        item=request.item, above__lt=request.limit_wanted
    ).exists()


def _approve_first(
    request: QuotaRequest, actor: Actor, last_day: date | None, now: datetime
) -> None:
    """Note the first of two approvals, and tell the administrators that one more is needed."""
    if actor.user is None:
        raise Forbidden(_("Only an administrator can approve this request."))
    request.first_approved_by = actor.user
    request.first_approved_at = now
    request.expires_at = _end_of(last_day, now)
    request.save(update_fields=["first_approved_by", "first_approved_at", "expires_at"])
    until = request.expires_at.isoformat() if request.expires_at else None
    note(request, after={"first_approval": True, "item": request.item, "until": until})
    told = hooks.Notice(
        kind="billing.quota_request_waits",
        at=now,
        resource_kind="quotarequest",
        resource_id=request.pk,
        data={
            "item": str(request.get_item_display()),
            "limit": request.limit_wanted,
            "tenant": request.tenant.name,
        },
    )
    emit(
        tenant_id=None,
        kind=told.kind,
        resource_kind=told.resource_kind,
        resource_id=told.resource_id,
        data=told.data,
    )
    hooks.tell(told)


def _end_of(last_day: date | None, now: datetime) -> datetime | None:
    """The instant after the last day of a raise; None for one that lasts."""
    if last_day is None:
        return None
    today = now.astimezone(money.zone()).date()
    if not today <= last_day <= today + LONGEST_RAISE:
        raise InvalidInput(
            _("The last day must be today or later, and within ten years."),
            code="date_out_of_range",
            field="last_day",
        )
    return money.end_of(last_day)


@action("platform.publish_price_list")
def publish_price_list(*, actor: Actor, price_list: PriceList) -> PriceList:
    """Make a drafted price list valid; see :func:`billing.pricelists.publish`."""
    published = pricelists.publish(price_list)
    note(
        published,
        after={"version": published.version, "effective": published.effective_from.isoformat()},
    )
    return published


@action("platform.copy_price_list")
def copy_price_list(*, actor: Actor, price_list: PriceList) -> PriceList:
    """Draft the next version with the same prices."""
    drafted = pricelists.copy(price_list)
    note(drafted, after={"version": drafted.version})
    return drafted


def _note(subscription: Subscription) -> None:
    """Name the resource itself in the operation log where its kind is known, so that it shows
    among the resource's own operations; else the subscription."""
    try:
        rows = kinds.get(subscription.resource_kind).model_class()._default_manager
    except KeyError:
        note(subscription)
        return
    note(rows.filter(pk=subscription.resource_id).first() or subscription)
