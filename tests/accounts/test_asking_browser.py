"""Being asked again, making a role and reading one's keys, in Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from scloud.tenancy.models import ApiKey, CustomRole, User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scopes_disabled
from tests.fixtures import PASSWORD, new_user
from tests.web.test_accessibility import findings

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="module", autouse=True)
def _always_asked() -> Iterator[None]:
    """In the console of this module every proof is too old at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCLOUD_CONFIRM_MINUTES", "0")
        yield


def test_a_dialog_asks_for_the_password_and_goes_on(
    page: Page, console_url: str, user: User, problems: list[str]
) -> None:
    page.goto(f"{console_url}/api-keys/")
    page.get_by_role("button", name="Create key").first.click()
    dialog = page.locator("#dialog")
    dialog.get_by_label("Name").fill("backup")
    dialog.get_by_label("See running tasks").check()
    dialog.get_by_role("button", name="Create key").click()
    expect(dialog.get_by_role("heading", name="Confirm that it is you")).to_be_visible()
    expect(dialog.get_by_label("Your password")).to_be_focused()
    assert findings(page) == []
    page.keyboard.type("a guess")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("This is not your current password.")
    assert findings(page) == []
    dialog.get_by_label("Your password").fill(PASSWORD)
    dialog.get_by_role("button", name="Continue").click()
    expect(dialog).to_contain_text("Copy it now.")
    with scopes_disabled():
        key = ApiKey.objects.get(user=user)
    assert (key.name, key.scopes) == ("backup", ["jobs.view*"])
    dialog.get_by_role("button", name="I have copied it").click()
    expect(page.locator("main")).to_contain_text("See running tasks")
    # What browsers report of a form that is shown again.
    assert all("422" in problem for problem in problems), problems
    problems.clear()


def test_an_owner_makes_a_role_and_gives_it_to_a_user(
    page: Page, console_url: str, user: User
) -> None:
    assert user.tenant is not None
    clerk = new_user(user.tenant, Role.READONLY, "clerk@acme.test")
    page.goto(f"{console_url}/users/")
    page.get_by_role("link", name="Roles").click()
    page.wait_for_url(f"{console_url}/users/roles/")
    page.get_by_role("button", name="Create role").first.click()
    dialog = page.locator("#dialog")
    dialog.get_by_label("Name").fill("Night shift")
    dialog.get_by_label("Start, stop and restart VMs").check()
    dialog.get_by_role("button", name="Create role").click()
    expect(page.locator("main")).to_contain_text("Night shift")
    with scopes_disabled():
        role = CustomRole.objects.get()
    assert "compute.start_vm" in role.permissions
    page.goto(f"{console_url}/users/")
    page.get_by_role("button", name=re.compile(f"Actions of {clerk.email}")).click()
    page.get_by_role("menuitem", name="Change role").click()
    dialog.get_by_label("Role").select_option("Night shift")
    dialog.get_by_role("button", name="Change role").click()
    expect(page.locator("tr", has_text=clerk.email)).to_contain_text("Night shift")
