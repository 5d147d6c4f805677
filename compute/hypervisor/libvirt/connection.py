"""Connections to libvirt: one per host and process, with hard time bounds.

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
    """A connection to one libvirt daemon, opened at first use and again after it broke."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lock = threading.Lock()
        self._opened: _Opened | None = None
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
        """Run `function` with the open connection; at most about `timeout_s` seconds.

        Raises the port's errors. With `giving_up_breaks` the connection is dropped at a timeout,
        since nothing is known about its state; without, the call may go on in the background.
        """
        opened = self._open()

        def work() -> T:
            try:
                return function(opened.conn)
            finally:
                opened.release()

        try:
            return bounded(work, timeout_s=timeout_s)
        except OperationTimeout:
            if giving_up_breaks:
                self._drop(opened)
            raise
        except libvirt.libvirtError as error:
            if self._is_broken(opened.conn, error):
                self._drop(opened)
                raise HostUnreachable(f"The connection to the host broke: {error}") from error
            raise translate(error) from error

    def _is_broken(self, conn: libvirt.virConnect, error: libvirt.libvirtError) -> bool:
        return error.get_error_code() in _BROKEN and not _is_alive(conn)

    def _open(self) -> _Opened:
        """The open connection, held for a call that releases it."""
        asked_at = time.monotonic()
        with self._lock:
            if self._opened is not None:
                if _is_alive(self._opened.conn):
                    return self._opened.hold()
                self._opened.close_when_idle()
                self._opened = None
            if self._failed_at > asked_at:
                # Somebody tried while we waited: do not let a queue of threads try one by one.
                raise HostUnreachable("The host does not answer.")
            if asked_at < self._again_at:
                # It failed a moment ago: what asks all the time must not connect all the time.
                raise HostUnreachable("The host does not answer.")
            ensure_event_loop()
            try:
                _reach(self._uri)
                conn = bounded(lambda: _connect(self._uri), timeout_s=CONNECT_TIMEOUT_S)
            except (libvirt.libvirtError, OSError, OperationTimeout) as error:
                self._failed_at = time.monotonic()
                self._again_at = self._failed_at + self._backoff.failed()
                raise HostUnreachable(f"The host does not answer: {error}") from error
            self._backoff.worked()
            self._opened = _Opened(conn)
            return self._opened.hold()

    def _drop(self, opened: _Opened) -> None:
        with self._lock:
            if self._opened is opened:
                self._opened = None
        opened.close_when_idle()


class _Opened:
    """A connection of libvirt that is closed once no call is under way on it.

    Closing frees what a call in another thread still uses: the process dies of it. A call that was
    given up goes on in its thread until the host answers or the keep-alive ends the connection.
    """

    def __init__(self, conn: libvirt.virConnect) -> None:
        self.conn = conn
        self._lock = threading.Lock()
        self._calls = 0
        self._doomed = False
        self._closed = False

    def hold(self) -> _Opened:
        """Count a call that is about to begin."""
        with self._lock:
            self._calls += 1
        return self

    def release(self) -> None:
        """Count a call that has ended; the last one closes a connection that was dropped."""
        with self._lock:
            self._calls -= 1
        self._close_if_over()

    def close_when_idle(self) -> None:
        """Close it now, or when the last call has ended. Does not wait."""
        with self._lock:
            self._doomed = True
        self._close_if_over()

    def _close_if_over(self) -> None:
        with self._lock:
            if not self._doomed or self._calls or self._closed:
                return
            self._closed = True

        def close() -> None:
            with contextlib.suppress(libvirt.libvirtError):
                self.conn.close()

        threading.Thread(target=close, name="libvirt-close", daemon=True).start()


def _is_alive(conn: libvirt.virConnect) -> bool:
    """Whether the connection's socket still stands, as far as this end knows."""
    try:
        return bool(conn.isAlive())
    except libvirt.libvirtError:
        return False


def bounded(function: Callable[[], T], *, timeout_s: float) -> T:
    """Run `function` in a thread; raise `OperationTimeout` if it does not end in time."""
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
        raise OperationTimeout(f"The host did not finish within {timeout_s:g} seconds.")
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
    """This process's connection to the daemon at `uri`."""
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
