"""A connection to one OVSDB database: bounded in time, shared by threads, renewed after a fork."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import ovs.db.idl
from ovsdbapp import exceptions
from ovsdbapp.backend.ovs_idl import command, connection, transaction
from ovsdbapp.schema.ovn_northbound import impl_idl

from network.fabric.base import FabricRefused, FabricUnreachable
from network.fabric.ovn import parsing, tls
from scloud.lib import lease
from scloud.lib.backoff import Backoff, Said

parsing.use()
log = logging.getLogger(__name__)

Result = TypeVar("Result")
Columns = dict[str, Sequence[str]]

#: Another process inserted the same row between our look and our act; looking again settles it.
_LOST_RACE: Final = "would duplicate a UUID"
_ATTEMPTS: Final = 4
#: A table whose first mirrored column is one of these can be looked up by it.
_INDEXED: Final = frozenset({"name", "logical_port"})


class _Api(impl_idl.OvnNbApiIdlImpl):
    """The library keeps one connection per class; a process here may talk to several regions."""

    @property
    def ovsdb_connection(self) -> Any:
        """The connection of this very object."""
        return self._own_connection

    @ovsdb_connection.setter
    def ovsdb_connection(self, value: Any) -> None:
        self._own_connection = value


class _Idl(connection.OvsdbIdl):
    """Dials again after a pause where the library would at once, and say so each time.

    What cannot even be dialled, because the certificates are gone or no descriptor is left, is an
    exception in its thread, which goes on without a pause.
    """

    def __init__(self, address: str, helper: Any) -> None:
        super().__init__(address, helper)
        self._address = address
        self._backoff = Backoff(first_s=0.25, ceiling_s=5.0)
        self._said = Said(log)
        self._again_at = float("-inf")

    def run(self) -> Any:
        """Do what the connection asks for, unless it failed a moment ago."""
        if time.monotonic() < self._again_at:
            return False
        try:
            if tls.SCHEME in self._address and not self._session.is_connected():
                # The library opens its socket before it reads these, and would leave it open.
                tls.context()
            changed = super().run()
        except (OSError, ValueError) as error:
            self._again_at = time.monotonic() + self._backoff.failed()
            self._said.say(
                self._address, repr(error), logging.ERROR, "%s: %s", self._address, error
            )
            return False
        if self._backoff.worked():
            self._said.say(self._address, "", logging.INFO, "%s can be dialled", self._address)
        return changed

    def wait(self, poller: Any) -> None:
        """Wake the thread when there is something to do, or the pause is over."""
        left_s = self._again_at - time.monotonic()
        if left_s > 0:
            poller.timer_wait(int(left_s * 1000) + 1)
        else:
            super().wait(poller)


class _Work(command.BaseCommand):
    """Runs one function inside a transaction; run again from the start when the database moved."""

    def __init__(self, api: Any, work: Callable[[Any], Any]) -> None:
        super().__init__(api)
        self._work = work

    def run_idl(self, txn: Any) -> None:
        """Look at the database's copy and write what differs."""
        self.result = self._work(txn)


