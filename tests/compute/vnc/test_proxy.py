"""The proxy between a websocket and a screen, without a database."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from compute.vnc import proxy as proxy_module
from compute.vnc import rfb
from compute.vnc.proxy import Ending, Message, Refused, Scope, Session, VncProxy
from compute.vnc.screen import Endpoint, ScreenOpener, ScreenUnavailable
from tests.compute.vnc.screens import SERVER_INIT, Screen, running_screen


class Guard:
    """Lets everybody in, and ends sessions when told to."""

    def __init__(self) -> None:
        self.refuse = False
        self.ending: Ending | None = None
        self.failing = False
        self.checks: list[bool] = []
        self.endings: list[Ending] = []
        self.opened_count = 0

    async def admit(self, scope: Scope) -> Session:
        if self.refuse:
            raise Refused("no")
        return Session(vm_id="vm-1", grant=None)

    async def check(self, session: Session, *, input_seen: bool) -> Ending | None:
        self.checks.append(input_seen)
        if self.failing:
            raise RuntimeError("the database is away")
        return self.ending

    async def opened(self, session: Session) -> None:
        self.opened_count += 1

    async def closed(self, session: Session, ending: Ending) -> None:
        self.endings.append(ending)


class Browser:
    """The browser's side of an ASGI websocket."""

    def __init__(self, *, subprotocols: tuple[str, ...] = ()) -> None:
        self.scope: Scope = {
            "type": "websocket",
            "path": "/vnc/vm-1",
            "subprotocols": list(subprotocols),
            "headers": [],
        }
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.inbox.put_nowait({"type": "websocket.connect"})
        self.sent: asyncio.Queue[Message] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self._rest = b""

    async def receive(self) -> Message:
        return await self.inbox.get()

    async def send(self, message: Message) -> None:
        await self.reads.wait()
        self.sent.put_nowait(message)

    def say(self, data: bytes) -> None:
        self.inbox.put_nowait({"type": "websocket.receive", "bytes": data})

    def leave(self) -> None:
        self.inbox.put_nowait({"type": "websocket.disconnect", "code": 1001})

    async def next(self) -> Message:
        async with asyncio.timeout(5):
            return await self.sent.get()

    async def bytes(self, n: int) -> bytes:
        while len(self._rest) < n:
            message = await self.next()
            assert message["type"] == "websocket.send", message
            self._rest += message["bytes"]
        out, self._rest = self._rest[:n], self._rest[n:]
        return out

    async def log_in(self) -> None:
        assert (await self.next())["type"] == "websocket.accept"
        assert await self.bytes(12) == rfb.VERSION
        self.say(rfb.VERSION)
        assert await self.bytes(2) == bytes([1, rfb.SECURITY_NONE])
        self.say(bytes([rfb.SECURITY_NONE]))
        assert await self.bytes(4) == bytes(4)
        self.say(b"\1")

    async def close_message(self) -> Message:
        while True:
            message = await self.next()
            if message["type"] == "websocket.close":
                return message


@contextlib.asynccontextmanager
async def served(
    guard: Guard, browser: Browser, prepare: Any, **options: Any
) -> AsyncIterator[VncProxy]:
    """Run the proxy for one browser."""
    proxy = VncProxy(guard, ScreenOpener(prepare), **options)
    task = asyncio.create_task(proxy(browser.scope, browser.receive, browser.send))
    try:
        yield proxy
        async with asyncio.timeout(5):
            await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert not proxy.sessions


def test_bytes_pass_both_ways_and_the_browser_never_sees_a_password() -> None:
    async def story() -> None:
        guard, browser = Guard(), Browser()
        async with running_screen() as screen, served(guard, browser, screen.prepare):
            await browser.log_in()
            assert await browser.bytes(len(SERVER_INIT)) == SERVER_INIT
            browser.say(b"to and ")
            browser.say(b"fro")
            assert await browser.bytes(10) == b"to and fro"
            assert bytes(screen.received) == b"to and fro"
            browser.leave()
        assert guard.opened_count == 1
        assert [ending.code for ending in guard.endings] == [1000]

    asyncio.run(story())


def test_what_follows_the_handshake_in_the_same_message_is_not_lost() -> None:
    async def story() -> None:
        browser = Browser()
        async with running_screen() as screen, served(Guard(), browser, screen.prepare):
            browser.say(rfb.VERSION + bytes([rfb.SECURITY_NONE]) + b"\1early")
            await browser.next()
            assert await browser.bytes(18) == rfb.VERSION + bytes([1, 1]) + bytes(4)
            assert await browser.bytes(len(SERVER_INIT) + 5) == SERVER_INIT + b"early"
            browser.leave()

    asyncio.run(story())


