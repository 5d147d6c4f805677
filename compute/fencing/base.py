"""The fencing port: what SCloud asks of the device that holds a host's power.

Contract of every method of `FencePort`:

* **Off is seen, never assumed.** `off` returns only after the device has said that the host is
  off, and has said so again `settle_s` seconds later. A host that was off already counts. Whatever
  else happens, it raises: the host may then be on, off, or about to go off, and nobody may start
  its VMs elsewhere.
* **A failed call undoes nothing.** A device that was asked to switch off may do so after the call
  has raised.
* **Bounded in time.** A call ends within its `limit_s`, whatever the device does, and leaves no
  process behind.
* **Errors** are `FencingError`s with a stable `code`, a `message` for operators and `retryable`. No
  message holds the password.

What a device says is believed as far as it does not contradict itself. Whether the host still
lives (its libvirt, its entry in OVN) is for the caller to ask. Times are seconds (`_s`).
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Protocol

STATUS_LIMIT_S = 20.0
"""How long a device may take to tell what is so. The slowest IPMI controller that does not answer
is given up by ipmitool itself after 20 s."""

POWER_LIMIT_S = 60.0
"""How long switching off or on may take, with the looks that confirm it."""

SETTLE_S = 3.0
"""Between the first sight of a host that is off and the second. A controller that switches a host
on again by itself (its policy after a loss of power) is noticed by it."""


# -- errors ------------------------------------------------------------------------------------


class FencingError(Exception):
    """A call to a device failed; nothing is known about the host's power unless a subclass says so.

    `code` is stable, `message` is for operators alone, `retryable` says whether the same call can
    succeed later without anyone changing the device or its row.
    """

    code: ClassVar[str] = "fence_failed"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class DeviceUnreachable(FencingError):
    """The device does not answer, or it answers without saying why it lets nobody in.

    SSH and IPMI do not tell a wrong password from a lost connection.
    """

    code = "fence_unreachable"
    retryable = True


class CredentialsRefused(FencingError):
    """The device answers and does not show the host: wrong user, password or system."""

    code = "fence_refused"


class CertificateRefused(FencingError):
    """The device answers with a certificate that is not the trusted one."""

    code = "fence_certificate"


class FenceTimeout(FencingError):
    """The device did not answer in time; it may have taken the call."""

    code = "fence_timeout"
    retryable = True


class NotConfirmed(FencingError):
    """The device answers, and until the end it did not say what was asked for."""

    code = "fence_not_confirmed"
    retryable = True


class DeviceContradicts(FencingError):
    """The device said that the host is off (or on), and then that it is not."""

    code = "fence_contradiction"


class AgentMissing(FencingError):
    """The fence agent is not installed on this machine."""

    code = "fence_agent_missing"


# -- what is asked, and what comes of it ---------------------------------------------------------


class AgentKind(StrEnum):
    """How a device is spoken to."""

    REDFISH = "redfish"
    IPMI = "ipmi"
    VIRSH = "virsh"
    FAKE = "fake"


class Power(StrEnum):
    """A host's power, by the word of its device."""

    ON = "on"
    OFF = "off"


# One line each in what an agent reads: a line break in a value would begin another option.
_UNFIT = re.compile(r"[\x00-\x1f\x7f]")
# What fence_virsh puts into the command lines of ssh and of the account's shell.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class DeviceRef:
    """A device and the host behind it.

    `system` names the host on the device: the path of the system (`redfish`), the name of the
    domain (`virsh`), nothing (`ipmi`). `port` is None for the usual one. `verify` and `certificate`
    (PEM, an authority or the device's own; nothing for the machine's authorities) concern TLS,
    that is `redfish`, alone. Raises ValueError for values with control characters, and with `virsh`
    for users and domains that are no plain names.
    """

    agent: AgentKind
    address: str
    user: str
    password: str = field(repr=False)
    port: int | None = None
    system: str = ""
    verify: bool = True
    certificate: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        for value in (self.address, self.user, self.password, self.system):
            if _UNFIT.search(value):
                raise ValueError("an address, user, password or system holds control characters")
        if self.agent is AgentKind.VIRSH and not (
            _PLAIN.fullmatch(self.user) and _PLAIN.fullmatch(self.system)
        ):
            raise ValueError("with virsh, user and system are plain names")


@dataclass(frozen=True)
class Reading:
    """What a device said of the host, and how long it took to say so."""

    power: Power
    took_s: float


@dataclass(frozen=True)
class Confirmed:
    """The host is in the wanted state. `already`: it was before it was asked for."""

    power: Power
    already: bool
    took_s: float


class FencePort(Protocol):
    """One host's power."""

    def status(self, *, limit_s: float = STATUS_LIMIT_S) -> Reading:
        """Ask for the power of the host, changing nothing.

        Raises DeviceUnreachable, CredentialsRefused, CertificateRefused, FenceTimeout,
        AgentMissing, FencingError.
        """

    def off(self, *, limit_s: float = POWER_LIMIT_S) -> Confirmed:
        """Cut the host's power, as pulling its plug does, and see that it is off.

        Raises as `status`, NotConfirmed, DeviceContradicts.
        """

    def on(self, *, limit_s: float = POWER_LIMIT_S) -> Confirmed:
        """Switch the host on and see that it is; its system boots afterwards. Raises as `off`."""
