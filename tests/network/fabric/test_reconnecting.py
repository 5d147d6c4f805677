"""A database of OVN that is away is dialled less and less often."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from network.fabric.base import FabricUnreachable
from network.fabric.ovn import session as sessions
from network.fabric.ovn.session import Session


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
