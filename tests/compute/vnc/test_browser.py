"""The page in a real browser, with a real QEMU behind the proxy."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from playwright.sync_api import Browser, Page, expect, sync_playwright

from compute.models import VM
from compute.states.vms import VmStatus
from scloud.audit.events import emit
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.factories import settle
from tests.compute.vnc.conftest import Site
from tests.compute.vnc.qemu import Qemu

pytestmark = [pytest.mark.browser, pytest.mark.lab]


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[Qemu]:
    """The VM whose screen is shown."""
    qemu = Qemu(tmp_path)
    yield qemu
    if qemu.process.poll() is None:
        qemu.stop()


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Iterator[Browser]:
    """Headless Chromium."""
    # Playwright runs an event loop in this thread, which Django takes for asynchronous code.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        yield browser
        browser.close()
        # While that loop runs, Django keeps connections apart from those that it had before.
        connections.close_all()


@pytest.fixture
def page(
    site: Site,
    qemu: Qemu,
    live_server: Any,
    console: Client,
    vm: VM,
    browser: Browser,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Page]:
    """The screen page of the VM, connected."""
    settings.SCLOUD_VNC_PUBLIC_URL = f"ws://localhost:{site.port}"
    monkeypatch.setattr(site.application.proxy._opener, "_prepare", qemu.prepare)
    context = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    context.add_cookies(
        [
            {"name": name, "value": morsel.value, "url": live_server.url}
            for name, morsel in console.cookies.items()
        ]
    )
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        lambda message: errors.append(message.text) if "Content Security" in message.text else None,
    )
    page.goto(f"{live_server.url}/vms/{vm.pk}/screen")
    expect(page.locator("[data-vnc][data-connected=true]")).to_be_visible(timeout=60_000)
    page.wait_for_timeout(3000)  # the BIOS has to find the disk before anybody reads keys
    yield page
    context.close()
    assert errors == []


def test_keys_pressed_in_the_browser_reach_the_guest(page: Page, qemu: Qemu) -> None:
    page.keyboard.type("reboot ")
    page.keyboard.press("Shift+KeyN")
    page.keyboard.type("ow")
    page.keyboard.press("Shift+Digit1")
    qemu.wait_typed("reboot Now!")


def test_a_text_is_pasted_as_keystrokes(page: Page, qemu: Qemu) -> None:
    text = r"""root:x:0 {A-Z} <"'`~|\/?> #$%^&*()_+-=[];,.@!"""
    page.get_by_role("button", name="Paste", exact=False).click()
    page.get_by_label("Text").fill(text)
    page.get_by_label("Keyboard layout").select_option("us")
    page.get_by_role("button", name="Type").click()
    qemu.wait_typed(text)
    expect(page.locator("#vnc-paste")).not_to_be_visible()


def test_the_paste_dialog_says_what_a_layout_cannot_type(page: Page) -> None:
    page.get_by_role("button", name="Paste", exact=False).click()
    page.get_by_label("Text").fill("smörgås 好")
    expect(page.locator("[data-untypable]")).to_contain_text("ö å 好")
    page.get_by_label("Keyboard layout").select_option("de")
    expect(page.locator("[data-untypable]")).to_contain_text("å 好")
    expect(page.locator("[data-untypable]")).not_to_contain_text("ö")


def test_the_keys_menu_sends_what_browsers_keep_for_themselves(page: Page, qemu: Qemu) -> None:
    page.keyboard.type("a")
    qemu.wait_typed("a")
    page.get_by_role("button", name="Keys", exact=False).click()
    page.get_by_role("menuitem", name="Esc", exact=True).click()
    qemu.wait_typed("a\x1b")


def test_ctrl_alt_del_restarts_the_guest(page: Page, qemu: Qemu) -> None:
    # The BIOS sets the flag of a warm start and jumps to its entry: the guest starts anew, which
    # shows as a screen without the letter that was typed.
    page.keyboard.type("a")
    qemu.wait_typed("a")
    page.get_by_role("button", name="Ctrl+Alt+Del").click()
    # It is asked once.
    page.get_by_role("button", name="Send", exact=True).click()
    page.wait_for_timeout(4000)
    page.keyboard.type("b")
    qemu.wait_typed("ab")