@pytest.mark.parametrize(("offered", "chosen"), [((), None), (("binary", "base64"), "binary")])
def test_the_subprotocol_is_chosen_only_if_it_was_offered(
    offered: tuple[str, ...], chosen: str | None
) -> None:
    async def story() -> None:
        browser = Browser(subprotocols=offered)
        async with running_screen() as screen, served(Guard(), browser, screen.prepare):
            assert (await browser.next())["subprotocol"] == chosen
            browser.leave()

    asyncio.run(story())


def test_a_refused_browser_is_turned_away_before_anything_is_opened() -> None:
    async def story() -> None:
        guard, browser = Guard(), Browser()
        guard.refuse = True
        async with running_screen() as screen, served(guard, browser, screen.prepare):
            assert (await browser.next())["type"] == "websocket.close"
        assert screen.sessions == 0
        assert guard.endings == []

    asyncio.run(story())


def test_the_browser_is_told_when_the_vm_closes_its_screen() -> None:
    async def story() -> None:
        guard, browser = Guard(), Browser()
        async with running_screen() as screen, served(guard, browser, screen.prepare):
            await browser.log_in()
            await browser.bytes(len(SERVER_INIT))
            screen.close_all()
            message = await browser.close_message()
            assert message["code"] == proxy_module.CLOSED_BY_SCREEN
            assert "closed" in message["reason"]

    asyncio.run(story())


def test_the_screen_is_let_go_when_the_browser_leaves() -> None:
    async def story() -> None:
        browser = Browser()
        async with running_screen() as screen:
            async with served(Guard(), browser, screen.prepare):
                await browser.log_in()
                await browser.bytes(len(SERVER_INIT))
                browser.leave()
            async with asyncio.timeout(5):
                while screen._writers:
                    await asyncio.sleep(0.01)

    asyncio.run(story())


def test_a_browser_that_stops_reading_holds_the_screen_back() -> None:
    async def story() -> None:
        browser = Browser()
        async with (
            running_screen(flood=True) as screen,
            served(Guard(), browser, screen.prepare, stall_timeout_s=1000),
        ):
            await browser.log_in()
            await browser.bytes(len(SERVER_INIT))
            browser.reads.clear()
            # The socket buffers of the kernel fill up, then nothing moves any more.
            before = -1
            async with asyncio.timeout(10):
                while screen.sent != before:
                    before = screen.sent
                    await asyncio.sleep(0.3)
            held = 0
            while not browser.sent.empty():
                held += len(browser.sent.get_nowait()["bytes"])
            kernel_at_most = 16 * 2**20
            assert screen.sent - held < kernel_at_most
            stopped_at = screen.sent
            await asyncio.sleep(0.5)
            assert screen.sent == stopped_at
            browser.reads.set()
            browser.leave()

    asyncio.run(story())


def test_a_browser_that_stops_reading_is_dropped_after_a_while() -> None:
    async def story() -> None:
        guard, browser = Guard(), Browser()
        async with (
            running_screen(flood=True) as screen,
            served(guard, browser, screen.prepare, recheck_interval_s=0.1, stall_timeout_s=0.5),
        ):
            await browser.log_in()
            browser.reads.clear()
            async with asyncio.timeout(5):
                while not guard.endings:
                    await asyncio.sleep(0.05)
            browser.reads.set()
        assert guard.endings[0].code == proxy_module.CLOSED_STALLED

    asyncio.run(story())


def test_a_right_that_was_taken_away_ends_the_session_at_the_next_check() -> None:
    async def story() -> None:
        guard, browser = Guard(), Browser()
        async with (
            running_screen() as screen,
            served(guard, browser, screen.prepare, recheck_interval_s=0.05),
        ):
            await browser.log_in()
            await browser.bytes(len(SERVER_INIT))
            guard.ending = Ending(proxy_module.CLOSED_RIGHTS, "no more")
            message = await browser.close_message()
            assert (message["code"], message["reason"]) == (4401, "no more")

    asyncio.run(story())


def test_news_have_the_rights_checked_at_once() -> None:
    async def story() -> None:
        guard, browser = Guard(), Browser()
        async with (
            running_screen() as screen,
            served(guard, browser, screen.prepare, recheck_interval_s=1000) as proxy,
        ):
            await browser.log_in()
            await browser.bytes(len(SERVER_INIT))
            guard.ending = Ending(proxy_module.CLOSED_MOVED, "moved")
            for session in proxy.sessions:
                session.recheck.set()
            assert (await browser.close_message())["code"] == proxy_module.CLOSED_MOVED

    asyncio.run(story())


