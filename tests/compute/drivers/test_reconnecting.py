"""A host that is away is dialled less and less often, and told as away at once meanwhile."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from compute.hypervisor.base import HostRef, HostUnreachable, OperationTimeout, Refused
from compute.hypervisor.libvirt import connection
from compute.hypervisor.libvirt import host as libvirt_host
from compute.hypervisor.libvirt.connection import LAST_RETRY_S, Connection
from tests.compute.drivers.rig import eventually


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """What the connection takes for the time."""
    now = [1000.0]
    monkeypatch.setattr("compute.hypervisor.libvirt.connection.time.monotonic", lambda: now[0])
    yield now
    monkeypatch.undo()


def test_whoever_asks_all_the_time_does_not_dial_all_the_time(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled: list[float] = []

    def away(address: tuple[str, int], timeout: float) -> socket.socket:
        dialled.append(clock[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", away)
    host = Connection("qemu+tcp://192.0.2.9/system")
    asked = 0
    while clock[0] < 1060:
        with pytest.raises(HostUnreachable):
            host.call(lambda conn: conn, timeout_s=1.0)
        asked += 1
        clock[0] += 0.05
    assert asked > 1000
    gaps = [later - at for at, later in pairwise(dialled)]
    assert gaps[0] < 0.5
    assert 10 < len(dialled) < 30
    assert 0.75 * LAST_RETRY_S < gaps[-1] <= 1.2 * LAST_RETRY_S + 0.1


def test_a_host_that_is_back_is_found_and_begins_anew(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Alive:
        """What the library returns, as far as this needs it."""

        def isAlive(self) -> int:
            return alive[0]

        def close(self) -> None:
            pass

    alive = [1]
    there = [False]

    def dial(uri: str) -> Alive:
        if not there[0]:
            raise ConnectionRefusedError
        return Alive()

    monkeypatch.setattr(connection, "_reach", lambda uri: None)
    monkeypatch.setattr(connection, "_connect", dial)
    host = Connection("qemu+tcp://192.0.2.9/system")
    for _ in range(10):
        with pytest.raises(HostUnreachable):
            host.call(lambda conn: conn, timeout_s=1.0)
        clock[0] += 10.0
    there[0] = True
    assert host.call(lambda conn: conn, timeout_s=5.0)
    # It went away again: the first pause is a short one.
    alive[0], there[0] = 0, False
    with pytest.raises(HostUnreachable):
        host.call(lambda conn: conn, timeout_s=1.0)
    alive[0], there[0] = 1, True
    clock[0] += 0.5
    assert host.call(lambda conn: conn, timeout_s=5.0)


def test_a_connection_is_not_closed_under_a_call_that_was_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """libvirt frees on closing what the call uses: the process would die of it."""
    happened: list[str] = []
    closed = threading.Event()
    answers = threading.Event()

    class Connected:
        """What the library returns, as far as this needs it."""

        def isAlive(self) -> int:
            return 1

        def close(self) -> None:
            happened.append("closed")
            closed.set()

    monkeypatch.setattr(connection, "_reach", lambda uri: None)
    monkeypatch.setattr(connection, "_connect", lambda uri: Connected())
    host = Connection("qemu+tcp://192.0.2.9/system")

    def slow(conn: object) -> None:
        answers.wait(20)
        happened.append("answered")

    with pytest.raises(OperationTimeout):
        host.call(slow, timeout_s=0.05)
    # Another call gets a connection of its own, and its end closes neither.
    first = host.call(lambda conn: conn, timeout_s=5.0)
    assert host.call(lambda conn: conn, timeout_s=5.0) is first
    assert not closed.wait(0.3)
    answers.set()
    assert closed.wait(5)
    assert happened == ["answered", "closed"]


class Numbered:
    """What the library returns, as far as this needs it."""

    def __init__(self, closed: list[Numbered]) -> None:
        self._closed = closed

    def isAlive(self) -> int:
        return 1

    def close(self) -> None:
        self._closed.append(self)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[Numbered]:
    """Connections to a host that answers at once; this has those that were closed."""
    found: list[Numbered] = []
    monkeypatch.setattr(connection, "_reach", lambda uri: None)
    monkeypatch.setattr(connection, "_connect", lambda uri: Numbered(found))
    return found


def at_once(host: Connection, count: int) -> list[Any]:
    """The connections of so many calls that wait for each other."""
    meeting = threading.Barrier(count)
    used: list[Any] = []

    def work(conn: Any) -> None:
        meeting.wait(10)
        used.append(conn)

    threads = [
        threading.Thread(target=host.call, args=(work,), kwargs={"timeout_s": 20.0})
        for _number in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return used


def test_calls_at_the_same_time_have_connections_of_their_own(closed: list[Numbered]) -> None:
    host = Connection("qemu+tcp://192.0.2.9/system")
    used = at_once(host, 3)
    assert len(set(map(id, used))) == 3
    # One after the other they take one of those that are there.
    again = [host.call(lambda conn: conn, timeout_s=5.0) for _number in range(4)]
    assert len(set(map(id, again))) == 1
    assert again[0] in used
    assert closed == []


def test_a_timeout_drops_what_is_open_but_not_under_a_call(closed: list[Numbered]) -> None:
    host = Connection("qemu+tcp://192.0.2.9/system")
    used = at_once(host, 2)
    go_on = threading.Event()
    under: list[Any] = []

    def hang(conn: Any) -> None:
        under.append(conn)
        go_on.wait(10)

    with pytest.raises(OperationTimeout):
        host.call(hang, timeout_s=0.05)
    eventually(lambda: len(closed) == 1, timeout_s=10, poll_s=0.01)
    assert closed == [one for one in used if one is not under[0]]
    new = host.call(lambda conn: conn, timeout_s=5.0)
    assert new not in used
    # The call that was given up ends: nobody uses its connection again.
    go_on.set()
    eventually(lambda: len(closed) == 2, timeout_s=10, poll_s=0.01)
    assert closed[1] is under[0]
    assert host.call(lambda conn: conn, timeout_s=5.0) is new


def test_a_call_that_may_go_on_leaves_the_others_alone(closed: list[Numbered]) -> None:
    host = Connection("qemu+tcp://192.0.2.9/system")
    used = at_once(host, 2)
    go_on = threading.Event()
    with pytest.raises(OperationTimeout):
        host.call(lambda conn: go_on.wait(10), timeout_s=0.05, giving_up_breaks=False)
    other = host.call(lambda conn: conn, timeout_s=5.0)
    assert other in used
    go_on.set()
    eventually(lambda: len(set(map(id, at_once(host, 2)))) == 2, timeout_s=10, poll_s=0.01)
    assert closed == []


def test_a_host_that_is_slow_to_look_at_qemu_keeps_its_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    breaks: list[bool] = []
    text: list[str] = []

    class Hosts:
        """The connections to a host, as far as this needs them."""

        def call(self, function: object, *, timeout_s: float, giving_up_breaks: bool = True) -> str:
            breaks.append(giving_up_breaks)
            if not text:
                raise OperationTimeout("slow")
            return text[0]

    monkeypatch.setattr(libvirt_host, "connection_to", lambda uri: Hosts())
    host = libvirt_host.Host(HostRef("h9", "qemu+tcp://192.0.2.9/system", "192.0.2.9"))
    with pytest.raises(OperationTimeout):
        host.machine_types("x86_64")
    # What nobody can read is no answer, and no error that ends the round.
    text.append("<capabilities><guest>")
    with pytest.raises(Refused):
        host.machine_types("x86_64")
    assert breaks == [False, False]
