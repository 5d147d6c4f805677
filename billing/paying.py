"""Payments of tenants through a provider, and refunds that administrators pay back by it.

No provider is asked inside an action, whose transaction holds locks: starting a payment writes the
row, :func:`open_page` asks afterwards; an approved refund is taken from the account, and the sweep
asks the provider for it.
"""

import logging
from decimal import Decimal
from typing import Final
from uuid import uuid4

from django.conf import settings
from django.db.models import Sum
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import hooks, ledger, money
from billing.models import (
    Account,
    BillingSettings,
    Payment,
    PaymentRefund,
    PaymentRefundStatus,
    PaymentStatus,
    TransactionKind,
)
from billing.payments import registry
from billing.payments.base import Refused, Unreachable, Wanted
from scloud.audit.action import action, note
from scloud.audit.events import emit
from scloud.lib.errors import Conflict, Forbidden, InsufficientBalance, InvalidInput, Unavailable
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scope

log = logging.getLogger(__name__)

MOST_OPEN: Final = 20
"""How many payments of a tenant may be open at once."""

SMALLEST: Final = Decimal(1)
LARGEST: Final = Decimal(50_000)
"""What may be paid at once where the settings say nothing."""

RETRY_S: Final = 30


def is_offered() -> bool:
    """Whether tenants can pay by themselves."""
    return registry.chosen() is not None


def bounds() -> tuple[Decimal, Decimal]:
    """The smallest and the largest amount of one payment, in whole currency units."""
    found = BillingSettings.load()
    least = SMALLEST if found.payment_least is None else found.payment_least
    most = LARGEST if found.payment_most is None else found.payment_most
    return least, most


@action("billing.start_payment")
def start_payment(*, actor: Actor, amount: Decimal, key: str = "") -> Payment:
    """Write down a payment that somebody is about to make; no money has moved.

    ``key`` names the cause: a form sent twice starts one payment. Raises InvalidInput for an
    amount outside of the settings' bounds or with too many decimals, Conflict ``payments_off``,
    ``payments_open`` or ``balance_too_large``.
    """
    if actor.tenant is None:
        raise InvalidInput(_("Specify a tenant."), code="tenant_missing", field="tenant")
    provider = registry.chosen()
    if provider is None:
        raise Conflict(
            _("This platform takes no payments."),
            code="payments_off",
            remedy=_("Ask your administrator to top up the account."),
        )
    least, most = bounds()
    if amount.is_finite() and amount < least:
        raise InvalidInput(
            _("The amount must be at least %(least)s.") % {"least": least},
            code="amount_out_of_range",
            field="amount",
            numbers={"min": str(least), "max": str(most)},
        )
    minor = money.checked_minor(amount, most)
    # Of two forms sent at once the second waits here, and finds the first one's payment.
    account = ledger.lock_account(actor.tenant)
    cause = f"payment:{actor.tenant.pk}:{key or uuid4()}"
    earlier: Payment | None = Payment.objects.filter(idempotency_key=cause).first()
    if earlier is not None:
        if earlier.amount_minor != minor:
            raise Conflict(
                _("This payment was started with another amount."), code="payment_repeated"
            )
        return earlier
    ledger.require_room(account, minor)
    if Payment.objects.filter(tenant=actor.tenant, status__in=Payment.OPEN).count() >= MOST_OPEN:
        raise Conflict(
            _("%(count)d payments are open.") % {"count": MOST_OPEN},
            code="payments_open",
            remedy=_("Finish or cancel one of them first."),
        )
    payment = Payment.objects.create(
        tenant=actor.tenant,
        provider=provider.key,
        amount_minor=minor,
        currency=money.currency(),
        started_by=actor.label,
        idempotency_key=cause,
    )
    note(payment, after={"amount": money.show(minor), "provider": provider.key})
    return payment


def open_page(payment: Payment) -> Payment:
    """Have the provider's page of a payment; call it outside of any transaction.

    Raises Unavailable while the provider does not answer; the payment stays, and the same call or
    the same form goes on with it. Raises Conflict ``payment_refused`` or ``payment_over``.
    """
    if payment.page_url:
        return payment
    if payment.status not in Payment.OPEN:
        raise Conflict(_("This payment is over."), code="payment_over")
    provider = registry.provider(payment.provider)
    if provider is None:
        raise Conflict(_("This platform takes no payments."), code="payments_off")
    wanted = Wanted(
        reference=payment.pk,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        text=_("Top-up %(payment)s") % {"payment": payment.pk},
        return_url=settings.SCLOUD_CONSOLE_URL + reverse("payment-detail", args=[payment.pk]),
    )
    try:
        page = provider.begin(wanted)
    except Unreachable:
        raise Unavailable(
            _("The payment provider does not answer."),
            code="provider_unreachable",
            remedy=_("Try again in a moment. Nothing was paid."),
            numbers={"retry_after_s": RETRY_S},
        ) from None
    except Refused as error:
        log.error("payment %s was refused: %s", payment.pk, error)
        raise Conflict(
            _("The payment provider refused this payment."),
            code="payment_refused",
            remedy=_("Start another one, or ask your administrator."),
        ) from None
    with scope(tenant=payment.tenant):
        rows = Payment.objects.filter(pk=payment.pk)
        rows.update(provider_name=page.name, page_url=page.url)
        # News may have come before this answer; then it stands further already.
        rows.filter(status=PaymentStatus.CREATED).update(status=PaymentStatus.PENDING)
        fresh: Payment = rows.select_related("tenant").get()
    return fresh


# --- refunds


