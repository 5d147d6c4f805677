"""The gateway for VNC clients: opens a port for each lease and carries one client to its screen.

The port stays open until the lease's time is over: a client that was dropped comes again, from
where it came first, and takes the place of a connection of its own that is still there.

Leases are rows that the web process writes; this process hears of them by NOTIFY and looks at the
table every so often anyway. It keeps nothing on disk: when it dies, its ports close with it, and a
new one opens those again whose leases are still good. Only one gateway works at a time; another
one waits, ready to take over.
"""

import asyncio
import contextlib
import logging
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

import psycopg

from compute.models.vnc import VncLease, VncLeaseState
from compute.vnc import leases, rfb, screens, tickets
from compute.vnc.leases import source_of
from compute.vnc.news import connection_parameters, listen
from compute.vnc.screen import Endpoint, ScreenOpener, ScreenUnavailable, TcpEnd, keep_watch
from compute.vnc.threads import in_database_thread, in_host_thread
from scloud.audit.events import CHANNEL as EVENTS
from scloud.lib.backoff import Said

log = logging.getLogger(__name__)
said = Said(log)

IDLE_TIMEOUT_S: Final = 300.0
POLL_INTERVAL_S: Final = 2.0
CHECK_INTERVAL_S: Final = 15.0
CLIENT_HANDSHAKE_TIMEOUT_S: Final = 20.0
DEAD_PEER_TIMEOUT_S: Final = 60
# A scanner that opens the port must keep no other client out. Handshakes are bounded per source
# and for all; the newest one takes the place of the oldest of the source that holds most, so that
# idle sockets, however many, only push out each other.
MAX_HANDSHAKES_OF_SOURCE: Final = 4
MAX_HANDSHAKES: Final = 64
# Of one source for one lease; the lease itself goes on for others.
MAX_WRONG_PASSWORDS: Final = 5
MAX_SOURCES_REMEMBERED: Final = 4096
# Rights that cannot be confirmed for so many checks are none.
CHECK_FAILURES_ALLOWED: Final = 4
_LOCK_KEY: Final = 0x53434C56  # "SCLV": one gateway at a time


@dataclass(frozen=True)
class _End:
    """Why a session ended, and whether its client may come again within the lease's time."""

    reason: str
    may_return: bool = True


@dataclass(eq=False)
class Session:
    """A client that gave the right password, until its end is written down."""

    task: asyncio.Task[Any]
    # Its client came again: the newer connection goes on.
    is_replaced: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False)
class Door:
    """The port of one lease, and the client that came by it."""

    lease_id: str
    vm_id: str
    password: str = field(repr=False)
    expires_at: float  # on the monotonic clock
    server: asyncio.Server | None = None
    # What an event may be about for the rights to be looked at again.
    concerns: frozenset[str] = frozenset()
    wrong_passwords: Counter[str] = field(default_factory=Counter)
    # A connection that was accepted just before may still arrive after the port was shut.
    is_shut: bool = False
    # In the order of their arrival, with their sources.
    handshakes: dict[asyncio.Task[None], str] = field(default_factory=dict)
    # Where the client came from first; nobody else is let in any more.
    source: str | None = None
    session: Session | None = None
    # Held by those who gave the right password, one after the other, until they are the session.
    entrance: asyncio.Lock = field(default_factory=asyncio.Lock)
    recheck: asyncio.Event = field(default_factory=asyncio.Event)

    def shut(self) -> None:
        """Close the port and forget the password; a connected client stays."""
        self.is_shut = True
        self.password = ""
        if self.server is not None:
            self.server.close()
            self.server = None
        for task in list(self.handshakes):
            task.cancel()


class Book(Protocol):
    """Where the leases are kept. The production one is :class:`LeaseBook`."""

    async def waiting(self) -> list[VncLease]:
        """Return the leases for which a port has to be open."""

    async def listening(self, lease_id: str) -> bool:
        """Note that the port is open; False if it is not wanted any more."""

    async def connected(self, lease_id: str, client_ip: str | None) -> bool:
        """Note the client; True for one at a time, from one source."""

    async def left(self, lease_id: str, reason: str) -> bool:
        """Note that the client is gone; True if it may come again."""

    async def closed(self, lease_id: str, reason: str) -> None:
        """Note the end."""

    async def ending(self, lease_id: str) -> str:
        """Tell why the client may not see the screen (any more); empty when it may."""


