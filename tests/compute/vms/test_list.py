"""The list of VMs: what it shows, finds, changes, and what it costs."""

import io
import re
from collections.abc import Callable
from typing import Any

import openpyxl
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from compute.models import VM
from compute.verbs.vms import GROUPS, VMS
from compute.views.systems import mark
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.factories import Platform, make_vm

HTMX: dict[str, Any] = {"HTTP_HX_REQUEST": "true"}
BATCHES = ("vm-batch-start", "vm-batch-shut-down", "vm-batch-restart", "vm-batch-resume")


def test_a_row_shows_every_fact_of_the_specification(
    console: Client, platform: Platform, actor: Actor
) -> None:
    vm = make_vm(
        platform,
        actor,
        name="web",
        remark="shop front",
        method="month",
        data_disk_type=platform.disk_type,
        data_disk_gib=100,
    )
    html = console.get(reverse("vm-list")).content.decode()
    for part in (
        "web",
        "shop front",
        vm.pk,
        "10.0.0.2",
        "default",
        "x86 standard",
        "1 vCPU, 2 GB",
        "40 GB",
        "100 GB",
        "Monthly",
        "Running",
    ):
        assert part in html


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?q=web", {"web"}),
        ("?q=10.0.0.3", {"db"}),
        ("?q=nothing", set()),
        ("?status=stopped", {"db"}),
        ("?status=busy", set()),
        ("?cluster=x86", {"web", "db"}),
        ("?billing=year", {"db"}),
        ("?billing=hour", {"web"}),
        ("?tag=prod", {"web"}),
        ("?status=bogus", {"web", "db"}),
    ],
)
def test_search_and_filters(
    console: Client, platform: Platform, actor: Actor, query: str, found: set[str]
) -> None:
    vms = [
        make_vm(platform, actor, name="web", tags=["prod"]),
        make_vm(platform, actor, "stopped", name="db", method="year"),
    ]
    html = console.get(reverse("vm-list") + query).content.decode()
    assert {vm.name for vm in vms if f'id="row-{vm.pk}"' in html} == found


@pytest.mark.parametrize(
    "key",
    ["name", "status", "model", "configuration", "billing", "created", "expires"],
)
def test_every_sortable_column_sorts_both_ways(
    console: Client, platform: Platform, actor: Actor, key: str
) -> None:
    for name in ("b", "a"):
        make_vm(platform, actor, name=name)
    for sort in (key, f"-{key}"):
        assert console.get(reverse("vm-list"), {"sort": sort}).status_code == 200


def test_the_page_takes_ten_queries_whatever_the_number_of_rows(
    console: Client, platform: Platform, actor: Actor
) -> None:
    for number in range(4):
        make_vm(platform, actor, name=f"n{number}")
    console.get(reverse("vm-list"))  # what is asked once per process
    with CaptureQueriesContext(
        connection,
    ) as four:
        console.get(reverse("vm-list"))
    assert len(four) <= 10, "\n".join(q["sql"][:120] for q in four.captured_queries)
    make_vm(platform, actor, name="n5")
    with CaptureQueriesContext(connection) as five:
        console.get(reverse("vm-list"))
    assert len(five) == len(four)


def test_a_push_fetches_the_rows_alone(console: Client, vm: VM) -> None:
    html = console.get(reverse("vm-list"), {"rows": vm.pk}, **HTMX).content.decode()
    assert f'id="row-{vm.pk}"' in html
    assert "<html" not in html


def test_the_menu_says_why_a_verb_is_impossible(console: Client, vm: VM) -> None:
    html = console.get(reverse("vm-list"), {"menu": vm.pk}, **HTMX).content.decode()
    assert "Not possible while running; allowed when stopped." in html
    assert reverse("vm-shut-down", args=[vm.pk]) in html
    assert reverse("vm-start", args=[vm.pk]) not in html


def test_the_menu_shows_every_verb_in_groups_and_tells_screen_readers_why_one_is_refused(
    console: Client, vm: VM
) -> None:
    html = console.get(reverse("vm-list"), {"menu": vm.pk}, **HTMX).content.decode()
    assert re.findall(r'role="group" aria-label="([^"]+)"', html) == list(map(str, GROUPS.values()))
    shown = [verb for verb in VMS.public.values() if verb.dialog and not verb.dialog.binned]
    assert html.count('role="menuitem"') == len(shown) + 2  # and the details, and another like it
    refused = re.findall(r'aria-disabled="true"\s+aria-describedby="([^"]+)"', html)
    assert len(refused) == html.count('aria-disabled="true"') > 5
    assert len(set(refused)) == len(refused)
    for reason in refused:
        assert re.search(rf'<span id="{reason}" hidden>[^<]+[^<]</span>', html)


def test_a_row_tells_which_batches_its_state_allows(
    console: Client, platform: Platform, actor: Actor
) -> None:
    running, stopped = make_vm(platform, actor), make_vm(platform, actor, "stopped")
    html = console.get(reverse("vm-list")).content.decode()
    assert [name for name in BATCHES if f'data-batch="{name}"' in html] == list(BATCHES)

    def allowed(html: str, vm: VM) -> set[str]:
        found = re.search(rf'id="row-{vm.pk}"[^>]*data-allows="([^"]*)"', html)
        assert found is not None
        return set(found[1].split())

    assert set(BATCHES) & allowed(html, running) == {"vm-batch-shut-down", "vm-batch-restart"}
    assert set(BATCHES) & allowed(html, stopped) == {"vm-batch-start"}
    # A push brings the same.
    pushed = console.get(reverse("vm-list"), {"rows": stopped.pk}, **HTMX).content.decode()
    assert allowed(pushed, stopped) == allowed(html, stopped)