@action("platform.enter_payment_refund")
def enter_payment_refund(
    *, actor: Actor, payment: Payment, amount: Decimal, remark: str, key: str = ""
) -> PaymentRefund:
    """Pay back a part of a payment, or all of it, the way it came.

    Above the limit of the settings it awaits :func:`decide_payment_refund`; else the amount is
    taken from the cash of the account at once, and the provider is asked. ``key`` names the cause:
    a form sent twice counts once. Raises InvalidInput, InsufficientBalance, and Conflict
    ``payment_not_paid``, ``refund_too_high`` or ``refund_repeated``.
    """
    administrator = _administrator(actor)
    minor = money.checked_minor(amount, money.from_minor(payment.amount_minor))
    account = ledger.lock_account(payment.tenant)
    cause = f"payment-refund:{payment.pk}:{key or uuid4()}"
    if PaymentRefund.objects.filter(idempotency_key=cause).exists():
        raise Conflict(_("This refund has already been entered."), code="refund_repeated")
    current = Payment.objects.select_for_update(no_key=True).get(pk=payment.pk)
    _require_left(current, minor)
    refund = PaymentRefund(
        tenant=payment.tenant,
        payment=payment,
        amount_minor=minor,
        remark=remark.strip()[:200],
        entered_by=administrator,
        idempotency_key=cause,
    )
    note(refund, after=_told(refund))
    limit = BillingSettings.load().four_eyes_above
    if limit is not None and amount > limit:
        refund.save(force_insert=True)
        _ask(refund)
    else:
        _take(refund, account, actor)
        refund.save(force_insert=True)
    return refund


@action("platform.decide_payment_refund")
def decide_payment_refund(
    *, actor: Actor, refund: PaymentRefund, approve: bool, answer: str = ""
) -> PaymentRefund:
    """Pay back what another administrator entered, or reject it.

    Raises Forbidden ``second_administrator_needed`` for the one who entered it,
    InsufficientBalance, and Conflict ``refund_decided`` if it does not wait any more.
    """
    administrator = _administrator(actor)
    if administrator.pk == refund.entered_by_id:
        raise Forbidden(
            _("Another administrator than the one who entered it must decide."),
            code="second_administrator_needed",
        )
    account = ledger.lock_account(refund.tenant)
    current = PaymentRefund.objects.select_for_update(no_key=True).get(pk=refund.pk)
    if current.status != PaymentRefundStatus.PENDING:
        raise Conflict(_("This refund has already been decided."), code="refund_decided")
    current.decided_by = administrator
    current.decided_at = timezone.now()
    current.answer = answer.strip()[:200]
    if approve:
        _take(current, account, actor)
    else:
        current.status = PaymentRefundStatus.REJECTED
        current.ended_at = current.decided_at
    current.save()
    note(current, after={**_told(current), "approved": approve, "answer": current.answer})
    return current


def left_of(payment: Payment) -> int:
    """How much of a payment can still be paid back, in minor units."""
    counted = payment.refunds.filter(status__in=PaymentRefund.COUNTED)
    given = counted.aggregate(total=Sum("amount_minor"))["total"] or 0
    return payment.amount_minor - given if payment.status in Payment.BOOKED else 0


def _require_left(payment: Payment, minor: int) -> None:
    if payment.status not in Payment.BOOKED:
        raise Conflict(_("This payment has not been paid."), code="payment_not_paid")
    left = left_of(payment)
    if minor > left:
        raise Conflict(
            _("At most %(left)s %(currency)s of this payment can be paid back.")
            % {"left": money.show(left), "currency": payment.currency},
            code="refund_too_high",
            field="amount",
            numbers={"left": money.show(left)},
        )


def _take(refund: PaymentRefund, account: Account, actor: Actor) -> None:
    """Take the amount of a refund from a locked account; the sweep asks the provider for it."""
    if account.cash_minor < refund.amount_minor:
        raise InsufficientBalance(
            _("%(amount)s %(currency)s are to be paid back, but the cash balance is %(cash)s.")
            % {
                "amount": money.show(refund.amount_minor),
                "currency": money.currency(),
                "cash": money.show(account.cash_minor),
            },
            remedy=_("What was spent or given cannot be paid back."),
            numbers={
                "needed": money.show(refund.amount_minor),
                "balance": money.show(account.cash_minor),
                "currency": money.currency(),
            },
        )
    moved = ledger.post(
        account,
        TransactionKind.PAYOUT,
        cash_minor=-refund.amount_minor,
        gift_minor=0,
        key=f"payout:{refund.pk}",
        actor=actor.label,
        note=f"{refund.payment_id} {refund.remark}",
    )
    refund.transaction = moved
    refund.status = PaymentRefundStatus.SENT


def _ask(refund: PaymentRefund) -> None:
    """Tell the administrators that one more of them is needed."""
    data = {"amount": money.show(refund.amount_minor), "currency": money.currency()}
    told = hooks.Notice(
        kind="billing.payment_refund_waits",
        at=refund.created_at,
        resource_kind="paymentrefund",
        resource_id=refund.pk,
        data=data,
    )
    emit(
        tenant_id=None,
        kind=told.kind,
        resource_kind=told.resource_kind,
        resource_id=told.resource_id,
        data=data,
    )
    hooks.tell(told)


def _administrator(actor: Actor) -> User:
    if actor.user is None or not actor.is_platform:
        raise Forbidden(_("Only an administrator can pay back a payment."))
    return actor.user


def _told(refund: PaymentRefund) -> dict[str, object]:
    """What the operation log keeps of it."""
    return {
        "payment": refund.payment_id,
        "amount": money.show(refund.amount_minor),
        "remark": refund.remark,
    }
