"""The create wizard: what is shown is charged, what is refused changes nothing."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing import ledger
from compute.models import VM
from network.models import PrivateAddress, SecurityGroup
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.billing.helpers import fund
from tests.compute.factories import PASSWORD, Platform, give_network, make_prices, make_vm

HTMX: dict[str, Any] = {"HTTP_HX_REQUEST": "true"}


@pytest.fixture
def ready(platform: Platform, tenant: Tenant) -> Platform:
    """The tenant has a network and money."""
    give_network(tenant, platform.region)
    fund(tenant, cash="1000")
    return platform


def balance(tenant: Tenant) -> int:
    with scope(tenant=tenant):
        return int(ledger.account_of(tenant).balance_minor)


def token_of(html: str) -> str:
    found = re.search(r'name="quote_token" value="([^"]+)"', html)
    assert found, "the page shows a price"
    return found.group(1)


def buy(console: Client, *, quote: bool = True, **values: Any) -> Any:
    """Fill in the wizard, let it be priced, press Buy now."""
    data = {"name": "shop", "password": PASSWORD, "count": "1", "method": "hour", **values}
    if quote:
        priced = console.post(reverse("vm-create-quote"), data, **HTMX)
        data["quote_token"] = token_of(priced.content.decode())
    return console.post(reverse("vm-create"), data, **HTMX)


def test_the_first_page_already_shows_a_price(console: Client, ready: Platform) -> None:
    html = console.get(reverse("vm-create")).content.decode()
    assert token_of(html)
    assert "Due now" in html
    assert "¥0.15" in html  # 0.06 + 2 x 0.03 + 40 x 0.0008, rounded line by line


def test_buying_charges_what_was_shown_and_lands_on_the_list(
    console: Client, ready: Platform, tenant: Tenant
) -> None:
    before = balance(tenant)
    response = buy(console)
    assert response.status_code == 204
    assert response.headers["HX-Redirect"] == reverse("vm-list")
    assert before - balance(tenant) == 15
    html = console.get(reverse("vm-list")).content.decode()
    assert "shop is being created." in html
    assert "Starting" in html


def test_a_batch_takes_names_and_addresses_per_vm(
    console: Client, ready: Platform, tenant: Tenant
) -> None:
    response = buy(console, count="3", names=["", "middle", ""], private_ips=["", "10.0.0.77", ""])
    assert response.status_code == 204
    with scope(tenant=tenant):
        assert sorted(VM.objects.values_list("name", flat=True)) == ["middle", "shop-1", "shop-3"]
        held = PrivateAddress.objects.get(nic__vm_id=VM.objects.get(name="middle").pk)
        assert held.address == "10.0.0.77"


def test_a_changed_price_is_shown_and_asked_for_again(
    console: Client, ready: Platform, tenant: Tenant
) -> None:
    old = token_of(console.get(reverse("vm-create")).content.decode())
    make_prices(ready.region, factor="2")
    before = balance(tenant)
    response = buy(console, quote=False, quote_token=old)
    html = response.content.decode()
    assert response.status_code == 422
    assert "The price has changed." in html
    assert balance(tenant) == before
    assert buy(console, quote=False, quote_token=token_of(html)).status_code == 204
    assert before - balance(tenant) == 30


def test_the_password_is_never_sent_back(console: Client, ready: Platform) -> None:
    values = {"name": "bad name", "password": PASSWORD, "quote_token": "x"}
    whole = console.post(reverse("vm-create"), values)
    part = console.post(reverse("vm-create"), values, **HTMX)
    assert (whole.status_code, part.status_code) == (422, 422)
    assert PASSWORD not in whole.content.decode()
    assert PASSWORD not in part.content.decode()


def test_what_was_typed_survives_a_refusal_without_script(console: Client, ready: Platform) -> None:
    html = console.post(
        reverse("vm-create"),
        {"name": "bad name", "remark": "my remark", "system_disk_gib": "77", "method": "month"},
    ).content.decode()
    assert 'value="bad name"' in html
    assert 'value="my remark"' in html
    assert 'value="77"' in html
    assert re.search(r'value="month" checked', html)


HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "no login": ({"password": ""}, "err-password"),
    "weak password": ({"password": "abcdefgh"}, "err-password"),
    "name with a space": ({"name": "a b"}, "err-name"),
    "name too long": ({"name": "x" * 31}, "err-name"),
    "markup in the name": ({"name": "<script>alert(1)</script>"}, "err-name"),
    "eleven": ({"count": "11"}, "err-count"),
    "none": ({"count": "0"}, "err-count"),
    "a word for a number": ({"system_disk_gib": "many"}, "err-system_disk_gib"),
    "a number of another script": ({"system_disk_gib": "٤٠"}, "err-system_disk_gib"),
    "too small a disk": ({"system_disk_gib": "10"}, "err-system_disk_gib"),
    "too large a disk": ({"system_disk_gib": "501"}, "err-system_disk_gib"),
    "too small a data disk": ({"data_disk": "on", "data_disk_gib": "9"}, "err-data_disk_gib"),
    "unknown model": ({"cluster": "nope"}, "err-cluster"),
    "unknown image": ({"image": "image-none00000"}, "err-image"),
    "unknown size": ({"spec": "999999"}, "err-spec"),
    "unknown subnet": ({"subnet": "subnet-none0000"}, "err-subnet"),
    "unknown group": ({"internal_group": "sg-none00000"}, "err-internal_group"),
    "address elsewhere": ({"private_ips": ["192.168.7.7"]}, "err-private_ips"),
    "the gateway": ({"private_ips": ["10.0.0.1"]}, "err-private_ips"),
    "no address": ({"private_ips": ["10.0.0.0/24; drop"]}, "err-private_ips"),
    "no key": ({"ssh_public_key": "rsa"}, "err-ssh_public_key"),
    "no cloud-config": ({"user_data": "rm -rf /"}, "err-user_data"),
    "bad tag": ({"tags": "a/b?c"}, "err-tags"),
    "unknown method": ({"method": "week"}, "err-method"),
    "too long a time": ({"method": "month", "periods": "12"}, "err-periods"),
}


@pytest.mark.parametrize(("values", "slot"), HOSTILE.values(), ids=HOSTILE)
def test_bad_input_is_refused_beside_its_field_and_changes_nothing(
    console: Client, ready: Platform, tenant: Tenant, values: dict[str, Any], slot: str
) -> None:
    before = balance(tenant)
    token = token_of(console.get(reverse("vm-create")).content.decode())
    response = buy(console, quote=False, quote_token=token, **values)
    assert response.status_code == 422
    html = response.content.decode()
    found = re.search(
        rf'<div class="field-errors"\s+id="{slot}"[^>]*>\s*<div class="field-error">', html
    )
    assert found, f"nothing beside {slot}"
    assert "<script>alert" not in html
    assert balance(tenant) == before
    with scopes_disabled():
        assert not VM.objects.exists()


def test_another_tenants_subnet_is_unknown(
    console: Client, ready: Platform, other_tenant: Tenant
) -> None:
    foreign = give_network(other_tenant, ready.region).subnet
    assert foreign is not None
    token = token_of(console.get(reverse("vm-create")).content.decode())
    response = buy(console, quote=False, quote_token=token, subnet=foreign.pk)
    assert response.status_code == 422
    assert "There is no such subnet here." in response.content.decode()


def test_too_little_money_says_so_and_buys_nothing(
    console: Client, platform: Platform, tenant: Tenant
) -> None:
    give_network(tenant, platform.region)
    response = buy(console)
    assert response.status_code == 422
    assert "The balance is too low." in response.content.decode()
    with scopes_disabled():
        assert not VM.objects.exists()


def test_too_few_addresses_are_refused_before_buying(
    console: Client, ready: Platform, tenant: Tenant
) -> None:
    from network.actions import create_subnet
    from network.models import Vpc
    from scloud.tenancy.actor import Actor

    with scope(tenant=tenant):
        small = create_subnet(
            actor=Actor.system(tenant), vpc=Vpc.objects.get(), name="small", cidr="10.0.9.0/29"
        )
    html = console.post(
        reverse("vm-create-quote"), {"subnet": small.pk, "count": "6"}, **HTMX
    ).content.decode()
    assert "Only 5 addresses are free, 6 are needed." in html


def test_a_size_that_fits_nowhere_is_greyed_out_with_the_reason(
    console: Client, ready: Platform
) -> None:
    from compute.models import Spec

    Spec.objects.create(cluster=ready.cluster, vcpus=64, memory_mib=131_072)
    html = console.get(reverse("vm-create")).content.decode()
    assert "This size is not available here right now." in html


def test_only_what_depends_on_a_change_is_sent_again(console: Client, ready: Platform) -> None:
    data = {
        "cluster": "x86",
        "seen_cluster": "x86",
        "seen_size": "x86.hour.0",
        "seen_method": "hour",
        "seen_count": "1",
        "method": "hour",
    }
    same = console.post(reverse("vm-create-quote"), data, **HTMX).content.decode()
    assert 'id="w-specs"' not in same
    assert 'id="w-rows"' not in same
    monthly = console.post(
        reverse("vm-create-quote"), {**data, "method": "month", "count": "2"}, **HTMX
    ).content.decode()
    assert 'id="w-specs"' in monthly
    assert 'id="w-periods"' in monthly
    assert 'id="w-rows"' in monthly


@pytest.mark.parametrize("role", ["readonly", "finance"])
def test_roles_that_may_not_buy_do_not_see_the_wizard(
    ready: Platform, tenant: Tenant, make_user: Callable[..., User], role: str
) -> None:
    client = Client()
    client.force_login(make_user(tenant, role))
    assert client.get(reverse("vm-create")).status_code == 403
    assert client.post(reverse("vm-create"), {}).status_code == 403


def test_a_quote_that_was_used_buys_no_second_time(
    console: Client, ready: Platform, tenant: Tenant
) -> None:
    token = token_of(console.get(reverse("vm-create")).content.decode())
    assert buy(console, quote=False, quote_token=token).status_code == 204
    again = buy(console, quote=False, quote_token=token)
    assert again.status_code == 422
    with scope(tenant=tenant):
        assert VM.objects.count() == 1


def test_quota_is_shown_before_and_after(console: Client, ready: Platform, actor: Any) -> None:
    make_vm(ready, actor)
    html = console.get(reverse("vm-create")).content.decode()
    assert "1 → 2 of 50" in html


def test_the_default_group_is_chosen_and_none_says_that_nothing_is_filtered(
    console: Client, ready: Platform, tenant: Tenant
) -> None:
    html = console.get(reverse("vm-create")).content.decode()
    with scope(tenant=tenant):
        default = SecurityGroup.objects.get(is_default=True)
    for name in ("internal_group", "external_group"):
        select = re.search(rf'<select[^>]*name="{name}".*?</select>', html, re.DOTALL)
        assert select, name
        assert f'<option value="{default.pk}" selected>' in select.group()
        assert "None: not filtered" in select.group()
    assert "everything is denied" not in html
    buy(console, internal_group="", external_group="")
    with scope(tenant=tenant):
        bought = VM.objects.get()
        assert bought.internal_security_group == ""
        assert bought.external_security_group == ""
    shown = console.get(reverse("vm-network", args=[bought.pk])).content.decode()
    assert "None: not filtered" in shown
