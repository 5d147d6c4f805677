"""Connections to libvirt, by host and process, with hard time bounds.

A libvirt call is a C call: it ignores signals and can wait for ever on a silent host. So every
call runs in a thread of its own; when its bound passes, the caller gets an error, the connection
is given up and the thread is left to end by itself.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import libvirt

from compute.hypervisor.base import (
    AgentRefused,
    AgentUnavailable,
    DomainNotFound,
    DomainNotRunning,
    HostFull,
    HostUnreachable,
    HypervisorError,
    OperationTimeout,
    Refused,
)
from scloud.lib import libvirt_uris as uris
from scloud.lib.backoff import Backoff

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5.0
# A host that comes back is found within the last of them.
FIRST_RETRY_S = 0.25
LAST_RETRY_S = 5.0
KEEPALIVE_INTERVAL_S = 5
KEEPALIVE_COUNT = 3
DEFAULT_TCP_PORT = 16509
DEFAULT_TLS_PORT = 16514

_BROKEN = (
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_SYSTEM_ERROR,
    libvirt.VIR_ERR_INTERNAL_ERROR,
)

# Connections inherited over a fork share a socket with the parent. Dropping the last reference
# would close the parent's connection, so they are kept here, unused.
_inherited: list[Connection] = []


class Connection:
    """The connections to one libvirt daemon, opened when needed and again after they broke.

    Each serves one call at a time. Where several calls wait on one and the daemon falls silent,
    the end of the keep-alive ends the process: libvirt's client before 10.4 lets a call read what
    another one had on its stack (CVE-2024-4418).
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        # Guards the two below.
        self._lock = threading.Lock()
        self._idle: list[_Opened] = []
        self._generation = 0
        # Held by who dials, and guards the three below.
        self._dialling = threading.Lock()
        self._failed_at = float("-inf")
        self._backoff = Backoff(first_s=FIRST_RETRY_S, ceiling_s=LAST_RETRY_S)
        self._again_at = float("-inf")

    def call(
        self,
        function: Callable[[libvirt.virConnect], T],
        *,
        timeout_s: float,
        giving_up_breaks: bool = True,
    ) -> T:
        """Run `function` with an open connection; at most about `timeout_s` seconds.

        Raises the port's errors. With `giving_up_breaks` a timeout drops the connections that are
        open, since nothing is known about the host; without, the call may go on in the background.
        """
        opened = self._take()

        def work() -> T:
            try:
                return function(opened.conn)
            except libvirt.libvirtError as error:
                if error.get_error_code() in _BROKEN and not _is_alive(opened.conn):
                    self._distrust()
                    raise HostUnreachable(f"The connection to the host broke: {error}") from error
                raise translate(error) from error
            finally:
                self._give_back(opened)

        try:
            return bounded(work, timeout_s=timeout_s)
        except _GivenUp:
            if giving_up_breaks:
                self._distrust()
            raise

    def _take(self) -> _Opened:
        """A connection that nobody else has; :meth:`_give_back` takes it again."""
        asked_at = time.monotonic()
        if (found := self._idle_one()) is not None:
            return found
        with self._dialling:
            if (found := self._idle_one()) is not None:
                return found
            if self._failed_at > asked_at:
                # Somebody tried while we waited: do not let a queue of threads try one by one.
                raise HostUnreachable("The host does not answer.")
            if asked_at < self._again_at:
                # It failed a moment ago: what asks all the time must not connect all the time.
                raise HostUnreachable("The host does not answer.")
            with self._lock:
                generation = self._generation
            ensure_event_loop()
            try:
                _reach(self._uri)
                conn = bounded(lambda: _connect(self._uri), timeout_s=CONNECT_TIMEOUT_S)
            except (libvirt.libvirtError, OSError, OperationTimeout) as error:
                self._failed_at = time.monotonic()
                self._again_at = self._failed_at + self._backoff.failed()
                raise HostUnreachable(f"The host does not answer: {error}") from error
            self._backoff.worked()
            return _Opened(conn, generation)

    def _idle_one(self) -> _Opened | None:
        """The connection that was used last, of those that are alive and trusted."""
        with self._lock:
            while self._idle:
                found = self._idle.pop()
                if _is_alive(found.conn):
                    return found
                _close(found.conn)
        return None

    def _give_back(self, opened: _Opened) -> None:
        """Keep a connection for the next call, or close it where the host was distrusted since."""
        with self._lock:
            if opened.generation == self._generation:
                self._idle.append(opened)
                return
        _close(opened.conn)

    def _distrust(self) -> None:
        """Use none of the connections again that are open now.

        Those on which a call is under way are closed when it ends: closing frees what it still
        uses. A call that was given up goes on in its thread until the host answers or the
        keep-alive ends the connection.
        """
        with self._lock:
            self._generation += 1
            idle, self._idle = self._idle, []
        for one in idle:
            _close(one.conn)


