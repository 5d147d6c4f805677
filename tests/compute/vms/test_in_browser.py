"""The compute pages in a real browser: batches, inline names, files of images."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from compute.models import VM, Image
from compute.transfer.staging import export_path
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.factories import Platform, make_vm

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

FILE_BYTES = 24 << 20


def test_a_batch_is_asked_and_answered_row_by_row(
    page: Page, console_url: str, platform: Platform, actor: Actor
) -> None:
    running = make_vm(platform, actor, name="runs")
    stopped = make_vm(platform, actor, "stopped", name="stands")
    page.goto(f"{console_url}/vms/")
    for vm in (running, stopped):
        page.locator(f"#row-{vm.pk} input[type=checkbox]").check()
    page.get_by_role("button", name="Shut down", exact=True).click()
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("stands: Not possible while stopped")
    dialog.get_by_role("button", name="Shut down (2)").click()
    expect(dialog).to_contain_text("1 of 2 accepted.")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page.locator(f"#row-{running.pk}")).to_contain_text("Stopping")
    expect(page.locator(f"#row-{stopped.pk}")).to_contain_text("Stopped")


def test_deleting_asks_whether_the_disks_go_along(
    page: Page, console_url: str, platform: Platform, actor: Actor
) -> None:
    vm = make_vm(platform, actor, data_disk_type=platform.disk_type, data_disk_gib=10)
    page.goto(f"{console_url}/vms/{vm.pk}/")
    page.locator(".page-actions").get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Delete", exact=True).click()
    dialog = page.locator("dialog[open]")
    dialog.get_by_label("Also delete data disks").check()
    dialog.locator("button[type=submit]").click()
    expect(page.locator("main")).to_contain_text("Deleting")
    with scopes_disabled():
        assert VM.objects.get(pk=vm.pk).task == "deleting"


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
