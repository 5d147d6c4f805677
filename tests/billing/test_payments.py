"""Payments through a provider, by the sandbox: from the button to the balance, and back again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from django.db import connections, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing import hooks, ledger, paying, payment_sweep, settling
from billing.models import (
    BillingSettings,
    LedgerTransaction,
    Payment,
    PaymentEvent,
    PaymentRefund,
    ProviderSecret,
    SandboxEvent,
    SandboxPayment,
    TransactionKind,
)
from billing.payments import sandbox, signatures
from billing.payments.base import (
    BadNews,
    RefundStanding,
    RefundState,
    Refused,
    Standing,
    State,
    Unreachable,
)
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.billing.helpers import balances, fund

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
GOOD = signatures.sign("secret", b"{}", 1000)


@pytest.fixture(autouse=True)
def switched_on(settings: Any) -> None:
    """Let the installation have the sandbox."""
    settings.SCLOUD_PAYMENT_SANDBOX = True


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[hooks.Notice]:
    """What listeners are told."""
    notices: list[hooks.Notice] = []
    monkeypatch.setattr(hooks, "_listeners", [notices.append])
    return notices


@pytest.fixture
def payment(actor: Actor) -> Payment:
    """A payment of 100.00 whose page is open."""
    return paying.open_page(paying.start_payment(actor=actor, amount=Decimal(100)))


def refused(verb: Callable[..., Any], *given: Any, **sent: Any) -> str:
    """The code of the refusal."""
    with pytest.raises(ScloudError) as error:
        verb(*given, **sent)
    return error.value.code


def now_of(payment: Payment) -> Payment:
    with scopes_disabled():
        return Payment.objects.get(pk=payment.pk)


def standing(payment: Payment, state: State, **changes: Any) -> Standing:
    said: dict[str, Any] = {
        "amount_minor": payment.amount_minor,
        "currency": payment.currency,
    } | changes
    return Standing(payment.pk, state, **said)


def post_news(said: dict[str, Any], *, at: datetime | None = None, secret: str = "") -> int:
    """Post news to our address as a provider does; return the status of the answer."""
    body = json.dumps(said).encode()
    seconds = int((at or timezone.now()).timestamp())
    header = signatures.sign(secret or sandbox._secret(), body, seconds)
    answer = Client(enforce_csrf_checks=True).post(
        reverse("payment-events", args=["sandbox"]),
        body,
        content_type="application/json",
        headers={sandbox.HEADER: header},
    )
    return answer.status_code


def news_of(payment: Payment, event_id: str, state: str = "paid", **changes: Any) -> dict[str, Any]:
    return {
        "id": event_id,
        "type": "payment",
        "reference": payment.pk,
        "state": state,
        "amount_minor": payment.amount_minor,
        "currency": payment.currency,
    } | changes


# --- signatures


@pytest.mark.parametrize(
    ("header", "body", "code"),
    [
        ("", b"{}", "signature_malformed"),
        ("t=1000", b"{}", "signature_malformed"),
        ("t=1000,v1=12", b"{}", "signature_malformed"),
        ("t=-5,v1=" + "0" * 64, b"{}", "signature_malformed"),
        ("t=1000," + ",".join(["v1=" + "0" * 64] * 5), b"{}", "signature_malformed"),
        ("t=1000,v1=" + "0" * 64, b"{}", "signature_wrong"),
        (signatures.sign("other", b"{}", 1000), b"{}", "signature_wrong"),
        (GOOD, b"{ }", "signature_wrong"),
        (GOOD.replace("t=1000", "t=1001"), b"{}", "signature_wrong"),
        (signatures.sign("secret", b"{}", 699), b"{}", "signature_too_old"),
        (signatures.sign("secret", b"{}", 1301), b"{}", "signature_too_old"),
    ],
)  # fmt: skip
def test_a_wrong_signature_is_refused(header: str, body: bytes, code: str) -> None:
    with pytest.raises(BadNews, match=code):
        signatures.verify(["secret"], header, body, 1000.0)


def test_either_of_two_secrets_signs_while_one_is_changed() -> None:
    old, new = (signatures.sign(secret, b"{}", 700) for secret in ("old", "new"))
    signatures.verify(["old", "new"], old, b"{}", 1000.0)
    signatures.verify(["new"], f"{old},{new.partition(',')[2]}", b"{}", 400.0)


# --- the way of the browser


def test_from_the_button_to_the_balance(console: Client, tenant: Tenant) -> None:
    assert reverse("billing-pay") in console.get(reverse("billing")).content.decode()
    dialog = console.get(reverse("billing-pay")).content.decode()
    key = dialog.split('name="key" value="')[1].split('"')[0]
    sent = {"amount": "250.50", "key": key}
    page = console.post(reverse("billing-pay"), sent).headers["Location"]
    assert console.post(reverse("billing-pay"), sent).headers["Location"] == page
    path = page.removeprefix("http://localhost:8000")
    anybody = Client()
    text = anybody.get(path).content.decode()
    assert "No money moves" in text
    assert "¥250.50" in text
    assert balances(tenant) == (0, 0)
    assert anybody.post(path, {"answer": "steal"}).status_code == 400
    back = anybody.post(path, {"answer": "pay"}).headers["Location"]
    # Pressed again, also another button, it changes nothing.
    anybody.post(path, {"answer": "cancel"})
    assert balances(tenant) == (25050, 0)
    shown = console.get(back.removeprefix("http://localhost:8000")).content.decode()
    assert "The amount is in your account." in shown
    assert "This payment is over: paid." in anybody.get(path).content.decode()
    with scope(tenant=tenant):
        found = Payment.objects.get()
        assert found.transaction == LedgerTransaction.objects.get()
        assert (found.status, found.transaction.kind) == ("paid", "recharge")
    assert found.pk in console.get(reverse("payments")).content.decode()
    with scopes_disabled():
        assert SandboxEvent.objects.filter(delivered_at=None).count() == 0
        sealed = ProviderSecret.objects.get().sealed
    assert sandbox._secret() not in sealed


def test_where_the_sandbox_is_off_there_is_nothing_of_it(
    payment: Payment, console: Client, actor: Actor, settings: Any
) -> None:
    settings.SCLOUD_PAYMENT_SANDBOX = False
    path = sandbox.page_of(payment.provider_name)
    assert (
        Client().get(path).status_code == Client().post(path, {"answer": "pay"}).status_code == 404
    )
    assert post_news(news_of(payment, "evt_1")) == 404
    assert refused(paying.start_payment, actor=actor, amount=Decimal(5)) == "payments_off"
    assert reverse("billing-pay") not in console.get(reverse("billing")).content.decode()
    assert payment_sweep.run(timezone.now() + timedelta(hours=2)) == [payment.pk]
    assert now_of(payment).status == "pending"


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        ("0.99", "amount_out_of_range"),
        ("50000.01", "amount_out_of_range"),
        ("-5", "amount_out_of_range"),
        ("NaN", "amount_out_of_range"),
        ("10.001", "amount_too_exact"),
    ],
)
def test_an_amount_is_checked(actor: Actor, amount: str, code: str) -> None:
    assert refused(paying.start_payment, actor=actor, amount=Decimal(amount)) == code
    with scopes_disabled():
        assert not Payment.objects.exists()


def test_open_payments_are_bounded_and_one_form_is_one_payment(actor: Actor) -> None:
    BillingSettings.objects.create(payment_least=Decimal(10), payment_most=Decimal(20))
    start = paying.start_payment
    assert refused(start, actor=actor, amount=Decimal(9)) == "amount_out_of_range"
    assert refused(start, actor=actor, amount=Decimal(21)) == "amount_out_of_range"
    first = start(actor=actor, amount=Decimal(10), key="form")
    assert start(actor=actor, amount=Decimal(10), key="form") == first
    assert refused(start, actor=actor, amount=Decimal(11), key="form") == "payment_repeated"
    for _number in range(paying.MOST_OPEN - 1):
        start(actor=actor, amount=Decimal(10))
    assert refused(start, actor=actor, amount=Decimal(10)) == "payments_open"


def test_a_provider_that_does_not_answer_keeps_the_payment(
    actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = paying.start_payment(actor=actor, amount=Decimal(10))

    def fail(*_given: Any) -> Any:
        raise Unreachable("timeout")

    with monkeypatch.context() as patch:
        patch.setattr(sandbox.Sandbox, "begin", fail)
        assert refused(paying.open_page, started) == "provider_unreachable"
        patch.setattr(sandbox.Sandbox, "look", fail)
        assert payment_sweep.run(timezone.now() + timedelta(hours=2)) == []
    assert now_of(started).status == "created"
    # The provider never heard of it: an hour later it is given up, until it pays after all.
    assert payment_sweep.run(timezone.now() + timedelta(hours=3)) == [started.pk]
    assert now_of(started).status == "cancelled"
    assert refused(paying.open_page, now_of(started)) == "payment_over"


# --- news


def test_news_counts_once_and_only_if_it_is_the_providers(
    payment: Payment, tenant: Tenant, told: list[hooks.Notice]
) -> None:
    said = news_of(payment, "evt_1")
    assert post_news(said, secret="guessed") == 400
    assert post_news(said, at=timezone.now() - timedelta(seconds=301)) == 400
    assert post_news({**said, "state": "won"}) == 400
    assert post_news({**said, "amount_minor": True}) == 400
    assert post_news({**said, "id": "\x00"}) == post_news({**said, "id": "\ud800"}) == 400
    assert post_news({**said, "reference": "pay-unknown00"}) == 404
    other = reverse("payment-events", args=["bank"])
    assert Client().post(other, b"{}", content_type="application/json").status_code == 404
    assert Client().get(reverse("payment-events", args=["sandbox"])).status_code == 405
    assert balances(tenant) == (0, 0)
    with scopes_disabled():
        assert not PaymentEvent.objects.exists()

    # What does not fit our books moves nothing, and somebody has to look.
    assert post_news(news_of(payment, "evt_2", amount_minor=10001)) == 204
    assert post_news(news_of(payment, "evt_3", currency="USD")) == 204
    assert balances(tenant) == (0, 0)
    assert [one.kind for one in told] == ["billing.payment_differs"] * 2

    assert post_news(said) == post_news(said) == 204
    # The same name counts once, whatever else it says; another name of the same fact adds nothing.
    assert post_news({**said, "state": "failed"}) == 204
    assert post_news(news_of(payment, "evt_4")) == 204
    assert balances(tenant) == (10000, 0)
    with scopes_disabled():
        outcomes = dict(PaymentEvent.objects.values_list("event_id", "outcome"))
    assert outcomes == {
        "evt_1": "applied",
        "evt_2": "differs",
        "evt_3": "differs",
        "evt_4": "nothing_new",
    }


def test_news_comes_in_any_order(actor: Actor, tenant: Tenant) -> None:
    states = (State.OPEN, State.FAILED, State.CANCELLED, State.PAID)
    for number, order in enumerate(permutations(states), start=1):
        # Before the answer that would have brought the page, too.
        started = paying.start_payment(actor=actor, amount=Decimal(1))
        for state in order:
            for event in (state.value, state.value if number % 2 else f"{state.value}-again"):
                settling.hear(
                    "sandbox", standing(started, state), NOW, event_id=f"{started.pk}-{event}"
                )
            seen = now_of(started)
            assert (seen.status == "paid") == (State.PAID in order[: order.index(state) + 1])
        assert balances(tenant) == (100 * number, 0)


def test_without_money_the_first_end_stays(actor: Actor, tenant: Tenant) -> None:
    for order in permutations((State.OPEN, State.FAILED, State.CANCELLED)):
        started = paying.start_payment(actor=actor, amount=Decimal(1))
        for state in order:
            settling.hear("sandbox", standing(started, state), NOW)
        first = next(state for state in order if state is not State.OPEN)
        assert now_of(started).status == first.value
    assert balances(tenant) == (0, 0)


@pytest.mark.django_db(transaction=True)
def test_the_same_money_said_at_once_is_booked_once(payment: Payment, tenant: Tenant) -> None:
    gate = threading.Barrier(6, timeout=60)
    outcomes: list[str] = []

    def hear(event_id: str) -> None:
        try:
            gate.wait()
            told = settling.hear(
                "sandbox", standing(payment, State.PAID), timezone.now(), event_id=event_id
            )
            outcomes.append(told.value)
        finally:
            connections.close_all()

    # The same event three times, others with the same news, and an answer of the provider.
    names = ["evt_1", "evt_1", "evt_1", "evt_2", "evt_3", ""]
    threads = [threading.Thread(target=hear, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert outcomes.count("applied") == 1
    assert sorted(set(outcomes)) == ["applied", "nothing_new", "repeated"]
    assert outcomes.count("repeated") == 2
    assert balances(tenant) == (10000, 0)


def test_lost_news_is_asked_for(payment: Payment, tenant: Tenant) -> None:
    SandboxPayment.objects.update(state="paid")
    at = payment.created_at
    assert payment_sweep.run(at + timedelta(minutes=4)) == []
    assert payment_sweep.run(at + timedelta(minutes=6)) == [payment.pk]
    assert balances(tenant) == (10000, 0)
    assert payment_sweep.run(at + timedelta(hours=2)) == []


def test_an_answer_that_differs_is_told_once(
    payment: Payment, tenant: Tenant, told: list[hooks.Notice]
) -> None:
    SandboxPayment.objects.update(state="paid", amount_minor=9000)
    for hours in (1, 2, 3):
        assert payment_sweep.run(payment.created_at + timedelta(hours=hours)) == [payment.pk]
    assert [one.kind for one in told] == ["billing.payment_differs"]
    assert (balances(tenant), now_of(payment).status) == ((0, 0), "pending")


def test_news_of_the_sandbox_is_sent_until_it_is_taken_in(
    payment: Payment, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_given: Any, **_more: Any) -> Any:
        raise settling.UnknownPayment("away")

    with monkeypatch.context() as patch:
        patch.setattr(settling, "hear", fail)
        path = sandbox.page_of(payment.provider_name)
        assert Client().post(path, {"answer": "pay"}).status_code == 302
    assert balances(tenant) == (0, 0)
    payment_sweep.run()
    assert balances(tenant) == (10000, 0)


# --- refunds


@pytest.fixture
def paid(payment: Payment) -> Payment:
    """A payment of 100.00 whose money is in the account; the sandbox has it too."""
    event = sandbox.answer(payment.provider_name, State.PAID)
    assert event is not None
    settling.deliver(event)
    return now_of(payment)


@pytest.fixture
def administrators(tenant: Tenant) -> Iterator[tuple[Actor, Actor]]:
    """Two administrators, acting for the tenant."""
    ann, bob = (
        User.objects.create_superuser(f"{name}@platform.test", "x") for name in ("ann", "bob")
    )
    with scopes_disabled():
        yield Actor.administrator(ann, tenant), Actor.administrator(bob, tenant)


@transaction.atomic
def spend(tenant: Tenant, minor: int) -> None:
    """Take so much from an account, gifts first."""
    with scope(tenant=tenant):
        account = ledger.lock_account(tenant)
        gift, cash = ledger.take(account, minor)
        ledger.post(
            account,
            TransactionKind.DEDUCTION,
            cash_minor=-cash,
            gift_minor=-gift,
            key="test:spent",
            actor="test",
        )


def test_a_payment_is_paid_back_in_parts(
    paid: Payment, tenant: Tenant, administrators: tuple[Actor, Actor], told: list[hooks.Notice]
) -> None:
    ann, bob = administrators
    enter, decide = paying.enter_payment_refund, paying.decide_payment_refund
    BillingSettings.objects.create(four_eyes_above=Decimal(50))
    given: dict[str, Any] = {"actor": ann, "payment": paid, "remark": "Wrong amount"}
    small = enter(**given, amount=Decimal(30), key="form")
    assert refused(enter, **given, amount=Decimal(30), key="form") == "refund_repeated"
    assert (small.status, balances(tenant)) == ("sent", (7000, 0))
    assert refused(enter, **given, amount=Decimal(71)) == "refund_too_high"
    large = enter(**given, amount=Decimal(60))
    assert (large.status, balances(tenant)) == ("pending", (7000, 0))
    assert [one.kind for one in told] == ["billing.payment_refund_waits"]
    # What waits counts already.
    assert refused(enter, **given, amount=Decimal(11)) == "refund_too_high"
    again: dict[str, Any] = {"refund": large, "approve": True}
    assert refused(decide, actor=ann, **again) == "second_administrator_needed"
    assert decide(actor=bob, **again).status == "sent"
    assert refused(decide, actor=bob, **again) == "refund_decided"
    assert balances(tenant) == (1000, 0)

    assert sorted(payment_sweep.run()) == sorted([small.pk, large.pk])
    seen = now_of(paid)
    assert (seen.status, seen.refunded_minor) == ("partly_refunded", 9000)
    rest = enter(**given, amount=Decimal(10))
    # The provider's own news comes late and twice: everything is known then.
    payment_sweep.run()
    payment_sweep.run()
    seen = now_of(paid)
    assert (seen.status, seen.refunded_minor, paying.left_of(seen)) == ("refunded", 10000, 0)
    assert balances(tenant) == (0, 0)
    assert set(PaymentRefund.objects.values_list("status", flat=True)) == {"done"}
    assert rest.transaction is not None
    kinds = list(LedgerTransaction.objects.order_by("pk").values_list("kind", flat=True))
    assert sorted(kinds) == ["payout", "payout", "payout", "recharge"]
    assert PaymentEvent.objects.filter(outcome="differs").count() == 0


def test_what_cannot_be_paid_back_is_refused(
    paid: Payment, tenant: Tenant, actor: Actor, administrators: tuple[Actor, Actor]
) -> None:
    ann, bob = administrators
    enter = paying.enter_payment_refund
    given: dict[str, Any] = {"payment": paid, "amount": Decimal(10), "remark": "x"}
    assert refused(enter, actor=actor, **given) == "forbidden"
    started = paying.start_payment(actor=actor, amount=Decimal(100))
    assert refused(enter, actor=ann, **{**given, "payment": started}) == "payment_not_paid"
    # Gifts are not paid out, and what was spent is gone.
    Payment.objects.filter(pk=started.pk).update(status="cancelled")
    BillingSettings.objects.create(four_eyes_above=Decimal(0))
    waits = enter(actor=ann, **{**given, "amount": Decimal(100)})
    fund(tenant, gift="500")
    spend(tenant, 56000)
    fund(tenant, gift="5")
    decide = paying.decide_payment_refund
    assert refused(decide, actor=bob, refund=waits, approve=True) == "insufficient_balance"
    assert decide(actor=bob, refund=waits, approve=False, answer="Spent").status == "rejected"
    assert balances(tenant) == (4000, 500)


def test_a_refund_that_the_provider_does_not_pay_comes_back(
    paid: Payment,
    tenant: Tenant,
    administrators: tuple[Actor, Actor],
    told: list[hooks.Notice],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ann, _bob = administrators
    given: dict[str, Any] = {"actor": ann, "payment": paid, "remark": "x"}

    def fail(error: Exception) -> Callable[..., Any]:
        def raise_it(*_given: Any) -> Any:
            raise error

        return raise_it

    refund = paying.enter_payment_refund(**given, amount=Decimal(40))
    with monkeypatch.context() as patch:
        patch.setattr(sandbox.Sandbox, "refund", fail(Unreachable("timeout")))
        assert payment_sweep.run() == []
        assert balances(tenant) == (6000, 0)
        patch.setattr(sandbox.Sandbox, "refund", fail(Refused("too_late")))
        assert payment_sweep.run() == [refund.pk]
    assert balances(tenant) == (10000, 0)
    refund.refresh_from_db()
    assert (refund.status, refund.reason) == ("failed", "too_late")
    assert [one.kind for one in told] == ["billing.payment_refund_failed"]
    assert paying.left_of(now_of(paid)) == 10000

    # Said by news as well, and in both orders: the first end stays, the other one is looked at.
    for first, other in (
        (RefundState.DONE, RefundState.FAILED),
        (RefundState.FAILED, RefundState.DONE),
    ):
        refund = paying.enter_payment_refund(**given, amount=Decimal(10))
        said = [
            settling.hear(
                "sandbox", RefundStanding(paid.pk, refund.pk, state, 1000, "CNY"), NOW
            ).value
            for state in (RefundState.OPEN, first, first, other)
        ]
        assert said == ["nothing_new", "applied", "nothing_new", "differs"]
        refund.refresh_from_db()
        assert refund.status == first.value
    unknown = RefundStanding(paid.pk, "payback-unknown00", RefundState.DONE, 1000, "CNY")
    assert settling.hear("sandbox", unknown, NOW).value == "differs"
    assert balances(tenant) == (9000, 0)


def test_administrators_pay_back_on_their_pages(paid: Payment, tenant: Tenant) -> None:
    BillingSettings.objects.create(four_eyes_above=Decimal(20))
    pages = []
    for name in ("ann", "bob"):
        client = Client()
        client.force_login(User.objects.create_superuser(f"{name}@platform.test", "x"))
        pages.append(client)
    ann, bob = pages
    change = reverse("admin:billing_payment_change", args=[paid.pk])
    form = reverse("admin:billing_payment_refund", args=[paid.pk])
    assert form in ann.get(change).content.decode()
    key = ann.get(form).content.decode().split('name="key" value="')[1].split('"')[0]
    sent = {"amount": "25", "remark": "Asked for", "key": key}
    wrong = ann.post(form, {**sent, "amount": "101"})
    assert "errorlist" in wrong.content.decode()
    assert ann.post(form, sent).headers["Location"] == change
    with scopes_disabled():
        refund = PaymentRefund.objects.get()
    decide = reverse("admin:billing_paymentrefund_decide", args=[refund.pk])
    waiting = reverse("admin:billing_paymentrefund_change", args=[refund.pk])
    assert decide in bob.get(waiting).content.decode()
    ann.post(decide, {"approve": "1"})
    assert balances(tenant) == (10000, 0)
    bob.post(decide, {"approve": "1", "answer": "Fine"})
    assert balances(tenant) == (7500, 0)
    assert decide not in bob.get(waiting).content.decode()
