"""Debian's fence agents (package `fence-agents`): Redfish, IPMI, and virsh over SSH.

An agent reads its options from standard input, so that no password is in its arguments or its
environment. It says that a host is on with `Status: ON` and exit code 0, off with `Status: OFF` and
2; everything else is a failure, and exit code 1 is all that tells one failure from another. So its
messages are read for the reason, and never for the answer: what is not understood is "not known".

What each agent does by itself (release 4.12.1): fence_redfish takes every state but `Off` for on,
does not look at the status of the answer to its request, and waits without end for a device that
accepts a connection and says nothing. fence_ipmilan hands the password to ipmitool as an argument,
which ipmitool covers as soon as it runs. fence_virsh takes a state that it does not know for off.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from compute.fencing import child
from compute.fencing.base import (
    STATUS_LIMIT_S,
    AgentKind,
    AgentMissing,
    CertificateRefused,
    CredentialsRefused,
    DeviceRef,
    DeviceUnreachable,
    FenceTimeout,
    FencingError,
    NotConfirmed,
    Power,
    Reading,
)
from compute.fencing.confirming import Confirming

PROGRAMS = {
    AgentKind.REDFISH: "fence_redfish",
    AgentKind.IPMI: "fence_ipmilan",
    AgentKind.VIRSH: "fence_virsh",
}
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_SAID = {(0, "Status: ON"): Power.ON, (2, "Status: OFF"): Power.OFF}
_DONE = {Power.ON: "ON", Power.OFF: "OFF"}
_DETAIL_LENGTH = 200

# In this order: the reason that an agent gives for a failure, by words of its standard error.
_REASONS: tuple[tuple[re.Pattern[str], type[FencingError], str], ...] = (
    (
        re.compile(r"Timed out waiting to power"),
        NotConfirmed,
        "The device took the request, and the host did not follow in time.",
    ),
    (
        re.compile(r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError|CertificateError"),
        CertificateRefused,
        "The device's certificate is not trusted.",
    ),
    (
        # A device that refuses answers as well, with something else than the system.
        re.compile(r"KeyError: |Unable to get PowerState|Expecting value"),
        CredentialsRefused,
        "The device answers and does not show the host: check user, password and system.",
    ),
    (
        re.compile(r"existing name/UUID of virtual machine"),
        CredentialsRefused,
        "The device does not know the domain, or may not show it.",
    ),
    (
        re.compile(r"ConnectionError|Max retries exceeded|Connection aborted|NewConnectionError"),
        DeviceUnreachable,
        "The device does not answer.",
    ),
    (
        re.compile(r"Unable to connect/login|Connection lost|correct plug status"),
        DeviceUnreachable,
        "The device does not answer, or refuses user and password.",
    ),
    (re.compile(r"Connection timed out"), FenceTimeout, "The device did not answer in time."),
)

# As the agent's own, but in English: it knows the states of domains by their English names, and
# takes what it does not know for off.
_VIRSH_SHELL = (
    "-t '/bin/bash -c \"LC_ALL=C " + r"PS1=\\[EXPECT\\]# " + "/bin/bash --noprofile --norc\"'"
)


class AgentDevice(Confirming):
    """A device behind one of Debian's agents. Holds nothing open between calls."""

    def __init__(self, ref: DeviceRef) -> None:
        self.ref = ref

    def status(self, *, limit_s: float = STATUS_LIMIT_S) -> Reading:
        """As in `FencePort`."""
        began = time.monotonic()
        ended = self._run("status", limit_s, power_s=max(1, int(limit_s)))
        power = _SAID.get((ended.code if ended.code is not None else -1, _last_line(ended.output)))
        if power is None:
            raise self._failure(ended)
        return Reading(power, time.monotonic() - began)

    def ask(self, wanted: Power, *, limit_s: float) -> bool:
        """As in `Confirming`."""
        # Some seconds before it is killed the agent says itself that it has waited too long.
        ended = self._run(wanted.value, limit_s, power_s=max(1, int(limit_s * 0.6)))
        said = _last_line(ended.output)
        if ended.code == 0 and said == f"Success: Already {_DONE[wanted]}":
            return True
        if ended.code == 0 and said == f"Success: Powered {_DONE[wanted]}":
            return False
        raise self._failure(ended)

    def _run(self, action: str, limit_s: float, *, power_s: int) -> child.Ended:
        name = PROGRAMS[self.ref.agent]
        program = shutil.which(name, path=_PATH)
        if program is None:
            raise AgentMissing(f"{name} is not installed on this worker.")
        with self._environment() as environment:
            ended = child.run(
                [program],
                self._options(action, power_s),
                limit_s=max(0.1, limit_s),
                environment=environment,
            )
        if ended.code is None:
            raise FenceTimeout(f"The device did not answer within {limit_s:.0f} s.")
        return ended

    def _options(self, action: str, power_s: int) -> str:
        ref = self.ref
        address = ref.address
        if ref.agent is AgentKind.REDFISH and ":" in address:
            address = f"[{address}]"
        options = {
            "action": action,
            "ip": address,
            "username": ref.user,
            "password": ref.password,
            "power_timeout": str(power_s),
        }
        if ref.port is not None:
            options["ipport"] = str(ref.port)
        if ref.agent is AgentKind.REDFISH:
            if ref.system:
                options["systems-uri"] = ref.system
            options["ssl" if ref.verify else "ssl_insecure"] = "1"
        elif ref.agent is AgentKind.IPMI:
            options["lanplus"] = "1"
        else:
            options["plug"] = ref.system
            options["ssh_options"] = _VIRSH_SHELL
        # In quotes, which the agent takes off: else it would cut blanks at the end of a password.
        return "".join(f'{name}="{value}"\n' for name, value in options.items())

    @contextmanager
    def _environment(self) -> Iterator[dict[str, str]]:
        environment = {"PATH": _PATH, "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        if not self.ref.certificate or not self.ref.verify:
            yield environment
            return
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(self.ref.certificate)
            file.flush()
            yield {**environment, "REQUESTS_CA_BUNDLE": file.name}

    def _failure(self, ended: child.Ended) -> FencingError:
        detail = self._without_password(ended.errors)
        for pattern, kind, words in _REASONS:
            if pattern.search(ended.errors):
                return kind(words)
        last = _last_line(detail)[:_DETAIL_LENGTH]
        return FencingError(f"The fence agent failed ({ended.code}): {last}")

    def _without_password(self, text: str) -> str:
        """Return what may be shown: agents repeat no password, but a device might."""
        if self.ref.password:
            text = text.replace(self.ref.password, "[hidden]")
        return "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)


def _last_line(text: str) -> str:
    """Return the last line that is not empty and not the hint that follows each failure."""
    lines = [line.strip() for line in text.splitlines()]
    told = [line for line in lines if line and not line.endswith("Please use '-h' for usage")]
    return told[-1] if told else ""
