"""Setting a second factor up and signing in with it, in Chromium."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pyotp
import pytest
from playwright.sync_api import Page, expect

from scloud.tenancy.models import RecoveryCode, SecondFactor, User
from tests.browser import NARROW, WIDE
from tests.fixtures import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

STEP_S = 30


def code(secret: str, after: int = -1) -> str:
    """Return a code that is accepted now, of an interval later than ``after``."""
    step = int(datetime.now(UTC).timestamp()) // STEP_S
    return pyotp.HOTP(secret).at(max(step, after + 1))


def fits(page: Page) -> None:
    """Nothing is wider than the window, on a telephone and on a desk."""
    for size in (NARROW, WIDE):
        page.set_viewport_size(size)  # type: ignore[arg-type]  # a plain dict will do
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"], page.url


def sign_in(page: Page, user: User) -> None:
    page.fill("[name=email]", user.email)
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Enter the code")).to_be_visible()
    expect(page.locator("[name=code]")).to_be_focused()


def sign_out(page: Page, console_url: str) -> None:
    page.get_by_role("button", name="Account").click()
    page.get_by_role("menuitem", name="Sign out").click()
    page.wait_for_url(f"{console_url}/login/")


def test_an_owner_sets_up_an_app_and_signs_in_with_it(
    page: Page, console_url: str, user: User
) -> None:
    page.goto(f"{console_url}/profile/")
    fits(page)
    page.get_by_role("link", name="Manage").click()
    expect(page.get_by_role("heading", name="Set up a second factor")).to_be_visible()
    fits(page)
    expect(page.locator("[name=password]")).to_be_focused()
    page.fill("[name=password]", PASSWORD)
    page.get_by_role("button", name="Continue").click()

    picture = page.get_by_role("img", name="QR code of the secret")
    expect(picture).to_be_visible()
    fits(page)
    drawn = picture.locator("svg").bounding_box()
    assert drawn is not None
    assert drawn["width"] == pytest.approx(drawn["height"])
    # Two pixels of the screen for each square are the least that cameras tell apart.
    squares = page.locator(".qr svg").evaluate("svg => svg.viewBox.baseVal.width / 4")
    assert drawn["width"] / squares > 4
    secret = str(page.locator("[data-secret]").get_attribute("data-copy"))
    assert page.locator("#secret").inner_text().replace(" ", "") == secret
    page.fill("[name=code]", code(secret))
    page.get_by_role("button", name="Turn on").click()

    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    fits(page)
    recovery = page.locator(".recovery-codes li").all_inner_texts()
    assert len(recovery) == 10
    page.get_by_role("link", name="I have copied them").click()
    page.wait_for_url(f"{console_url}/profile/")
    expect(page.get_by_role("region", name="Second factor")).to_contain_text("On")
    page.get_by_role("link", name="Manage").click()
    expect(page.locator(".facts")).to_contain_text("10")
    fits(page)
    page.goto(f"{console_url}/")

    sign_out(page, console_url)
    sign_in(page, user)
    fits(page)
    used = SecondFactor.objects.get(user=user).last_step
    page.keyboard.type(code(secret, used))
    page.keyboard.press("Enter")
    page.wait_for_url(f"{console_url}/")

    sign_out(page, console_url)
    sign_in(page, user)
    page.keyboard.type(recovery[3])
    page.keyboard.press("Enter")
    page.wait_for_url(f"{console_url}/")
    expect(page.locator("[data-toast]").first).to_contain_text("9 are left")
    assert RecoveryCode.objects.filter(used_at=None).count() == 9

    page.goto(f"{console_url}/users/")
    page.get_by_role("button", name="Security", exact=True).click()
    expect(page.locator("#dialog")).to_contain_text("1 of 1")
    page.get_by_label(re.compile("Everyone needs")).check()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("[data-toast]").last).to_contain_text("Saved.")
    page.goto(f"{console_url}/second-factor/")
    expect(page.locator("main")).to_contain_text("It cannot be turned off.")


def test_who_has_to_set_one_up_is_led_there_from_an_open_page(
    page: Page, console_url: str, user: User, problems: list[str]
) -> None:
    page.goto(f"{console_url}/users/")
    page.get_by_role("button", name="Security", exact=True).click()
    page.get_by_label(re.compile("Everyone needs")).check()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("[data-toast]").last).to_contain_text("Saved.")
    # A part of the page is asked for next; the whole page goes.
    with page.expect_navigation(url=re.compile("/second-factor/")):
        page.get_by_role("button", name="Security", exact=True).click()
    expect(page.locator("main")).to_contain_text("A second factor is required here.")
    # The part of the page was refused, which browsers report.
    assert all("403" in problem for problem in problems)
    problems.clear()
    fits(page)
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{console_url}/login/")
