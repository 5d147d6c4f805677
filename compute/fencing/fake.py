"""Devices in memory, for tests: one per address, with the faults that real ones have."""

import time
from dataclasses import dataclass, field

from compute.fencing.base import (
    STATUS_LIMIT_S,
    CredentialsRefused,
    DeviceRef,
    DeviceUnreachable,
    FenceTimeout,
    NotConfirmed,
    Power,
    Reading,
)
from compute.fencing.confirming import Confirming


@dataclass
class FakeMachine:
    """A host and its controller.

    `ignores`: the controller takes requests and does nothing. `delay_s`: so long the host takes.
    `returns`: the controller switches a host on again that somebody has seen off.
    """

    user: str = "operator"
    password: str = ""
    power: Power = Power.ON
    unreachable: bool = False
    silent: bool = False
    ignores: bool = False
    delay_s: float = 0.0
    returns: bool = False
    asked: list[Power] = field(default_factory=list)
    _next: tuple[float, Power] | None = None

    def now(self) -> Power:
        """Let happen what is due, and return what is so."""
        if self._next is not None and time.monotonic() >= self._next[0]:
            self.power, self._next = self._next[1], None
        seen = self.power
        if seen is Power.OFF and self.returns:
            self.power = Power.ON
        return seen

    def request(self, wanted: Power) -> None:
        """Do what is asked for, or begin to."""
        self.asked.append(wanted)
        if not self.ignores:
            self._next = (time.monotonic() + self.delay_s, wanted)


_machines: dict[str, FakeMachine] = {}


def fake_machine(address: str) -> FakeMachine:
    """Return the machine behind an address; a new one is on."""
    return _machines.setdefault(address, FakeMachine())


def forget_fake_machines() -> None:
    """Remove all of them."""
    _machines.clear()


class FakeDevice(Confirming):
    """A device in memory, faster than any real one."""

    settle_s = 0.1
    poll_s = 0.01

    def __init__(self, ref: DeviceRef) -> None:
        self.ref = ref

    def status(self, *, limit_s: float = STATUS_LIMIT_S) -> Reading:
        """As in `FencePort`."""
        return Reading(self._answering(limit_s).now(), 0.0)

    def ask(self, wanted: Power, *, limit_s: float) -> bool:
        """As in `Confirming`."""
        until = time.monotonic() + limit_s
        machine = self._answering(limit_s)
        if machine.now() is wanted:
            return True
        machine.request(wanted)
        while machine.now() is not wanted:
            if time.monotonic() >= until:
                raise NotConfirmed("The device took the request, and the host did not follow.")
            time.sleep(self.poll_s)
        return False

    def _answering(self, limit_s: float) -> FakeMachine:
        machine = fake_machine(self.ref.address)
        if machine.unreachable:
            raise DeviceUnreachable("The device does not answer.")
        if machine.silent:
            time.sleep(limit_s)
            raise FenceTimeout(f"The device did not answer within {limit_s:.0f} s.")
        if (self.ref.user, self.ref.password) != (machine.user, machine.password):
            raise CredentialsRefused("The device refuses user and password.")
        return machine


def open_fake_device(ref: DeviceRef) -> FakeDevice:
    """Return the device of an address."""
    return FakeDevice(ref)
