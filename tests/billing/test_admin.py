"""Billing in Django admin: buttons that call the actions, books that are only looked at."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing import catalog, pricelists, quotas
from billing.actions import request_quota
from billing.models import (
    Account,
    Discount,
    LedgerTransaction,
    Order,
    PriceList,
    QuotaRequest,
    Subscription,
)
from billing.pricing import Method, Tier
from scloud.audit.models import Operation
from scloud.lib.errors import Conflict
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scopes_disabled
from tests.billing.conftest import PRICES
from tests.billing.helpers import balances


@pytest.fixture
def root(db: None) -> Client:
    """A browser in which a platform administrator is signed in."""
    client = Client()
    client.force_login(User.objects.create_superuser("root@platform.test", "x"))
    return client


def key_of(client: Client, url: str) -> str:
    page = client.get(url).content.decode()
    return page.split('name="key" value="')[1].split('"')[0]


def open_account(client: Client, tenant: Tenant) -> str:
    """Open a tenant's account; return the URL of its recharge form."""
    response = client.post(reverse("admin:billing_account_add"), {"tenant": tenant.pk})
    url = reverse("admin:billing_account_recharge", args=[tenant.pk])
    assert response.headers["Location"] == url
    return url


def test_recharging_goes_through_the_action(root: Client, tenant: Tenant) -> None:
    url = open_account(root, tenant)
    listed = root.get(reverse("admin:billing_account_changelist")).content.decode()
    assert tenant.name in listed
    sent = {
        "amount": "100",
        "receipt": "R-7",
        "remark": "Invoice 7",
        "key": key_of(root, url),
    }
    assert root.post(url, sent).status_code == 302
    again = root.post(url, sent)
    assert again.status_code == 200
    assert "already been made" in again.content.decode()
    assert balances(tenant) == (10000, 0)
    with scopes_disabled():
        assert Operation.objects.get(succeeded=True).verb == "platform.enter_top_up"
    page = root.get(reverse("admin:billing_account_change", args=[tenant.pk])).content.decode()
    assert "Invoice 7" in page


@pytest.mark.parametrize("amount", ["0", "-5", "0.001", "abc", ""])
def test_a_senseless_recharge_is_refused(root: Client, tenant: Tenant, amount: str) -> None:
    url = open_account(root, tenant)
    response = root.post(url, {"amount": amount, "receipt": "R", "remark": "x", "key": "k"})
    assert response.status_code == 200
    assert "errorlist" in response.content.decode()
    assert balances(tenant) == (0, 0)


def test_a_tenants_owner_does_not_get_in(console: Client, tenant: Tenant) -> None:
    url = reverse("admin:billing_account_recharge", args=[tenant.pk])
    response = console.post(url, {"amount": "100", "remark": "x", "key": "k"})
    assert response.status_code in {302, 403}
    assert balances(tenant) == (0, 0)


def test_the_books_are_shown_and_cannot_be_changed(root: Client, buy: Callable[..., Order]) -> None:
    order = buy("vm-a")
    with scopes_disabled():
        moved = LedgerTransaction.objects.get(order=order)
        paid = Subscription.objects.get()
    for name, pk in (
        ("order", order.pk),
        ("ledgertransaction", moved.pk),
        ("subscription", paid.pk),
        ("account", order.tenant_id),
    ):
        assert root.get(reverse(f"admin:billing_{name}_changelist")).status_code == 200
        change = reverse(f"admin:billing_{name}_change", args=[pk])
        assert root.get(change).status_code == 200
        assert root.post(change, {"note": "x"}).status_code == 403
        delete = reverse(f"admin:billing_{name}_delete", args=[pk])
        assert root.post(delete, {"post": "yes"}).status_code == 403
        if name != "account":
            assert root.get(reverse(f"admin:billing_{name}_add")).status_code == 403


