"""The console's billing pages, as a browser gets them."""

import re
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO

import openpyxl
import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from billing import services
from billing.actions import request_quota
from billing.models import Order, PriceList, QuotaRequest, Subscription
from billing.pricing import Method
from billing.services import QuoteItem
from billing.views.dialogs import money_at_end
from scloud.audit.models import Operation
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope
from tests.billing.helpers import balances, fund

HX = {"HX-Request": "true"}
PAGES = ["billing", "orders", "transactions", "quotas"]


@pytest.fixture
def bought(buy: Callable[..., Order]) -> Order:
    """An order of one VM for 120.00; 880.00 are left."""
    return buy("vm-a", cash="1000")


def text_of(client: Client, url: str, **headers: str) -> str:
    response = client.get(url, headers=headers)
    assert response.status_code == 200, response.content.decode()[:500]
    return response.content.decode()


@pytest.mark.usefixtures("prices")
@pytest.mark.parametrize("name", PAGES)
def test_every_page_stands_for_an_empty_account(console: Client, name: str) -> None:
    assert "<h1" in text_of(console, reverse(name))


def test_the_overview_shows_balance_cost_and_forecast(
    console: Client, bought: Order, tenant: Tenant
) -> None:
    fund(tenant, gift="7")
    page = text_of(console, reverse("billing"))
    assert "¥887.00" in page
    assert "¥880.00 cash, ¥7.00 gift" in page
    assert "¥120.00" in page
    assert "host-vm-a" in page
    assert "does not cover" not in page


def test_the_overview_warns_before_the_money_runs_out(
    console: Client, buy: Callable[..., Order]
) -> None:
    buy("vm-a", method=Method.HOUR, cash="0.24")
    assert "does not cover this month" in text_of(console, reverse("billing"))


def test_the_balance_stands_in_the_top_bar_of_those_who_may_see_it(
    console: Client, bought: Order, tenant: Tenant, make_user: Callable[..., User]
) -> None:
    assert "¥880.00" in text_of(console, reverse("quotas"))
    operator = Client()
    operator.force_login(make_user(tenant, "operator"))
    assert "¥880.00" not in text_of(operator, reverse("quotas"))


@pytest.mark.parametrize("name", ["billing", "orders", "transactions"])
def test_an_operator_sees_no_billing(
    tenant: Tenant, make_user: Callable[..., User], name: str
) -> None:
    client = Client()
    client.force_login(make_user(tenant, "operator"))
    assert client.get(reverse(name)).status_code == 403


def test_an_order_shows_every_figure_of_its_lines(console: Client, bought: Order) -> None:
    page = text_of(console, reverse("order-detail", args=[bought.pk]))
    for figure in ("2 vCPU", "¥30.00", "¥60.00", "¥120.00", "price list 1", bought.pk):
        assert figure in page


def test_a_refund_shows_the_time_used(console: Client, bought: Order, tenant: Tenant) -> None:
    assert "time used" not in text_of(console, reverse("order-detail", args=[bought.pk]))
    with scope(tenant=tenant):
        said = money_at_end(tenant, "vm-a")
        refund = services.refund_unused("vm-a")
    assert refund is not None
    assert said == "¥119.76 is refunded"
    page = text_of(console, reverse("order-detail", args=[refund.pk]))
    for figure in ("Time used", "¥0.06", "¥0.12", "-¥119.76", "the time used of a month or year"):
        assert figure in page.replace("−", "-"), figure


@pytest.mark.parametrize(
    ("periods", "words"),
    [
        (1, "¥0.12 is charged for hours at a larger size, no refund"),
        (2, "¥0.36 is refunded, ¥0.12 is charged for hours at a larger size"),
    ],
)
def test_what_the_end_moves_is_said_in_words(
    buy: Callable[..., Order], tenant: Tenant, actor: Actor, periods: int, words: str
) -> None:
    assert money_at_end(tenant, "vm-a") == ""
    buy("vm-a", method=Method.HOUR, periods=periods)
    with scope(tenant=tenant):
        if periods == 1:
            assert money_at_end(tenant, "vm-a") == "no refund"
        items = [QuoteItem("vcpu", 4, "4 vCPU"), QuoteItem("memory_gib", 4, "4 GB memory")]
        token = services.quote_upgrade(tenant=tenant, resource_id="vm-a", items=items).token
        services.upgrade(actor=actor, resource_id="vm-a", items=items, quote_token=token)
        assert money_at_end(tenant, "vm-a") == words


