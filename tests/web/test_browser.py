"""The console in a real browser: keyboard, dialogs, live rows, narrow screens."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from django.contrib.auth.hashers import make_password
from playwright.sync_api import BrowserContext, Page, expect

from scloud.audit import events
from scloud.jobs.models import Job
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope
from tests.browser import NARROW
from tests.fixtures import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def is_live(page: Page) -> None:
    expect(page.locator("[data-conn]")).to_have_attribute("data-state", "live", timeout=15_000)


def test_a_dialog_keeps_the_focus_and_gives_it_back(
    page: Page, console_url: str, make_job: Callable[..., Job]
) -> None:
    make_job(status="succeeded", steps=[{"name": "a", "label": "Reserve a host", "state": "done"}])
    page.goto(f"{console_url}/tasks/")
    name = page.locator("tbody .cell-name").first
    name.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#dialog[open]")).to_contain_text("Reserve a host")
    for _ in range(8):
        page.keyboard.press("Tab")
        inside = "document.querySelector('#dialog').contains(document.activeElement)"
        in_browser_chrome = "document.activeElement === document.body"
        assert page.evaluate(f"{inside} || {in_browser_chrome}")
    page.keyboard.press("Escape")
    expect(page.locator("#dialog")).not_to_be_visible()
    expect(name).to_be_focused()


def test_a_row_changes_by_push_without_losing_the_search(
    page: Page, console_url: str, make_job: Callable[..., Job], tenant: Tenant
) -> None:
    job = make_job(title="Create VM zebra", status="running", progress_percent=10)
    page.goto(f"{console_url}/tasks/?q=zebra")
    is_live(page)
    page.locator("#list-job-search").focus()
    row = page.locator(f"#row-{job.pk}")
    expect(row).to_contain_text("Running")
    with scope(tenant=tenant):
        Job.objects.filter(pk=job.pk).update(status="succeeded")
        events.emit(
            tenant_id=tenant.pk, kind="job.succeeded", resource_kind="job", resource_id=job.pk
        )
    expect(row).to_contain_text("Succeeded")
    expect(page.locator("#list-job-search")).to_be_focused()
    expect(page.locator("#list-job-search")).to_have_value("zebra")


def test_a_new_row_appears_by_itself(
    page: Page, console_url: str, make_job: Callable[..., Job], tenant: Tenant
) -> None:
    make_job(title="The first", status="succeeded")
    page.goto(f"{console_url}/tasks/")
    is_live(page)
    job = make_job(title="The second", status="running")
    with scope(tenant=tenant):
        events.emit(
            tenant_id=tenant.pk, kind="job.running", resource_kind="job", resource_id=job.pk
        )
    expect(page.locator(f"#row-{job.pk}")).to_contain_text("The second")
    expect(page.locator("#strip-jobs")).to_contain_text("The second")
    expect(page.locator("[data-active-jobs]")).to_have_text("1")


def test_filters_search_and_back_button_tell_one_story(
    page: Page, console_url: str, make_job: Callable[..., Job]
) -> None:
    make_job(title="Good", status="succeeded")
    make_job(title="Bad", status="failed")
    page.goto(f"{console_url}/tasks/")
    page.get_by_role("button", name="Filter").click()
    page.get_by_label("Failed").check()
    page.get_by_role("button", name="Apply").click()
    expect(page.locator(".list .chip")).to_contain_text("Status: Failed")
    expect(page.locator("tbody tr")).to_have_count(1)
    assert page.url == f"{console_url}/tasks/?status=failed"
    page.locator(".list .chip").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.go_back()
    expect(page.locator("tbody tr")).to_have_count(1)
    # The page was loaded anew: its scripts run when the socket is open.
    is_live(page)
    page.locator("#list-job-search").fill("nothing like this")
    expect(page.locator(".list")).to_contain_text("No matches")
    expect(page.locator("#list-job-search")).to_be_focused()


def test_a_view_is_saved_chosen_and_deleted(
    page: Page, console_url: str, make_job: Callable[..., Job]
) -> None:
    make_job(title="Good", status="succeeded")
    make_job(title="Bad", status="failed")
    page.goto(f"{console_url}/tasks/?status=failed")
    page.get_by_role("button", name="Columns").click()
    page.get_by_label("Started by").uncheck()
    page.keyboard.press("Escape")
    expect(page.locator("thead")).not_to_contain_text("Started by")
    page.get_by_role("button", name="Views").click()
    page.get_by_role("menuitem", name="Save this view").click()
    page.locator("#dialog [name=name]").fill("What failed")
    page.keyboard.press("Enter")
    expect(page.locator("[data-toast]")).to_contain_text("Saved.")
    assert page.url == f"{console_url}/tasks/?status=failed"

    page.goto(f"{console_url}/tasks/")
    expect(page.locator("tbody tr")).to_have_count(2)
    # The browser has other columns meanwhile.
    page.get_by_role("button", name="Columns").click()
    page.get_by_label("Started by").check()
    page.keyboard.press("Escape")
    expect(page.locator("thead")).to_contain_text("Started by")
    page.get_by_role("button", name="Views 1").click()
    page.get_by_role("menuitem", name="What failed", exact=True).click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("thead")).not_to_contain_text("Started by")
    # Another page: its scripts have to be there before anybody types.
    page.wait_for_load_state("load")
    page.locator("#list-job-search").fill("Bad")
    page.wait_for_url("**q=Bad**")
    expect(page.locator("thead")).not_to_contain_text("Started by")

    page.get_by_role("button", name="Views 1").click()
    page.get_by_role("menuitem", name="Delete the view What failed").click()
    expect(page.locator("[data-toast]")).to_contain_text("The view was deleted.")
    expect(page.get_by_role("button", name="Views", exact=True)).to_be_visible()


def test_a_key_is_made_copied_and_revoked_from_the_keyboard(
    page: Page, console_url: str, context: BrowserContext
) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{console_url}/api-keys/")
    page.locator(".page-actions").get_by_role("button", name="Create key").click()
    expect(page.locator("#dialog [name=name]")).to_be_focused()
    page.keyboard.type("ci")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Copy the secret").click()
    # The clipboard is written in the background.
    page.wait_for_function("navigator.clipboard.readText().then((text) => text.startsWith('sck_'))")
    page.get_by_role("button", name="I have copied it").click()
    more = page.get_by_role("button", name="Actions of ci")
    more.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("menuitem").first).to_be_focused()
    page.keyboard.press("End")
    expect(page.get_by_role("menuitem", name="Revoke")).to_be_focused()
    page.keyboard.press("Enter")
    # What destroys is not the default.
    expect(page.locator("#dialog").get_by_role("button", name="Cancel")).to_be_focused()
    page.locator("#dialog .btn-danger").click()
    expect(page.locator("tbody tr")).to_contain_text("Revoked")
    expect(page.locator("[data-toast]").last).to_contain_text("Key revoked.")
    expect(more).to_be_focused()


def test_slash_leads_to_the_search_and_the_theme_changes(page: Page, console_url: str) -> None:
    page.keyboard.press("/")
    expect(page.locator("#global-search")).to_be_focused()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Language and theme").click()
    page.get_by_role("menuitem", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    # The page is loaded anew, and its style sheet may come a moment later.
    expect(page.locator("body")).to_have_css("background-color", "rgb(14, 16, 20)")


@pytest.mark.parametrize("path", ["/", "/tasks/", "/operations/", "/profile/", "/styleguide/"])
def test_nothing_is_wider_than_a_telephone(
    page: Page, console_url: str, make_job: Callable[..., Job], path: str
) -> None:
    make_job(title="A rather long title of a task that goes on for a while", status="running")
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]  # a plain dict will do
    page.goto(f"{console_url}{path}")
    assert page.evaluate("document.querySelector('#main').scrollWidth") <= NARROW["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    page.get_by_role("button", name="Navigation", exact=True).click()
    expect(page.locator(".nav-link").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".nav-link").first).not_to_be_visible()


def luminance(color: list[float]) -> float:
    linear = [
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4
        for c in (v / 255 for v in color)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_the_contrast_of_wcag_aa(page: Page, console_url: str, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.goto(f"{console_url}/styleguide/")
    texts = page.evaluate(
        """() => {
          const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
          const over = (colors) => {
            canvas.clearRect(0, 0, 1, 1);
            for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); }
            return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
          };
          const found = [];
          const exempt = ":disabled, [aria-disabled=true], .choice:has(input:disabled), .sr-only";
          for (const element of document.querySelectorAll("body *")) {
            const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
            if (!own || !element.checkVisibility({ opacityProperty: true })) continue;
            if (element.closest(exempt)) continue;
            const grounds = [];
            for (let at = element; at; at = at.parentElement) {
              grounds.unshift(getComputedStyle(at).backgroundColor);
            }
            const ground = over(["white", ...grounds]);
            const color = over([`rgb(${ground})`, getComputedStyle(element).color]);
            found.push([element.textContent.trim().slice(0, 40), color, ground]);
          }
          return found;
        }"""
    )
    assert len(texts) > 80
    poor = []
    for text, color, ground in texts:
        high, low = sorted((luminance(color), luminance(ground)), reverse=True)
        if (high + 0.05) / (low + 0.05) < 4.5:
            poor.append((text, round((high + 0.05) / (low + 0.05), 2)))
    assert poor == []


def make_many(make_job: Callable[..., Job], count: int) -> None:
    one = make_job(title="Start web", status="succeeded")
    with scope(tenant=one.tenant):
        fields = [field.attname for field in Job._meta.concrete_fields if field.name != "id"]
        values = {name: getattr(one, name) for name in fields}
        Job.objects.bulk_create([Job(**values) for _ in range(count - 1)], batch_size=5000)


def test_a_download_tells_how_far_it_is_and_ends_as_a_file(
    page: Page, console_url: str, make_job: Callable[..., Job], tmp_path: Path
) -> None:
    make_many(make_job, 20_000)
    page.goto(f"{console_url}/tasks/")
    with page.expect_download(timeout=60_000) as coming:
        page.get_by_label("Download as .xlsx").click()
        told = page.locator("#toasts [data-download-text]")
        expect(told).to_contain_text(re.compile("^[0-9,]+ of 20,000 rows$"), timeout=30_000)
    expect(told).not_to_be_attached()
    book = tmp_path / coming.value.suggested_filename
    coming.value.save_as(book)
    sheet = openpyxl.load_workbook(io.BytesIO(book.read_bytes()), read_only=True).worksheets[0]
    assert sum(1 for _ in sheet.iter_rows(values_only=True)) == 20_001


def test_a_download_of_the_administration_tells_how_far_it_is(
    page: Page, console_url: str, make_job: Callable[..., Job], tmp_path: Path
) -> None:
    make_many(make_job, 20_000)
    boss = User.objects.create_superuser("boss@platform.test", PASSWORD)
    # As the page of an owner does it: the server process accepts no fast algorithm.
    boss.password = make_password(PASSWORD, hasher="argon2")
    boss.save(update_fields=["password"])
    page.context.clear_cookies()
    page.goto(f"{console_url}/login/")
    page.fill("[name=email]", boss.email)
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{console_url}/admin/")
    page.goto(f"{console_url}/admin/jobs/job/")
    told = page.locator("#toasts [data-download-text]")
    link = page.get_by_role("link", name="Download as a workbook")
    with page.expect_download(timeout=120_000) as coming:
        link.click()
        expect(told).to_contain_text(re.compile("^[0-9,]+ of 20,000 rows$"), timeout=30_000)
    expect(told).not_to_be_attached()
    book = tmp_path / coming.value.suggested_filename
    coming.value.save_as(book)
    sheet = openpyxl.load_workbook(io.BytesIO(book.read_bytes()), read_only=True).worksheets[0]
    assert sum(1 for _ in sheet.iter_rows(values_only=True)) == 20_001
    link.click()
    expect(told).to_contain_text("of 20,000 rows", timeout=30_000)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#toasts .toast")).to_have_count(0)
    page.context.clear_cookies()
    # The session is over: the page itself leads to the login, and back to the list.
    link.click()
    page.wait_for_url(f"{console_url}/login/?next=/admin/jobs/job/")


def test_a_download_can_be_cancelled(
    page: Page, console_url: str, make_job: Callable[..., Job]
) -> None:
    make_many(make_job, 20_000)
    page.goto(f"{console_url}/tasks/")
    came: list[str] = []
    page.on("download", lambda download: came.append(download.suggested_filename))
    page.get_by_label("Download as .xlsx").click()
    expect(page.locator("#toasts [data-download-text]")).to_contain_text(
        "of 20,000 rows", timeout=30_000
    )
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#toasts .toast")).to_have_count(0)
    # The user may begin two others at once: the one that was cancelled does not count any more.
    for _ in range(2):
        page.get_by_label("Download as .xlsx").click()
    expect(page.locator("#toasts [data-download-text]")).to_have_count(2)
    for _ in range(2):
        page.locator("[data-download-cancel]").first.click()
    expect(page.locator("#toasts .toast")).to_have_count(0)
    assert came == []
