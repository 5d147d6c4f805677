"""Renewing several resources at once, to one date, and the account's default of auto-renew."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing import services, sweep
from billing.actions import renew_resources, set_default_auto_renew
from billing.models import Account, Order, Subscription
from billing.pricing import Method
from billing.replay import replay
from billing.services import Extent
from scloud.audit.models import Operation
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant, User
from scloud.tenancy.scoping import scope
from tests.billing.helpers import balances

HX = {"HX-Request": "true"}
API = "/api/v1/billing/subscriptions"
BOUGHT = datetime(2026, 4, 9, 16, tzinfo=UTC)  # 10 April in Shanghai
JUNE = date(2027, 6, 1)
ALIGNED = datetime(2027, 5, 31, 16, tzinfo=UTC)


def renew(actor: Actor, *ids: str, token: str = "", **extent: Any) -> list[Order]:
    """Quote and renew."""
    assert actor.tenant is not None
    wanted: dict[str, Any] = {"resource_ids": ids, "extent": Extent(**extent)}
    token = token or services.quote_renewals(tenant=actor.tenant, **wanted).token
    return renew_resources(actor=actor, quote_token=token, **wanted)


def refused(actor: Actor, *ids: str, **extent: Any) -> str:
    """The code of the refusal."""
    with pytest.raises(ScloudError) as error:
        renew(actor, *ids, **extent)
    return error.value.code


@pytest.mark.usefixtures("scoped")
def test_what_is_aligned_costs_its_part_and_stays_together(
    buy: Callable[..., Order], at: Callable[[datetime], None], actor: Actor, tenant: Tenant
) -> None:
    at(BOUGHT)
    buy("vm-m", cash="10000", periods=11)
    buy("vm-h", cash="0", method=Method.HOUR)
    at(BOUGHT + timedelta(days=5))
    buy("vm-y", cash="0", method=Method.YEAR)
    before = balances(tenant)[0]
    assert refused(actor, "vm-m", "vm-h", until=JUNE) == "billed_by_the_hour"
    assert refused(actor, "vm-m", "vm-y", periods=1) == "methods_differ"
    assert refused(actor, "vm-m", "vm-y", until=date(2027, 3, 1)) == "paid_beyond"
    assert refused(actor, "vm-m", "vm-y", until=date(2028, 6, 1)) == "duration_out_of_range"
    assert refused(actor, "vm-m", until=date.max) == "date_out_of_range"
    assert refused(actor, "vm-m", until=date.min) == "date_out_of_range"
    assert refused(actor, "vm-m") == refused(actor, "vm-m", periods=1, until=JUNE)
    assert refused(actor, until=JUNE) == "count_out_of_range"
    assert refused(actor, "vm-m", "vm-x", until=JUNE) == "subscription_not_found"
    assert balances(tenant)[0] == before
    orders = renew(actor, "vm-y", "vm-m", "vm-y", until=JUNE)
    # 2 and 22 of 31 months of 60 + 60; 47 of 365 days of a year of 600 + 600.
    assert [order.total_minor for order in orders] == [32516, 15452]
    assert before - balances(tenant)[0] == 32516 + 15452
    rows = Subscription.objects.exclude(resource_id="vm-h")
    assert {(row.paid_until, row.anchor_day) for row in rows} == {(ALIGNED, 1)}
    operation = Operation.objects.filter(succeeded=True).latest("pk")
    assert operation.after == {
        "resources": ["vm-m", "vm-y"],
        "periods": None,
        "until": "2027-06-01",
        "total": "479.68",
    }
    # The next ones by themselves, on the day.
    Subscription.objects.filter(resource_id="vm-h").update(auto_renew=False)
    at(ALIGNED)
    sweep.run(ALIGNED)
    ends = dict(rows.values_list("resource_id", "paid_until"))
    assert ends == {
        "vm-m": datetime(2027, 6, 30, 16, tzinfo=UTC),
        "vm-y": datetime(2028, 5, 31, 16, tzinfo=UTC),
    }
    services.refund_unused("vm-y", ALIGNED + timedelta(days=40))
    assert list(replay(tenant, BOUGHT, ALIGNED + timedelta(days=100))) == []


@pytest.mark.usefixtures("scoped")
def test_all_or_none_at_the_quoted_price_once(
    buy: Callable[..., Order], at: Callable[[datetime], None], actor: Actor, tenant: Tenant
) -> None:
    at(BOUGHT)
    buy("vm-a", "vm-b", cash="599.99")
    ids: Any = {"resource_ids": ["vm-a", "vm-b"], "extent": Extent(periods=1)}
    assert services.quote_renewals(tenant=tenant, **ids).affordable
    assert refused(actor, "vm-a", "vm-b", periods=2) == "insufficient_balance"
    assert balances(tenant) == (35999, 0)
    token = services.quote_renewals(tenant=tenant, **ids).token
    for wrong in ({"periods": 2}, {"until": date(2026, 5, 20)}):
        assert refused(actor, "vm-a", "vm-b", token=token, **wrong) == "quote_stale"
    assert refused(actor, "vm-a", token=token, periods=1) == "quote_stale"
    assert len(renew(actor, "vm-a", "vm-b", token=token, periods=1)) == 2
    # The same sent again would pay for the month after.
    assert refused(actor, "vm-a", "vm-b", token=token, periods=1) == "quote_stale"
    assert balances(tenant) == (11999, 0)
    # What has expired is paid from the quote on.
    expired = BOUGHT + timedelta(days=90)
    at(expired)
    Subscription.objects.update(auto_renew=False)
    sweep.run(expired)
    wanted: Any = {"resource_ids": ["vm-a"], "extent": Extent(until=date(2026, 7, 20))}
    quoted = services.quote_renewals(tenant=tenant, **wanted)
    at(expired + timedelta(minutes=9))
    [order] = renew(actor, "vm-a", token=quoted.token, until=date(2026, 7, 20))
    assert order.charges.get().begin == expired
    assert Subscription.objects.get(resource_id="vm-a").status == "active"
    assert list(replay(tenant, BOUGHT, expired + timedelta(days=1))) == []


def test_console_and_api_renew_together(
    console: Client,
    buy: Callable[..., Order],
    tenant: Tenant,
    other_tenant: Tenant,
    make_user: Callable[..., User],
) -> None:
    buy("vm-aaaaaaaaa", "vm-bbbbbbbbb", cash="1000")
    with scope(tenant=tenant):
        keys = list(Subscription.objects.values_list("pk", flat=True))
    ids = "&".join(f"ids={key}" for key in keys)
    url = reverse("billing-renew-together")
    assert url in console.get(reverse("billing")).content.decode()
    page = console.get(f"{url}?{ids}", headers=HX).content.decode()
    assert "¥240.00" in page
    assert "All until a date" in page
    late = console.get(f"{url}?{ids}&quote=1&extent=until&until=", headers=HX).content.decode()
    assert "once the form is complete" in late
    past = console.get(f"{url}?{ids}&quote=1&extent=until&until=2020-01-01", headers=HX)
    assert "already paid beyond" in past.content.decode()
    token = re.search(r'name="quote_token" value="([^"]+)"', page)
    assert token is not None
    sent = {"ids": [str(key) for key in keys], "extent": "1", "quote_token": token.group(1)}
    assert console.post(url, {**sent, "extent": "99"}, headers=HX).status_code == 422
    assert console.post(url, {**sent, "extent": "until"}, headers=HX).status_code == 422
    assert console.post(url, sent, headers=HX).status_code == 204
    assert balances(tenant) == (52000, 0)
    stranger = Client()
    stranger.force_login(make_user(other_tenant))
    assert stranger.get(f"{url}?{ids}").status_code == 404
    assert stranger.get(f"{url}?ids=9{'9' * 30}&ids=x").status_code == 404
    body = {"resources": ["vm-aaaaaaaaa", "vm-bbbbbbbbb"], "periods": 2}

    def post(path: str, body: Any) -> Any:
        return console.post(f"{API}/{path}", body, content_type="application/json")

    quoted = post("renewal-quotes", body).json()
    assert (quoted["total"], len(quoted["resources"])) == ("480.00", 2)
    made = post("renewals", {**body, "quote_token": quoted["token"]})
    assert made.status_code == 201
    assert [order["total"] for order in made.json()] == ["240.00", "240.00"]
    body["resources"] = ["vm-aaaaaaaaa", "vm-ccccccccc"]
    assert post("renewal-quotes", body).status_code == 404


@pytest.mark.usefixtures("scoped")
def test_the_account_says_what_renews_by_default(
    buy: Callable[..., Order], actor: Actor, tenant: Tenant
) -> None:
    def bought(resource_id: str) -> bool:
        buy(resource_id)
        return Subscription.objects.get(resource_id=resource_id).auto_renew

    assert bought("vm-a")
    set_default_auto_renew(actor=actor, auto_renew=False)
    assert not bought("vm-b")
    set_default_auto_renew(actor=actor, auto_renew=None)
    PlatformSettings.objects.create(auto_renew=False)
    assert not bought("vm-c")
    set_default_auto_renew(actor=actor, auto_renew=True)
    assert bought("vm-d")
    assert Subscription.objects.filter(auto_renew=True).count() == 2


def test_console_and_api_set_the_default(console: Client, tenant: Tenant) -> None:
    url = reverse("billing-default-renew")
    page = console.get(reverse("billing")).content.decode()
    assert "What you buy renews automatically" in page
    assert url in page
    assert console.post(url, {"auto_renew": "off"}, headers=HX).status_code == 204
    with scope(tenant=tenant):
        assert Account.objects.get().auto_renew is False
    assert 'value="off" selected' in console.get(url, headers=HX).content.decode()
    assert "does not renew automatically" in console.get(reverse("billing")).content.decode()
    path = "/api/v1/billing/account"
    told = console.post(
        f"{path}/set-auto-renew", {"auto_renew": None}, content_type="application/json"
    )
    assert (told.status_code, told.json()["auto_renew"]) == (200, None)
    assert console.get(path).json()["renews_by_default"] is True
