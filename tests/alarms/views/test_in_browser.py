"""The charts in a real browser: drawn, one crosshair, ranges, refresh, keyboard, tables, themes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from alarms.queries.engine import metrics_store
from compute.models import VM
from scloud.audit.models import Event
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled
from tests.alarms.measured import Gap, forget_everything, measure
from tests.browser import NARROW
from tests.compute.factories import Platform, make_vm

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

CHARTS = 10
# The colours that are on a canvas, with how many points each has.
INK = """(selector) => {
  const canvas = document.querySelector(selector);
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const found = {};
  for (let at = 0; at < data.length; at += 4) {
    if (data[at + 3] === 255) {
      const colour = `rgb(${data[at]}, ${data[at + 1]}, ${data[at + 2]})`;
      found[colour] = (found[colour] ?? 0) + 1;
    }
  }
  return found;
}"""
LINE = {"light": "rgb(58, 76, 201)", "dark": "rgb(135, 150, 255)"}


@pytest.fixture
def vm(platform: Platform, actor: Actor) -> Iterator[VM]:
    """A VM that was measured for two hours, not for ten minutes of them, and migrated."""
    made = make_vm(platform, actor, name="web")
    with scopes_disabled():
        Event.objects.create(
            tenant=made.tenant,
            kind="vm.migrated",
            resource_kind="vm",
            resource_id=made.pk,
            at=datetime.now(UTC) - timedelta(minutes=30),
        )
        measure(metrics_store(), made, hours=2, gaps=[Gap(1200, 600)])
    yield made
    forget_everything()


def ink(page: Page, chart: str = "cpu") -> dict[str, int]:
    found: dict[str, int] = page.evaluate(INK, f"[data-chart={chart}] canvas")
    return found


def drawn_in(page: Page, colour: str) -> None:
    """Wait until the first chart has its line in a colour."""
    for _ in range(100):
        if ink(page).get(colour, 0) > 50:
            return
        page.wait_for_timeout(100)
    raise AssertionError((colour, ink(page)))


def test_charts_are_drawn_and_followed_by_mouse_keyboard_and_clock(
    page: Page, console_url: str, vm: VM, problems: list[str]
) -> None:
    page.clock.install()
    page.emulate_media(color_scheme="light")
    page.goto(f"{console_url}/vms/{vm.pk}/")
    charts = page.locator("#charts")
    expect(charts.locator("canvas")).to_have_count(CHARTS)
    expect(charts).to_have_attribute("data-points", "121")
    drawn_in(page, LINE["light"])
    expect(charts.locator("[data-chart-marks]")).to_contain_text("Migrated")
    expect(charts.locator("[data-chart=cpu] tbody td").last).to_have_text(
        re.compile(r"^\d+(\.\d+)?$")
    )

    # One crosshair: what the mouse points at in one chart is told in all.
    cpu, load = (charts.locator(f"[data-chart={name}]") for name in ("cpu", "load"))
    cpu.scroll_into_view_if_needed()
    box = cpu.locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + 40)
    moment = cpu.locator("[data-chart-at]")
    expect(moment).to_have_text(re.compile(r"^\d\d:\d\d$"))
    assert load.locator("[data-chart-at]").inner_text() == moment.inner_text()
    expect(load.locator("tbody tr").first.locator("td").first).to_have_text(re.compile(r"\d"))

    # By keys, and read out.
    page.mouse.move(1, 1)
    cpu.locator("[data-chart-plot]").focus()
    page.keyboard.press("End")
    page.keyboard.press("PageUp")
    readout = charts.locator("[data-chart-readout]")
    expect(readout).to_contain_text("CPU usage:")
    first = readout.inner_text()
    page.keyboard.press("ArrowLeft")
    expect(readout).not_to_have_text(first)

    # The clock adds a point. The answer is waited for, not another time on the page: that has whole
    # seconds, and the refresh may come within the second of the first answer.
    with scopes_disabled():
        newest = measure(metrics_store(), vm, hours=1 / 120, until=datetime.now(UTC))
    with page.expect_response(re.compile("/charts/")) as refreshed:
        page.clock.fast_forward(31_000)
    assert refreshed.value.request.headers["x-scloud-passive"] == "1"
    now = refreshed.value.json()["now"]
    expect(charts).to_have_attribute("data-now", str(now))
    assert newest.timestamp() < now + 1
    page.get_by_role("switch", name="Auto refresh").uncheck()
    with page.expect_response(re.compile("/charts/")):
        page.get_by_role("button", name="6 h").click()
    expect(charts).to_have_attribute("data-points", re.compile("36[01]"))
    assert page.url.endswith("?range=6h")
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.clock.fast_forward(61_000)
    assert [url for url in requests if "/charts/" in url] == []

    # A range of one's own: typed, refused with the reason, and marked with the mouse.
    page.get_by_role("button", name="Custom").click()
    start = page.get_by_label("From")
    expect(start).to_be_focused()
    page.get_by_label("To", exact=True).fill("2020-01-01T00:00")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#chart-own-error")).to_contain_text("ends before it begins")
    problem = page.locator("#charts [data-chart-problem]")
    expect(problem).to_be_empty()
    # The browser notes that the server refused it.
    assert [problems.pop().endswith("400 (Bad Request)")] == [True]
    page.get_by_role("button", name="1 h", exact=True).click()
    expect(charts).to_have_attribute("data-points", "121")
    box = cpu.locator(".u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 60, steps=4)
    page.mouse.up()
    expect(page.get_by_role("button", name="Custom")).to_have_attribute("aria-pressed", "true")
    expect(charts).to_have_attribute("data-points", re.compile(r"^[2-7]\d$"))
    assert "start=" in page.url


def test_charts_as_tables_in_the_dark_on_paper_and_on_a_telephone(
    page: Page, console_url: str, vm: VM, tmp_path: Path
) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(f"{console_url}/vms/{vm.pk}/?range=1h")
    charts = page.locator("#charts")
    expect(charts).to_have_attribute("data-points", "121")
    drawn_in(page, LINE["dark"])
    assert LINE["light"] not in ink(page)
    # The theme changes while the page is open.
    page.emulate_media(color_scheme="light")
    drawn_in(page, LINE["light"])

    page.get_by_role("button", name="Show as tables").press("Enter")
    rows = charts.locator("[data-chart=cpu] [data-chart-values] tbody tr")
    expect(rows).to_have_count(121)
    # Ten minutes were not measured.
    gap = [text for text in rows.locator("td").all_inner_texts()[15:] if text == "—"]
    assert len(gap) == 20
    heads = charts.locator("[data-chart=nic_bandwidth] [data-chart-values] thead th")
    assert heads.all_inner_texts() == ["Time", "In (Mb/s)", "Out (Mb/s)"]
    page.get_by_role("button", name="Show as tables").press("Enter")
    expect(rows).to_have_count(0)

    with page.expect_download() as coming:
        page.get_by_label("Download as .csv").click()
    saved = tmp_path / "charts.csv"
    coming.value.save_as(saved)
    assert len(saved.read_text().splitlines()) == 122

    page.emulate_media(media="print", color_scheme="dark")
    expect(page.get_by_role("switch", name="Auto refresh")).not_to_be_visible()
    drawn_in(page, LINE["light"])
    page.emulate_media(media="screen", color_scheme="light")
    narrow: Any = NARROW
    page.set_viewport_size(narrow)
    expect(charts.locator("canvas").first).to_be_visible()
    assert page.evaluate("document.querySelector('#main').scrollWidth") <= NARROW["width"]


def test_a_vm_that_was_never_measured_says_so(
    page: Page, console_url: str, platform: Platform, actor: Actor
) -> None:
    vm = make_vm(platform, actor, name="silent")
    page.goto(f"{console_url}/vms/{vm.pk}/")
    expect(page.locator("[data-chart=cpu] [data-chart-empty]")).to_contain_text("No data")
    expect(page.locator("[data-chart=load] [data-chart-empty]")).to_contain_text("guest agent")
    expect(page.locator("#charts canvas")).to_have_count(0)
