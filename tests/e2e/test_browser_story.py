"""The whole story in a browser, against a real guest, and looked at from outside the product."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from scloud.lab.plan import Lab
from scloud.lab.shell import run
from scloud.lab.stack import Stack
from tests.e2e import outside
from tests.neighbour import neighbour

pytestmark = [pytest.mark.lab, pytest.mark.browser, pytest.mark.timeout(900)]

CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
GUEST_PASSWORD = "Passw0rd!x"


@pytest.fixture
def page(stack: Stack, logins: dict[str, str]) -> Iterator[Page]:
    """A browser in which the demo tenant is signed in; errors of scripts fail the test."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        context.set_default_timeout(60_000)
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: (
                errors.append(message.text) if "Content Security" in message.text else None
            ),
        )
        page.goto(f"{stack.url}/login/")
        page.fill("input[type=email]", logins["email"])
        page.fill("input[type=password]", logins["password"])
        page.press("input[type=password]", "Enter")
        page.wait_for_url(f"{stack.url}/")
        yield page
        context.close()
        browser.close()
        assert errors == []


def switch_of(lab: Lab, port: str) -> str:
    """Return the logical switch that a port is on."""
    nb = lab.nb_options
    for line in run("ovn-nbctl", *nb, "--bare", "--columns=name", "list", "logical_switch").split():
        if port in run("ovn-nbctl", *nb, "lsp-list", line):
            return line
    raise AssertionError(f"{port} is on no switch")


def port_of(facts: dict[str, Any], vm_id: str) -> str:
    """Return the switch port that the VM's domain is plugged into, as libvirt knows it."""
    import libvirt

    for host in facts["hosts"]:
        connection = libvirt.open(host["uri"])
        try:
            for domain in connection.listAllDomains():
                found = re.search(r"interfaceid='([0-9a-f-]+)'", domain.XMLDesc())
                if domain.name() == vm_id and found:
                    return found.group(1)
        finally:
            connection.close()
    raise AssertionError(f"{vm_id} has no port")


def row(page: Page, vm_id: str) -> Any:
    """Return the row of a VM in a list."""
    return page.locator(f'tr[data-live="vm:{vm_id}"]')


def test_the_whole_story(page: Page, stack: Stack, facts: dict[str, Any], lab: Lab) -> None:
    ports_before = outside.ports(lab)

    # Buy.
    page.goto(f"{stack.url}/vms/create/")
    page.fill("[name=name]", "story")
    page.fill("[name=password]", GUEST_PASSWORD)
    buy = page.locator("#buy")
    expect(buy).to_be_enabled()
    expect(buy).to_contain_text("0.10")
    buy.click()
    page.wait_for_url(f"{stack.url}/vms/")

    # It starts by itself, and the row says so without a reload.
    first = page.locator("tr[data-live]", has_text="story").first
    vm_id = str(first.get_attribute("data-live")).removeprefix("vm:")
    expect(row(page, vm_id)).to_contain_text("Running", timeout=90_000)
    assert len(outside.running(facts, vm_id)) == 1
    port = port_of(facts, vm_id)
    assert port in outside.ports(lab) - ports_before
    outside.await_agent(facts, vm_id)
    assert outside.guest_run(facts, vm_id, "hostname") == "story"

    # It answers on its address, to a neighbour on its own logical switch.
    address = row(page, vm_id).locator("text=/^10\\.0\\.0\\.\\d+$/").first.inner_text()
    neighbour_reaches(lab, switch_of(lab, port), address)

    # Its screen: a key pressed in the browser reaches the guest.
    page.goto(f"{stack.url}/vms/{vm_id}/screen")
    expect(page.locator("[data-vnc][data-connected=true]")).to_be_visible(timeout=60_000)
    page.locator("[data-screen] canvas").click()
    type_until_seen(page, facts, vm_id)

    # A restart keeps the screen: the same connection shows the boot from its first picture on.
    restart_on_the_screen(page, facts, vm_id)

    # Shut down, delete, destroy.
    page.goto(f"{stack.url}/vms/{vm_id}/")
    page.locator(".page-actions").get_by_role("button", name="Shut down", exact=True).click()
    confirm(page)
    expect(page.locator(".page-head, main").first).to_contain_text("Stopped", timeout=180_000)
    assert outside.running(facts, vm_id) == []
    page.locator(".page-actions").get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Delete", exact=True).click()
    confirm(page)
    await_gone(lambda: vm_id not in outside.domains(facts))
    page.goto(f"{stack.url}/bin/")
    expect(row(page, vm_id)).to_be_visible()
    assert outside.volumes(facts), "the system disk waits in the bin"
    binned = row(page, vm_id)
    binned.locator("button[aria-haspopup=menu]").click()
    page.locator("[role=menuitem]:visible", has_text="Destroy").click()
    dialog = page.locator("dialog[open]")
    dialog.locator("[name=typed_name]").fill("story")
    dialog.locator("button[type=submit]").last.click()
    expect(row(page, vm_id)).to_have_count(0, timeout=60_000)
    await_gone(lambda: outside.ports(lab) == ports_before)
    assert vm_id not in outside.domains(facts)
    assert outside.seeds(facts, vm_id) == []

    # The money: one purchase, nothing else.
    page.goto(f"{stack.url}/billing/transactions/")
    expect(page.locator("main")).to_contain_text("0.10")


