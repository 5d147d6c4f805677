"""The purchase of a virtual machine, as the guide describes it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.console.guide.conftest import words

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_everything_that_the_guide_lets_people_choose(
    page: Page, console_url: str, world: dict[str, str]
) -> None:
    page.goto(f"{console_url}/vms/")
    page.get_by_role("link", name="Create VM").first.click()
    page.wait_for_url(f"{console_url}/vms/create/")
    form = page.locator("form:has(#buy)")

    # Model and image: base images and own ones.
    expect(form.get_by_role("radiogroup", name="Model")).to_contain_text("x86 standard")
    expect(form).to_contain_text("Debian 12")
    form.get_by_text("Own images").first.click()
    expect(form.get_by_text("zebra-image")).to_be_visible()
    form.get_by_text("Base images").first.click()

    # Disks, with the bounds of their sizes.
    system = form.locator("[name=system_disk_gib]")
    expect(system).to_have_value("40")
    expect(form).to_contain_text("40 to 500 GB")
    form.get_by_text("Add a data disk").click()
    expect(form.locator("[name=data_disk_gib]")).to_be_visible()
    expect(form).to_contain_text("10 to 8000 GB")
    expect(form).to_contain_text("/data")

    # The network, with how many addresses are free.
    expect(form.get_by_label("VPC and subnet")).to_be_visible()
    expect(form).to_contain_text(re.compile(r"[0-9]+ addresses free"))
    expect(form.get_by_label("Private IP").first).to_be_attached()
    for side in ("Internal", "External"):
        groups = form.get_by_label(f"{side} security group")
        assert "None: not filtered" in words(groups.locator("option"))
    segments = words(form.locator("[name=external_segment] option"))
    assert segments[0] == "None"
    assert any("IPv4" in one for one in segments)

    # Name, login and how many.
    expect(form.locator("[name=name]")).to_have_value("host")
    expect(form.locator("[name=password]")).to_be_visible()
    expect(form.locator("[name=count]")).to_have_attribute("max", "10")

    # How it is paid, for how long, and what it costs.
    for label in ("Hourly", "Monthly", "Yearly"):
        expect(form.get_by_role("radio", name=label, exact=True)).to_be_attached()
    expect(form).to_contain_text("Due now")
    expect(page.locator("#buy")).to_contain_text("Buy now")


def test_a_purchase_leads_to_the_list_where_it_starts(
    page: Page, console_url: str, world: dict[str, str]
) -> None:
    page.goto(f"{console_url}/vms/create/")
    page.fill("[name=name]", "from-the-guide")
    page.fill("[name=password]", "Str0ng-enough")
    expect(page.locator("#buy")).to_be_enabled()
    page.locator("#buy").click()
    page.wait_for_url(re.compile(rf"{re.escape(console_url)}/vms/(\?.*)?$"))
    row = page.locator("tbody tr", has_text="from-the-guide")
    expect(row).to_contain_text("Starting")