def prices_form(price_list: PriceList, **changes: str) -> dict[str, str]:
    """What the page of a price list sends."""
    rows = list(price_list.prices.all())
    sent = {
        "region": price_list.region_id,
        "effective_from_0": f"{price_list.effective_from:%Y-%m-%d}",
        "effective_from_1": f"{price_list.effective_from:%H:%M:%S}",
        "note": "",
        "prices-TOTAL_FORMS": str(len(rows)),
        "prices-INITIAL_FORMS": str(len(rows)),
    }
    for number, row in enumerate(rows):
        sent |= {
            f"prices-{number}-id": str(row.pk),
            f"prices-{number}-price_list": price_list.pk,
            f"prices-{number}-sku": row.sku,
            f"prices-{number}-method": row.method,
            f"prices-{number}-above": str(row.above),
            f"prices-{number}-unit_price": str(row.unit_price),
        }
    return sent | changes


def test_a_draft_is_edited_published_and_then_frozen(root: Client, region: Region) -> None:
    draft = pricelists.draft(region, {("vcpu", Method.HOUR): Decimal("0.06")})
    url = reverse("admin:billing_pricelist_change", args=[draft.pk])
    assert "Save and publish" in root.get(url).content.decode()
    sent = prices_form(draft, **{"prices-0-unit_price": "0.07"})
    assert root.post(url, {**sent, "_publish": "1"}).status_code == 302
    draft.refresh_from_db()
    assert draft.published_at is not None
    assert draft.prices.get().unit_price == Decimal("0.07")
    assert "Save and publish" not in root.get(url).content.decode()
    assert root.post(url, sent).status_code == 403
    delete = reverse("admin:billing_pricelist_delete", args=[draft.pk])
    assert root.post(delete, {"post": "yes"}).status_code == 403


def test_a_price_with_tiers_needs_its_first_one(root: Client, region: Region) -> None:
    vcpu, mbps = ("vcpu", Method.HOUR), ("mbps:net", Method.HOUR)
    tiers = {
        vcpu: [Tier(Decimal(8), Decimal("0.05"))],
        mbps: [Tier(Decimal(5), Decimal("0.04"))],
    }
    draft = pricelists.draft(region, {vcpu: Decimal("0.06")}, tiers=tiers)
    url = reverse("admin:billing_pricelist_change", args=[draft.pk])
    refused = root.post(url, {**prices_form(draft), "_publish": "1"})
    assert "Add the first tier" in refused.content.decode()
    with pytest.raises(Conflict) as caught:
        pricelists.publish(draft)
    assert caught.value.code == "price_tier_missing"
    assert caught.value.numbers == {"sku": "mbps:net", "method": "hour"}
    with pytest.raises(IntegrityError), transaction.atomic():
        PriceList.objects.filter(pk=draft.pk).update(published_at=timezone.now())
    first = {"prices-0-above": "0", "prices-0-unit_price": "0"}
    # Two rows for one tier.
    twice = root.post(url, prices_form(draft, **first, **{"prices-2-above": "0"}))
    assert "duplicate" in twice.content.decode()
    assert root.post(url, {**prices_form(draft, **first), "_publish": "1"}).status_code == 302
    draft.refresh_from_db()
    assert draft.published_at is not None
    copied = catalog.book_of(pricelists.copy(draft))
    assert (copied.prices, copied.tiers) == (
        {vcpu: Decimal("0.06"), mbps: Decimal(0)},
        {vcpu: tiers[vcpu]},
    )


def test_a_malformed_sku_is_refused_beside_its_field(root: Client, region: Region) -> None:
    draft = pricelists.draft(region, {("vcpu", Method.HOUR): Decimal("0.06")})
    url = reverse("admin:billing_pricelist_change", args=[draft.pk])
    response = root.post(url, prices_form(draft, **{"prices-0-sku": "V CPU"}))
    assert "is not a SKU name" in response.content.decode()


def test_a_new_list_gets_the_next_version(root: Client, prices: PriceList) -> None:
    sent = {
        "region": prices.region_id,
        "effective_from_0": "2030-01-01",
        "effective_from_1": "00:00:00",
        "prices-TOTAL_FORMS": "0",
        "prices-INITIAL_FORMS": "0",
    }
    assert root.get(reverse("admin:billing_pricelist_add")).status_code == 200
    assert root.post(reverse("admin:billing_pricelist_add"), sent).status_code == 302
    assert PriceList.objects.filter(version=2).exists()


