"""The pages of one virtual machine, as the guide describes them."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from playwright.sync_api import TimeoutError as NotInTime

from tests.console.guide.conftest import missing, words

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def entries_of(page: Page, row: Locator) -> list[str]:
    """Open the menu of a row and return its entries."""
    entries = page.locator("[role=menu]:popover-open [role=menuitem]")
    for _ in range(3):
        row.get_by_role("button", name="More").click()
        try:
            entries.first.wait_for(timeout=3000)
        except NotInTime:
            # What is new replaced the row just then, and its menu closed.
            continue
        break
    found = words(entries)
    page.keyboard.press("Escape")
    return found


def test_the_tabs(
    page: Page, console_url: str, guide: dict[str, Any], world: dict[str, str]
) -> None:
    page.goto(f"{console_url}/vms/")
    page.get_by_role("link", name="zebra-runs", exact=True).first.click()
    page.wait_for_url(f"{console_url}/vms/{world['vm']}/")
    tabs = page.locator(".tabs a")
    assert missing(guide["detail"]["tabs"].values(), words(tabs)) == []
    for label in guide["detail"]["tabs"].values():
        tabs.get_by_text(label, exact=True).click()
        expect(page.locator(".tabs [aria-current=page]")).to_have_text(label)


def test_the_overview(
    page: Page, console_url: str, guide: dict[str, Any], world: dict[str, str]
) -> None:
    page.goto(f"{console_url}/vms/{world['vm']}/")
    facts = words(page.locator("#vm-overview dt"))
    assert missing(guide["overview"]["basic"].values(), facts) == []
    assert missing(guide["overview"]["configuration"].values(), facts) == []
    # Name and alarm template are changed from where they stand.
    for label in ("Name, remark and tags", "Change the alarm template"):
        page.locator("#vm-overview").get_by_role("button", name=label).click()
        expect(page.locator("#dialog[open]")).to_be_visible()
        page.keyboard.press("Escape")
    charts = page.locator("#charts")
    for label in guide["overview"]["charts"].values():
        expect(charts).to_contain_text(label)
    refresh = charts.get_by_role("switch", name="Auto refresh")
    was = refresh.is_checked()
    refresh.click()
    assert refresh.is_checked() is not was


def test_the_disks(
    page: Page, console_url: str, guide: dict[str, Any], world: dict[str, str]
) -> None:
    page.goto(f"{console_url}/vms/{world['vm']}/disks/")
    table = page.locator("#vm-disks")
    assert missing(guide["disks"]["columns"].values(), words(table.locator("thead th"))) == []
    system = table.locator("tbody tr", has_text="System disk")
    data = table.locator("tbody tr", has_text="Data disk")
    expect(data.locator("[data-label='Mount point']")).to_have_text("vdb")
    expect(data.locator("[data-label='Name']")).to_contain_text(world["bound_disk"])
    of_system = entries_of(page, system)
    assert missing(guide["disks"]["operations"].values(), of_system) == []
    of_data = entries_of(page, data)
    both = (*guide["disks"]["operations"].values(), *guide["disks"]["data_operations"].values())
    assert missing(both, of_data) == []
    # A system disk is paid with its VM.
    system.get_by_role("button", name="More").click()
    renew = page.locator("[role=menu]:popover-open").get_by_role("menuitem", name="Renew")
    expect(renew).to_have_attribute("aria-disabled", "true")


def test_the_network(
    page: Page, console_url: str, guide: dict[str, Any], world: dict[str, str]
) -> None:
    wanted = guide["network"]
    page.goto(f"{console_url}/vms/{world['vm']}/network/")
    body = page.locator("#vm-network")
    sides = words(body.locator("section").first.locator("tbody .cell-main"))
    assert missing(wanted["basic"].values(), sides) == []
    addresses = body.locator("section", has=page.locator("#vm-external-ips"))
    enis = body.locator("section", has=page.locator("#vm-enis"))
    nics = body.locator("section", has=page.locator("#vm-nics"))
    for part, columns in ((nics, "nics"), (addresses, "addresses"), (enis, "enis")):
        assert missing(wanted[columns].values(), words(part.locator("thead th"))) == []
    for label in wanted["buttons"].values():
        expect(body.get_by_role("button", name=label, exact=True)).to_be_visible()
    # Bound by itself it can be unbound; an ENI's address goes with its ENI.
    own = addresses.locator(f"tbody tr:has(#pick-{world['bound_eip']})")
    assert missing(wanted["address_operations"].values(), entries_of(page, own)) == []
    of_eni = addresses.locator("tbody tr:not(:has([data-chosen]))")
    assert entries_of(page, of_eni) == ["Set as default egress"]
    plugged = enis.locator("tbody tr", has_text=world["bound_eni"])
    assert missing(wanted["eni_operations"].values(), entries_of(page, plugged)) == []


@pytest.mark.parametrize(
    ("part", "kind", "expected"),
    [("vm-external-ips", "eip", 2), ("vm-enis", "eni", 2)],
)
def test_several_are_unbound_at_once(
    page: Page, console_url: str, world: dict[str, str], part: str, kind: str, expected: int
) -> None:
    page.goto(f"{console_url}/vms/{world['vm']}/network/")
    section = page.locator("#vm-network section", has=page.locator(f"#{part}"))
    button = section.get_by_role("button", name="Unbind selected")
    expect(button).not_to_be_visible()
    picks = section.locator("[data-chosen]")
    expect(picks).to_have_count(expected)
    for pick in picks.all():
        pick.check()
    button.click()
    dialog = page.locator("#dialog[open]")
    expect(dialog.locator("#dialog-title")).to_contain_text(f"{expected} selected")
    expect(dialog).to_contain_text(world[f"bound_{kind}"])


def test_the_screen(page: Page, console_url: str, world: dict[str, str]) -> None:
    page.goto(f"{console_url}/vms/")
    with page.expect_popup() as opened:
        page.locator(f"#row-{world['vm']}").get_by_role("link", name="VNC").click()
    screen = opened.value
    expect(screen.get_by_role("button", name="Ctrl+Alt+Del")).to_be_visible()
    screen.close()