def test_orders_of_others_do_not_exist(
    bought: Order, other_tenant: Tenant, make_user: Callable[..., User]
) -> None:
    stranger = Client()
    stranger.force_login(make_user(other_tenant))
    for url in (
        reverse("order-detail", args=[bought.pk]),
        reverse("billing-renew", args=["vm-a"]),
    ):
        assert stranger.get(url).status_code == 404
    url = reverse("billing-auto-renew", args=["vm-a", "off"])
    assert stranger.post(url).status_code == 404
    for name in PAGES:
        page = text_of(stranger, reverse(name))
        assert "vm-a" not in page
        assert bought.pk not in page


def test_orders_are_found_by_resource(console: Client, buy: Callable[..., Order]) -> None:
    first, second = buy("vm-a", "vm-b"), buy("vm-c")
    page = text_of(console, reverse("orders") + "?q=host-vm-b")
    assert first.pk in page
    assert second.pk not in page


def test_transactions_download_as_a_workbook(console: Client, bought: Order) -> None:
    response = console.get(reverse("transactions") + "?export=xlsx")
    content = b"".join(response) if response.streaming else response.content
    sheet = openpyxl.load_workbook(BytesIO(content)).active
    assert sheet is not None
    rows = list(sheet.iter_rows(values_only=True))
    assert rows[0][:4] == ("Transaction", "Type", "Amount", "Cash after")
    assert sorted(float(str(row[2])) for row in rows[1:]) == [-120, 1000]


def test_lists_cost_the_same_queries_for_one_row_and_for_many(
    console: Client,
    buy: Callable[..., Order],
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(20):
        buy(f"vm-{number}", cash="1000")
    for name, most in (("billing", 29), ("orders", 17), ("transactions", 17), ("quotas", 17)):
        with django_assert_max_num_queries(most):
            text_of(console, reverse(name) + "?size=20")


# --- renewing


def token_in(page: str) -> str:
    found = re.search(r'name="quote_token" value="([^"]+)"', page)
    assert found is not None
    return found.group(1)


def test_a_renewal_shows_its_price_and_charges_it(
    console: Client, bought: Order, tenant: Tenant
) -> None:
    url = reverse("billing-renew", args=["vm-a"])
    page = text_of(console, url + "?periods=3", **HX)
    assert "¥360.00" in page
    assert "¥520.00" in page
    sent = {"periods": "3", "quote_token": token_in(page)}
    response = console.post(url, sent, headers=HX)
    assert response.status_code == 204
    assert balances(tenant) == (52000, 0)


def test_a_renewal_for_another_time_than_quoted_shows_the_new_price(
    console: Client, bought: Order, tenant: Tenant
) -> None:
    url = reverse("billing-renew", args=["vm-a"])
    sent = {"periods": "2", "quote_token": token_in(text_of(console, url, **HX))}
    response = console.post(url, sent, headers=HX)
    assert response.status_code == 422
    page = response.content.decode()
    assert "¥240.00" in page
    assert balances(tenant) == (88000, 0)
    sent["quote_token"] = token_in(page)
    assert console.post(url, sent, headers=HX).status_code == 204


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"periods": "12", "quote_token": "x"},
        {"periods": "1", "quote_token": "x"},
        {"periods": "1", "quote_token": "x" * 5000},
        {"periods": "-1"},
        {"periods": "1'; DROP TABLE billing_order; --", "quote_token": "<script>"},
    ],
)
def test_a_senseless_renewal_changes_nothing(
    console: Client, bought: Order, tenant: Tenant, sent: dict[str, str]
) -> None:
    response = console.post(reverse("billing-renew", args=["vm-a"]), sent, headers=HX)
    assert response.status_code == 422
    assert b"<script>&" not in response.content
    assert balances(tenant) == (88000, 0)


def test_a_renewal_without_the_money_says_so(
    console: Client, buy: Callable[..., Order], tenant: Tenant
) -> None:
    buy("vm-a", cash="120")
    url = reverse("billing-renew", args=["vm-a"])
    page = text_of(console, url, **HX)
    assert "The balance is too low." in page
    response = console.post(url, {"periods": "1", "quote_token": token_in(page)}, headers=HX)
    assert response.status_code == 422
    assert "Top up at least 120.00 CNY." in response.content.decode()


