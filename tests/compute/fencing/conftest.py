"""Benches for the contract of the fencing port: a machine in memory, behind the fake device or
behind a Redfish service that Debian's real agent talks to."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from compute.fencing.agents import AgentDevice
from compute.fencing.base import AgentKind, DeviceRef, FencePort, Power
from compute.fencing.fake import FakeMachine, fake_machine, forget_fake_machines
from compute.fencing.opening import open_fence
from scloud.lab.redfish import SYSTEM, Service, make_certificate

USER = "operator"
PASSWORD = 'a "quoted" pass=word; with blanks '


@dataclass
class Bench:
    """A machine, its device, and how long a call may take there."""

    machine: FakeMachine
    ref: DeviceRef
    limit_s: float
    go_away: Callable[[], None]

    @property
    def port(self) -> FencePort:
        """The device's port."""
        return open_fence(self.ref)

    def port_with(self, **changes: Any) -> FencePort:
        """The port of a row that says something else."""
        return open_fence(dataclasses.replace(self.ref, **changes))


class Behind:
    """The machine, as a Redfish service sees it."""

    name = "bench"

    def __init__(self, machine: FakeMachine) -> None:
        self._machine = machine

    def power_state(self) -> str:
        """Say nothing while the machine is silent."""
        while self._machine.silent:
            time.sleep(0.05)
        return "On" if self._machine.now() is Power.ON else "Off"

    def switch(self, on: bool) -> None:
        self._machine.request(Power.ON if on else Power.OFF)


@pytest.fixture
def fake() -> Iterator[Bench]:
    """The device in memory."""
    machine = fake_machine("bench")
    machine.user, machine.password = USER, PASSWORD

    def go_away() -> None:
        machine.unreachable = True

    ref = DeviceRef(AgentKind.FAKE, "bench", USER, PASSWORD)
    yield Bench(machine, ref, 0.4, go_away)
    forget_fake_machines()


@pytest.fixture
def redfish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """The real agent, and a service on a port of its own."""
    monkeypatch.setattr(AgentDevice, "settle_s", 0.1)
    monkeypatch.setattr(AgentDevice, "poll_s", 0.05)
    certificate, key = make_certificate(tmp_path, "127.0.0.1")
    machine = FakeMachine()
    service = Service(
        ("127.0.0.1", 0),
        Behind(machine),
        user=USER,
        password=PASSWORD,
        certificate=certificate,
        key=key,
    )
    thread = threading.Thread(target=service.serve_forever, args=(0.05,))
    thread.start()

    def go_away() -> None:
        service.shutdown()
        service.server_close()

    ref = DeviceRef(
        AgentKind.REDFISH,
        "127.0.0.1",
        USER,
        PASSWORD,
        port=service.server_address[1],
        system=SYSTEM,
        certificate=certificate.read_text(),
    )
    yield Bench(machine, ref, 3.0, go_away)
    machine.silent = False
    go_away()
    thread.join()


@pytest.fixture(params=["fake", pytest.param("redfish", marks=pytest.mark.lab)])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Each test of the contract runs over both."""
    found: Bench = request.getfixturevalue(request.param)
    return found
