"""The button of the sign-in page, and linking in the profile, in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from scloud.accounts import providers
from scloud.accounts.providers import Mapped
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Identity, IdentityProvider, Tenant, User
from scloud.tenancy.permissions import Role
from tests.accounts.provider import CLIENT, SECRET, Provider, serving
from tests.accounts.test_factor_browser import fits
from tests.alarms.receiver import run_jobs

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def service() -> Iterator[Provider]:
    with serving() as made:
        yield made


@pytest.fixture
def provider(
    service: Provider, tenant: Tenant, console_state: Path, console_url: str, settings: Any
) -> IdentityProvider:
    """A provider, whose secret is sealed with the key of the console process."""
    settings.SCLOUD_STATE_DIR = console_state
    actor = Actor.administrator(User.objects.create_superuser("root@platform.test", "x"), None)
    row = IdentityProvider(
        label="Example ID",
        issuer=service.issuer,
        client_id=CLIENT,
        is_on=True,
        creates_users=True,
        domains="example.org",
    )
    providers.save_identity_provider(actor=actor, provider=row, secret=SECRET)
    crew = Mapped("crew", tenant, Role.OPERATOR)
    providers.set_group_mappings(actor=actor, provider=row, mappings=[crew])
    run_jobs()
    return row


def test_the_button_signs_in_and_goes_on(
    page: Page, console_url: str, provider: IdentityProvider
) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.context.clear_cookies()
    page.goto(f"{console_url}/login/?next=/api-keys/")
    fits(page)
    page.get_by_role("button", name="Sign in with Example ID").click()
    page.wait_for_url(f"{console_url}/api-keys/")
    expect(page.get_by_role("heading", name="API keys", exact=True)).to_be_visible()
    assert User.objects.get(email="anna@example.org").role == Role.OPERATOR
    assert [text for text in said if "Content Security Policy" in text] == []
    # Without a password there is none to change.
    page.goto(f"{console_url}/profile/")
    expect(page.get_by_role("button", name="Change password")).to_have_count(0)


def test_who_is_signed_in_links_in_the_profile(
    page: Page, console_url: str, provider: IdentityProvider, user: User
) -> None:
    page.goto(f"{console_url}/profile/")
    panel = page.locator("section", has=page.get_by_role("heading", name="Linked identities"))
    panel.get_by_role("link", name="Manage").click()
    fits(page)
    page.get_by_role("button", name="Link Example ID").click()
    expect(page.get_by_role("button", name="Unlink Example ID")).to_be_visible()
    assert Identity.objects.get().user == user
    page.get_by_role("button", name="Unlink Example ID").click()
    expect(page.get_by_role("button", name="Link Example ID", exact=True)).to_be_visible()
    assert not Identity.objects.exists()
