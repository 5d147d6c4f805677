"""The charts of costs in a real browser, with the table that says the same."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from billing import history
from billing.models import DayCost, MonthCost
from compute.models import VM
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.factories import Platform, make_vm

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_costs_are_drawn_and_written_in_every_way(
    page: Page, console_url: str, platform: Platform, actor: Actor
) -> None:
    vm = make_vm(platform, actor, name="web")
    months = history.months_until_now()
    with scopes_disabled():
        VM.objects.filter(pk=vm.pk).update(tags=["shop"])
        MonthCost.objects.all().delete()
        DayCost.objects.all().delete()
        for number, month in enumerate(months[-3:], start=1):
            MonthCost.objects.create(
                tenant=vm.tenant,
                month=month,
                resource_kind="vm",
                resource_id=vm.pk,
                amount_minor=1000 * number,
            )
        DayCost.objects.create(tenant=vm.tenant, day=months[-2], amount_minor=4200)
    page.goto(f"{console_url}/billing/")
    table = page.locator("[data-costs-table]")
    expect(table.locator("thead")).to_contain_text("web")
    expect(table.locator("tbody tr").first).to_contain_text("60.00")
    expect(table.locator("tbody tr").nth(1)).to_contain_text("30.00")
    drawn = page.locator("[data-costs-plot] canvas")
    expect(drawn).to_have_count(1)
    # Something is drawn: the canvas is not empty.
    assert drawn.evaluate(
        "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v) => v > 0)"
    )
    page.get_by_role("button", name="Tag", exact=True).click()
    expect(table.locator("thead")).to_contain_text("shop")
    expect(page.locator("[data-costs-overlaps]")).to_be_visible()
    page.get_by_role("button", name="Day", exact=True).click()
    expect(page.locator("[data-costs-empty]")).to_be_visible()
    page.get_by_label("Month", exact=True).select_option(f"{months[-2]:%Y-%m}")
    expect(table.locator("tbody")).to_contain_text("42.00")
    expect(page.locator("[data-costs-overlaps]")).to_be_hidden()
    # The row of what the pointer is at.
    box = page.locator("[data-costs-plot] .u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 12, box["y"] + 40)
    expect(table.locator("tr[data-pointed]")).to_have_count(1)
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
