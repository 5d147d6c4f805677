"""What the create wizard offers, marks, limits and gives away: images, sizes, mistakes, calls."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.test import Client, override_settings
from django.urls import reverse

from billing.actions import set_default_auto_renew
from billing.models import Charge, Subscription
from billing.views.dialogs import FIRST_DURATION, FIRST_METHOD, PaidForm, all_durations
from compute.actions.placement import create_placement_group
from compute.actions.ssh_keys import create_ssh_key
from compute.actions.vms.create import check_order, refusals
from compute.api.serializers.vms import VmOrderInput
from compute.models import VM, Disk, Image, Spec
from compute.views.priced import DiskForm
from compute.views.vms.draft.api_call import KEY, PASSWORD
from network.models import ExternalIp
from network.views.enis import EniForm
from network.views.external_ips import ExternalIpForm
from scloud.lib.errors import ScloudError
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.api.client import Program
from tests.billing.helpers import fund
from tests.compute.factories import PASSWORD as GOOD
from tests.compute.factories import Platform, give_network, make_order, make_vm
from tests.isolation.keys import OTHER_SSH_KEY, SSH_KEY
from tests.outside import make_segment

HTMX: dict[str, Any] = {"HTTP_HX_REQUEST": "true"}
BASE = {"name": "shop", "count": "1", "method": "hour"}


@pytest.fixture
def ready(platform: Platform, tenant: Tenant) -> Platform:
    """The tenant has a network and money."""
    give_network(tenant, platform.region)
    fund(tenant, cash="5000")
    return platform


def shown(console: Client, **values: Any) -> str:
    html: str = console.get(reverse("vm-create"), values).content.decode()
    return html


def asked(console: Client, **values: Any) -> str:
    answer = console.post(reverse("vm-create-quote"), {**BASE, **values}, **HTMX)
    assert answer.status_code == 200
    html: str = answer.content.decode()
    return html


def tag(html: str, name: str, found_id: str) -> str:
    """Return the opening tag of the element with an id."""
    found = re.search(rf'<{name}\b[^>]*\bid="{re.escape(found_id)}"[^>]*>', html)
    assert found, found_id
    return found.group()


def listed(html: str) -> list[str]:
    """Return the fields that the summary of mistakes leads to, in its order."""
    return re.findall(r'data-mistake="([a-z_]+)"', html)


def call_of(html: str) -> tuple[list[str], dict[str, Any]]:
    """Return the words of the shown call, and its body."""
    found = re.search(r'data-copy="([^"]*)"\s+data-secret', html)
    assert found, "a call is shown"
    words = shlex.split(unescape(found.group(1)))
    return words, json.loads(words[-1])


# -- images and sizes


def image(platform: Platform, name: str, version: str = "", **changes: Any) -> Image:
    values = {"distribution": name.split(" ", 1)[0].lower(), "version": version, **changes}
    return Image.objects.create(region=platform.region, pool=platform.pool, name=name, **values)


def test_base_images_stand_by_distribution_with_the_newest_first(
    console: Client, ready: Platform, tenant: Tenant
) -> None:
    image(ready, "Debian 9", "9")
    image(ready, "Debian 13", "13")
    image(ready, "AlmaLinux 9", "9")
    own = image(ready, "mine", tenant=tenant, distribution="debian")
    html = shown(console)
    base, _split, mine = html.partition("image-panel-own")
    names = re.findall(r'class="os-group-name" id="os-\d+">.*?</svg> ([^<]+)<', base)
    assert names == ["AlmaLinux", "Debian"]
    order = [base.index(f">{one}") for one in ("AlmaLinux 9", "Debian 13", "Debian 12", "Debian 9")]
    assert order == sorted(order)
    assert "os-mark-4" in base  # the sign that the list of VMs has
    assert own.pk not in base
    assert own.pk in mine
    assert 'data-words="debian 13 debian 13 "' in base
    # One that administrators placed further down stays there.
    Image.objects.filter(name="AlmaLinux 9").update(position=5)
    again = re.findall(r'class="os-group-name" id="os-\d+">.*?</svg> ([^<]+)<', shown(console))
    assert again == ["Debian", "AlmaLinux"]


def test_the_chosen_source_of_images_is_in_sight_and_survives(
    console: Client, ready: Platform, tenant: Tenant
) -> None:
    own = image(ready, "mine", tenant=tenant, distribution="debian")
    assert "checked" in tag(shown(console), "input", "image-source-base")
    assert "checked" in tag(shown(console, image=own.pk), "input", "image-source-own")
    assert "checked" in tag(shown(console, image_source="own"), "input", "image-source-own")
    # Few images need no search.
    assert "data-filter=" not in shown(console)
    for n in range(6):
        image(ready, f"Debian 7.{n}")
    assert 'data-filter="#w-images"' in shown(console)


def test_sizes_are_a_table_that_says_once_what_is_greyed_out(
    console: Client, ready: Platform
) -> None:
    big = [
        Spec.objects.create(cluster=ready.cluster, vcpus=64, memory_mib=gib * 1024)
        for gib in (128, 256)
    ]
    html = shown(console)
    heads = re.findall(r'<th scope="(col|row)">([^<]+)</th>', html)
    columns = [text for kind, text in heads if kind == "col"]
    assert columns == ["vCPU", "2 GB", "4 GB", "8 GB", "16 GB", "128 GB", "256 GB"]
    assert [text for kind, text in heads if kind == "row"][:5] == ["1", "2", "4", "8", "64"]
    assert html.count('name="spec"') == 6
    for spec in big:
        assert "disabled" in tag(html, "input", f"spec-{spec.pk}")
        assert 'aria-describedby="why-sizes"' in tag(html, "input", f"spec-{spec.pk}")
    assert html.count("This size is not available here right now.") == 1
    assert "64C128G, 64C256G" in html
    first = tag(html, "input", f"spec-{ready.specs[0].pk}")
    assert "checked" in first
    assert 'aria-label="1 vCPU, 2 GB, ¥0.12"' in first


# -- mistakes


def test_all_mistakes_are_marked_at_once_with_a_list_that_leads_to_them(
    console: Client, ready: Platform, tenant: Tenant
) -> None:
    segment = make_segment(ready.region)
    wrong = {
        "name": "a b",
        "count": "0",
        "system_disk_gib": "5",
        "data_disk": "on",
        "data_disk_gib": "1",
        "external_segment": segment.pk,
        "external_bandwidth_mbps": "999999",
        "private_ips": "192.168.1.1",
        "ssh_public_key": "rsa",
        "password": "short",
        "remark": "x" * 201,
        "user_data": "rm -rf /",
        "tags": "a/b?c",
    }
    answer = console.post(reverse("vm-create"), {**BASE, **wrong}, **HTMX)
    assert answer.status_code == 422
    html = answer.content.decode()
    expected = [
        "system_disk_gib",
        "data_disk_gib",
        "external_bandwidth_mbps",
        "name",
        "count",
        "private_ips",
        "password",
        "ssh_public_key",
        "remark",
        "tags",
        "user_data",
    ]
    assert listed(html) == expected
    for name in expected:
        assert re.search(rf'id="err-{name}"[^>]*><div class="field-error">', html), name
        assert f'href="#err-{name}"' in html
    assert "11 fields need attention. Nothing was bought." in html
    with scopes_disabled():
        assert not VM.objects.exists()


def test_what_is_still_empty_is_a_mistake_only_once_somebody_wants_to_buy(
    console: Client, ready: Platform
) -> None:
    assert listed(asked(console)) == []
    assert "Enter a password or an SSH public key." not in asked(console, system_disk_gib="5")
    pressed = console.post(reverse("vm-create"), BASE, **HTMX).content.decode()
    assert listed(pressed) == ["password"]
    assert 'name="pressed" value="1"' in pressed
    # From then on the list follows what is typed; the password itself is not sent for that.
    assert listed(asked(console, pressed="1")) == ["password"]
    assert listed(asked(console, pressed="1", system_disk_gib="5")) == [
        "system_disk_gib",
        "password",
    ]
    html = asked(console, pressed="1", password_given="1")
    assert listed(html) == []
    # What was said of it stays, for nobody can judge it now.
    assert 'id="err-password"' not in html
    assert 'id="err-password"' in asked(console, pressed="1")


def test_mistakes_are_told_even_where_no_order_can_be_made(
    console: Client, ready: Platform
) -> None:
    html = console.post(
        reverse("vm-create"), {**BASE, "image": "image-none00000", "name": "a b"}, **HTMX
    ).content.decode()
    assert listed(html) == ["image", "name", "password"]


def test_refusals_are_those_of_the_purchase_and_the_first_is_what_it_raises(
    ready: Platform, tenant: Tenant
) -> None:
    with scope(tenant=tenant):
        order = make_order(
            ready, tenant, system_disk_gib=5, password="short", remark="x" * 201, count=11
        )
        found = refusals(tenant, order)
        with pytest.raises(ScloudError) as first:
            check_order(tenant, order)
        assert [one.field for one in found] == ["count", "system_disk_gib", "password", "remark"]
        assert first.value.code == found[0].code == "count_out_of_range"
        assert refusals(tenant, make_order(ready, tenant)) == []


# -- limits, and money


def test_limits_are_in_the_inputs_and_beside_them(console: Client, ready: Platform) -> None:
    ready.image.min_disk_gib = 44
    ready.image.save(update_fields=["min_disk_gib"])
    segment = make_segment(ready.region, bandwidth_min_mbps=2, bandwidth_max_mbps=70)
    html = shown(console, external_segment=segment.pk)
    for name, least, most, words in (
        ("system_disk_gib", 44, 500, "44 to 500 GB."),
        ("data_disk_gib", 10, 8000, "10 to 8000 GB."),
        ("external_bandwidth_mbps", 2, 70, "2 to 70 Mb/s, for each VM."),
        ("count", 1, 10, "1 to 10, all alike."),
    ):
        found = tag(html, "input", name)
        assert f'min="{least}"' in found, name
        assert f'max="{most}"' in found, name
        assert words in html
    assert 'maxlength="30"' in tag(html, "input", "name")
    assert 'maxlength="200"' in tag(html, "input", "remark")
    # What a paste would lose without a word has no limit here: the server says that it is long.
    assert "maxlength" not in tag(html, "textarea", "user_data")
    # A change says the new limits, for the input itself keeps what is typed.
    hint = tag(asked(console), "div", "hint-system_disk_gib")
    assert 'data-min="44"' in hint
    assert 'data-max="500"' in hint


@override_settings(SCLOUD_DEMO=True)
def test_a_short_balance_turns_the_purchase_off_and_offers_to_top_up(
    console: Client,
    platform: Platform,
    tenant: Tenant,
    make_user: Callable[..., User],
) -> None:
    give_network(tenant, platform.region)
    html = shown(console)
    assert "disabled" in tag(html, "button", "buy")
    assert 'aria-describedby="too-short"' in tag(html, "button", "buy")
    assert html.count(f'hx-get="{reverse("billing-recharge")}"') == 2  # the summary and the bar
    # Who may not top up is told whom to ask.
    operator = Client()
    operator.force_login(make_user(tenant, "operator"))
    theirs = shown(operator)
    assert "Ask whoever pays to top up the account" in theirs
    assert reverse("billing-recharge") not in theirs
    fund(tenant, cash="10")
    html = shown(console)
    assert "disabled" not in tag(html, "button", "buy")
    assert reverse("billing-recharge") not in html


def test_the_price_bar_follows_every_change(console: Client, ready: Platform) -> None:
    def bar(html: str) -> str:
        return html.partition('id="price-bar"')[2][:600]

    assert "¥0.15" in bar(shown(console))
    assert "¥0.16" in bar(asked(console, system_disk_gib="50"))
    assert "No price yet" in bar(asked(console, system_disk_gib="5"))


# -- the same everywhere


def test_every_purchase_begins_with_the_same_duration_and_renewal(
    console: Client, ready: Platform, tenant: Tenant, actor: Actor
) -> None:
    segment = make_segment(ready.region)
    for default in (False, True):
        set_default_auto_renew(actor=actor, auto_renew=default)
        with scope(tenant=tenant):
            made: list[PaidForm] = [
                DiskForm(types=[ready.disk_type], tenant=tenant),
                ExternalIpForm(segments=[segment], tenant=tenant),
                EniForm(subnets=[], segments=[segment], groups=[], tenant=tenant),
            ]
        for form in made:
            assert form.get_initial_for_field(form.fields["duration"], "duration") == FIRST_DURATION
            assert form.fields["duration"].choices == all_durations()  # type: ignore[attr-defined]  # ChoiceField
            assert form.fields["auto_renew"].initial is default
        html = shown(console)
        assert "checked" in tag(html, "input", f"method-{FIRST_METHOD.value}")
        assert ("checked" in tag(html, "input", "auto_renew")) is default
        for name in ("disk-create", "external-ip-create", "eni-create"):
            dialog = console.get(reverse(name), **HTMX).content.decode()
            assert f'value="{FIRST_DURATION}" selected' in dialog, name
            assert ("checked" in tag(dialog, "input", "id_auto_renew")) is default, name


@pytest.mark.parametrize(
    ("sent", "renews"),
    [
        ({"renewal_asked": "1", "auto_renew": "on"}, True),
        ({"renewal_asked": "1"}, False),
        # A page of an earlier release asks nothing: as the tenant has it.
        ({}, True),
    ],
)
def test_a_dialog_says_whether_what_it_buys_renews(
    console: Client, ready: Platform, tenant: Tenant, sent: dict[str, str], renews: bool
) -> None:
    url = reverse("disk-create")
    form = {"name": "data", "disk_type": "ssd", "size_gib": "20", "duration": "month:1", **sent}
    priced = console.get(url, {**form, "quote": "1"}, **HTMX).content.decode()
    token = re.search(r'name="quote_token" value="([^"]+)"', priced)
    assert token, priced
    done = console.post(url, {**form, "quote_token": token.group(1)}, **HTMX)
    assert done.status_code == 204
    with scope(tenant=tenant):
        bought = Subscription.objects.get(resource_id=Disk.objects.get().pk)
    assert (bought.method, bought.auto_renew) == ("month", renews)


def test_a_purchase_dialog_without_anything_to_buy_says_so(
    console: Client, region: Region, tenant: Tenant, make_user: Callable[..., User]
) -> None:
    for name, words in (
        ("disk-create", "No disk type is available to you in this region."),
        ("external-ip-create", "No external segment is available to you in this region."),
        ("eni-create", "There is no subnet and no external segment in this region."),
    ):
        html = console.get(reverse(name), **HTMX).content.decode()
        assert words in html, name
        assert 'type="submit"' not in html, name
        assert (f'hx-get="{reverse("vpc-create")}"' in html) is (name == "eni-create")


# -- another one like this


def test_another_vm_like_this_has_everything_but_names_addresses_and_the_password(
    console: Client, ready: Platform, tenant: Tenant, actor: Actor
) -> None:
    segment = make_segment(ready.region)
    kept = create_ssh_key(actor=actor, name="laptop", public_key=SSH_KEY)
    vm = make_vm(
        ready,
        actor,
        name="first",
        spec=ready.specs[1],
        system_disk_gib=55,
        data_disk_type=ready.disk_type,
        data_disk_gib=77,
        private_ips=["10.0.0.50"],
        external_segment=segment,
        external_bandwidth_mbps=9,
        internal_group=None,
        remark="the shop",
        tags=["web", "env=production"],
        user_data="#!/bin/sh\necho hello\n",
        ssh_public_key=f"{OTHER_SSH_KEY}\n{SSH_KEY}",
        method="month",
        auto_renew=False,
    )
    group = create_placement_group(actor=actor, region=ready.region, name="apart", policy="spread")
    with scopes_disabled():
        VM.objects.filter(pk=vm.pk).update(placement_group=group)
    html = shown(console, like=vm.pk)
    assert f'<option value="{group.pk}" selected>' in html
    for name, value in (("system_disk_gib", 55), ("data_disk_gib", 77)):
        assert f'value="{value}"' in tag(html, "input", name)
    assert 'value="9"' in tag(html, "input", "external_bandwidth_mbps")
    assert f'<option value="{segment.pk}" selected>' in html
    assert "checked" in tag(html, "input", f"spec-{ready.specs[1].pk}")
    assert "checked" in tag(html, "input", "data_disk")
    assert "checked" in tag(html, "input", "method-month")
    assert "checked" not in tag(html, "input", "auto_renew")
    assert "checked" in tag(html, "input", f"key-{kept.pk}")
    assert OTHER_SSH_KEY in unescape(html)
    assert 'value="the shop"' in tag(html, "input", "remark")
    assert 'value="web, env=production"' in tag(html, "input", "tags")
    assert "echo hello" in html
    inner = re.search(r'<select[^>]*name="internal_group".*?</select>', html, re.DOTALL)
    assert inner
    assert "selected" not in inner.group()
    # Names, addresses and the password are its own.
    assert 'value="host"' in tag(html, "input", "name")
    assert 'value=""' in tag(html, "input", "private-ip-1")
    assert "10.0.0.50" not in html
    # What is shown can be bought as it stands, and is the same VM again.
    _words, body = call_of(html)
    assert body["vcpus"] == 2
    assert body["remark"] == "the shop"


def test_what_is_no_longer_offered_is_said_and_nothing_else_is_chosen_in_silence(
    console: Client, ready: Platform, actor: Actor
) -> None:
    vm = make_vm(ready, actor)
    with scopes_disabled():
        VM.objects.filter(pk=vm.pk).update(vcpus=3)
    html = shown(console, like=vm.pk)
    assert "There is no such size here." in html
    assert 'name="quote_token"' not in html


def test_only_ones_own_vms_can_be_bought_again(
    console: Client, ready: Platform, other_tenant: Tenant, actor: Actor
) -> None:
    foreign = make_vm(ready, Actor.system(other_tenant))
    assert console.get(reverse("vm-create"), {"like": foreign.pk}).status_code == 404
    mine = make_vm(ready, actor, name="mine")
    elsewhere = Region.objects.create(id="far", name="Far away")
    with scopes_disabled():
        VM.objects.filter(pk=mine.pk).update(region=elsewhere)
    html = shown(console, like=mine.pk)
    assert "mine is in Far away." in html


def test_a_vm_leads_to_another_one_like_it_where_the_role_may_buy(
    console: Client, ready: Platform, tenant: Tenant, actor: Actor, make_user: Callable[..., User]
) -> None:
    vm = make_vm(ready, actor)
    url = f"{reverse('vm-create')}?like={vm.pk}"
    reader = Client()
    reader.force_login(make_user(tenant, "readonly"))
    page = reverse("vm-detail", args=[vm.pk])
    assert url in console.get(page).content.decode()
    assert url not in reader.get(page).content.decode()


# -- the call of the API


@pytest.mark.parametrize("with_key", [True, False])
def test_the_shown_call_buys_exactly_that_vm_through_the_api(
    console: Client,
    ready: Platform,
    tenant: Tenant,
    actor: Actor,
    program: Program,
    with_key: bool,
) -> None:
    segment = make_segment(ready.region)
    network = give_network(tenant, ready.region)
    kept = create_ssh_key(actor=actor, name="laptop", public_key=SSH_KEY)
    group = create_placement_group(
        actor=actor, region=ready.region, name="near", policy="together", required=False
    )
    html = asked(
        console,
        name="it's",
        placement_group=group.pk,
        count="2",
        spec=str(ready.specs[1].pk),
        system_disk_gib="50",
        data_disk="on",
        data_disk_gib="20",
        internal_group="",
        external_group=network.security_group.pk,
        external_segment=segment.pk,
        external_bandwidth_mbps="7",
        names=["left", "right"],
        private_ips=["", "10.0.0.77"],
        remark='a "quoted" $remark',
        tags="web, env=production",
        user_data="#!/bin/sh\necho 'hello'\n",
        method="month",
        periods="2",
        **({"ssh_keys": kept.pk} if with_key else {}),
    )
    words, body = call_of(html)
    assert words[:3] == ["curl", "-X", "POST"]
    assert words[3] == "http://testserver/api/v1/vms"
    assert f"Authorization: Bearer {KEY}" in words
    # The password is not known to what asks for a price, and needed only without a key.
    assert body.get("password") == (None if with_key else PASSWORD)
    # All of what the API takes has been chosen here.
    unused = {"gpu_count", "ssh_keys", "password" if with_key else "ssh_public_key"}
    assert set(VmOrderInput().fields) - unused == set(body) - {"quote_token"}
    if not with_key:
        program.post("/vms", body).error(400, "password_weak", "password")
        body["password"] = GOOD
    made = program.post("/vms", body)
    assert made.status == 201, made.body
    with scope(tenant=tenant):
        bought = list(VM.objects.order_by("name"))
        assert [vm.name for vm in bought] == ["left", "right"]
        for vm in bought:
            assert (vm.vcpus, vm.memory_mib) == (2, 4096)
            assert (vm.remark, vm.tags) == ('a "quoted" $remark', ["web", "env=production"])
            assert vm.user_data == "#!/bin/sh\necho 'hello'\n"
            assert vm.ssh_public_key == (SSH_KEY if with_key else "")
            assert vm.placement_group_id == group.pk
            assert (vm.internal_security_group, bool(vm.external_security_group)) == ("", True)
        sizes = Disk.objects.order_by("size_gib").values_list("size_gib", flat=True)
        assert list(sizes) == [20, 20, 50, 50]
        assert list(ExternalIp.objects.values_list("bandwidth_mbps", flat=True)) == [7, 7]
        paid = Charge.objects.filter(resource_kind="vm")
        assert {(one.method, int(one.periods)) for one in paid} == {("month", 2)}
    assert "10.0.0.77" in str(made.body)


def test_no_call_is_shown_of_what_cannot_be_bought(console: Client, ready: Platform) -> None:
    html = asked(console, system_disk_gib="5")
    assert "data-copy" not in html
    assert "Fix the highlighted fields to see the call." in html


def test_a_typed_password_is_in_no_call(console: Client, ready: Platform) -> None:
    answer = console.post(
        reverse("vm-create"), {**BASE, "password": GOOD, "quote_token": "old"}, **HTMX
    )
    html = answer.content.decode()
    assert answer.status_code == 422
    assert GOOD not in html
    assert call_of(html)[1]["password"] == PASSWORD