def test_the_usual_columns_give_way_and_chosen_ones_do_not(console: Client, vm: VM) -> None:
    html = console.get(reverse("vm-list")).content.decode()
    assert 'class="table table-yields"' in html
    first = re.findall(r'<td class="[^"]*yields-1"\s+data-label="([^"]+)"', html)
    assert first == ["VPC / subnet", "Model"]
    console.cookies["scloud_cols_vm"] = "network.model"
    html = console.get(reverse("vm-list")).content.decode()
    assert 'class="table"' in html
    assert "table-yields" not in html


def test_the_configuration_shows_system_gpu_and_headroom(
    console: Client, platform: Platform, actor: Actor
) -> None:
    vm = make_vm(platform, actor)
    with scopes_disabled():
        VM.objects.filter(pk=vm.pk).update(max_vcpus=4, max_memory_mib=8192, gpu_count=1)
        platform.cluster.gpu_type = "A10"
        platform.cluster.save()
    html = console.get(reverse("vm-list")).content.decode()
    assert re.search(r'class="os-mark os-mark-\d"[^>]*>.*?<text[^>]*>D</text>', html)
    assert "Debian 12" in html
    assert "1 × A10" in html
    assert "Hot upgrade up to 4 vCPU and 8 GB without a restart" in html
    with scopes_disabled():
        VM.objects.filter(pk=vm.pk).update(max_vcpus=vm.vcpus, max_memory_mib=vm.memory_mib)
    assert "Hot upgrade" not in console.get(reverse("vm-list")).content.decode()


def test_an_unknown_system_has_its_first_letter_and_nothing_of_it_is_markup() -> None:
    assert ">M</text>" in mark("mystery")
    assert ">?</text>" in mark("")
    assert "<script" not in mark("<script>")


def test_a_batch_has_a_result_for_each_vm(
    console: Client, platform: Platform, actor: Actor, other_tenant: Tenant
) -> None:
    running = make_vm(platform, actor, name="runs")
    stopped = make_vm(platform, actor, "stopped", name="stands")
    url = reverse("vm-batch-shut-down")
    asked = console.get(url, {"ids": [running.pk, stopped.pk]}, **HTMX).content.decode()
    assert "stands: Not possible while stopped" in asked
    done = console.post(
        url, {"ids": [running.pk, stopped.pk, "vm-foreign00"]}, **HTMX
    ).content.decode()
    assert "1 of 3 accepted." in done
    assert "It no longer exists." in done
    with scopes_disabled():
        assert VM.objects.get(pk=running.pk).task == "stopping"
        assert VM.objects.get(pk=stopped.pk).task == ""


def test_the_name_is_changed_in_its_row(console: Client, vm: VM) -> None:
    url = reverse("vm-name", args=[vm.pk])
    assert 'name="remark"' in console.get(url, {"edit": "1"}, **HTMX).content.decode()
    saved = console.post(url, {"name": "shop", "remark": "blue"}, **HTMX)
    assert saved.status_code == 200
    assert "shop" in saved.content.decode()
    vm.refresh_from_db()
    assert (vm.name, vm.remark) == ("shop", "blue")
    refused = console.post(url, {"name": "a b", "remark": "blue"}, **HTMX)
    assert refused.status_code == 422
    assert "A name has 1 to 30 letters" in refused.content.decode()
    vm.refresh_from_db()
    assert vm.name == "shop"


def test_reading_roles_cannot_rename(
    vm: VM, tenant: Tenant, make_user: Callable[..., User]
) -> None:
    client = Client()
    client.force_login(make_user(tenant, "readonly"))
    response = client.post(reverse("vm-name", args=[vm.pk]), {"name": "x", "remark": ""}, **HTMX)
    assert response.status_code == 403
    vm.refresh_from_db()
    assert vm.name == "web"


def test_the_download_holds_what_the_filter_shows(
    console: Client, platform: Platform, actor: Actor
) -> None:
    make_vm(platform, actor, name="web", method="month")
    make_vm(platform, actor, "stopped", name="db")
    response: Any = console.get(reverse("vm-list"), {"export": "xlsx", "status": "running"})
    book = openpyxl.load_workbook(io.BytesIO(b"".join(response.streaming_content)))
    sheet = book.active
    assert sheet is not None
    rows = list(sheet.values)
    assert rows[0][:4] == ("Name / remark", "Status", "ID", "Private IP")
    assert [row[0] for row in rows[1:]] == ["web"]
    assert rows[1][3] == "10.0.0.2"
    assert "Monthly" in rows[1]


def test_an_empty_account_is_led_to_the_wizard(console: Client, platform: Platform) -> None:
    html = console.get(reverse("vm-list")).content.decode()
    assert "No virtual machines yet" in html
    assert reverse("vm-create") in html


def test_other_tenants_and_the_bin_are_not_listed(
    platform: Platform,
    actor: Actor,
    console: Client,
    other_tenant: Tenant,
    make_user: Callable[..., User],
) -> None:
    stranger = make_user(other_tenant)
    foreign = make_vm(
        platform,
        Actor(tenant=other_tenant, user=stranger, role=stranger.role, via="console"),
        name="foreign",
    )
    binned = make_vm(platform, actor, "binned", name="gone")
    html = console.get(reverse("vm-list")).content.decode()
    assert foreign.pk not in html
    assert binned.pk not in html
