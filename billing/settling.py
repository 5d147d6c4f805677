"""What a payment provider says, brought into the books exactly once, in whatever order it comes.

Providers send news twice, late and in any order, and answer questions meanwhile. All of it goes the
same way: the account is locked, then the payment; what the payment already knows changes nothing;
money that came in is booked once, under a key of the payment. News that does not fit our books
moves no money and is told to the administrators.
"""

import logging
from collections.abc import Mapping
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import hooks, ledger, money
from billing.models import (
    Account,
    EventOutcome,
    Payment,
    PaymentEvent,
    PaymentRefund,
    PaymentRefundStatus,
    PaymentStatus,
    SandboxEvent,
    TransactionKind,
)
from billing.payments import registry, sandbox
from billing.payments.base import RefundStanding, RefundState, Standing, State
from scloud.audit.events import emit
from scloud.tenancy.scoping import scope, scopes_disabled

log = logging.getLogger(__name__)

News = Standing | RefundStanding


class UnknownPayment(LookupError):
    """News of a payment that this installation does not have, or not of this provider."""


class UnknownProvider(LookupError):
    """There is no such provider, or it is not switched on."""


def receive(
    key: str, headers: Mapping[str, str], body: bytes, now: datetime | None = None
) -> EventOutcome:
    """Take in what was posted in the name of a provider.

    Raises UnknownProvider, UnknownPayment, and BadNews where the signature, its time or the body
    are wrong. Whatever is raised leaves nothing behind, so that the same news may come again.
    """
    at = now or timezone.now()
    provider = registry.provider(key)
    if provider is None:
        raise UnknownProvider(key)
    event = provider.read(headers, body, at)
    return hear(key, event.news, at, event_id=event.id)


def deliver(event: SandboxEvent, now: datetime | None = None) -> EventOutcome:
    """Take in news of the sandbox, which cannot post it. Raises what :func:`receive` does."""
    at = now or timezone.now()
    headers, body = sandbox.signed(event, at)
    outcome = receive(sandbox.Sandbox.key, headers, body, at)
    sandbox.delivered(event, at)
    return outcome


def hear(key: str, news: News, now: datetime, *, event_id: str = "") -> EventOutcome:
    """Bring what a provider says into the books; with an ``event_id`` once for that id.

    Raises UnknownPayment.
    """
    with scopes_disabled():
        found = (
            Payment.objects.select_related("tenant").filter(pk=news.reference, provider=key).first()
        )
    if found is None:
        raise UnknownPayment(news.reference)
    with scope(tenant=found.tenant), transaction.atomic():
        account = ledger.lock_account(found.tenant)
        payment = Payment.objects.select_for_update(no_key=True).get(pk=found.pk)
        payment.tenant = found.tenant
        mark = _mark(payment, news, event_id, now)
        if event_id and mark is None:
            return EventOutcome.REPEATED
        outcome = (
            _settle_refund(account, payment, news, now)
            if isinstance(news, RefundStanding)
            else _settle(account, payment, news, now)
        )
        if mark is not None:
            PaymentEvent.objects.filter(pk=mark.pk).update(outcome=outcome)
    return outcome


def hear_answer(key: str, news: News, now: datetime) -> EventOutcome:
    """The same for what a provider answered when it was asked; the same answer counts once.

    So one that differs from our books is told once, however often it is given.
    """
    of = news.refund if isinstance(news, RefundStanding) else news.reference
    name = f"asked:{of}:{news.state.value}:{news.amount_minor}:{news.currency}"
    return hear(key, news, now, event_id=name[:120])


def _mark(payment: Payment, news: News, event_id: str, now: datetime) -> PaymentEvent | None:
    """The row that keeps an event from counting twice; None for one that was taken in before."""
    if not event_id:
        return None
    try:
        with transaction.atomic():
            return PaymentEvent.objects.create(
                tenant=payment.tenant,
                payment=payment,
                provider=payment.provider,
                event_id=event_id,
                said=_said(news),
                outcome=EventOutcome.NOTHING_NEW,
                received_at=now,
            )
    except IntegrityError:
        return None


def _said(news: News) -> str:
    what = f"{news.refund} " if isinstance(news, RefundStanding) else ""
    # How many decimals another currency has is not known here.
    known = news.currency == money.currency()
    figure = (
        money.show(news.amount_minor)
        if known
        else _("%(amount)d minor units") % {"amount": news.amount_minor}
    )
    return f"{what}{news.state.value} {figure} {news.currency} {news.reason}".strip()[:200]


# --- payments


def _settle(account: Account, payment: Payment, news: Standing, now: datetime) -> EventOutcome:
    if (news.amount_minor, news.currency) != (payment.amount_minor, payment.currency):
        return _differs(payment, news, now)
    booked = payment.status in Payment.BOOKED
    if news.state is State.PAID:
        # Also after it was called failed or cancelled: the money is there.
        return EventOutcome.NOTHING_NEW if booked else _book(account, payment, now)
    wanted = {
        State.OPEN: PaymentStatus.PENDING,
        State.FAILED: PaymentStatus.FAILED,
        State.CANCELLED: PaymentStatus.CANCELLED,
    }[news.state]
    if payment.status not in Payment.OPEN or payment.status == wanted:
        # What is over does not open again, and what is paid is not taken back by late news.
        return EventOutcome.NOTHING_NEW
    Payment.objects.filter(pk=payment.pk).update(status=wanted, reason=news.reason[:200])
    if wanted is not PaymentStatus.PENDING:
        _emit(payment, f"billing.payment_{wanted.value}")
    return EventOutcome.APPLIED


