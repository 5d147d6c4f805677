"""Top-ups by administrators: a receipt, a note, and a second pair of eyes above a limit."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing import hooks
from billing.models import BillingSettings, LedgerTransaction, TopUp
from billing.topping_up import decide_top_up, enter_top_up
from scloud.audit.models import Operation
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.billing.helpers import balances


@pytest.fixture
def ann(db: None) -> User:
    """One administrator."""
    return User.objects.create_superuser("ann@platform.test", "x")


@pytest.fixture
def bob(db: None) -> User:
    """Another one."""
    return User.objects.create_superuser("bob@platform.test", "x")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[hooks.Notice]:
    """What listeners are told."""
    notices: list[hooks.Notice] = []
    monkeypatch.setattr(hooks, "_listeners", [notices.append])
    return notices


def refused(verb: Callable[..., Any], **sent: Any) -> str:
    """The code of the refusal."""
    with pytest.raises(ScloudError) as error:
        verb(**sent)
    return error.value.code


def test_a_receipt_is_booked_once_and_stands_in_the_books(
    ann: User, bob: User, tenant: Tenant, other_tenant: Tenant
) -> None:
    actor = Actor.administrator(ann, tenant)
    done = enter_top_up(
        actor=actor, amount=Decimal("100.5"), receipt=" R-1 ", remark="By bank", key="form"
    )
    assert done.status == "booked"
    with scope(tenant=tenant):
        moved = LedgerTransaction.objects.get()
        assert (done.transaction, moved.note, moved.actor) == (moved, "R-1: By bank", ann.email)
        after = Operation.objects.get(succeeded=True).after
        assert after is not None
        assert (after["receipt"], after["balance"]) == ("R-1", "100.50")
    enter: dict[str, Any] = {"verb": enter_top_up, "actor": actor}
    assert refused(**enter, amount=Decimal(1), receipt="R-2", key="form") == "recharge_repeated"
    assert refused(**enter, amount=Decimal(1), receipt="R-1") == "receipt_used"
    elsewhere = Actor.administrator(bob, other_tenant)
    assert refused(enter_top_up, actor=elsewhere, amount=Decimal(1), receipt="R-1") == (
        "receipt_used"
    )
    assert refused(**enter, amount=Decimal(1)) == "receipt_missing"
    assert refused(**enter, amount=Decimal("10000000.01"), receipt="R-3") == "amount_out_of_range"
    said = refused(**enter, amount=Decimal(1), receipt="R-3", valid_until=date(2020, 1, 1))
    assert said == "only_gifts_expire"
    for wrong in (date(2020, 1, 1), date.max):
        said = refused(**enter, amount=Decimal(1), gift=True, valid_until=wrong)
        assert said == "date_out_of_range"
    assert balances(tenant) == (10050, 0)


def test_above_the_limit_a_second_administrator_decides(
    ann: User, bob: User, tenant: Tenant, told: list[hooks.Notice]
) -> None:
    BillingSettings.objects.create(four_eyes_above=Decimal(1000))
    first, second = Actor.administrator(ann, tenant), Actor.administrator(bob, tenant)
    enter_top_up(actor=first, amount=Decimal(1000), receipt="R-0")
    waits = enter_top_up(actor=first, amount=Decimal("1000.01"), receipt="R-1", remark="Bank")
    gift = enter_top_up(actor=first, amount=Decimal(2000), gift=True, remark="Sorry")
    assert balances(tenant) == (100000, 0)
    assert [notice.resource_id for notice in told] == [waits.pk, gift.pk]
    decide: dict[str, Any] = {"verb": decide_top_up, "top_up": waits, "approve": True}
    assert refused(**decide, actor=first) == "second_administrator_needed"
    assert decide_top_up(actor=second, top_up=waits, approve=True).status == "booked"
    assert refused(**decide, actor=second) == "top_up_decided"
    assert balances(tenant) == (200001, 0)
    decide_top_up(actor=second, top_up=gift, approve=False, answer="Too much")
    assert balances(tenant) == (200001, 0)
    # A receipt that was rejected may be entered again, correctly.
    again = enter_top_up(actor=second, amount=Decimal(3000), receipt="R-9")
    decide_top_up(actor=first, top_up=again, approve=False)
    assert enter_top_up(actor=second, amount=Decimal(300), receipt="R-9").status == "booked"
    BillingSettings.objects.update(four_eyes_above=None)
    assert enter_top_up(actor=first, amount=Decimal(10_000_000), receipt="R-2").status == "booked"


def test_only_administrators_enter_and_decide(actor: Actor, ann: User, tenant: Tenant) -> None:
    BillingSettings.objects.create(four_eyes_above=Decimal(0))
    waits = enter_top_up(actor=Actor.administrator(ann, tenant), amount=Decimal(5), receipt="R-1")
    assert refused(enter_top_up, actor=actor, amount=Decimal(5), receipt="R-2") == "forbidden"
    assert refused(decide_top_up, actor=actor, top_up=waits, approve=True) == "forbidden"
    assert balances(tenant) == (0, 0)


def test_the_administration_books_with_two_people(ann: User, bob: User, tenant: Tenant) -> None:
    BillingSettings.objects.create(four_eyes_above=Decimal(100))
    browsers = {}
    for user in (ann, bob):
        browsers[user.email] = Client()
        browsers[user.email].force_login(user)
    first, second = browsers.values()
    first.post(reverse("admin:billing_account_add"), {"tenant": tenant.pk})
    url = reverse("admin:billing_account_recharge", args=[tenant.pk])
    sent = {"amount": "500", "receipt": "R-1", "remark": "Bank", "key": "k"}
    said = first.post(url, sent, follow=True).content.decode()
    assert "await a second administrator" in said
    with scopes_disabled():
        waits = TopUp.objects.get()
    assert "?status__exact=pending" in second.get(reverse("admin:index")).content.decode()
    page = reverse("admin:billing_topup_change", args=[waits.pk])
    assert 'name="approve"' in second.get(page).content.decode()
    decide = reverse("admin:billing_topup_decide", args=[waits.pk])
    assert (
        "Another administrator"
        in first.post(decide, {"approve": "1"}, follow=True).content.decode()
    )
    assert second.get(decide).status_code == 302
    assert balances(tenant) == (0, 0)
    assert "Booked" in second.post(decide, {"approve": "1"}, follow=True).content.decode()
    assert balances(tenant) == (50000, 0)
    assert 'name="approve"' not in second.get(page).content.decode()
