"""The recycle bin, as the guide describes it."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.console.guide.conftest import missing, words

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize(
    ("kind", "what", "renewed"),
    [
        ("vm", "binned_vm", True),
        ("disk", "binned_disk", True),
        ("external_ip", "binned_eip", True),
        ("image", "binned_image", False),
    ],
)
def test_what_was_deleted(
    page: Page,
    console_url: str,
    guide: dict[str, Any],
    world: dict[str, str],
    kind: str,
    what: str,
    renewed: bool,
) -> None:
    page.goto(f"{console_url}/bin/{kind}/")
    assert missing(guide["bin"]["columns"].values(), words(page.locator("thead th"))) == []
    page.locator(f"#more-{world[what]}").click()
    entries = page.locator("[role=menu]:popover-open [role=menuitem]")
    expect(entries.first).to_be_visible()
    wanted = dict(guide["bin"]["operations"])
    if not renewed:
        # Images are paid by what they hold.
        del wanted["renew"]
    assert missing(wanted.values(), words(entries)) == []
    page.keyboard.press("Escape")
    page.locator(f"#pick-{world[what]}").check()
    bar = page.get_by_role("toolbar", name="Selected rows")
    for label in wanted.values():
        expect(bar.get_by_role("button", name=label)).to_be_visible()