def _book(account: Account, payment: Payment, now: datetime) -> EventOutcome:
    moved = ledger.post(
        account,
        TransactionKind.RECHARGE,
        cash_minor=payment.amount_minor,
        gift_minor=0,
        key=f"payment:{payment.pk}",
        actor=ledger.PLATFORM,
        note=payment.pk,
    )
    Payment.objects.filter(pk=payment.pk).update(
        status=PaymentStatus.PAID, transaction=moved, paid_at=now, reason=""
    )
    emit(
        tenant_id=payment.tenant_id,
        kind="billing.recharged",
        resource_kind="account",
        resource_id=payment.tenant_id,
        data={
            "amount": money.show(payment.amount_minor),
            "currency": payment.currency,
            "gift": False,
            "payment": payment.pk,
        },
    )
    # The page of the payment, which is open in a browser, listens for news of it.
    _emit(payment, "billing.payment_paid")
    return EventOutcome.APPLIED


# --- refunds


def _settle_refund(
    account: Account, payment: Payment, news: RefundStanding, now: datetime
) -> EventOutcome:
    refund = (
        PaymentRefund.objects.select_for_update(no_key=True)
        .filter(pk=news.refund, payment=payment)
        .first()
    )
    if refund is None or (news.amount_minor, news.currency) != (
        refund.amount_minor,
        payment.currency,
    ):
        return _differs(payment, news, now)
    if news.state is RefundState.OPEN:
        return EventOutcome.NOTHING_NEW
    wanted = (
        PaymentRefundStatus.DONE if news.state is RefundState.DONE else PaymentRefundStatus.FAILED
    )
    if refund.status == wanted:
        return EventOutcome.NOTHING_NEW
    if refund.status != PaymentRefundStatus.SENT:
        # The provider did what nobody decided, or says two things of the same refund.
        return _differs(payment, news, now)
    if wanted is PaymentRefundStatus.DONE:
        PaymentRefund.objects.filter(pk=refund.pk).update(status=wanted, ended_at=now)
        _count_refund(payment, refund)
    else:
        _give_back(account, payment, refund, news.reason, now)
    return EventOutcome.APPLIED


def _count_refund(payment: Payment, refund: PaymentRefund) -> None:
    given = payment.refunded_minor + refund.amount_minor
    whole = given == payment.amount_minor
    Payment.objects.filter(pk=payment.pk).update(
        refunded_minor=F("refunded_minor") + refund.amount_minor,
        status=PaymentStatus.REFUNDED if whole else PaymentStatus.PARTLY_REFUNDED,
    )
    _emit(payment, "billing.payment_refunded", refund=refund.pk)


def _give_back(
    account: Account, payment: Payment, refund: PaymentRefund, reason: str, now: datetime
) -> None:
    """Put back what was taken for a refund that the provider did not pay."""
    moved = ledger.post(
        account,
        TransactionKind.PAYOUT,
        cash_minor=refund.amount_minor,
        gift_minor=0,
        key=f"payout-failed:{refund.pk}",
        actor=ledger.PLATFORM,
        note=f"{payment.pk} {refund.pk}",
    )
    PaymentRefund.objects.filter(pk=refund.pk).update(
        status=PaymentRefundStatus.FAILED, reversal=moved, reason=reason[:200], ended_at=now
    )
    _tell("billing.payment_refund_failed", payment, refund.amount_minor, now)


def fail_refund(refund: PaymentRefund, reason: str, now: datetime) -> None:
    """Give back what was taken for a refund that the provider refused when it was asked."""
    tenant = refund.tenant
    with scope(tenant=tenant), transaction.atomic():
        account = ledger.lock_account(tenant)
        payment = Payment.objects.select_for_update(no_key=True).get(pk=refund.payment_id)
        current = PaymentRefund.objects.select_for_update(no_key=True).get(pk=refund.pk)
        if current.status == PaymentRefundStatus.SENT:
            _give_back(account, payment, current, reason, now)


# --- telling


def _differs(payment: Payment, news: News, now: datetime) -> EventOutcome:
    """News that does not fit: nothing moves, somebody has to look."""
    log.error("payment %s: the provider says %s, which differs", payment.pk, _said(news))
    _tell("billing.payment_differs", payment, news.amount_minor, now)
    return EventOutcome.DIFFERS


def _tell(kind: str, payment: Payment, amount_minor: int, now: datetime) -> None:
    """Tell the administrators."""
    data = {
        "payment": payment.pk,
        "amount": money.show(amount_minor),
        "currency": payment.currency,
    }
    emit(tenant_id=None, kind=kind, resource_kind="payment", resource_id=payment.pk, data=data)
    hooks.tell(
        hooks.Notice(kind=kind, at=now, resource_kind="payment", resource_id=payment.pk, data=data)
    )


def _emit(payment: Payment, kind: str, **more: str) -> None:
    emit(
        tenant_id=payment.tenant_id,
        kind=kind,
        resource_kind="payment",
        resource_id=payment.pk,
        data={
            "amount": money.show(payment.amount_minor),
            "currency": payment.currency,
            **more,
        },
    )
