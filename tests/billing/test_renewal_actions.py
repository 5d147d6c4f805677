"""Renewing and auto-renewal as people invoke them."""

from collections.abc import Callable

import pytest

from billing import services
from billing.actions import renew_resource, set_auto_renew
from billing.models import Order, Subscription
from scloud.audit.models import Operation
from scloud.lib.errors import Conflict, Forbidden, InvalidInput, NotFound
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User

pytestmark = pytest.mark.usefixtures("prices", "scoped")


def test_a_renewal_is_logged_with_its_resource(
    buy: Callable[..., Order], actor: Actor, tenant: Tenant
) -> None:
    buy("vm-a")
    token = services.quote_renewal(tenant=tenant, resource_id="vm-a", periods=2).token
    order = renew_resource(actor=actor, resource_id="vm-a", periods=2, quote_token=token)
    operation = Operation.objects.get(verb="billing.renew_resource")
    assert operation.succeeded
    assert operation.after is not None
    assert operation.after["total"] == "240.00"
    assert {"kind": "order", "id": order.pk, "name": ""} in operation.resources


def test_auto_renew_is_switched_and_logged(buy: Callable[..., Order], actor: Actor) -> None:
    buy("vm-a")
    set_auto_renew(actor=actor, resource_id="vm-a", auto_renew=False)
    assert Subscription.objects.get().auto_renew is False
    operation = Operation.objects.get(verb="billing.set_auto_renew")
    assert (operation.before, operation.after) == ({"auto_renew": True}, {"auto_renew": False})


def test_an_ended_subscription_has_no_auto_renew(buy: Callable[..., Order], actor: Actor) -> None:
    buy("vm-a")
    services.refund_failed("vm-a", "failed")
    with pytest.raises(Conflict):
        set_auto_renew(actor=actor, resource_id="vm-a", auto_renew=True)


def test_others_do_not_know_the_resource(
    buy: Callable[..., Order], other_tenant: Tenant, make_user: Callable[..., User]
) -> None:
    buy("vm-a")
    stranger = Actor(tenant=other_tenant, user=make_user(other_tenant), role="owner", via="console")
    with pytest.raises(NotFound):
        set_auto_renew(actor=stranger, resource_id="vm-a", auto_renew=False)


@pytest.mark.parametrize("role", ["operator", "readonly"])
def test_roles_without_billing_do_not_renew(
    buy: Callable[..., Order], tenant: Tenant, make_user: Callable[..., User], role: str
) -> None:
    buy("vm-a")
    someone = Actor(tenant=tenant, user=make_user(tenant, role), role=role, via="console")
    token = services.quote_renewal(tenant=tenant, resource_id="vm-a", periods=1).token
    with pytest.raises(Forbidden):
        renew_resource(actor=someone, resource_id="vm-a", periods=1, quote_token=token)
    with pytest.raises(Forbidden):
        set_auto_renew(actor=someone, resource_id="vm-a", auto_renew=False)


def test_an_administrator_must_name_the_tenant(db: None) -> None:
    root = Actor.administrator(User.objects.create_superuser("root@platform.test", "x"), None)
    with pytest.raises(InvalidInput):
        set_auto_renew(actor=root, resource_id="vm-a", auto_renew=False)
