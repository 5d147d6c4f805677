"""A machine beside the guests: a network namespace on their logical switch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from scloud.lab import probe
from scloud.lab.plan import Lab
from scloud.lab.shell import run

PORT: Final = "test-neighbour"
MAC: Final = "52:54:00:e2:e0:01"


@contextmanager
def neighbour(lab: Lab, switch: str, address: str = "10.0.0.250") -> Iterator[probe.Probe]:
    """Plug a namespace into a logical switch for a while, on the last host of the lab."""
    nb = lab.nb_options
    run("ovn-nbctl", *nb, "lsp-add", switch, PORT,
        "--", "lsp-set-addresses", PORT, f"{MAC} {address}")  # fmt: skip
    try:
        yield probe.add(
            lab, name="beside", port=PORT, mac=MAC, ip=[f"{address}/24"], host=lab.hosts[-1].name
        )
    finally:
        probe.delete(lab, name="beside")
        run("ovn-nbctl", *nb, "--if-exists", "lsp-del", PORT)


def ssh(address: str, password: str, *command: str) -> tuple[str | Path, ...]:
    """Words of a command that logs in as root with a password and runs something there."""
    return (
        "sshpass", "-p", password, "ssh", "-F", "/dev/null",
        "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
        "-o", "LogLevel=ERROR", "-o", "PubkeyAuthentication=no", f"root@{address}", *command,
    )  # fmt: skip
