"""What becomes of payments by itself: providers are asked about those that hang, and for refunds.

The provider is asked outside of any transaction; what it answers goes the way of its news. An
answer that does not come keeps one payment waiting, and no other.
"""

from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q, QuerySet
from django.utils import timezone

from billing import settling
from billing.models import (
    Payment,
    PaymentRefund,
    PaymentRefundStatus,
    PaymentStatus,
    SandboxEvent,
)
from billing.payments import registry, sandbox
from billing.payments.base import Refused, Standing, State
from scloud.jobs.rows import Rota, each
from scloud.recovery import freezing
from scloud.tenancy.scoping import scopes_disabled

BATCH: Final = 50

HANGS_AFTER: Final = timedelta(minutes=5)
"""How long the provider's own news is waited for, and how long between two questions at first."""

NEW_FOR: Final = timedelta(days=1)
OLD_EVERY: Final = timedelta(hours=1)

ASKED_FOR: Final = timedelta(days=30)
"""How long after its start a payment is asked about; what is paid later comes as news."""

UNKNOWN_AFTER: Final = timedelta(hours=1)
"""When a payment that the provider does not know, because it never answered, is given up."""

_hanging: Final = Rota("created_at", BATCH)
_refunds: Final = Rota("created_at", BATCH)
_news: Final = Rota("created_at", BATCH)


def run(now: datetime | None = None) -> list[str]:
    """Ask about payments and for refunds; return the ids of those that got an answer."""
    at = now or timezone.now()
    deliver(at)
    with scopes_disabled():
        hanging = _hanging.take(_hang(at))
    done = [row.pk for row in each(hanging, lambda row: _ask(row, at), "asking about a payment")]
    # After a restore nothing is paid out before somebody has looked.
    if not freezing.is_frozen():
        with scopes_disabled():
            waiting = _refunds.take(
                PaymentRefund.objects.select_related("tenant", "payment").filter(
                    status=PaymentRefundStatus.SENT
                )
            )
        paid = each(waiting, lambda row: _pay_back(row, at), "a refund of a payment")
        done += [row.pk for row in paid]
    return done


def _hang(at: datetime) -> QuerySet[Payment]:
    """Open payments whose turn it is: every 5 minutes on the first day, every hour later."""
    return Payment.objects.select_related("tenant").filter(
        Q(asked_at__isnull=True)
        | Q(created_at__gt=at - NEW_FOR, asked_at__lte=at - HANGS_AFTER)
        | Q(asked_at__lte=at - OLD_EVERY),
        status__in=Payment.OPEN,
        created_at__lte=at - HANGS_AFTER,
        created_at__gt=at - ASKED_FOR,
    )


def _ask(payment: Payment, at: datetime) -> None:
    provider = registry.provider(payment.provider)
    if provider is None:
        return
    with scopes_disabled():
        Payment.objects.filter(pk=payment.pk).update(asked_at=at)
    found = provider.look(payment.pk)
    if found is not None:
        settling.hear_answer(payment.provider, found, at)
    elif payment.created_at <= at - UNKNOWN_AFTER and payment.status == PaymentStatus.CREATED:
        never = Standing(payment.pk, State.CANCELLED, payment.amount_minor, payment.currency)
        settling.hear(payment.provider, never, at)


def _pay_back(refund: PaymentRefund, at: datetime) -> None:
    provider = registry.provider(refund.payment.provider)
    if provider is None:
        return
    try:
        found = provider.refund(refund.payment_id, refund.pk, refund.amount_minor)
    except Refused as error:
        settling.fail_refund(refund, str(error), at)
    else:
        settling.hear_answer(refund.payment.provider, found, at)


def deliver(at: datetime) -> None:
    """Take in what the sandbox has to say; a provider somewhere else posts it."""
    if registry.provider(sandbox.Sandbox.key) is None:
        return

    def take_in(event: SandboxEvent) -> None:
        settling.deliver(event, at)

    each(_news.take(sandbox.undelivered()), take_in, "news of the sandbox")
