"""The compute pages in a real browser: batches, inline names, files of images."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from compute.models import VM, Image
from compute.states.vms import VmStatus
from compute.transfer.staging import export_path
from scloud.audit import events
from scloud.audit.models import Operation
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.factories import Platform, make_vm, settle

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

FILE_BYTES = 24 << 20


def test_a_batch_is_asked_and_answered_row_by_row(
    page: Page, console_url: str, platform: Platform, actor: Actor
) -> None:
    running = make_vm(platform, actor, name="runs")
    stopped = make_vm(platform, actor, "stopped", name="stands")
    page.goto(f"{console_url}/vms/")
    bar = page.get_by_role("toolbar", name="Selected rows")
    page.locator(f"#row-{stopped.pk} input[type=checkbox]").check()
    # The bar knows what the chosen rows allow.
    restart = bar.get_by_role("button", name="Restart 0 of 1")
    expect(restart).to_have_attribute("aria-disabled", "true")
    restart.click(force=True)
    expect(page.locator("dialog[open]")).to_have_count(0)
    expect(page.locator(".tip")).to_have_text("None of the selected allows this now.")
    page.locator(f"#row-{running.pk} input[type=checkbox]").check()
    expect(bar.get_by_role("button", name="Restart 1 of 2")).to_be_enabled()
    bar.get_by_role("button", name="Shut down 1 of 2").click()
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("stands: Not possible while stopped")
    dialog.get_by_role("button", name="Shut down (2)").click()
    expect(dialog).to_contain_text("1 of 2 accepted.")
    # The results stay until they are closed; what was refused stays selected.
    page.mouse.click(5, 500)
    expect(dialog).to_contain_text("1 of 2 accepted.")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.locator(f"#row-{running.pk}")).to_contain_text("Stopping")
    expect(page.locator(f"#row-{stopped.pk}")).to_contain_text("Stopped")
    expect(page.locator("[data-batch-count]")).to_have_text("1 selected")
    expect(page.locator(f"#row-{stopped.pk} input[type=checkbox]")).to_be_checked()
    # A push brings what the row allows now.
    page.locator(f"#row-{running.pk} input[type=checkbox]").check()
    expect(bar.get_by_role("button", name="Shut down 0 of 2")).to_be_visible()


@pytest.mark.parametrize("width", [1440, 1280, 1024])
def test_a_row_can_be_used_at_every_width(
    page: Page, console_url: str, platform: Platform, actor: Actor, width: int
) -> None:
    vm = make_vm(platform, actor, name="a-name-of-thirty-characters-01", method="month")
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{console_url}/vms/")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.querySelector('#main').scrollWidth") <= width
    more = page.get_by_role("button", name=f"Actions of {vm.name}")
    expect(more).to_be_in_viewport(ratio=1)
    scrolls = page.locator("[data-scrolls]")
    head = page.locator("thead")
    if width < 1440:
        # These go first.
        expect(head).not_to_contain_text("Model", use_inner_text=True)
        expect(head).not_to_contain_text("VPC", use_inner_text=True)
    assert scrolls.evaluate("box => box.scrollWidth <= box.clientWidth")
    expect(scrolls).not_to_have_attribute("data-more", "")

    # Columns that the user chose are all there: one scrolls, and a shadow says so.
    keys = "status.id.ip.external_ip.network.model.configuration.image.system_gib.billing"
    page.context.add_cookies(
        [{"name": "scloud_cols_vm", "value": f"{keys}.created.expires.remark", "url": console_url}]
    )
    page.reload()
    expect(scrolls).to_have_attribute("data-more", "")
    expect(more).to_be_in_viewport(ratio=1)
    scrolls.evaluate("box => box.scrollTo(box.scrollWidth, 0)")
    expect(scrolls).not_to_have_attribute("data-more", "")


def test_the_menu_of_a_row_is_in_sight_at_once_and_explains_by_mouse_and_keyboard(
    page: Page, console_url: str, platform: Platform, actor: Actor
) -> None:
    vm = make_vm(platform, actor, name="web")
    page.goto(f"{console_url}/vms/")
    page.get_by_role("button", name="Actions of web").click()
    menu = page.locator("#row-menu")
    expect(menu.get_by_role("group", name="Disks and network")).to_be_visible()
    assert menu.evaluate("box => box.scrollHeight <= box.clientHeight")
    assert menu.evaluate("box => box.getBoundingClientRect().bottom <= innerHeight")
    start = menu.get_by_role("menuitem", name="Start", exact=True)
    expect(start).to_have_accessible_description(
        "Not possible while running; allowed when stopped."
    )
    start.hover()
    tip = page.locator(".tip")
    expect(tip).to_have_text("Not possible while running; allowed when stopped.")
    menu.get_by_role("menuitem", name="Shut down").hover()
    expect(tip).not_to_be_visible()
    start.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    expect(tip).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator("[data-toast]")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(tip).not_to_be_visible()
    with scopes_disabled():
        assert VM.objects.get(pk=vm.pk).task == ""


def test_a_password_is_shown_on_demand_and_a_dialog_sent_by_ctrl_enter(
    page: Page, console_url: str, platform: Platform, actor: Actor, problems: list[str]
) -> None:
    vm = make_vm(platform, actor, name="web")
    page.goto(f"{console_url}/vms/{vm.pk}/")
    page.locator(".page-actions").get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Reset password").click()
    dialog = page.locator("dialog[open]")
    expect(dialog.locator("h2")).to_have_text("Reset password: web")
    field = dialog.locator("[name=password]")
    expect(field).to_be_focused()
    page.keyboard.type("Correct.Horse8")
    show = dialog.get_by_role("button", name="Show what is typed").first
    show.click()
    expect(field).to_have_attribute("type", "text")
    expect(show).to_have_attribute("aria-pressed", "true")
    show.click()
    expect(field).to_have_attribute("type", "password")
    again = dialog.locator("[name=password_again]")
    again.fill("Correct.Horse9")
    again.press("Control+Enter")
    expect(dialog).to_contain_text("The two passwords are not the same.")
    expect(again).to_be_focused()
    # The browser notes that the server refused it.
    assert [problems.pop().endswith("422 (Unprocessable Entity)")] == [True]
    field.fill("Correct.Horse8")
    again.fill("Correct.Horse8")
    again.press("Control+Enter")
    expect(page.locator("dialog[open]")).to_have_count(0)
    with scopes_disabled():
        assert VM.objects.get(pk=vm.pk).task == "resetting"


def test_a_dialog_without_a_choice_leads_to_what_is_missing(
    page: Page, console_url: str, platform: Platform, actor: Actor
) -> None:
    vm = make_vm(platform, actor, name="web")
    page.goto(f"{console_url}/vms/{vm.pk}/disks/")
    page.get_by_role("button", name="Attach disk").click()
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("There is no unbound disk in this region.")
    dialog.get_by_role("button", name="Create disk").click()
    expect(dialog.locator("h2")).to_have_text("Create disk")
    expect(dialog.get_by_role("button", name="Buy now")).to_be_visible()


def test_deleting_leads_to_the_list_and_can_be_undone(
    page: Page, console_url: str, platform: Platform, actor: Actor, problems: list[str]
) -> None:
    vm = make_vm(platform, actor, data_disk_type=platform.disk_type, data_disk_gib=10)
    page.goto(f"{console_url}/vms/{vm.pk}/")
    page.locator(".page-actions").get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Delete", exact=True).click()
    dialog = page.locator("dialog[open]")
    dialog.get_by_label("Also delete data disks").check()
    dialog.locator("button[type=submit]").click()
    page.wait_for_url(f"{console_url}/vms/")
    expect(page.locator(f"#row-{vm.pk}")).to_contain_text("Deleting")
    with scopes_disabled():
        assert VM.objects.get(pk=vm.pk).task == "deleting"
    expect(page.locator("[data-conn]")).to_have_attribute("data-state", "live", timeout=15_000)
    toast = page.locator("[data-toast]").first
    toast.get_by_role("button", name="Undo").click()
    # It waits for the deletion, which nobody carries out yet.
    expect(toast).to_contain_text("It is restored as soon as the deletion is complete.")
    # The browser notes that it is not in the bin yet.
    assert [problems.pop().endswith("404 (Not Found)")] == [True]
    binned = settle(vm, VmStatus.BINNED, binned_at=timezone.now())
    with scopes_disabled():
        events.emit(
            tenant_id=vm.tenant_id, kind="vm.deleted", resource_kind="vm", resource_id=vm.pk
        )
    expect(page.locator("[data-toast]")).to_contain_text("It is being restored.")
    with scopes_disabled():
        assert VM.objects.get(pk=binned.pk).task == "restoring"


def test_deleting_in_the_list_offers_to_undo_it_there(
    page: Page, console_url: str, platform: Platform, actor: Actor
) -> None:
    vm = make_vm(platform, actor, name="web")
    page.goto(f"{console_url}/vms/?q=web")
    page.get_by_role("button", name="Actions of web").click()
    page.get_by_role("menuitem", name="Delete", exact=True).click()
    page.locator("dialog[open] button[type=submit]").click()
    toast = page.locator("[data-toast]")
    expect(toast.get_by_role("button", name="Undo")).to_be_visible()
    assert page.url.endswith("/vms/?q=web")
    with scopes_disabled():
        assert VM.objects.get(pk=vm.pk).task == "deleting"


def test_the_screen_of_a_stopped_vm_offers_to_start_it_and_waits(
    page: Page, console_url: str, platform: Platform, actor: Actor, problems: list[str]
) -> None:
    vm = make_vm(platform, actor, "stopped", name="web")
    tickets: list[str] = []
    page.on(
        "request",
        lambda one: tickets.append(one.url) if one.url.endswith("/screen/ticket") else None,
    )
    page.goto(f"{console_url}/vms/{vm.pk}/screen")
    veil = page.locator("[data-veil]")
    expect(veil).to_contain_text("The VM is not running.")
    expect(veil.get_by_role("link", name="Back to the VM")).to_be_visible()
    start = veil.get_by_role("button", name="Start")
    expect(start).to_be_visible()
    start.click()
    expect(page.locator(".vnc-status")).to_contain_text("Starting")
    expect(start).not_to_be_visible()
    page.wait_for_timeout(2500)
    assert tickets == []
    with scopes_disabled():
        assert VM.objects.get(pk=vm.pk).task == "starting"
        assert not Operation.objects.filter(verb="compute.open_vnc").exists()
    settle(vm, VmStatus.RUNNING)
    with page.expect_request("**/screen/ticket"), scopes_disabled():
        events.emit(
            tenant_id=vm.tenant_id, kind="vm.started", resource_kind="vm", resource_id=vm.pk
        )
    # No proxy runs here: what the browser says of that is not of this page.
    page.goto(f"{console_url}/vms/")
    problems.clear()


def test_an_image_is_sent_with_progress_and_saved_again(
    page: Page,
    console_url: str,
    console_state: Path,
    platform: Platform,
    tenant: Tenant,
    tmp_path: Path,
    settings: Any,
) -> None:
    content = os.urandom(1 << 20) * (FILE_BYTES >> 20)
    file = tmp_path / "mine.raw"
    file.write_bytes(content)
    page.goto(f"{console_url}/images/")
    page.get_by_role("button", name="Upload image").click()
    dialog = page.locator("dialog[open]")
    dialog.locator("[name=file]").set_input_files(file)
    dialog.locator("[name=name]").fill("mine")
    dialog.locator("[name=sha256]").fill(hashlib.sha256(content).hexdigest())
    # Every figure that the progress showed, kept over the redirect that follows.
    page.evaluate(
        """() => {
            const shown = [];
            const bar = document.querySelector("#upload-progress");
            new MutationObserver(() => {
                shown.push(Number(bar.value));
                sessionStorage.setItem("shown", JSON.stringify(shown));
            }).observe(bar, {attributes: true});
        }"""
    )
    dialog.locator("button[type=submit]").click()
    expect(page.locator("tr", has_text="mine").first).to_contain_text("Importing")
    with scopes_disabled():
        image = Image.objects.get(name="mine")
    staged = [one for one in (console_state / "uploads" / "images").iterdir() if one.is_file()]
    assert [one.read_bytes() == content for one in staged] == [True]
    shown = json.loads(page.evaluate("sessionStorage.getItem('shown')"))
    assert shown == sorted(shown)
    assert shown[-1] == 100

    # The same bytes come back when the image lies ready for download.
    settings.MEDIA_ROOT = console_state / "uploads"
    with scopes_disabled():
        Image.objects.filter(pk=image.pk).update(status="available")
        image.refresh_from_db()
    export_path(image).parent.mkdir(parents=True, exist_ok=True)
    export_path(image).write_bytes(content)
    page.goto(f"{console_url}/images/{image.pk}/")
    page.locator(".page-actions").get_by_role("button", name="More").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Save the file").click()
    saved = Path(download.value.path())
    assert hashlib.sha256(saved.read_bytes()).digest() == hashlib.sha256(content).digest()