def test_the_screen_comes_back_with_a_new_ticket_when_the_connection_breaks(
    page: Page, qemu: Qemu, site: Site
) -> None:
    passwords_set = qemu.passwords_set
    with page.expect_request("**/screen/ticket"):
        site.break_connections()
    expect(page.locator("[data-veil]")).to_be_hidden(timeout=15_000)
    assert qemu.passwords_set == passwords_set + 1
    page.locator("canvas").click()
    page.keyboard.type("again")
    qemu.wait_typed("again")


def test_a_screen_shot_is_saved(page: Page, vm: VM) -> None:
    with page.expect_download() as download:
        page.get_by_role("button", name="Screenshot").click()
    assert re.fullmatch(rf"{vm.pk}-[\dT-]+\.png", download.value.suggested_filename)
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")


def test_a_vm_that_stops_says_so_and_its_screen_returns_when_it_starts(
    page: Page, vm: VM, live_server: Any
) -> None:
    settle(vm, VmStatus.STOPPED)
    with scopes_disabled():
        emit(tenant_id=vm.tenant_id, kind="vm.stopped", resource_kind="vm", resource_id=vm.pk)
    veil = page.locator("[data-veil]")
    expect(veil).to_contain_text("The VM is not running.", timeout=10_000)
    expect(page.locator("[data-needs-screen]").first).to_be_disabled()
    # Nothing is asked until the VM says that it runs.
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(3000)
    assert [url for url in asked if url.endswith("/screen/ticket")] == []
    settle(vm, VmStatus.RUNNING)
    # This server has no socket for events: what the console does with one from it.
    page.evaluate(
        "id => document.body.dispatchEvent(new CustomEvent('scloud:event', {detail: "
        "{kind: 'vm.started', resource_kind: 'vm', resource_id: id}}))",
        vm.pk,
    )
    expect(veil).to_be_hidden(timeout=20_000)


def test_a_session_that_was_ended_offers_to_sign_in(
    page: Page, console: Client, site: Site
) -> None:
    console.logout()
    site.on_loop(site.application.check_all)
    expect(page.locator("[data-login]")).to_be_visible(timeout=10_000)
    expect(page.locator("[data-veil]")).to_contain_text("signed out")


def layouts(page: Page, expression: str) -> Any:
    """Evaluate something with the page's layout module."""
    return page.evaluate(
        f"import('/static/vnc/layouts.js').then((m) => {{ const {{strokes, untypable, NAMES}} = m;"
        f" return {expression}; }})"
    )


def test_every_layout_types_all_of_ascii(page: Page) -> None:
    printable = "".join(chr(code) for code in range(0x20, 0x7F)) + "\n\t"
    for name in layouts(page, "NAMES"):
        assert layouts(page, f"untypable({name!r}, {printable!r})") == []


def test_layouts_know_dead_keys_and_modifiers(page: Page) -> None:
    def keys(layout: str, character: str) -> list[str]:
        found: list[dict[str, Any]] = layouts(page, f"strokes({layout!r}, {character!r})")
        return ["+".join([*stroke["modifiers"], stroke["code"]]) for stroke in found]

    assert keys("de", "@") == ["AltRight+KeyQ"]
    assert keys("de", "z") == ["KeyY"]
    assert keys("de", "é") == ["Equal", "KeyE"]
    assert keys("de", "^") == ["Backquote", "Space"]
    assert keys("fr", "1") == ["ShiftLeft+Digit1"]
    assert keys("fr", "ê") == ["BracketLeft", "KeyE"]
    assert keys("gb", "@") == ["ShiftLeft+Quote"]
    assert keys("es", "ñ") == ["Semicolon"]