class Session:
    """One database's rows in memory, kept up to date by a thread of the library's.

    Opening does no input or output. ``columns`` names what is mirrored, per table.
    """

    def __init__(self, address: str, schema: str, columns: Columns, timeout_s: float) -> None:
        self._address = address
        self._schema = schema
        self._columns = columns
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._api: Any = None
        self._pid = 0
        self._backoff = Backoff(first_s=0.25, ceiling_s=5.0)
        self._again_at = float("-inf")
        _sessions.add(self)

    def transact(self, work: Callable[[Any], Result]) -> Result:
        """Run ``work(txn)`` and commit what it wrote, or raise and leave everything as it was.

        ``work`` reads and writes :meth:`tables` and may be called more than once.
        """
        for attempt in range(_ATTEMPTS):
            api = self._connected()
            txn: transaction.Transaction = api.create_transaction(
                check_error=True, log_errors=False
            )
            done = txn.add(_Work(api, work))
            lease.confirm()
            try:
                txn.commit()
            except exceptions.TimeoutException as error:
                self._discard(api)
                raise FabricUnreachable(f"{self._address} did not answer in time") from error
            except RuntimeError as error:
                text = str(error)
                if "timed out" in text:
                    self._discard(api)
                    raise FabricUnreachable(f"{self._address} did not answer in time") from error
                if _LOST_RACE not in text or attempt == _ATTEMPTS - 1:
                    raise FabricRefused(text) from error
                time.sleep(0.02 * (attempt + 1))
                continue
            result: Result = done.result
            return result
        raise AssertionError("the loop returns or raises")

    def rehearse(self, work: Callable[[Any], Result]) -> Result:
        """Run ``work(txn)`` as :meth:`transact` does, and take back what it wrote."""
        api = self._fresh()
        with api.ovsdb_connection.lock:
            txn = ovs.db.idl.Transaction(api.idl)
            try:
                return work(txn)
            finally:
                txn.abort()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Any]:
        """The tables by name, held still while the block runs."""
        api = self._fresh()
        with api.ovsdb_connection.lock:
            yield api.idl.tables

    @property
    def tables(self) -> Any:
        """The tables by name, for use inside the functions given to this object only."""
        return self._api.idl.tables

    def close(self, wait_s: float = 0.0) -> None:
        """End the connection; the next call opens another. Waits so long for its thread."""
        with self._lock:
            api, self._api = self._api, None
        if api is not None and self._pid == os.getpid():
            _stop(api.ovsdb_connection)
            if wait_s:
                api.ovsdb_connection.thread.join(wait_s)

    def _fresh(self) -> Any:
        """The connection once it is known to be up, so that no stale copy is read."""
        api = self._connected()
        end = time.monotonic() + self._timeout_s
        while not _is_up(api.idl):
            if time.monotonic() > end:
                # Not this one again: it refuses a cluster that was restored from a backup, because
                # it has seen a later state of it.
                self._discard(api)
                raise FabricUnreachable(f"{self._address} is not connected")
            time.sleep(0.02)
        return api

    def _connected(self) -> Any:
        with self._lock:
            if self._api is None or self._pid != os.getpid():
                # After a fork the parent's thread is not here, only its memory: start over.
                if self._pid == os.getpid() and time.monotonic() < self._again_at:
                    # It failed a moment ago: what asks all the time must not dial all the time.
                    raise FabricUnreachable(f"{self._address} does not answer")
                self._pid = os.getpid()
                try:
                    self._api = self._open()
                except FabricUnreachable:
                    self._again_at = time.monotonic() + self._backoff.failed()
                    raise
                self._backoff.worked()
            return self._api

    def _open(self) -> Any:
        schema = _fetch_schema(self._address, self._schema, self._timeout_s)
        helper = ovs.db.idl.SchemaHelper(schema_json=schema)
        for table, columns in self._columns.items():
            # A database of an earlier release has fewer columns.
            known = schema["tables"][table]["columns"]
            helper.register_columns(table, [one for one in columns if one in known])
        idl = _Idl(self._address, helper)
        for table, columns in self._columns.items():
            if columns[0] in _INDEXED:
                idl.tables[table].rows.index_create(columns[0]).add_column(columns[0])
        conn = connection.Connection(idl, self._timeout_s)
        try:
            return _Api(conn, auto_index=False)
        except exceptions.OvsdbConnectionUnavailable as error:
            raise FabricUnreachable(f"{self._address} did not answer in time") from error

    def _discard(self, api: Any) -> None:
        with self._lock:
            if self._api is api:
                self._api = None
        _stop(api.ovsdb_connection)


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """End the threads: one that logs while the interpreter ends can make it abort."""
    for session in list(_sessions):
        session.close(wait_s=1.0)


def _is_up(idl: Any) -> bool:
    return bool(idl.state == idl.IDL_S_MONITORING and idl._session.is_connected())


def _stop(conn: Any) -> None:
    """Tell the library's thread to end; not waited for, it may hang on a silent server."""
    conn.is_running = False
    with contextlib.suppress(Exception):
        conn.txns.put(None, block=False)
    with contextlib.suppress(Exception):
        conn.txns.alert_notify()


def _fetch_schema(addresses: str, name: str, timeout_s: float) -> dict[str, Any]:
    """Ask the server for the schema; the library's own way of asking has no time-out."""
    problem = "no address given"
    for address in addresses.split(","):
        try:
            return _ask_schema(address.strip(), name, timeout_s)
        except (OSError, ValueError) as error:
            problem = f"{address}: {error}"
    raise FabricUnreachable(f"no schema of {name}: {problem}")


def _ask_schema(address: str, name: str, timeout_s: float) -> dict[str, Any]:
    end = time.monotonic() + timeout_s
    with _dial(address, timeout_s) as link:
        request = {"method": "get_schema", "params": [name], "id": 0}
        link.sendall(json.dumps(request).encode())
        received = b""
        decoder = json.JSONDecoder()
        while True:
            link.settimeout(max(0.01, end - time.monotonic()))
            piece = link.recv(65536)
            if not piece:
                raise ValueError("closed without an answer")
            received += piece
            if not piece.rstrip().endswith(b"}"):
                continue
            try:
                answer, _ = decoder.raw_decode(received.decode())
            except ValueError:
                continue
            break
    if answer.get("error") or not isinstance(answer.get("result"), dict):
        raise ValueError(f"answered {answer.get('error') or answer!r}")
    result: dict[str, Any] = answer["result"]
    return result


def _dial(address: str, timeout_s: float) -> socket.socket:
    kind, _, rest = address.partition(":")
    if kind == "unix":
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(timeout_s)
        try:
            link.connect(rest)
        except OSError:
            link.close()
            raise
        return link
    if kind in ("tcp", "ssl"):
        host, _, port = rest.rpartition(":")
        host = host.strip("[]")
        link = socket.create_connection((host, int(port)), timeout_s)
        if kind == "tcp":
            return link
        try:
            # The library takes any certificate of the authority; here it has to be this server's.
            return tls.context().wrap_socket(link, server_hostname=host)
        except BaseException:
            link.close()
            raise
    raise ValueError("an address starts with ssl:, tcp: or unix:")
