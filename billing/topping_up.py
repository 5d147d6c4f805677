"""Top-ups as administrators enter them: with a receipt, and by two people above a limit."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import uuid4

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import hooks, ledger, money
from billing.models import (
    Account,
    BillingSettings,
    TopUp,
    TopUpStatus,
    TransactionKind,
)
from scloud.audit.action import action, note
from scloud.audit.events import emit
from scloud.lib.errors import Conflict, Forbidden, InvalidInput
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User

MAX_TOP_UP: Final = Decimal(10_000_000)
LONGEST_GIFT: Final = timedelta(days=3660)


@action("platform.enter_top_up")
def enter_top_up(
    *,
    actor: Actor,
    amount: Decimal,
    receipt: str = "",
    remark: str = "",
    gift: bool = False,
    valid_until: date | None = None,
    key: str = "",
) -> TopUp:
    """Put money into the account of ``actor.tenant``: what was received, or a gift.

    What was received names its receipt, which is booked once. A gift may be valid until the end
    of a day, in the billing time zone. Above the limit of the settings it awaits
    :func:`decide_top_up`; else it is booked at once. ``key`` names the cause: a form sent twice
    counts once. Raises InvalidInput, and Conflict ``recharge_repeated`` or ``receipt_used``.
    """
    administrator = _administrator(actor)
    if actor.tenant is None:
        raise InvalidInput(_("Specify a tenant."), code="tenant_missing", field="tenant")
    minor = money.checked_minor(amount, MAX_TOP_UP)
    number = receipt.strip()
    if not gift and not number:
        raise InvalidInput(
            _("Enter the number of the receipt."), code="receipt_missing", field="receipt"
        )
    now = timezone.now()
    expires_at = _end_of(valid_until, gift, now)
    account = ledger.lock_account(actor.tenant)
    cause = f"recharge:{actor.tenant.pk}:{key or uuid4()}"
    if TopUp.objects.filter(idempotency_key=cause).exists():
        raise Conflict(_("This top-up has already been made."), code="recharge_repeated")
    limit = BillingSettings.load().four_eyes_above
    try:
        with transaction.atomic():
            top_up = TopUp.objects.create(
                tenant=actor.tenant,
                amount_minor=minor,
                gift=gift,
                gift_expires_at=expires_at,
                receipt=number,
                remark=remark.strip(),
                entered_by=administrator,
                idempotency_key=cause,
                created_at=now,
            )
    except IntegrityError:
        raise Conflict(
            _("Receipt %(receipt)s has already been entered.") % {"receipt": number},
            code="receipt_used",
            field="receipt",
            remedy=_("Look it up among the top-ups."),
        ) from None
    note(top_up, after=_told(top_up))
    if limit is not None and amount > limit:
        _ask(top_up, now)
        return top_up
    _book(top_up, account, actor)
    return top_up


@action("platform.decide_top_up")
def decide_top_up(*, actor: Actor, top_up: TopUp, approve: bool, answer: str = "") -> TopUp:
    """Book a top-up that another administrator entered, or reject it.

    Raises Forbidden ``second_administrator_needed`` for the one who entered it, and Conflict
    ``top_up_decided`` if it does not wait any more.
    """
    administrator = _administrator(actor)
    if administrator.pk == top_up.entered_by_id:
        raise Forbidden(
            _("Another administrator than the one who entered it must decide."),
            code="second_administrator_needed",
        )
    # The account first, as everywhere; who decides at the same time waits here.
    account = ledger.lock_account(top_up.tenant)
    current = TopUp.objects.get(pk=top_up.pk)
    if current.status != TopUpStatus.PENDING:
        raise Conflict(_("This top-up has already been decided."), code="top_up_decided")
    current.decided_by = administrator
    current.decided_at = timezone.now()
    current.answer = answer.strip()[:200]
    note(current, after={**_told(current), "approved": approve, "answer": current.answer})
    if approve:
        _book(current, account, actor)
    else:
        current.status = TopUpStatus.REJECTED
        current.save(update_fields=["status", "decided_by", "decided_at", "answer"])
    return current


def _administrator(actor: Actor) -> User:
    if actor.user is None or not actor.is_platform:
        raise Forbidden(_("Only an administrator can top up an account."))
    return actor.user


def _end_of(day: date | None, gift: bool, now: datetime) -> datetime | None:
    """The instant after the last day of a gift; None for one without."""
    if day is None:
        return None
    if not gift:
        raise InvalidInput(
            _("Only a gift can have a last day."), code="only_gifts_expire", field="valid_until"
        )
    today = now.astimezone(money.zone()).date()
    if not today <= day <= today + LONGEST_GIFT:
        raise InvalidInput(
            _("The last day of a gift must be today or later, and within ten years."),
            code="date_out_of_range",
            field="valid_until",
        )
    return money.end_of(day)


def _ask(top_up: TopUp, now: datetime) -> None:
    """Tell the administrators that one more of them is needed."""
    data = {"amount": money.show(top_up.amount_minor), "currency": money.currency()}
    emit(
        tenant_id=None,
        kind="billing.top_up_waits",
        resource_kind="topup",
        resource_id=top_up.pk,
        data=data,
    )
    hooks.tell(
        hooks.Notice(
            kind="billing.top_up_waits",
            at=now,
            resource_kind="topup",
            resource_id=top_up.pk,
            data=data,
        )
    )


def _book(top_up: TopUp, account: Account, actor: Actor) -> None:
    """Move the money of a top-up into a locked account."""
    words = [f"{top_up.receipt}:" if top_up.receipt else "", top_up.remark]
    moved = ledger.post(
        account,
        TransactionKind.GIFT if top_up.gift else TransactionKind.RECHARGE,
        cash_minor=0 if top_up.gift else top_up.amount_minor,
        gift_minor=top_up.amount_minor if top_up.gift else 0,
        key=f"topup:{top_up.pk}",
        actor=actor.label,
        note=" ".join(filter(None, words)),
        expires_at=top_up.gift_expires_at,
    )
    assert moved is not None, "the amount is above 0"
    top_up.transaction = moved
    top_up.status = TopUpStatus.BOOKED
    top_up.save(update_fields=["transaction", "status", "decided_by", "decided_at", "answer"])
    note(moved, after={"balance": money.show(account.balance_minor)})
    emit(
        tenant_id=top_up.tenant_id,
        kind="billing.recharged",
        resource_kind="account",
        resource_id=top_up.tenant_id,
        data={
            "amount": money.show(top_up.amount_minor),
            "currency": money.currency(),
            "gift": top_up.gift,
        },
    )


def _told(top_up: TopUp) -> dict[str, object]:
    """What the operation log keeps of it."""
    return {
        "amount": money.show(top_up.amount_minor),
        "gift": top_up.gift,
        "gift_expires_at": top_up.gift_expires_at.isoformat() if top_up.gift_expires_at else None,
        "receipt": top_up.receipt,
        "remark": top_up.remark,
    }