@dataclass(frozen=True)
class _Opened:
    """A connection of libvirt, and which generation of a host's connections it is of."""

    conn: libvirt.virConnect
    generation: int


class _GivenUp(OperationTimeout):
    """A call did not end within its bound. It may end later."""


def _close(conn: libvirt.virConnect) -> None:
    """Close a connection on which no call is under way. Does not wait."""

    def close() -> None:
        with contextlib.suppress(libvirt.libvirtError):
            conn.close()

    threading.Thread(target=close, name="libvirt-close", daemon=True).start()


def _is_alive(conn: libvirt.virConnect) -> bool:
    """Whether the connection's socket still stands, as far as this end knows."""
    try:
        return bool(conn.isAlive())
    except libvirt.libvirtError:
        return False


def bounded(function: Callable[[], T], *, timeout_s: float) -> T:
    """Run `function` in a thread. Raises OperationTimeout if it does not end in time."""
    results: list[T] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            results.append(function())
        except BaseException as error:  # handed to the caller's thread
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=work, name="libvirt-call", daemon=True).start()
    if not done.wait(timeout_s):
        raise _GivenUp(f"The host did not finish within {timeout_s:g} seconds.")
    if errors:
        raise errors[0]
    return results[0]


def _reach(uri: str) -> None:
    """Fail fast where nobody listens: libvirt itself waits for the kernel's long TCP timeout."""
    parts = urlsplit(uri)
    transport = parts.scheme.partition("+")[2]
    if parts.hostname is None or transport not in ("tcp", "tls", ""):
        return
    port = parts.port or (DEFAULT_TCP_PORT if transport == "tcp" else DEFAULT_TLS_PORT)
    with socket.create_connection((parts.hostname, port), timeout=CONNECT_TIMEOUT_S / 2):
        pass


def _connect(uri: str) -> libvirt.virConnect:
    if problem := uris.problem_of(uri):
        # The row may have been written past the admin's form.
        raise HostUnreachable(f"The host's URI is not used: {problem}")
    conn = libvirt.open(uri)
    # Local sockets without keep-alive support are fine: a dead local daemon closes its socket.
    with contextlib.suppress(libvirt.libvirtError):
        conn.setKeepAlive(KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT)
    return conn


# -- per process ---------------------------------------------------------------------------------

_connections: dict[str, Connection] = {}
_registry_lock = threading.Lock()
_event_loop_pid: int | None = None


def connection_to(uri: str) -> Connection:
    """This process's connections to the daemon at `uri`."""
    with _registry_lock:
        if uri not in _connections:
            _connections[uri] = Connection(uri)
        return _connections[uri]


def ensure_event_loop() -> None:
    """Run libvirt's event loop in a thread of this process; keep-alive needs it."""
    global _event_loop_pid
    with _registry_lock:
        if _event_loop_pid == os.getpid():
            return
        libvirt.virEventRegisterDefaultImpl()
        _event_loop_pid = os.getpid()

        def loop() -> None:
            while True:
                libvirt.virEventRunDefaultImpl()

        threading.Thread(target=loop, name="libvirt-events", daemon=True).start()


def _after_fork() -> None:
    global _registry_lock
    _registry_lock = threading.Lock()
    _inherited.extend(_connections.values())
    _connections.clear()


def _ignore_printed_error(context: object, error: object) -> None:
    """Errors arrive as exceptions; libvirt would print them to stderr as well."""


os.register_at_fork(after_in_child=_after_fork)
libvirt.registerErrorHandler(_ignore_printed_error, None)


# -- errors --------------------------------------------------------------------------------------


def translate(error: libvirt.libvirtError) -> HypervisorError:
    """The port's error for one of libvirt's."""
    code = error.get_error_code()
    text = error.get_error_message() or str(error)
    lowered = text.lower()
    if code == libvirt.VIR_ERR_NO_DOMAIN:
        return DomainNotFound("The host does not know this domain.")
    if code in (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_AGENT_UNSYNCED):
        return AgentUnavailable(f"The guest agent does not answer: {text}")
    if "guest agent" in lowered and ("not configured" in lowered or "not connected" in lowered):
        return AgentUnavailable(f"The guest agent does not answer: {text}")
    if "guest agent command" in lowered or "agent command" in lowered:
        return AgentRefused(f"The guest agent refused: {text}")
    if code == libvirt.VIR_ERR_OPERATION_INVALID and "not running" in lowered:
        return DomainNotRunning("The domain is not running.")
    if code == libvirt.VIR_ERR_OPERATION_TIMEOUT:
        return OperationTimeout(f"The host did not finish in time: {text}")
    if code == libvirt.VIR_ERR_NO_MEMORY or "cannot allocate memory" in lowered:
        return HostFull(f"The host has no memory left: {text}")
    return Refused(f"The host refused: {text}")
