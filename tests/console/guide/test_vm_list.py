"""The list of virtual machines, as the guide describes it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from compute.verbs.vms import VMS
from tests.console.guide.conftest import missing, words

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_the_columns(
    page: Page, console_url: str, guide: dict[str, Any], world: dict[str, str]
) -> None:
    page.goto(f"{console_url}/vms/")
    assert missing(guide["list"]["columns"].values(), words(page.locator("thead th"))) == []
    row = page.locator(f"#row-{world['vm']}")
    # CPU and memory, the image, the system disk and the data disks are told in one cell.
    configuration = row.locator("[data-label='Configuration']")
    for part in ("1 vCPU", "2 GB", "Debian 12", "40 GB", "20 GB"):
        expect(configuration).to_contain_text(part)
    for label in ("ID", "Private IP", "External IP"):
        expect(row.locator(f"[data-label='{label}'] [data-copy]").first).to_be_attached()
    row.locator("[data-label='Name / remark'] button").click()
    expect(row.locator("[data-label='Name / remark'] [name=name]")).to_be_visible()
    expect(row.locator("[data-label='Name / remark'] [name=remark]")).to_be_visible()


def test_the_operations(
    page: Page, console_url: str, guide: dict[str, Any], world: dict[str, str]
) -> None:
    page.goto(f"{console_url}/vms/")
    page.locator(f"#more-{world['vm']}").click()
    entries = page.locator("[role=menu]:popover-open [role=menuitem]")
    expect(entries.first).to_be_visible()
    assert missing(guide["list"]["operations"].values(), words(entries)) == []


def test_the_batches(
    page: Page, console_url: str, guide: dict[str, Any], world: dict[str, str]
) -> None:
    page.goto(f"{console_url}/vms/")
    page.locator(f"#pick-{world['vm']}").check()
    page.locator(f"#pick-{world['stopped_vm']}").check()
    bar = page.get_by_role("toolbar", name="Selected rows")
    expect(bar).to_be_visible()
    for label in guide["list"]["batches"].values():
        expect(bar.get_by_role("button", name=re.compile(f"^{label}"))).to_be_visible()


def test_pages_of_ten_to_a_hundred_and_a_workbook(
    page: Page, console_url: str, world: dict[str, str]
) -> None:
    page.goto(f"{console_url}/vms/")
    sizes = page.get_by_label("Rows per page")
    offered = [int(one) for one in sizes.locator("option").all_text_contents()]
    assert (min(offered), max(offered)) == (10, 100)
    expect(sizes).to_have_value("10")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as .xlsx").click()
    assert download.value.suggested_filename.endswith(".xlsx")


def test_the_states(guide: dict[str, Any]) -> None:
    assert (
        missing(guide["list"]["states"].values(), (str(one) for one in VMS.labels.values())) == []
    )
