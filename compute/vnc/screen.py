"""Opening an authenticated RFB connection to the screen of a VM. No Django in here."""

import asyncio
import logging
import socket
import ssl
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, cast

from compute.vnc import rfb

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S: Final = 5.0
HANDSHAKE_TIMEOUT_S: Final = 5.0
PREPARE_TIMEOUT_S: Final = 20.0
ATTEMPTS: Final = 3
# What one connection may hold of the screen's bytes while the viewer is slow. QEMU then sees a
# full socket and sends fewer updates, which is what it should do.
READ_LIMIT_BYTES: Final = 128 * 1024


class ScreenUnavailable(Exception):
    """The screen cannot be opened now; the text is fit for people."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a screen listens, and the password that was just set for this one connection."""

    address: str
    port: int
    password: str = field(repr=False)
    # With this machine's certificates, where it has some.
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    plain_allowed: bool = True


# Asks the hypervisor for the endpoint of a VM and sets a fresh password on it.
Prepare = Callable[[str], Awaitable[Endpoint]]


class TcpEnd(asyncio.Protocol):
    """A TCP connection that hands out what arrived as it arrived.

    asyncio's own streams copy every byte twice on the way to the reader; a screen in motion is
    nothing but bytes. At most one read of the event loop (256 KiB) above the limit is held.
    """

    def __init__(self, *, limit_bytes: int = READ_LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._chunks: deque[bytes] = deque()
        self._held_bytes = 0
        self._paused = False
        self._ended = False
        self._error: Exception | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._chunks.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= self._limit_bytes and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """Called by the event loop; a half-closed peer is a closed one."""
        self._ended = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._ended = True
        self._error = exc
        self._writable.set()
        self._wake()

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._writable.set()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _take(self) -> bytes:
        data = self._chunks.popleft() if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._held_bytes = 0
        if self._paused and not self._ended:
            self._paused = False
            self.transport.resume_reading()
        return data

    async def read(self) -> bytes:
        """Return all that has arrived, at least one byte; nothing when the peer closed."""
        while not self._chunks:
            if self._ended:
                return b""
            self._arrived = asyncio.get_running_loop().create_future()
            try:
                await self._arrived
            finally:
                self._arrived = None
        return self._take()

    async def readexactly(self, n: int, /) -> bytes:
        """Return exactly ``n`` bytes or raise ``asyncio.IncompleteReadError``."""
        data = b""
        while len(data) < n:
            more = await self.read()
            if not more:
                raise asyncio.IncompleteReadError(data, n)
            data += more
        if len(data) > n:
            self._chunks.appendleft(data[n:])
            self._held_bytes += len(data) - n
        return data[:n]

    async def write(self, data: bytes, /) -> None:
        """Send all of ``data``; returns when the peer keeps up. Raises ConnectionError."""
        if self._ended:
            raise ConnectionResetError("the connection is closed")
        self.transport.write(data)
        if not self._writable.is_set():
            await self._writable.wait()

    async def encrypt(self, context: ssl.SSLContext, *, server_name: str) -> None:
        """Go on by TLS. Raises OSError where the certificates do not do, or the peer ends it."""
        if self._chunks:
            # It would be taken for what came encrypted.
            raise rfb.ProtocolError("the server sent something before TLS began")
        transport = await asyncio.get_running_loop().start_tls(
            self.transport, self, context, server_hostname=server_name
        )
        if transport is None:
            raise ConnectionResetError("the connection is closed")
        self.transport = transport

    def close(self) -> None:
        """Drop the connection, whatever is still unsent."""
        self.transport.abort()


def keep_watch(sock: socket.socket, *, timeout_s: int) -> None:
    """Make the kernel notice a peer that vanished without a word, idle or not.

    On a listening socket this passes on to every connection that it accepts.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, timeout_s // 3))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, timeout_s // 6))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_s * 1000)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _encryption(end: TcpEnd, endpoint: Endpoint) -> Callable[[], Awaitable[None]] | None:
    context = endpoint.tls
    if context is None:
        return None
    return lambda: end.encrypt(context, server_name=endpoint.address)


class ScreenOpener:
    """Opens screens, one at a time for each VM.

    The password of a screen is one for the whole VM: two sessions that open at the same moment
    would overwrite each other's. Within a process a lock keeps them apart; a session of another
    process may still come between, which shows as a refused password and is tried again.
    """

    def __init__(self, prepare: Prepare) -> None:
        self._prepare = prepare
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._waiting: defaultdict[str, int] = defaultdict(int)

    async def open(self, vm_id: str) -> TcpEnd:
        """Return a connection on which ClientInit may be sent.

        Raises:
            ScreenUnavailable: the host did not answer, or what listens there is not the screen.
        """
        self._waiting[vm_id] += 1
        try:
            async with self._locks[vm_id]:
                return await self._open_alone(vm_id)
        finally:
            self._waiting[vm_id] -= 1
            if not self._waiting[vm_id]:
                del self._waiting[vm_id], self._locks[vm_id]

    async def _open_alone(self, vm_id: str) -> TcpEnd:
        for attempt in range(ATTEMPTS):
            try:
                async with asyncio.timeout(PREPARE_TIMEOUT_S):
                    endpoint = await self._prepare(vm_id)
            except TimeoutError:
                raise ScreenUnavailable("The host did not answer in time.") from None
            try:
                return await self.connect(endpoint)
            except rfb.WrongPassword:
                log.info("the password of %s changed meanwhile, attempt %d", vm_id, attempt + 1)
                await asyncio.sleep(0.05 * (attempt + 1))
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                log.warning("screen of %s: %s", vm_id, error or type(error).__name__)
                raise ScreenUnavailable("The screen of the VM does not answer.") from error
            except rfb.ProtocolError as error:
                log.error("screen of %s: %s", vm_id, error)
                raise ScreenUnavailable("The screen of the VM does not answer as it should.") from (
                    error
                )
        raise ScreenUnavailable("The screen of the VM refused its own password.")

    @staticmethod
    async def connect(endpoint: Endpoint) -> TcpEnd:
        """Open the connection of one endpoint. Raises what ``rfb.pass_security`` and sockets do."""
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, end = await asyncio.get_running_loop().create_connection(
                TcpEnd, endpoint.address, endpoint.port
            )
        try:
            keep_watch(end.transport.get_extra_info("socket"), timeout_s=30)
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                await rfb.pass_security(
                    end,
                    end,
                    password=endpoint.password,
                    encrypt=_encryption(end, endpoint),
                    plain_allowed=endpoint.plain_allowed,
                )
        except BaseException:
            end.close()
            raise
        return end