def test_lists_are_copied_and_published_from_the_overview(root: Client, prices: PriceList) -> None:
    url = reverse("admin:billing_pricelist_changelist")
    root.post(url, {"action": "copy", "_selected_action": [prices.pk]})
    copy = PriceList.objects.get(version=2)
    assert copy.prices.count() == len(PRICES)
    root.post(url, {"action": "publish", "_selected_action": [copy.pk, prices.pk]})
    copy.refresh_from_db()
    assert copy.published_at is not None
    page = root.get(url).content.decode()
    assert "is already published" in page


def test_quota_requests_are_approved_and_rejected(
    root: Client, actor: Actor, tenant: Tenant, region: Region
) -> None:
    for item, wanted in (("vms", 80), ("vcpu", 900), ("gpus", 99)):
        request_quota(actor=actor, region=region, item=item, limit_wanted=wanted)
    with scopes_disabled():
        ids = dict(QuotaRequest.objects.values_list("item", "pk"))
    page = root.get(reverse("admin:billing_quotarequest_change", args=[ids["vms"]]))
    assert "Approve" in page.content.decode()
    decide = reverse("admin:billing_quotarequest_decide", args=[ids["vms"]])
    root.get(decide)
    assert quotas.limits(tenant, region)["vms"] == 50
    root.post(decide, {"approve": "1", "answer": "Fine"})
    root.post(decide, {"reject": "1", "answer": "Too late"})
    listed = reverse("admin:billing_quotarequest_changelist")
    root.post(listed, {"action": "approve", "_selected_action": [ids["vcpu"]]})
    root.post(listed, {"action": "reject", "_selected_action": [ids["gpus"]]})
    found = quotas.limits(tenant, region)
    assert (found["vms"], found["vcpu"], found["gpus"]) == (80, 900, 8)
    with scopes_disabled():
        assert QuotaRequest.objects.get(pk=ids["vms"]).answer == "Fine"
        assert QuotaRequest.objects.get(pk=ids["gpus"]).status == "rejected"


def discount_form(tenant: Tenant, day: str, **changes: str) -> dict[str, str]:
    """What the page of a discount sends."""
    return {
        "tenant": tenant.pk,
        "sku_prefix": "vcpu",
        "part_off": "0.1",
        "effective_from_0": day,
        "effective_from_1": "00:00:00",
        "effective_until_0": "",
        "effective_until_1": "",
        "note": "",
    } | changes


def test_a_discount_never_reaches_back(root: Client, tenant: Tenant) -> None:
    before = timezone.now()
    add = reverse("admin:billing_discount_add")
    assert root.post(add, discount_form(tenant, "2020-01-01")).status_code == 302
    with scopes_disabled():
        found = Discount.objects.get()
    assert found.effective_from >= before
    change = reverse("admin:billing_discount_change", args=[found.pk])
    past = {"effective_until_0": "2020-02-01", "effective_until_1": "00:00:00"}
    response = root.post(change, {"note": "", **past})
    assert "cannot end in the past" in response.content.decode()
    root.post(change, {"part_off": "0.9", "note": "kept"})
    with scopes_disabled():
        found = Discount.objects.get()
    assert (found.part_off, found.note) == (Decimal("0.1000"), "kept")
    delete = reverse("admin:billing_discount_delete", args=[found.pk])
    assert root.post(delete, {"post": "yes"}).status_code == 403


def test_limits_are_set(root: Client, tenant: Tenant, region: Region) -> None:
    sent = {"item": "vms", "limit": "7", "tenant": "", "region": ""}
    assert root.post(reverse("admin:billing_quotalimit_add"), sent).status_code == 302
    assert quotas.limits(tenant, region)["vms"] == 7
    assert root.get(reverse("admin:billing_quotalimit_changelist")).status_code == 200


def test_an_account_is_opened_once_and_looking_opens_none(root: Client, tenant: Tenant) -> None:
    root.get(reverse("admin:billing_account_changelist"))
    with scopes_disabled():
        assert not Account.objects.exists()
    open_account(root, tenant)
    again = root.post(reverse("admin:billing_account_add"), {"tenant": tenant.pk})
    assert "errorlist" in again.content.decode()
    with scopes_disabled():
        assert Account.objects.count() == 1
