"""The page of a screen in a browser, with a screen that this file plays: how good the connection
is, what the guest copied, and how it is scaled."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Page, expect
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from compute.models import VM
from scloud.tenancy.actor import Actor
from tests.browser import free_port
from tests.compute.factories import Platform, make_vm

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

WIDTH, HEIGHT = 64, 32
_RAW = 0
_UPDATE_REQUEST = 3
_CUT_TEXT = 3
_SET_PIXEL_FORMAT, _SET_ENCODINGS = 0, 2
_LENGTHS = {4: 8, 5: 6}


@dataclass
class Screen:
    """A server of RFB without a password: it draws what is asked for, and says what it is told."""

    delay_s: float = 0.0
    mute: bool = False
    got: bytearray = field(default_factory=bytearray)
    stage: int = 0
    pixels: int = 0
    route: ServerConnection | None = None

    def serve(self, route: ServerConnection) -> None:
        """Play to one browser until it goes."""
        self.route, self.stage = route, 0
        self.got.clear()
        route.send(b"RFB 003.008\n")
        try:
            for message in route:
                self.hear(message)
        except ConnectionClosed:
            pass

    def hear(self, message: str | bytes) -> None:
        assert self.route is not None
        self.got += message.encode() if isinstance(message, str) else message
        if self.stage == 0 and len(self.got) >= 12:
            del self.got[:12]
            self.stage = 1
            self.route.send(b"\x01\x01")  # one kind of security: none
        if self.stage == 1 and self.got:
            del self.got[:1]
            self.stage = 2
            self.route.send(struct.pack(">I", 0))
        if self.stage == 2 and self.got:
            del self.got[:1]
            self.stage = 3
            pixel = struct.pack(">BBBBHHHBBBxxx", 32, 24, 0, 1, 255, 255, 255, 0, 8, 16)
            name = b"played"
            self.route.send(
                struct.pack(">HH", WIDTH, HEIGHT) + pixel + struct.pack(">I", len(name)) + name
            )
        while self.stage == 3 and self.got and self.message():
            pass

    def message(self) -> bool:
        """Take one message off what came; False where a part of it is still on its way."""
        kind = self.got[0]
        if kind == _SET_PIXEL_FORMAT:
            length = 20
        elif kind == _SET_ENCODINGS:
            if len(self.got) < 4:
                return False
            length = 4 + 4 * struct.unpack(">H", self.got[2:4])[0]
        elif kind == _UPDATE_REQUEST:
            length = 10
        else:
            length = _LENGTHS.get(kind, len(self.got))
        if len(self.got) < length:
            return False
        text = bytes(self.got[:length])
        del self.got[:length]
        if kind == _UPDATE_REQUEST:
            self.draw(*struct.unpack(">BBHHHH", text)[1:])
        return True

    def draw(self, incremental: int, x: int, y: int, width: int, height: int) -> None:
        if incremental or self.mute or self.route is None:
            return
        if (width, height) == (1, 1):
            self.pixels += 1
        time.sleep(self.delay_s)
        head = struct.pack(">BxHHHHHi", 0, 1, x, y, width, height, _RAW)
        self.route.send(head + b"\x40\x80\x20\x00" * (width * height))

    def copies(self, text: str) -> None:
        assert self.route is not None
        content = text.encode("latin-1")
        self.route.send(struct.pack(">BxxxI", _CUT_TEXT, len(content)) + content)


PORT = free_port()


@pytest.fixture(scope="module", autouse=True)
def _proxy() -> Iterator[None]:
    """The console process tells browsers that its proxy is here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCLOUD_VNC_PUBLIC_URL", f"ws://127.0.0.1:{PORT}")
        yield


@pytest.fixture
def screen() -> Iterator[Screen]:
    """The screen of every VM that a browser opens, in a thread."""
    played = Screen()
    with serve(played.serve, "127.0.0.1", PORT) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield played
        server.shutdown()
        thread.join(10)


@pytest.fixture
def vm(platform: Platform, actor: Actor) -> VM:
    """A running VM."""
    return make_vm(platform, actor, name="web")


def opened(page: Page, console_url: str, vm: VM) -> None:
    page.goto(f"{console_url}/vms/{vm.pk}/screen")
    expect(page.locator("[data-vnc][data-connected=true]")).to_be_visible()


def test_the_time_until_the_screen_answers_is_shown_with_words(
    page: Page, console_url: str, vm: VM, screen: Screen
) -> None:
    screen.delay_s = 0.15
    opened(page, console_url, vm)
    quality = page.locator("[data-quality]")
    expect(quality).to_be_visible()
    shown = page.locator("[data-quality-ms]").inner_text()
    assert int(shown.removesuffix(" ms")) >= 140
    assert quality.get_attribute("data-level") in ("fair", "poor")
    expect(page.locator("[data-quality-words]")).to_contain_text("slow")
    assert screen.pixels >= 1


def test_a_screen_that_says_nothing_more_is_told(
    page: Page, console_url: str, vm: VM, screen: Screen
) -> None:
    opened(page, console_url, vm)
    expect(page.locator("[data-quality]")).to_be_visible()
    screen.mute = True
    words = page.locator("[data-quality-words]")
    expect(words).to_have_text("The screen does not answer.", timeout=15_000)
    # What ends takes the sign away.
    assert screen.route is not None
    screen.route.close(4409)
    expect(page.locator("[data-quality]")).to_be_hidden()


def test_what_the_guest_copies_can_be_pasted_here(
    page: Page, console_url: str, vm: VM, screen: Screen
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=console_url)
    opened(page, console_url, vm)
    button = page.get_by_role("button", name="Copy from VM")
    expect(button).to_be_hidden()
    screen.copies("said by the guest")
    expect(button).to_be_visible()
    expect(page.locator("[data-told]")).to_have_text("Copied from the VM.")
    assert page.evaluate("navigator.clipboard.readText()") == "said by the guest"
    page.evaluate("navigator.clipboard.writeText('other')")
    button.click()
    expect(page.locator("[data-told]")).to_have_text("Copied from the VM.")
    assert page.evaluate("navigator.clipboard.readText()") == "said by the guest"


def test_a_small_screen_is_enlarged_sharply_and_a_large_one_shrunk_smoothly(
    page: Page, console_url: str, vm: VM, screen: Screen
) -> None:
    opened(page, console_url, vm)
    canvas = page.locator("[data-screen] canvas")
    expect(canvas).to_have_css("image-rendering", "pixelated")
    # Without scaling one pixel is one pixel.
    page.get_by_role("button", name="Fit to window").click()
    expect(canvas).to_have_css("image-rendering", "pixelated")
    page.get_by_role("button", name="Fit to window").click()
    page.evaluate("document.querySelector('[data-screen] canvas').width = 8000")
    expect(canvas).to_have_css("image-rendering", "auto")


def test_the_page_asks_for_few_files(page: Page, console_url: str, vm: VM, screen: Screen) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    opened(page, console_url, vm)
    novnc = [url for url in asked if "/novnc/" in url]
    assert len(novnc) == 2
    assert len(asked) <= 30, asked
