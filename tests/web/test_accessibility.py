"""axe finds nothing on any page and in any dialog: wide and narrow, light and dark.

``make test`` looks at a fixed share of the URLs of the console, ``make soak`` at all of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from scloud.tenancy.models import Tenant, User
from tests.browser import NARROW, WIDE
from tests.budget import WHOLE, share
from tests.compute.factories import Platform
from tests.isolation.routes import KNOWN, all_routes
from tests.isolation.world import address, furnish, make_caller
from tests.outside import make_segment

pytestmark = [
    pytest.mark.browser,
    pytest.mark.unmeasured,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(3600),
]

AXE = Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"
VIEWS = [(size, scheme) for size in (WIDE, NARROW) for scheme in ("light", "dark")]
# Off unless they are asked for.
RULES = {"target-size": {"enabled": True}, "label-content-name-mismatch": {"enabled": True}}
ASK = """async (rules) => {
  const found = await axe.run(document, { rules, resultTypes: ["violations"], elementRef: false });
  const told = (one) => one.nodes.map((node) => [one.id, node.target.join(" ")]);
  return found.violations.flatMap(told);
}"""
# Pages of people who are not signed in.
OUTSIDE = ["/login/", "/password/forgot/", "/password/reset/", "/join/"]


def findings(page: Page) -> list[str]:
    """Return what axe finds on what is open, in each view."""
    found = []
    for size, scheme in VIEWS:
        page.set_viewport_size(size)  # type: ignore[arg-type]  # a plain dict will do
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]  # one of the two
        if not page.evaluate("typeof axe === 'object'"):
            page.evaluate(AXE.read_text())
        for rule, target in page.evaluate(ASK, RULES):
            found.append(f"{size['width']} {scheme}: {rule} at {target}")
    return found


def urls(samples: dict[str, str]) -> list[tuple[str, str]]:
    """Return name and URL of what the console shows to people who are signed in."""
    found = []
    for route in all_routes():
        known = KNOWN[route.name]
        if route.api or known.public or "get" not in route.methods:
            continue
        url = address(route, known, samples)
        if known.query:
            url += f"?{known.query.format(**samples)}"
        found.append((route.name, url))
    return sorted(found)


def look(page: Page, console_url: str, url: str) -> list[str] | None:
    """Open a page, or a dialog in one, and return what axe finds; None for what is neither."""
    answer = page.context.request.get(f"{console_url}{url}", headers={"Accept": "text/html"})
    text = answer.text() if "html" in answer.headers.get("content-type", "") else ""
    if answer.status != 200 or "<html" not in text:
        return None
    if 'id="dialog-title"' in text:
        if page.locator("#dialog-slot").count() == 0 or "/tasks/" not in page.url:
            page.goto(f"{console_url}/tasks/")
        page.evaluate("url => { window.htmx.ajax('GET', url, '#dialog-slot') }", url)
        expect(page.locator("#dialog[open] #dialog-title")).to_be_visible()
        found = findings(page)
        page.evaluate("document.querySelector('#dialog').close()")
        return found
    page.goto(f"{console_url}{url}")
    # What is being fetched is drawn paler.
    expect(page.locator("[data-loading]")).to_have_count(0)
    page.wait_for_timeout(500 if page.locator("[data-charts], #charts").count() else 0)
    return findings(page)


def test_axe_finds_nothing(
    page: Page, console_url: str, platform: Platform, tenant: Tenant, user: User
) -> None:
    make_segment(platform.region)
    make_segment(
        platform.region,
        name="six",
        ip_version=6,
        cidr="2001:db8::/64",
        gateway=None,
        route_policy="none",
    )
    caller = make_caller(user, furnish(platform, tenant, user, "zebra"), "zebra")
    seen: list[str] = []
    wrong: dict[str, list[str]] = {}
    for name, url in share(urls(caller.samples), 0, of=9):
        found = look(page, console_url, url)
        if found is None:
            continue
        seen.append(name)
        if found:
            wrong[name] = found
    assert len(seen) > (150 if WHOLE else 15)
    assert wrong == {}, report(wrong)


def report(wrong: dict[str, list[str]]) -> str:
    return "\n".join(f"{name}: {one}" for name, found in wrong.items() for one in found)


@pytest.mark.parametrize("url", share(OUTSIDE, 0, of=2))
def test_axe_finds_nothing_before_people_sign_in(
    console_url: str, context: BrowserContext, tenant: Tenant, url: str
) -> None:
    page = context.new_page()
    answer: Any = page.goto(f"{console_url}{url}")
    assert answer.status in (200, 404)
    assert findings(page) == []


def test_axe_finds_nothing_in_the_menus_of_a_list(
    page: Page, console_url: str, platform: Platform, tenant: Tenant, user: User
) -> None:
    make_segment(platform.region)
    make_segment(
        platform.region,
        name="six",
        ip_version=6,
        cidr="2001:db8::/64",
        gateway=None,
        route_policy="none",
    )
    furnish(platform, tenant, user, "zebra")
    user.list_views = {"vm": [{"name": "Those that run", "query": "status=running"}]}
    user.save(update_fields=["list_views"])
    page.goto(f"{console_url}/vms/")
    page.evaluate(AXE.read_text())
    for size, scheme in VIEWS:
        page.set_viewport_size(size)  # type: ignore[arg-type]  # a plain dict will do
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]  # one of the two
        page.locator("tbody [data-pick]").first.check()
        for opener, menu in (
            ("[data-row-menu] >> nth=0", "#row-menu"),
            ("[data-menu=list-vm-views]", "#list-vm-views"),
            ("[data-menu=list-vm-filter]", "#list-vm-filter"),
        ):
            page.locator(opener).click()
            expect(page.locator(menu)).to_be_visible()
            assert page.evaluate(ASK, RULES) == [], (menu, size, scheme)
            page.keyboard.press("Escape")
