"""Asking, and then looking until it is so: the same for every kind of device."""

import time
from abc import ABC, abstractmethod

from compute.fencing.base import (
    POWER_LIMIT_S,
    SETTLE_S,
    STATUS_LIMIT_S,
    Confirmed,
    DeviceContradicts,
    FenceTimeout,
    FencingError,
    NotConfirmed,
    Power,
    Reading,
)
from scloud.lib import lease

_POLL_S = 1.0
# Of the whole time; the rest is for looking. Asking twice is of no use, looking late is.
_ASKING = 0.5


class Confirming(ABC):
    """A `FencePort` out of a device that can be asked and looked at."""

    settle_s = SETTLE_S
    poll_s = _POLL_S

    @abstractmethod
    def status(self, *, limit_s: float = STATUS_LIMIT_S) -> Reading:
        """As in `FencePort`."""

    @abstractmethod
    def ask(self, wanted: Power, *, limit_s: float) -> bool:
        """Ask for a state once; return whether it was so before.

        Returns when the device says that it is so. Raises FenceTimeout or NotConfirmed when it has
        taken the request and did not say so in time, another FencingError when it did not take it.
        """

    def off(self, *, limit_s: float = POWER_LIMIT_S) -> Confirmed:
        """As in `FencePort`."""
        return self._bring(Power.OFF, limit_s)

    def on(self, *, limit_s: float = POWER_LIMIT_S) -> Confirmed:
        """As in `FencePort`."""
        return self._bring(Power.ON, limit_s)

    def _bring(self, wanted: Power, limit_s: float) -> Confirmed:
        began = time.monotonic()
        until = began + limit_s
        already = False
        seen_at: float | None = None
        # A worker whose job was taken over must not cut the power of a host any more.
        lease.confirm()
        try:
            already = self.ask(wanted, limit_s=limit_s * _ASKING)
            seen_at = time.monotonic()
        except (FenceTimeout, NotConfirmed):
            # Taken perhaps, and still under way perhaps: only looking tells.
            pass
        last: FencingError = NotConfirmed(
            f"The host was not seen to be {wanted} twice within {limit_s:g} s."
        )
        while True:
            pause_s = self.poll_s
            if seen_at is not None:
                pause_s = max(pause_s, seen_at + self.settle_s - time.monotonic())
            if time.monotonic() + pause_s >= until:
                raise last
            time.sleep(pause_s)
            try:
                reading = self.status(limit_s=min(STATUS_LIMIT_S, until - time.monotonic()))
            except FencingError as error:
                if not error.retryable:
                    raise
                last = error
                continue
            last = NotConfirmed(f"The device says that the host is {reading.power}.")
            if reading.power is not wanted:
                if seen_at is not None:
                    raise DeviceContradicts(
                        f"The device said that the host is {wanted}, and then that it is "
                        f"{reading.power}."
                    )
                continue
            if seen_at is not None:
                return Confirmed(wanted, already, time.monotonic() - began)
            seen_at = time.monotonic()
