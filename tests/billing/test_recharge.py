"""Recharging: who may, how much, and that the log knows."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from pytest_django import Settings

from billing.actions import recharge
from billing.models import LedgerTransaction
from scloud.audit.models import Event, Operation
from scloud.lib.errors import Conflict, Forbidden, InvalidInput
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope
from tests.billing.helpers import balances


@pytest.fixture
def administrator(tenant: Tenant) -> Actor:
    """A platform administrator acting for the tenant."""
    user = User.objects.create_superuser("root@platform.test", "x")
    return Actor.administrator(user, tenant)


def test_an_administrator_recharges_with_a_note(administrator: Actor, tenant: Tenant) -> None:
    moved = recharge(actor=administrator, amount=Decimal("50.5"), remark="Bank transfer 17")
    assert balances(tenant) == (5050, 0)
    assert (moved.kind, moved.note, moved.actor) == (
        "recharge",
        "Bank transfer 17",
        "root@platform.test",
    )
    with scope(tenant=tenant):
        operation = Operation.objects.get(verb="billing.recharge")
        assert operation.after == {"balance": "50.50", "remark": "Bank transfer 17"}
        assert Event.objects.get(kind="billing.recharged").data["amount"] == "50.50"


def test_a_gift_goes_to_its_own_pocket(administrator: Actor, tenant: Tenant) -> None:
    recharge(actor=administrator, amount=Decimal(20), gift=True)
    assert balances(tenant) == (0, 2000)


def test_a_form_sent_twice_recharges_once(administrator: Actor, tenant: Tenant) -> None:
    recharge(actor=administrator, amount=Decimal(20), key="form-1")
    with pytest.raises(Conflict) as refusal:
        recharge(actor=administrator, amount=Decimal(20), key="form-1")
    assert refusal.value.code == "recharge_repeated"
    assert balances(tenant) == (2000, 0)


def test_a_tenant_does_not_print_money(actor: Actor, tenant: Tenant, settings: Settings) -> None:
    settings.SCLOUD_DEMO = False
    with pytest.raises(Forbidden):
        recharge(actor=actor, amount=Decimal(20))
    assert balances(tenant) == (0, 0)
    with scope(tenant=tenant):
        assert Operation.objects.get(verb="billing.recharge").succeeded is False


def test_a_demonstration_lets_tenants_recharge_but_not_give_gifts(
    actor: Actor, tenant: Tenant, settings: Settings
) -> None:
    settings.SCLOUD_DEMO = True
    recharge(actor=actor, amount=Decimal(20))
    with pytest.raises(Forbidden):
        recharge(actor=actor, amount=Decimal(20), gift=True)
    assert balances(tenant) == (2000, 0)


def test_an_operator_does_not_recharge_even_in_a_demonstration(
    make_user: Callable[..., User], tenant: Tenant, settings: Settings
) -> None:
    settings.SCLOUD_DEMO = True
    user = make_user(tenant, "operator")
    with pytest.raises(Forbidden):
        recharge(
            actor=Actor(tenant=tenant, user=user, role="operator", via="console"),
            amount=Decimal(20),
        )


@pytest.mark.parametrize(("amount", "minor"), [("0.01", 1), ("10000000", 1_000_000_000)])
def test_the_least_and_the_most_that_can_be_recharged(
    administrator: Actor, tenant: Tenant, amount: str, minor: int
) -> None:
    moved = recharge(actor=administrator, amount=Decimal(amount), remark="x" * 400)
    assert balances(tenant) == (minor, 0)
    assert moved.note == "x" * 300


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        ("0", "amount_out_of_range"),
        ("-1", "amount_out_of_range"),
        ("NaN", "amount_out_of_range"),
        ("Infinity", "amount_out_of_range"),
        ("10000000.01", "amount_out_of_range"),
        ("0.001", "amount_too_exact"),
    ],
)
def test_a_senseless_amount_is_refused(
    administrator: Actor, tenant: Tenant, amount: str, code: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        recharge(actor=administrator, amount=Decimal(amount))
    assert refusal.value.code == code
    with scope(tenant=tenant):
        assert not LedgerTransaction.objects.exists()


def test_a_recharge_needs_a_tenant(administrator: Actor) -> None:
    assert administrator.user is not None
    with pytest.raises(InvalidInput):
        recharge(actor=Actor.administrator(administrator.user, None), amount=Decimal(1))
