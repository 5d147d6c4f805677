"""A payment provider of our own, for trying out: no money moves anywhere.

It has what a real one has: books of its own (the ``Sandbox`` tables, which nothing else reads), a
page on which somebody says whether it is paid, news that are signed and sent until they are taken
in, and answers to questions. It exists only where ``SCLOUD_PAYMENT_SANDBOX`` is on.
"""

import json
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet, Sum
from django.urls import reverse
from django.utils import timezone

from billing.models import ProviderSecret, SandboxEvent, SandboxPayment, SandboxRefund
from billing.payments import signatures
from billing.payments.base import (
    BadNews,
    Event,
    Page,
    RefundStanding,
    RefundState,
    Refused,
    Standing,
    State,
    Wanted,
)
from scloud.lib import keys

HEADER: Final = "SCloud-Sandbox-Signature"
LIFETIME: Final = timedelta(hours=24)
"""How long its page takes payments."""

ANSWERS: Final[Mapping[str, State]] = {
    "pay": State.PAID,
    "fail": State.FAILED,
    "cancel": State.CANCELLED,
}
"""What somebody can press on its page."""


class Sandbox:
    """The provider, as billing asks it."""

    key: Final = "sandbox"

    def begin(self, wanted: Wanted) -> Page:
        row, _made = SandboxPayment.objects.get_or_create(
            reference=wanted.reference,
            defaults={
                "token": secrets.token_urlsafe(24),
                "amount_minor": wanted.amount_minor,
                "currency": wanted.currency,
                "text": wanted.text[:200],
                "return_url": wanted.return_url,
            },
        )
        if (row.amount_minor, row.currency) != (wanted.amount_minor, wanted.currency):
            raise Refused("reference_used")
        return Page(row.token, settings.SCLOUD_CONSOLE_URL + page_of(row.token))

    def look(self, reference: str) -> Standing | None:
        _expire(timezone.now())
        row = SandboxPayment.objects.filter(reference=reference).first()
        return _standing(row) if row is not None else None

    @transaction.atomic
    def refund(self, reference: str, refund: str, amount_minor: int) -> RefundStanding:
        row = SandboxPayment.objects.select_for_update().filter(reference=reference).first()
        if row is None or row.state != State.PAID:
            raise Refused("not_paid")
        made = row.refunds.filter(refund=refund).first()
        if made is None:
            given = row.refunds.aggregate(total=Sum("amount_minor"))["total"] or 0
            if given + amount_minor > row.amount_minor:
                raise Refused("more_than_paid")
            made = row.refunds.create(refund=refund, amount_minor=amount_minor)
            _tell(_shown_refund(row, made))
        elif made.amount_minor != amount_minor:
            raise Refused("refund_used")
        return _refund_standing(row, made)

    def read(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Event:
        signatures.verify(_secrets(), headers.get(HEADER, ""), body, now.timestamp())
        try:
            said = json.loads(body)
            if said["type"] == "refund":
                return Event(_text(said, "id", 120), _read_refund(said))
            return Event(_text(said, "id", 120), _read_payment(said))
        except (ValueError, KeyError, TypeError) as error:
            raise BadNews("body_not_understood") from error


def page_of(token: str) -> str:
    """The path of the page on which a payment is made."""
    return reverse("payment-sandbox", args=[token])


# --- its page and its news


def find(token: str) -> SandboxPayment | None:
    """The payment of a page; None for a token that was never given out."""
    return SandboxPayment.objects.filter(token=token).first()


@transaction.atomic
def answer(token: str, answered: State) -> SandboxEvent | None:
    """Write down what somebody pressed, and return the news of it.

    The first answer counts; None where there was one before, or the time is over.
    """
    _expire(timezone.now())
    row = SandboxPayment.objects.select_for_update().filter(token=token).first()
    if row is None or row.state != State.OPEN:
        return None
    row.state = answered.value
    row.save(update_fields=["state"])
    return _tell(_shown_payment(row))


def undelivered() -> QuerySet[SandboxEvent]:
    """News that nobody has taken in yet."""
    return SandboxEvent.objects.filter(delivered_at__isnull=True)


def signed(event: SandboxEvent, now: datetime) -> tuple[dict[str, str], bytes]:
    """What is posted: headers and body. Each try is signed anew, as providers do."""
    body = event.body.encode()
    return {HEADER: signatures.sign(_secret(), body, int(now.timestamp()))}, body


def delivered(event: SandboxEvent, now: datetime) -> None:
    """Note that news was taken in."""
    SandboxEvent.objects.filter(pk=event.pk, delivered_at__isnull=True).update(delivered_at=now)


def _tell(said: dict[str, Any]) -> SandboxEvent:
    name = f"evt_{secrets.token_urlsafe(18)}"
    body = json.dumps({"id": name, **said}, sort_keys=True, separators=(",", ":"))
    return SandboxEvent.objects.create(id=name, body=body)


def _expire(now: datetime) -> None:
    """Cancel what nobody paid in time; whoever asks is told."""
    with transaction.atomic():
        late = SandboxPayment.objects.select_for_update(skip_locked=True).filter(
            state=State.OPEN.value, created_at__lte=now - LIFETIME
        )
        for row in late:
            row.state = State.CANCELLED.value
            row.save(update_fields=["state"])
            _tell(_shown_payment(row))


def _secrets() -> list[str]:
    """The secrets whose signatures are believed; none before it has signed anything.

    Asked for by whoever posts something, so nothing is made here.
    """
    rows = ProviderSecret.objects.filter(provider=Sandbox.key)
    return [keys.box().decrypt(row.sealed.encode()).decode() for row in rows]


def _secret() -> str:
    """The secret that it signs with, made at the first use."""
    if not (found := _secrets()):
        fresh = keys.box().encrypt(secrets.token_urlsafe(32).encode()).decode()
        ProviderSecret.objects.bulk_create(
            [ProviderSecret(provider=Sandbox.key, sealed=fresh)], ignore_conflicts=True
        )
        found = _secrets()
    return found[0]


# --- its words


def _shown_payment(row: SandboxPayment) -> dict[str, Any]:
    return {
        "type": "payment",
        "reference": row.reference,
        "state": row.state,
        "amount_minor": row.amount_minor,
        "currency": row.currency,
    }


def _shown_refund(row: SandboxPayment, refund: SandboxRefund) -> dict[str, Any]:
    return {
        "type": "refund",
        "reference": row.reference,
        "refund": refund.refund,
        "state": RefundState.DONE.value,
        "amount_minor": refund.amount_minor,
        "currency": row.currency,
    }


def _standing(row: SandboxPayment) -> Standing:
    return Standing(row.reference, State(row.state), row.amount_minor, row.currency)


def _refund_standing(row: SandboxPayment, refund: SandboxRefund) -> RefundStanding:
    return RefundStanding(
        row.reference, refund.refund, RefundState.DONE, refund.amount_minor, row.currency
    )


def _read_payment(said: dict[str, Any]) -> Standing:
    if said["type"] != "payment":
        raise ValueError("type")
    return Standing(
        reference=_text(said, "reference", 20),
        state=State(said["state"]),
        amount_minor=_whole(said, "amount_minor"),
        currency=_text(said, "currency", 3),
    )


def _read_refund(said: dict[str, Any]) -> RefundStanding:
    return RefundStanding(
        reference=_text(said, "reference", 20),
        refund=_text(said, "refund", 20),
        state=RefundState(said["state"]),
        amount_minor=_whole(said, "amount_minor"),
        currency=_text(said, "currency", 3),
    )


def _text(said: dict[str, Any], name: str, most: int) -> str:
    value = said[name]
    # Names and codes; what else a text may hold, PostgreSQL does not always keep.
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise ValueError(name)
    if not (value.isascii() and value.isprintable()):
        raise ValueError(name)
    return value


def _whole(said: dict[str, Any], name: str) -> int:
    value = said[name]
    # True is an int, too.
    if type(value) is not int or not 0 < value < 2**63:
        raise ValueError(name)
    return value