def confirm(page: Page) -> None:
    """Press the confirming button of the dialog, if the verb asks."""
    dialog = page.locator("dialog[open]")
    try:
        dialog.wait_for(timeout=3000)
    except Exception:
        return
    dialog.locator("button[type=submit]").last.click()


def await_gone(holds: Any, timeout_s: float = 60) -> None:
    """Wait until something is gone outside."""
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, "it is still there"
        time.sleep(0.5)


def neighbour_reaches(lab: Lab, switch: str, address: str) -> None:
    """Reach the guest's SSH server from a machine on its switch."""
    with neighbour(lab, switch) as beside:
        end = time.monotonic() + 60
        while not beside.reaches(address):
            assert time.monotonic() < end, f"{address} does not answer"
        banner = beside.run(
            "python3", "-c",
            f"import socket; print(socket.create_connection(('{address}', 22), 10).recv(4))",
            timeout_s=30,
        )  # fmt: skip
        assert "SSH-" in banner


def type_keys(page: Page, text: str) -> None:
    """Type as fingers do, with the Shift key pressed where it is needed (US layout)."""
    for char in text:
        if char == "!":
            page.keyboard.press("Shift+Digit1")
        elif char.isupper():
            page.keyboard.press(f"Shift+Key{char}")
        else:
            page.keyboard.type(char)
        page.wait_for_timeout(80)


def restart_on_the_screen(page: Page, facts: dict[str, Any], vm_id: str) -> None:
    """Restart with the page's own menu and watch the boot on the connection that is open."""
    read_boot = ("cat", "/proc/sys/kernel/random/boot_id")
    boot = outside.guest_run(facts, vm_id, *read_boot)
    dialled: list[str] = []
    page.on("websocket", lambda socket: dialled.append(socket.url))
    # What the connection brings on the canvas, by size and content, without looking from outside.
    page.evaluate(
        """() => {
          const root = document.querySelector("[data-vnc]");
          window.lost = 0;
          new MutationObserver(() => { window.lost += root.dataset.connected !== "true"; })
            .observe(root, { attributeFilter: ["data-connected"] });
          window.pictures = new Set();
          setInterval(() => {
            const canvas = root.querySelector("[data-screen] canvas");
            if (canvas) window.pictures.add(`${canvas.width} ${canvas.toDataURL()}`);
          }, 200);
        }"""
    )
    before = page.evaluate("window.pictures.size")
    page.get_by_role("button", name="Power", exact=True).click()
    page.locator("#vnc-power").get_by_role("menuitem", name="Restart", exact=True).click()
    confirm(page)
    end = time.monotonic() + 240
    while True:
        try:
            if outside.guest_run(facts, vm_id, *read_boot) != boot:
                break
        except Exception:
            pass
        assert time.monotonic() < end, "the guest did not restart"
        page.wait_for_timeout(1000)
    assert page.evaluate("window.lost") == 0, "the screen was lost"
    assert [url for url in dialled if "/vnc/" in url] == []
    # The shutdown, the firmware, the kernel and the login, each with a picture of its own.
    assert page.evaluate("window.pictures.size") - before >= 3
    expect(page.locator("[data-vnc][data-connected=true]")).to_be_visible()


def type_until_seen(page: Page, facts: dict[str, Any], vm_id: str) -> None:
    """Log in on the guest's screen and make a file; see the file from outside."""
    for _ in range(4):
        page.keyboard.press("Enter")
        page.wait_for_timeout(1500)
        type_keys(page, "root")
        page.keyboard.press("Enter")
        page.wait_for_timeout(2500)
        type_keys(page, GUEST_PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_timeout(4000)
        type_keys(page, "touch /tmp/typed-in-the-browser")
        page.keyboard.press("Enter")
        for _ in range(10):
            page.wait_for_timeout(800)
            if "typed-in-the-browser" in outside.guest_run(facts, vm_id, "ls", "/tmp"):
                return
    raise AssertionError("what was typed on the screen did not reach the guest")
