"""A database of OVN that is away is dialled less and less often."""

from __future__ import annotations

import logging
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
from ovsdbapp.backend.ovs_idl import connection

from network.fabric.base import FabricUnreachable
from network.fabric.ovn import session as sessions
from network.fabric.ovn.session import Session
from tests.network.fabric.conftest import running


def test_whoever_asks_all_the_time_does_not_dial_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, dialled = [1000.0], []

    def away(*given: Any) -> Any:
        dialled.append(now[0])
        raise FabricUnreachable("nobody listens")

    monkeypatch.setattr(sessions, "_fetch_schema", away)
    monkeypatch.setattr("network.fabric.ovn.session.time.monotonic", lambda: now[0])
    session = Session("tcp:192.0.2.1:6641", "OVN_Northbound", {}, 1.0)
    asked = 0
    while now[0] < 1060:
        with pytest.raises(FabricUnreachable):
            session.transact(lambda txn: None)
        asked += 1
        now[0] += 0.05
    assert asked > 1000
    gaps = [later - at for at, later in pairwise(dialled)]
    assert gaps[0] < 0.5
    assert 10 < len(dialled) < 30
    assert 3.75 < gaps[-1] <= 6.1


def test_a_child_process_dials_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its parent could not reach a moment ago says nothing about it."""
    dialled = []

    def away(*given: Any) -> Any:
        dialled.append(given)
        raise FabricUnreachable("nobody listens")

    monkeypatch.setattr(sessions, "_fetch_schema", away)
    session = Session("tcp:192.0.2.1:6641", "OVN_Northbound", {}, 1.0)
    for pid in (1, 1, 2):
        monkeypatch.setattr("network.fabric.ovn.session.os.getpid", lambda pid=pid: pid)
        with pytest.raises(FabricUnreachable):
            session.transact(lambda txn: None)
    assert len(dialled) == 2


def test_what_cannot_be_dialled_is_tried_less_and_less_often_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now, tried, waited = [1000.0], [], []

    class Poller:
        def timer_wait(self, ms: int) -> None:
            waited.append(ms / 1000)

    def fails(self: Any) -> None:
        tried.append(now[0])
        if now[0] < 1060:
            raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("network.fabric.ovn.session.time.monotonic", lambda: now[0])
    monkeypatch.setattr(connection.OvsdbIdl, "__init__", lambda *given: None)
    monkeypatch.setattr(connection.OvsdbIdl, "run", fails)
    idl = sessions._Idl("tcp:192.0.2.1:6641", None)
    with caplog.at_level(logging.INFO, "network.fabric.ovn.session"):
        while now[0] < 1070:
            idl.run()
            if now[0] < 1059:
                idl.wait(Poller())
            now[0] += 0.05
    assert len([at for at in tried if at < 1060]) < 30
    assert 0 < min(waited) <= max(waited) <= 6.1
    assert [one.levelname for one in caplog.records] == ["ERROR", "INFO"]


_ENDS = """
import atexit, sys, threading
atexit.register(lambda: print(threading.active_count()))
from network.fabric.ovn.session import Session
session = Session(sys.argv[1], "OVN_Northbound", {"NB_Global": ["name"]}, 5.0)
session._connected()
print(threading.active_count())
"""


@pytest.mark.lab
def test_no_thread_is_left_when_the_process_ends() -> None:
    with running(northd=False) as databases:
        done = subprocess.run(
            [sys.executable, "-c", _ENDS, databases.nb],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    assert done.stdout.split() == ["2", "1"], done.stderr