class LeaseBook:
    async def waiting(self) -> list[VncLease]:
        return await in_database_thread(leases.waiting)

    async def listening(self, lease_id: str) -> bool:
        """Note that the port is open; False if it is not wanted any more."""
        return await in_database_thread(partial(leases.mark_listening, lease_id))

    async def connected(self, lease_id: str, client_ip: str | None) -> bool:
        """Note the client; True for one at a time, from one source."""
        return await in_database_thread(
            partial(leases.mark_connected, lease_id, client_ip=client_ip)
        )

    async def left(self, lease_id: str, reason: str) -> bool:
        """Note that the client is gone; True if it may come again."""
        return await in_database_thread(partial(leases.mark_left, lease_id, reason=reason))

    async def closed(self, lease_id: str, reason: str) -> None:
        await in_database_thread(partial(leases.mark_closed, lease_id, reason=reason))

    async def ending(self, lease_id: str) -> str:
        """Tell why the client may not see the screen (any more); empty when it may."""
        return await in_database_thread(partial(leases.ending, lease_id))


class Gateway:
    """Opens and closes doors as the book says."""

    def __init__(
        self, book: Book, opener: ScreenOpener, *, idle_timeout_s: float = IDLE_TIMEOUT_S
    ) -> None:
        self._book = book
        self._opener = opener
        self._idle_timeout_s = idle_timeout_s
        self.doors: dict[str, Door] = {}
        # Ends of sessions that the database could not be told of yet.
        self._untold: dict[str, _End] = {}
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Work until cancelled; then all doors are shut and all clients dropped."""
        try:
            while True:
                self.wake.clear()
                try:
                    await self.look()
                except Exception:
                    # The database may be away; doors that are open expire by their own clock.
                    log.exception("could not read the leases")
                    self._expire()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_INTERVAL_S):
                        await self.wake.wait()
        finally:
            await self._drop_all()

    async def look(self) -> None:
        """Compare the open doors with the leases whose ports have to be open."""
        for lease_id, end in list(self._untold.items()):
            door = self.doors.get(lease_id)
            # The end was written down after all where the client has come again since.
            if door is None or door.session is None or not end.may_return:
                await self._tell(lease_id, end)
            del self._untold[lease_id]
        waiting = {lease.pk: lease for lease in await self._book.waiting()}
        # First, for a new lease may have the port of one that was revoked.
        for lease_id, door in list(self.doors.items()):
            if lease_id not in waiting:
                self._shut(door)
        self._expire()
        for lease_id, lease in waiting.items():
            if lease_id not in self.doors and lease.state != VncLeaseState.CONNECTED:
                await self._open(lease)

    def _expire(self) -> None:
        for door in list(self.doors.values()):
            if time.monotonic() >= door.expires_at:
                self._shut(door)

    def _shut(self, door: Door) -> None:
        door.shut()
        if door.session is None:
            self.doors.pop(door.lease_id, None)

    async def _open(self, lease: VncLease) -> None:
        lifetime_s = lease.expires_at.timestamp() - time.time()
        door = Door(
            lease_id=lease.pk,
            vm_id=str(lease.vm_id),
            password=leases.password_of(lease),
            expires_at=time.monotonic() + lifetime_s,
            concerns=frozenset(
                str(one)
                for one in (lease.vm_id, lease.user_id, lease.api_key_id, lease.tenant_id)
                if one is not None
            ),
            source=source_of(lease.client_ip) if lease.client_ip else None,
        )
        loop = asyncio.get_running_loop()

        def connected() -> TcpEnd:
            return ClientEnd(partial(self._arrived, door))

        try:
            door.server = await loop.create_server(connected, lease.address, lease.port)
        except OSError as error:
            log.error("port %d of %s cannot be opened: %s", lease.port, lease.pk, error)
            await self._book.closed(lease.pk, "The port could not be opened. Ask for a new one.")
            return
        self.doors[lease.pk] = door
        if not await self._book.listening(lease.pk):
            self._shut(door)

    def _arrived(self, door: Door, client: TcpEnd) -> None:
        peer = client.transport.get_extra_info("peername") or ("",)
        source = source_of(str(peer[0]))
        if (
            door.is_shut
            or door.source not in (None, source)
            or door.wrong_passwords[source] >= MAX_WRONG_PASSWORDS
        ):
            client.close()
            return
        self._make_room(door, source)
        task = asyncio.get_running_loop().create_task(self._serve(door, client, source))
        door.handshakes[task] = source

        def gone(done: asyncio.Task[None]) -> None:
            door.handshakes.pop(done, None)
            # One that is cancelled before it has begun does not hang up itself.
            client.close()

        task.add_done_callback(gone)

    def _make_room(self, door: Door, source: str) -> None:
        """End the oldest handshake of a source that holds too many, or of the one with most."""
        held = Counter(door.handshakes.values())
        crowded = ""
        if held[source] >= MAX_HANDSHAKES_OF_SOURCE:
            crowded = source
        elif len(door.handshakes) >= MAX_HANDSHAKES:
            crowded = held.most_common(1)[0][0]
        if crowded:
            oldest = next(task for task, other in door.handshakes.items() if other == crowded)
            del door.handshakes[oldest]
            oldest.cancel()

    async def _serve(self, door: Door, client: TcpEnd, source: str) -> None:
        peer = client.transport.get_extra_info("peername") or ("",)
        try:
            keep_watch(client.transport.get_extra_info("socket"), timeout_s=DEAD_PEER_TIMEOUT_S)
            async with asyncio.timeout(CLIENT_HANDSHAKE_TIMEOUT_S):
                await rfb.serve_security(client, client, password=door.password)
            session = await self._let_in(door, str(peer[0]))
            if session is not None:
                await self._carry(door, session, client)
        except rfb.WrongPassword:
            self._wrong_password(door, source)
        except (rfb.ProtocolError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.info("client %s of %s: %s", peer[0], door.lease_id, error or type(error).__name__)
        finally:
            client.close()

    async def _let_in(self, door: Door, peer: str) -> Session | None:
        """Make this task, which gave the right password, the session; None if it may not be."""
        task = asyncio.current_task()
        assert task is not None
        # No stranger pushes it out any more.
        door.handshakes.pop(task, None)
        async with door.entrance:
            if door.is_shut or door.source not in (None, source_of(peer)):
                return None
            if door.session is not None:
                door.session.is_replaced = True
                door.session.task.cancel()
                await door.session.over.wait()
            if door.is_shut or not await self._book.connected(door.lease_id, peer):
                return None
            door.source = source_of(peer)
            door.session = Session(task)
            return door.session

    def _wrong_password(self, door: Door, source: str) -> None:
        """Count it for its source only: a stranger must not be able to end somebody's lease.

        Eight random characters are not guessed in five minutes, from however many addresses.
        """
        if len(door.wrong_passwords) >= MAX_SOURCES_REMEMBERED:
            door.wrong_passwords.clear()
        door.wrong_passwords[source] += 1
        count = door.wrong_passwords[source]
        log.warning("wrong password from %s for %s (%d)", source, door.lease_id, count)

    async def _carry(self, door: Door, session: Session, client: TcpEnd) -> None:
        end = None
        try:
            if refused := await self._book.ending(door.lease_id):
                end = _End(refused, may_return=False)
                return
            screen = await self._opener.open(door.vm_id)
            try:
                end = await self._pipe(door, client, screen)
            finally:
                screen.close()
        except ScreenUnavailable as error:
            end = _End(str(error))
        finally:
            if end is None:
                end = _End(
                    "The client came again." if session.is_replaced else "The gateway stopped."
                )
            # Written even while the gateway is being stopped.
            await asyncio.shield(self._leave(door, session, end))

    async def _leave(self, door: Door, session: Session, end: _End) -> None:
        """End a session; the door stays if the client may come again."""
        may_return = end.may_return
        try:
            may_return = await self._tell(door.lease_id, end)
        except Exception:
            log.exception("could not write down the end of a session of %s", door.lease_id)
            self._untold[door.lease_id] = end
        door.session = None
        if door.is_shut or not may_return:
            self._shut(door)
        session.over.set()

    async def _tell(self, lease_id: str, end: _End) -> bool:
        if end.may_return:
            return await self._book.left(lease_id, end.reason)
        await self._book.closed(lease_id, end.reason)
        return False

    async def _pipe(self, door: Door, client: TcpEnd, screen: TcpEnd) -> _End:
        """Carry both directions until one of them ends, or the time or the right is over."""
        last_input = time.monotonic()

        async def to_client() -> _End:
            while data := await screen.read():
                await client.write(data)
            return _End("The VM closed its screen.")

        async def to_screen() -> _End:
            nonlocal last_input
            watcher = rfb.InputWatcher(skip_bytes=1)  # the one byte of ClientInit
            while data := await client.read():
                if watcher.feed(data):
                    last_input = time.monotonic()
                await screen.write(data)
            return _End("The client left.")

        async def watch() -> _End:
            failures = 0
            while True:
                left = last_input + self._idle_timeout_s - time.monotonic()
                if left <= 0:
                    return _End("Nobody typed or moved the pointer for too long.", may_return=False)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, CHECK_INTERVAL_S)):
                        await door.recheck.wait()
                door.recheck.clear()
                try:
                    if refused := await self._book.ending(door.lease_id):
                        return _End(refused, may_return=False)
                except Exception:
                    # A database that restarts must not take the screens along, but a right that
                    # cannot be confirmed for long is none.
                    log.exception("could not check %s", door.lease_id)
                    failures += 1
                    if failures >= CHECK_FAILURES_ALLOWED:
                        return _End("The right to this screen is unconfirmed.", may_return=False)
                else:
                    failures = 0

        tasks = [asyncio.create_task(part()) for part in (to_client, to_screen, watch)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        try:
            return next(iter(done)).result()
        except OSError:
            return _End("The connection broke.")

    def hear(self, channel: str, payload: dict[str, Any]) -> None:
        """React to a notification: a lease changed, or something happened to a VM."""
        if channel == leases.CHANNEL:
            self.wake.set()
            return
        for door in self.doors.values():
            if payload.get("resource_id") in door.concerns:
                door.recheck.set()

    async def _drop_all(self) -> None:
        sessions = [door.session.task for door in self.doors.values() if door.session is not None]
        for door in self.doors.values():
            door.shut()
        for task in sessions:
            task.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)
        self.doors.clear()


class ClientEnd(TcpEnd):
    """A client's connection that reports its arrival."""

    def __init__(self, arrived: Callable[[TcpEnd], None]) -> None:
        super().__init__()
        self._arrived_at_door = arrived

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        super().connection_made(transport)
        self._arrived_at_door(self)


