"""The screen of a VM for a browser: one websocket to one TCP connection. No Django in here.

The websocket server must hold the application back when the browser is slow (``send`` waits), as
uvicorn does; then one session never holds more than a few hundred kilobytes. The security
handshake with QEMU is done here, so that a browser never learns the password of a screen.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from compute.vnc import rfb
from compute.vnc.screen import ScreenOpener, ScreenUnavailable, TcpEnd

log = logging.getLogger(__name__)

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

RECHECK_INTERVAL_S: Final = 15.0
STALL_TIMEOUT_S: Final = 60.0
CHECK_FAILURES_ALLOWED: Final = 4
BROWSER_HANDSHAKE_TIMEOUT_S: Final = 10.0

# Close codes of our own (RFC 6455 leaves 4000 to 4999 to applications); the page knows them.
CLOSED_BY_SCREEN: Final = 4000
CLOSED_RIGHTS: Final = 4401
CLOSED_GONE: Final = 4404
CLOSED_STALLED: Final = 4408
CLOSED_NOT_RUNNING: Final = 4409
CLOSED_MOVED: Final = 4410
CLOSED_UNAVAILABLE: Final = 4502


class Refused(Exception):
    """The connection is not allowed; the browser gets an HTTP 403 and asks for a new ticket."""


@dataclass(frozen=True)
class Ending:
    """Why a session ends: a close code and a sentence for people."""

    code: int
    reason: str


@dataclass(eq=False)
class Session:
    """One open screen. ``grant`` is what the guard remembers of it."""

    vm_id: str
    grant: Any
    opened_at: float = field(default_factory=time.monotonic)
    input_seen: bool = False
    # Set to have the rights checked at once rather than at the next turn.
    recheck: asyncio.Event = field(default_factory=asyncio.Event)
    sending_since: float | None = None
    bytes_to_browser: int = 0
    bytes_from_browser: int = 0


class Guard(Protocol):
    """Who may see which screen, and for how long."""

    async def admit(self, scope: Scope) -> Session:
        """Use up the ticket of a new connection. Raises Refused."""

    async def check(self, session: Session, *, input_seen: bool) -> Ending | None:
        """Tell why an open session has to end now; None if it may go on.

        ``input_seen`` says whether the person did anything since the last check.
        """

    async def opened(self, session: Session) -> None:
        """The screen is on."""

    async def closed(self, session: Session, ending: Ending) -> None:
        """The session is over, or never came to be."""


class BrowserEnd:
    """The websocket as the handshake wants it: exact counts out of messages of any size."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._buffer = b""

    async def readexactly(self, n: int, /) -> bytes:
        """Return exactly ``n`` bytes or raise ``asyncio.IncompleteReadError``."""
        while len(self._buffer) < n:
            data = await self.next()
            if data is None:
                raise asyncio.IncompleteReadError(self._buffer, n)
            self._buffer += data
        out, self._buffer = self._buffer[:n], self._buffer[n:]
        return out

    async def write(self, data: bytes, /) -> None:
        """Send one binary message."""
        await self._send({"type": "websocket.send", "bytes": data})

    async def next(self) -> bytes | None:
        """Return what the next message carries; None when the browser is gone."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            return None
        data: bytes | None = message.get("bytes")
        return data if data is not None else b""

    def leftover(self) -> bytes:
        """Hand over what came after the handshake."""
        out, self._buffer = self._buffer, b""
        return out


class VncProxy:
    """The ASGI application. Live sessions are in ``sessions`` for those who have news for them."""

    def __init__(
        self,
        guard: Guard,
        opener: ScreenOpener,
        *,
        recheck_interval_s: float = RECHECK_INTERVAL_S,
        stall_timeout_s: float = STALL_TIMEOUT_S,
    ) -> None:
        self._guard = guard
        self._opener = opener
        self._recheck_interval_s = recheck_interval_s
        self._stall_timeout_s = stall_timeout_s
        self.sessions: set[Session] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            raise ValueError("only websockets are served here")
        if (await receive())["type"] != "websocket.connect":
            return
        try:
            session = await self._guard.admit(scope)
        except Refused as refusal:
            log.info("refused %s: %s", scope.get("client"), refusal)
            await send({"type": "websocket.close", "code": CLOSED_RIGHTS})
            return
        # noVNC offers no subprotocol; older clients insist on the one that they offer.
        subprotocol = "binary" if "binary" in scope.get("subprotocols", ()) else None
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        self.sessions.add(session)
        ending = Ending(1000, "")
        try:
            ending = await self._serve(session, receive, send)
        finally:
            self.sessions.discard(session)
            # The session's end is recorded even if the server is being stopped meanwhile.
            await asyncio.shield(self._guard.closed(session, ending))
        with contextlib.suppress(Exception):
            # The browser may be gone already; each server tells so with an exception of its own.
            await send(
                {"type": "websocket.close", "code": ending.code, "reason": ending.reason[:120]}
            )

    async def _serve(self, session: Session, receive: Receive, send: Send) -> Ending:
        try:
            screen = await self._opener.open(session.vm_id)
        except ScreenUnavailable as error:
            return Ending(CLOSED_UNAVAILABLE, str(error))
        browser = BrowserEnd(receive, send)
        try:
            try:
                async with asyncio.timeout(BROWSER_HANDSHAKE_TIMEOUT_S):
                    await rfb.serve_security(browser, browser, password=None)
            except (TimeoutError, rfb.ProtocolError) as error:
                return Ending(1002, str(error) or "The viewer did not answer.")
            except asyncio.IncompleteReadError:
                return Ending(1000, "")
            await self._guard.opened(session)
            return await self._pipe(session, browser, screen, send)
        finally:
            screen.close()

    async def _pipe(
        self, session: Session, browser: BrowserEnd, screen: TcpEnd, send: Send
    ) -> Ending:
        """Run one task per direction and one that watches; the first to end ends all."""
        tasks = {
            asyncio.create_task(self._to_browser(session, screen, send)),
            asyncio.create_task(self._to_screen(session, browser, screen)),
            asyncio.create_task(self._watch(session)),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return next(iter(done)).result()

    async def _to_browser(self, session: Session, screen: TcpEnd, send: Send) -> Ending:
        read = screen.read
        clock = time.monotonic
        try:
            while data := await read():
                session.sending_since = clock()
                await send({"type": "websocket.send", "bytes": data})
                session.sending_since = None
                session.bytes_to_browser += len(data)
        except OSError as error:
            # uvicorn's ClientDisconnected is an OSError like a reset of the screen's connection.
            log.debug("towards the browser of %s: %s", session.vm_id, error)
        return Ending(CLOSED_BY_SCREEN, "The VM closed its screen.")

    async def _to_screen(self, session: Session, browser: BrowserEnd, screen: TcpEnd) -> Ending:
        watcher = rfb.InputWatcher(skip_bytes=1)  # the one byte of ClientInit
        data: bytes | None = browser.leftover()
        try:
            while data is not None:
                if data:
                    session.bytes_from_browser += len(data)
                    if watcher.feed(data):
                        session.input_seen = True
                    await screen.write(data)
                data = await browser.next()
        except OSError as error:
            log.debug("towards the screen of %s: %s", session.vm_id, error)
            return Ending(CLOSED_BY_SCREEN, "The VM closed its screen.")
        return Ending(1000, "")

    async def _watch(self, session: Session) -> Ending:
        """Check the rights every so often and when there is news; end a stalled session."""
        failures = 0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._recheck_interval_s):
                    await session.recheck.wait()
            session.recheck.clear()
            since = session.sending_since
            if since is not None and time.monotonic() - since > self._stall_timeout_s:
                return Ending(CLOSED_STALLED, "The viewer stopped reading.")
            input_seen, session.input_seen = session.input_seen, False
            try:
                ending = await self._guard.check(session, input_seen=input_seen)
            except Exception:
                # A database that restarts must not take the screens along, but a right that
                # cannot be confirmed for long is none.
                log.exception("could not check the session on %s", session.vm_id)
                failures += 1
                if failures >= CHECK_FAILURES_ALLOWED:
                    return Ending(CLOSED_UNAVAILABLE, "The right to this screen is unconfirmed.")
                continue
            failures = 0
            if ending is not None:
                return ending
