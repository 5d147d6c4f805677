"""Billing in the API: the same rules, the same codes."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from billing import money, services
from billing.models import Discount, Order, PriceList, Subscription
from billing.pricing import Method, period_end
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope
from tests.billing.helpers import balances

API = "/api/v1"
JSON = "application/json"


@pytest.fixture
def bought(buy: Callable[..., Order]) -> Order:
    """An order of vm-aaaaaaaaa for 120.00; 880.00 are left."""
    return buy("vm-aaaaaaaaa", cash="1000")


def get(client: Client, path: str, status: int = 200) -> Any:
    response = client.get(API + path)
    assert response.status_code == status, response.content
    return response.json()


def post(client: Client, path: str, body: Any, status: int, **headers: str) -> Any:
    response = client.post(API + path, body, content_type=JSON, headers=headers)
    assert response.status_code == status, response.content
    return response.json()


def test_the_account_is_shown_in_currency_units(
    console: Client, bought: Order, tenant: Tenant
) -> None:
    with scope(tenant=tenant):
        row = Subscription.objects.get()
    # Seven months more are covered, the eighth is not.
    eighth = period_end(
        row.paid_until, Method.MONTH, 7, anchor_day=row.anchor_day, zone=money.zone()
    )
    found = get(console, "/billing/account")
    assert datetime.fromisoformat(found.pop("lasts_until")) == eighth
    assert found == {
        "currency": "CNY",
        "cash": "880.00",
        "gift": "0.00",
        "balance": "880.00",
        "gifts": [],
        "auto_renew": None,
        "renews_by_default": True,
        "low_balance_below": None,
        "warns_below": "100.00",
        "low_since": None,
        "usage_owed": "0.00",
    }


def test_an_order_carries_its_charges_and_lines(console: Client, bought: Order) -> None:
    found = get(console, f"/billing/orders/{bought.pk}")
    assert (found["total"], found["kind"]) == ("120.00", "new")
    [charge] = found["charges"]
    assert (charge["resource_id"], charge["price_list_version"]) == ("vm-aaaaaaaaa", 1)
    assert [line["amount"] for line in charge["lines"]] == ["60.00", "60.00"]
    assert get(console, "/billing/orders?kind=refund")["count"] == 0
    assert get(console, "/billing/orders?resource=vm-aaaaaaaaa")["count"] == 1
    assert get(console, "/billing/orders?resource=vm-bbbbbbbbb")["count"] == 0


def test_transactions_and_subscriptions_are_listed(console: Client, bought: Order) -> None:
    rows = get(console, "/billing/transactions")["results"]
    assert sorted(row["amount"] for row in rows) == ["-120.00", "1000.00"]
    assert get(console, f"/billing/transactions/{rows[0]['id']}")["id"] == rows[0]["id"]
    [row] = get(console, "/billing/subscriptions?status=active")["results"]
    assert (row["resource_id"], row["month_cost"]) == ("vm-aaaaaaaaa", "120.00")
    assert get(console, "/billing/subscriptions?status=ended")["count"] == 0
    assert get(console, "/billing/subscriptions/vm-aaaaaaaaa")["method"] == "month"


def test_a_renewal_is_quoted_and_charged_once_per_key(
    console: Client, bought: Order, tenant: Tenant
) -> None:
    path = "/billing/subscriptions/vm-aaaaaaaaa"
    quoted = post(console, f"{path}/renewal-quote", {"periods": 2}, 200)
    assert (quoted["total"], quoted["balance_after"], quoted["affordable"]) == (
        "240.00",
        "640.00",
        True,
    )
    body = {"periods": 2, "quote_token": quoted["token"]}
    first = post(console, f"{path}/renew", body, 201, **{"Idempotency-Key": "k1"})
    again = post(console, f"{path}/renew", body, 201, **{"Idempotency-Key": "k1"})
    assert again["id"] == first["id"]
    assert post(console, f"{path}/renew", body, 409)["code"] == "quote_used"
    assert balances(tenant) == (64000, 0)


def test_a_stale_quote_names_the_new_total(console: Client, bought: Order) -> None:
    path = "/billing/subscriptions/vm-aaaaaaaaa"
    token = post(console, f"{path}/renewal-quote", {"periods": 2}, 200)["token"]
    refusal = post(console, f"{path}/renew", {"periods": 3, "quote_token": token}, 409)
    assert refusal["code"] == "quote_stale"
    assert refusal["numbers"]["total"] == "360.00"


def test_a_renewal_without_the_money_is_402(console: Client, buy: Callable[..., Order]) -> None:
    buy("vm-aaaaaaaaa", cash="120")
    path = "/billing/subscriptions/vm-aaaaaaaaa"
    token = post(console, f"{path}/renewal-quote", {"periods": 1}, 200)["token"]
    refusal = post(console, f"{path}/renew", {"periods": 1, "quote_token": token}, 402)
    assert refusal["code"] == "insufficient_balance"
    assert refusal["numbers"]["missing"] == "120.00"


def test_the_end_is_quoted(console: Client, bought: Order, tenant: Tenant) -> None:
    path = "/billing/subscriptions/vm-aaaaaaaaa/end-quote"
    said = post(console, path, {}, 200)
    # A month for 120.00, of which an hour for 0.24 has begun.
    assert said == {"currency": "CNY", "refund": "119.76", "due": "0.00"}
    with scope(tenant=tenant):
        services.refund_unused("vm-aaaaaaaaa")
        order = Order.objects.get(kind="refund")
    assert balances(tenant) == (88000 + 11976, 0)
    assert post(console, path, {}, 200)["refund"] == "0.00"
    [charge] = get(console, f"/billing/orders/{order.pk}")["charges"]
    assert [(x["sku"], x["periods"], x["amount"]) for x in charge["lines"]] == [
        ("refund", "1", "-120.00"),
        ("vcpu", "1", "0.12"),
        ("memory_gib", "1", "0.12"),
    ]


def test_auto_renew_is_set(console: Client, bought: Order) -> None:
    path = "/billing/subscriptions/vm-aaaaaaaaa/set-auto-renew"
    assert post(console, path, {"auto_renew": False}, 200)["auto_renew"] is False
    assert post(console, path, {"auto_renew": "perhaps"}, 400)["field"] == "auto_renew"


@pytest.mark.parametrize(
    "body",
    [{}, {"periods": 0}, {"periods": 25}, {"periods": "many"}, {"periods": None}, [], '"text"'],
)
def test_a_senseless_renewal_is_refused(console: Client, bought: Order, body: Any) -> None:
    path = "/billing/subscriptions/vm-aaaaaaaaa/renewal-quote"
    assert post(console, path, body, 400)["code"] == "invalid_input"


def test_a_duration_beyond_the_method_is_refused(console: Client, bought: Order) -> None:
    path = "/billing/subscriptions/vm-aaaaaaaaa/renewal-quote"
    refusal = post(console, path, {"periods": 12}, 400)
    assert refusal["code"] == "duration_out_of_range"
    assert refusal["numbers"] == {"min": 1, "max": 11, "asked": 12}


def test_others_find_nothing(
    bought: Order, other_tenant: Tenant, make_user: Callable[..., User]
) -> None:
    stranger = Client()
    stranger.force_login(make_user(other_tenant))
    get(stranger, f"/billing/orders/{bought.pk}", 404)
    get(stranger, "/billing/subscriptions/vm-aaaaaaaaa", 404)
    path = "/billing/subscriptions/vm-aaaaaaaaa"
    post(stranger, f"{path}/renewal-quote", {"periods": 1}, 404)
    post(stranger, f"{path}/end-quote", {}, 404)
    post(stranger, f"{path}/set-auto-renew", {"auto_renew": False}, 404)
    owner = Client()
    owner.force_login(User.objects.get(tenant__name="Acme"))
    token = post(owner, f"{path}/renewal-quote", {"periods": 1}, 200)["token"]
    post(stranger, f"{path}/renew", {"periods": 1, "quote_token": token}, 404)
    assert get(stranger, "/billing/orders")["count"] == 0
    assert get(stranger, "/billing/transactions")["count"] == 0


def test_an_operator_sees_quotas_but_no_money(
    bought: Order, tenant: Tenant, region: Region, make_user: Callable[..., User]
) -> None:
    client = Client()
    client.force_login(make_user(tenant, "operator"))
    for path in (
        "/billing/account",
        "/billing/orders",
        "/billing/transactions",
        "/billing/subscriptions",
    ):
        assert get(client, path, 403)["code"] == "forbidden"
    assert get(client, "/quotas?region=box")[0]["item"] == "vms"


def test_prices_come_with_the_discount(console: Client, tenant: Tenant, prices: PriceList) -> None:
    with scope(tenant=tenant):
        Discount.objects.create(
            tenant=tenant, sku_prefix="vcpu", part_off="0.1", effective_from=timezone.now()
        )
    found = get(console, "/billing/prices?region=box")
    by_sku = {(row["sku"], row["method"]): row for row in found["prices"]}
    assert found["version"] == 1
    assert by_sku["vcpu", "month"]["unit_price"] == "30.000000"
    assert by_sku["vcpu", "month"]["discount"] == "0.1000"
    assert get(console, "/billing/prices?region=nowhere", 404)["field"] == "region"
    assert get(console, "/billing/prices", 404)["field"] == "region"


def test_quota_is_requested(console: Client, region: Region) -> None:
    body = {"region": "box", "item": "vms", "limit_wanted": 80, "reason": "Launch"}
    made = post(console, "/quota-requests", body, 201)
    assert (made["status"], made["limit_before"]) == ("pending", 50)
    assert post(console, "/quota-requests", body, 409)["code"] == "quota_request_pending"
    assert get(console, "/quota-requests")["count"] == 1
    for wrong, status in (
        ({**body, "item": "cats"}, 400),
        ({**body, "limit_wanted": -5}, 400),
        ({**body, "limit_wanted": 10}, 400),
        ({**body, "region": "nowhere"}, 404),
    ):
        post(console, "/quota-requests", wrong, status)


def test_a_demonstration_recharges_itself(
    console: Client, tenant: Tenant, settings: Settings
) -> None:
    settings.SCLOUD_DEMO = False
    assert post(console, "/billing/account/recharge", {"amount": "5"}, 403)["code"] == "forbidden"
    settings.SCLOUD_DEMO = True
    assert post(console, "/billing/account/recharge", {"amount": "5.00"}, 201)["amount"] == "5.00"
    for wrong in ("0", "-1", "NaN", "1e30", "0.001", "x"):
        post(console, "/billing/account/recharge", {"amount": wrong}, 400)
    assert balances(tenant) == (500, 0)


def test_nobody_is_let_in_without_a_key(client: Client, db: None) -> None:
    for path in ("/billing/account", "/billing/orders", "/quotas?region=box"):
        assert client.get(API + path).status_code in {401, 403}


def test_the_schema_describes_billing(console: Client) -> None:
    response = console.get(
        f"{API}/openapi.json", headers={"Accept": "application/vnd.oai.openapi+json"}
    )
    paths = json.loads(response.content)["paths"]
    for path in (
        "/api/v1/billing/orders",
        "/api/v1/quotas",
        "/api/v1/quota-requests",
        "/api/v1/billing/subscriptions/{resource_id}/renew",
    ):
        assert path in paths