async def _prepare(vm_id: str) -> Endpoint:
    return await in_host_thread(partial(screens.prepare, vm_id))


class Lock:
    """The right to be the gateway: an advisory lock, which is held as long as its connection."""

    def __init__(self) -> None:
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def take(self) -> None:
        """Return when this is the only gateway."""
        while not await self._try():
            await asyncio.sleep(POLL_INTERVAL_S)

    async def taken_over(self) -> None:
        """Return when another gateway has the lock.

        A restarted database forgets the lock. It is taken again then, and the clients that are
        connected notice nothing, unless another gateway was faster.
        """
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            if self._connection is not None and await self._alive(self._connection):
                continue
            await self.give_back()
            try:
                if not await self._acquire():
                    log.error("another gateway has taken over")
                    return
            except (psycopg.Error, OSError) as error:
                said.say("lock", "away", logging.WARNING, "waiting for the database: %s", error)

    async def give_back(self) -> None:
        """Let another gateway work."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _try(self) -> bool:
        try:
            return await self._acquire()
        except (psycopg.Error, OSError) as error:
            said.say("lock", "away", logging.WARNING, "waiting for the database: %s", error)
            return False

    async def _acquire(self) -> bool:
        connection = await psycopg.AsyncConnection.connect(
            **connection_parameters(), autocommit=True
        )
        cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK_KEY])
        row = await cursor.fetchone()
        if row is None or not row[0]:
            await connection.close()
            return False
        self._connection = connection
        said.over("lock", "the database is back")
        return True

    async def _alive(self, connection: psycopg.AsyncConnection[Any]) -> bool:
        try:
            await connection.execute("SELECT 1")
        except (psycopg.Error, OSError) as error:
            said.say(
                "lock", "lost", logging.WARNING, "lost the connection with the lock: %s", error
            )
            return False
        return True


async def _sweep() -> None:
    while True:
        try:
            await in_database_thread(leases.sweep)
            await in_database_thread(tickets.sweep)
        except Exception:
            log.exception("could not sweep leases and tickets")
        await asyncio.sleep(60)


async def _work(lock: Lock) -> None:
    """Be the gateway until another one has taken over."""
    await in_database_thread(leases.forget_connected)
    gateway = Gateway(LeaseBook(), ScreenOpener(_prepare))
    news = listen([leases.CHANNEL, EVENTS], gateway.hear, connected=gateway.wake.set)
    tasks = [
        asyncio.create_task(part) for part in (gateway.run(), news, _sweep(), lock.taken_over())
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _serve() -> None:
    lock = Lock()

    async def serve() -> None:
        while True:
            await lock.take()
            await _work(lock)

    task = asyncio.create_task(serve())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        log.info("stopped")
    finally:
        await lock.give_back()


def run() -> int:
    """Work until SIGTERM or SIGINT."""
    import uvloop

    uvloop.run(_serve())
    return 0