@pytest.mark.parametrize(("wanted", "after"), [("on", True), ("off", False)])
def test_auto_renew_is_switched(
    console: Client, bought: Order, tenant: Tenant, wanted: str, after: bool
) -> None:
    url = reverse("billing-auto-renew", args=["vm-a", wanted])
    assert console.post(url, headers=HX).status_code == 204
    with scope(tenant=tenant):
        assert Subscription.objects.get().auto_renew is after
    assert console.get(url).status_code == 405
    assert console.post(reverse("billing-auto-renew", args=["vm-a", "maybe"])).status_code == 404


def test_the_menu_of_a_row_offers_what_can_be_done(
    console: Client, bought: Order, tenant: Tenant
) -> None:
    with scope(tenant=tenant):
        row = Subscription.objects.get()
        menu = text_of(console, reverse("billing") + f"?menu={row.pk}", **HX)
        assert reverse("billing-renew", args=["vm-a"]) in menu
        assert "Turn off auto-renew" in menu
        Subscription.objects.update(status="ended", ended_at=timezone.now(), auto_renew=False)
        assert "It was deleted." in text_of(console, reverse("billing") + f"?menu={row.pk}", **HX)
        Subscription.objects.update(ended_at=timezone.now() - timedelta(days=40))
    assert "host-vm-a" not in text_of(console, reverse("billing"))


# --- recharging and quotas


def test_a_demonstration_recharges_itself_once_per_form(
    console: Client, tenant: Tenant, settings: Settings, prices: PriceList
) -> None:
    settings.SCLOUD_DEMO = True
    assert reverse("billing-recharge") in text_of(console, reverse("billing"))
    page = text_of(console, reverse("billing-recharge"), **HX)
    key = re.search(r'name="key" value="([^"]+)"', page)
    assert key is not None
    sent = {"amount": "12.5", "key": key.group(1)}
    assert console.post(reverse("billing-recharge"), sent, headers=HX).status_code == 204
    assert console.post(reverse("billing-recharge"), sent, headers=HX).status_code == 422
    assert balances(tenant) == (1250, 0)


def test_elsewhere_nobody_recharges_himself(
    console: Client, tenant: Tenant, settings: Settings
) -> None:
    settings.SCLOUD_DEMO = False
    assert reverse("billing-recharge") not in text_of(console, reverse("billing"))
    response = console.post(reverse("billing-recharge"), {"amount": "12.5", "key": "k"}, headers=HX)
    assert response.status_code == 422
    assert balances(tenant) == (0, 0)
    with scope(tenant=tenant):
        assert Operation.objects.get(verb="billing.recharge").error_code == "forbidden"


def test_the_quotas_page_shows_bars_and_sends_requests(
    console: Client, tenant: Tenant, region: Region
) -> None:
    page = text_of(console, reverse("quotas"))
    assert "0 of 50" in page
    dialog = text_of(console, reverse("quota-request") + "?item=gpus", **HX)
    assert 'value="gpus" selected' in dialog
    sent = {"item": "vms", "limit_wanted": "80", "reason": "Load test"}
    assert console.post(reverse("quota-request"), sent, headers=HX).status_code == 204
    with scope(tenant=tenant):
        assert QuotaRequest.objects.get().reason == "Load test"
    assert "Load test" in text_of(console, reverse("quotas"))


@pytest.mark.parametrize(
    "sent",
    [
        {"item": "vms", "limit_wanted": "10"},
        {"item": "cats", "limit_wanted": "80"},
        {"item": "vms", "limit_wanted": "many"},
        {"item": "vms", "limit_wanted": "9" * 30},
        {},
    ],
)
def test_a_senseless_request_is_refused_beside_its_field(
    console: Client, tenant: Tenant, region: Region, sent: dict[str, str]
) -> None:
    response = console.post(reverse("quota-request"), sent, headers=HX)
    assert response.status_code == 422
    assert b"field-error" in response.content
    with scope(tenant=tenant):
        assert not QuotaRequest.objects.exists()


def test_the_dashboard_has_a_card(console: Client, bought: Order, actor: Actor) -> None:
    page = text_of(console, reverse("home"))
    assert "Month to date" in page


def test_an_answer_is_shown(console: Client, actor: Actor, region: Region, tenant: Tenant) -> None:
    request_quota(actor=actor, region=region, item="vms", limit_wanted=80)
    with scope(tenant=tenant):
        QuotaRequest.objects.update(status="rejected", answer="Too many")
    page = text_of(console, reverse("quotas"))
    assert "Rejected" in page
    assert "Too many" in page
