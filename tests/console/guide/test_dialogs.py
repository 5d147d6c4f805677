"""What the dialogs of the guide's operations show and ask for."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Locator, Page, expect

from billing.models import Subscription
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope
from tests.console.guide.conftest import words

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

# How long the guide lets people renew, by billing method.
DURATIONS = {
    "hour": ["1 hour", *(f"{n} hours" for n in range(2, 25))],
    "month": ["1 month", *(f"{n} months" for n in range(2, 12))],
    "year": ["1 year", *(f"{n} years" for n in range(2, 6))],
}


def open_dialog(page: Page, console_url: str, url: str) -> Locator:
    """Open a dialog as the console does, and return it."""
    page.goto(f"{console_url}/tasks/")
    page.evaluate("url => { window.htmx.ajax('GET', url, '#dialog-slot') }", url)
    dialog = page.locator("#dialog[open]")
    expect(dialog.locator("#dialog-title")).to_be_visible()
    return dialog


def test_each_dialog_shows_and_asks_what_the_guide_says(
    page: Page, console_url: str, guide: dict[str, Any], world: dict[str, str]
) -> None:
    wrong = []
    for name, wanted in guide["dialogs"].items():
        url = reverse(wanted["url"], args=[world[wanted["vm"]]])
        dialog = open_dialog(page, console_url, url)
        labels = words(dialog.locator("label"))
        wrong += [f"{name}: no field {one}" for one in wanted["fields"] if not _any(one, labels)]
        text = dialog.inner_text()
        wrong += [f"{name}: {one} is not shown" for one in wanted["shown"] if one not in text]
    assert wrong == []


def _any(label: str, labels: list[str]) -> bool:
    return any(label in one for one in labels)


@pytest.mark.parametrize("method", DURATIONS)
def test_a_renewal_lasts_as_long_as_its_method_allows(
    page: Page, console_url: str, world: dict[str, str], tenant: Tenant, method: str
) -> None:
    with scope(tenant=tenant):
        Subscription.objects.filter(resource_id=world["vm"]).update(method=method)
    dialog = open_dialog(page, console_url, reverse("vm-renew", args=[world["vm"]]))
    assert words(dialog.get_by_label("Duration").locator("option")) == DURATIONS[method]


def test_a_password_is_asked_twice(page: Page, console_url: str, world: dict[str, str]) -> None:
    dialog = open_dialog(page, console_url, reverse("vm-reset-password", args=[world["vm"]]))
    assert dialog.locator("input[type=password]").count() == 2


def test_the_groups_can_be_none(page: Page, console_url: str, world: dict[str, str]) -> None:
    url = reverse("vm-change-security-groups", args=[world["vm"]])
    dialog = open_dialog(page, console_url, url)
    for side in ("Internal", "External"):
        options = words(dialog.get_by_label(f"{side} security group").locator("option"))
        assert options[0] == "None: not filtered"
        # Both sides may have the same group.
        assert len(options) > 1