def test_the_guard_hears_whether_anybody_typed_since_the_last_check() -> None:
    async def story() -> None:
        guard, browser = Guard(), Browser()
        async with (
            running_screen() as screen,
            served(guard, browser, screen.prepare, recheck_interval_s=0.05),
        ):
            await browser.log_in()
            await browser.bytes(len(SERVER_INIT))
            async with asyncio.timeout(5):
                while not guard.checks:
                    await asyncio.sleep(0.01)
                assert not any(guard.checks)
                browser.say(bytes([3, 1]) + bytes(8))
                browser.say(bytes([4, 1, 0, 0, 0, 0, 0, 65]))
                while not any(guard.checks):
                    await asyncio.sleep(0.01)
            browser.leave()

    asyncio.run(story())


def test_a_database_that_is_away_for_a_moment_does_not_end_a_session_but_for_long_it_does() -> None:
    async def story() -> None:
        guard, browser = Guard(), Browser()
        async with (
            running_screen() as screen,
            served(guard, browser, screen.prepare, recheck_interval_s=0.05),
        ):
            await browser.log_in()
            await browser.bytes(len(SERVER_INIT))
            guard.failing = True
            message = await browser.close_message()
            assert message["code"] == proxy_module.CLOSED_UNAVAILABLE
        assert len(guard.checks) >= proxy_module.CHECK_FAILURES_ALLOWED

    asyncio.run(story())


def test_failed_checks_with_a_good_one_between_them_do_not_add_up() -> None:
    class Unsteady(Guard):
        async def check(self, session: Session, *, input_seen: bool) -> Ending | None:
            # One short of what ends a session, then one that succeeds, again and again.
            self.failing = (len(self.checks) + 1) % proxy_module.CHECK_FAILURES_ALLOWED != 0
            return await super().check(session, input_seen=input_seen)

    async def story() -> None:
        guard, browser = Unsteady(), Browser()
        async with (
            running_screen() as screen,
            served(guard, browser, screen.prepare, recheck_interval_s=0.01),
        ):
            await browser.log_in()
            await browser.bytes(len(SERVER_INIT))
            async with asyncio.timeout(10):
                while len(guard.checks) < 4 * proxy_module.CHECK_FAILURES_ALLOWED:
                    assert not guard.endings, guard.endings
                    await asyncio.sleep(0.01)
            browser.leave()

    asyncio.run(story())


def test_a_host_that_does_not_answer_is_told_to_the_browser() -> None:
    async def prepare(vm_id: str) -> Endpoint:
        raise ScreenUnavailable("The host is away.")

    async def story() -> None:
        guard, browser = Guard(), Browser()
        async with served(guard, browser, prepare):
            assert (await browser.next())["type"] == "websocket.accept"
            message = await browser.close_message()
        assert (message["code"], message["reason"]) == (4502, "The host is away.")
        assert guard.endings[0].code == proxy_module.CLOSED_UNAVAILABLE

    asyncio.run(story())


@pytest.mark.parametrize("attributes", [{"offers": bytes([1, 1])}, {"silent": True}])
def test_what_does_not_behave_like_a_screen_is_not_shown(
    attributes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compute.vnc.screen.HANDSHAKE_TIMEOUT_S", 0.2)

    async def story() -> None:
        browser = Browser()
        async with (
            running_screen(**attributes) as screen,
            served(Guard(), browser, screen.prepare),
        ):
            assert (await browser.next())["type"] == "websocket.accept"
            assert (await browser.close_message())["code"] == proxy_module.CLOSED_UNAVAILABLE

    asyncio.run(story())


def test_sessions_that_open_one_vm_at_the_same_moment_all_get_in() -> None:
    async def slow(screen: Screen, vm_id: str) -> Endpoint:
        endpoint = await screen.prepare(vm_id)
        await asyncio.sleep(0.02)
        return endpoint

    async def story() -> None:
        async with running_screen() as screen:
            opener = ScreenOpener(lambda vm_id: slow(screen, vm_id))
            ends = await asyncio.gather(*(opener.open("vm-1") for _ in range(8)))
            for end in ends:
                end.close()
            assert not opener._locks

    asyncio.run(story())


def test_a_password_that_another_process_replaced_meanwhile_is_set_again() -> None:
    async def story() -> None:
        async with running_screen() as screen:
            spoiled = 0

            async def prepare(vm_id: str) -> Endpoint:
                nonlocal spoiled
                endpoint = await screen.prepare(vm_id)
                if spoiled < 2:
                    spoiled += 1
                    screen.password = "another1"
                return endpoint

            end = await ScreenOpener(prepare).open("vm-1")
            end.close()
            assert spoiled == 2

    asyncio.run(story())


def test_a_screen_that_accepts_nothing_is_given_up() -> None:
    async def story() -> None:
        async with running_screen() as screen:

            async def prepare(vm_id: str) -> Endpoint:
                return Endpoint(address="127.0.0.1", port=screen.port, password="wrongpwd")

            started = time.monotonic()
            with pytest.raises(ScreenUnavailable):
                await ScreenOpener(prepare).open("vm-1")
            assert time.monotonic() - started < 5

    asyncio.run(story())
