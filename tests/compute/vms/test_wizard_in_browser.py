"""The create wizard in a real browser: what happens without a new page."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from compute.models import VM, Image, SshKey
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled
from tests.billing.helpers import fund
from tests.browser import NARROW
from tests.compute.factories import Platform, give_network, make_vm
from tests.isolation.keys import SSH_KEY
from tests.outside import make_segment
from tests.web.test_accessibility import findings

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def ready(platform: Platform, tenant: Tenant) -> Platform:
    """A platform with images and a segment; the tenant has a network and money."""
    give_network(tenant, platform.region)
    fund(tenant, cash="1000")
    for name, version in (
        ("AlmaLinux 9", "9"),
        ("CentOS 7", "7"),
        ("Debian 11", "11"),
        ("Debian 13", "13"),
        ("Ubuntu 22.04", "22.04"),
        ("Ubuntu 24.04", "24.04"),
        ("Windows Server 2022", "2022"),
    ):
        Image.objects.create(
            region=platform.region,
            pool=platform.pool,
            name=name,
            version=version,
            distribution=name.split()[0].lower(),
        )
    make_segment(platform.region)
    return platform


def allow_refusals(page: Page, problems: list[str]) -> None:
    """The browser notes each answer 422 as an error."""
    # What it has noted is heard when it is asked something.
    page.wait_for_timeout(100)
    problems[:] = [one for one in problems if "422" not in one]


def test_all_mistakes_are_listed_and_lead_to_their_fields(
    page: Page, console_url: str, ready: Platform, problems: list[str]
) -> None:
    page.goto(f"{console_url}/vms/create/")
    page.fill("#name", "a b")
    page.fill("#system_disk_gib", "5")
    page.locator("#name").press("Control+Enter")
    mistakes = page.locator("#wizard-mistakes")
    expect(mistakes).to_contain_text("3 fields need attention.")
    expect(mistakes).to_be_focused()
    mistakes.get_by_role("link", name="Size of the system disk").click()
    expect(page.locator("#system_disk_gib")).to_be_focused()
    expect(page.locator("#system_disk_gib")).to_have_attribute("min", "40")
    page.fill("#system_disk_gib", "60")
    expect(mistakes).to_contain_text("2 fields need attention.")
    # A field that is folded away is opened.
    page.locator("details.more > summary").click()
    page.fill("#tags", "a/b?c")
    expect(mistakes).to_contain_text("Tags")
    page.locator("details.more > summary").click()
    expect(page.locator("#tags")).not_to_be_visible()
    mistakes.get_by_role("link", name="Tags").click()
    expect(page.locator("#tags")).to_be_focused()
    page.fill("#tags", "web")
    page.fill("#name", "shop")
    page.fill("#password", "short")
    expect(mistakes).not_to_contain_text("attention")
    page.locator("#buy").click()
    expect(mistakes).to_contain_text("Password")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#err-password")).to_be_empty()
    expect(page.locator("#password")).to_have_attribute("type", "text")
    assert re.fullmatch(r"[a-zA-Z2-9\-_.!%+=]{16}", page.locator("#password").input_value())
    show = page.get_by_role("button", name="Show the password")
    show.click()
    expect(page.locator("#password")).to_have_attribute("type", "password")
    # With the price that belongs to what is typed now.
    expect(page.locator("#buy")).to_contain_text("¥")
    page.locator("#buy").click()
    page.wait_for_url(f"{console_url}/vms/")
    with scopes_disabled():
        assert VM.objects.get().name == "shop"
    allow_refusals(page, problems)


def test_images_are_searched_and_own_ones_in_a_tab(
    page: Page, console_url: str, ready: Platform, tenant: Tenant
) -> None:
    own = Image.objects.create(
        tenant=tenant,
        region=ready.region,
        pool=ready.pool,
        name="golden",
        distribution="debian",
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{console_url}/vms/create/")
    box = page.get_by_role("searchbox", name="Search images")
    images = page.locator("#w-images")
    box.fill("ubuntu 24")
    expect(images.get_by_text("Ubuntu 24.04")).to_be_visible()
    expect(images.get_by_text("Ubuntu 22.04")).not_to_be_visible()
    expect(images.get_by_text("AlmaLinux 9")).not_to_be_visible()
    box.press("Enter")
    box.fill("nothing like it")
    expect(images.get_by_text("No image matches.")).to_be_visible()
    box.fill("")
    expect(images.get_by_text("AlmaLinux 9")).to_be_visible()
    page.wait_for_timeout(400)
    # Neither a price nor a purchase was asked for.
    assert not [url for url in asked if url.endswith("/quote/")]
    with page.expect_response(lambda answer: answer.url.endswith("/quote/")):
        images.get_by_text("Ubuntu 24.04").click()
    expect(page.locator("#wizard-summary")).to_contain_text("Ubuntu 24.04")
    expect(images.get_by_text("golden")).not_to_be_visible()
    images.get_by_text("Own images").click()
    expect(images.get_by_text("Ubuntu 24.04")).not_to_be_visible()
    images.get_by_text("golden").click()
    expect(page.locator("#wizard-summary")).to_contain_text("golden")
    expect(page.locator(f"#image-{own.pk}")).to_be_checked()


def test_limits_follow_what_is_chosen_and_the_table_is_used_by_keyboard(
    page: Page, console_url: str, ready: Platform
) -> None:
    Image.objects.filter(name="Ubuntu 24.04").update(min_disk_gib=64)
    page.goto(f"{console_url}/vms/create/")
    page.locator("#w-images").get_by_text("Ubuntu 24.04").click()
    expect(page.locator("#system_disk_gib")).to_have_attribute("min", "64")
    bandwidth = page.locator("#external_bandwidth_mbps")
    page.select_option("#external_segment", index=1)
    expect(page.locator("#hint-external_bandwidth_mbps")).to_contain_text("for each VM")
    expect(bandwidth).to_have_attribute("max", re.compile("[0-9]+"))
    page.fill("#system_disk_gib", "64")
    first = page.locator(f"#spec-{ready.specs[0].pk}")
    first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(f"#spec-{ready.specs[1].pk}")).to_be_checked()
    expect(page.locator("#wizard-summary")).to_contain_text("2C4G")


def test_a_key_is_added_without_leaving_the_page_and_buys_without_a_password(
    page: Page, console_url: str, ready: Platform
) -> None:
    page.goto(f"{console_url}/vms/create/")
    page.fill("#name", "shop")
    page.get_by_role("button", name="Add SSH key").click()
    dialog = page.locator("dialog[open]")
    dialog.locator("[name=name]").fill("laptop")
    dialog.locator("[name=public_key]").fill(SSH_KEY)
    dialog.locator("[name=public_key]").press("Control+Enter")
    expect(dialog).to_have_count(0)
    page.locator("#w-keys").get_by_text("laptop").click()
    expect(page.locator("#name")).to_have_value("shop")
    page.locator(".api-call > summary").click()
    call = page.get_by_label("API call")
    expect(call).to_contain_text(SSH_KEY)
    expect(call).not_to_contain_text("YOUR_PASSWORD")
    # It stays open while the price changes.
    page.fill("#system_disk_gib", "60")
    expect(call).to_contain_text('"system_disk_gib": 60')
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator(".api-call").get_by_role("button", name="Copy").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"curl -X POST {console_url}/api/v1/vms")
    page.locator("#buy").click()
    page.wait_for_url(f"{console_url}/vms/")
    with scopes_disabled():
        assert VM.objects.get().ssh_public_key == SshKey.objects.get().public_key == SSH_KEY


def test_the_price_stays_in_sight_on_a_narrow_screen(
    page: Page, console_url: str, ready: Platform
) -> None:
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]  # a plain dict will do
    page.goto(f"{console_url}/vms/create/")
    bar = page.locator("#price-bar")
    expect(bar).to_be_in_viewport(ratio=1)
    expect(bar).to_contain_text("¥0.15")
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    page.locator("#system_disk_gib").scroll_into_view_if_needed()
    page.fill("#system_disk_gib", "50")
    expect(bar).to_contain_text("¥0.16")
    expect(bar).to_be_in_viewport(ratio=1)
    page.fill("#password", "Str0ng-enough")
    bar.get_by_role("button", name="Buy now").click()
    page.wait_for_url(f"{console_url}/vms/")
    with scopes_disabled():
        assert VM.objects.count() == 1


def test_a_short_balance_offers_to_top_up_and_goes_on_from_there(
    page: Page, console_url: str, platform: Platform, tenant: Tenant
) -> None:
    give_network(tenant, platform.region)
    page.goto(f"{console_url}/vms/create/")
    buy = page.locator("#buy")
    expect(buy).to_be_disabled()
    # Answered before the next price is asked for, which would else abort this one.
    with page.expect_response(lambda answer: answer.url.endswith("/quote/")):
        page.fill("#name", "shop")
    page.locator("#wizard-summary").get_by_role("button", name="Top up").click()
    dialog = page.locator("dialog[open]")
    dialog.locator("[name=amount]").fill("100")
    dialog.get_by_role("button", name="Top up").click()
    expect(buy).to_be_enabled()
    expect(page.locator("#name")).to_have_value("shop")


def test_axe_finds_nothing_in_what_the_wizard_can_show(
    page: Page, console_url: str, ready: Platform, actor: Actor, problems: list[str]
) -> None:
    vm = make_vm(ready, actor, ssh_public_key=SSH_KEY)
    page.goto(f"{console_url}/vms/create/?like={vm.pk}")
    assert findings(page) == []
    page.fill("#name", "a b")
    page.fill("#system_disk_gib", "5")
    page.locator("#name").press("Control+Enter")
    expect(page.locator("#wizard-mistakes")).to_contain_text("attention")
    page.locator(".api-call > summary").click()
    assert findings(page) == []
    allow_refusals(page, problems)
