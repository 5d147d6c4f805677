"""Which kind of guest it is, and the script for each kind."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Sequence

from compute.hypervisor.guestnet import ifupdown, iproute, netplan, networkmanager, shell, windows
from network.rules.guest import NicPlan


class Renderer(enum.StrEnum):
    """What configures the network in a guest."""

    NETPLAN = "netplan"
    NETWORK_MANAGER = "networkmanager"
    IFUPDOWN = "ifupdown"
    IPROUTE = "iproute"
    WINDOWS = "windows"


_BODIES: dict[Renderer, Callable[[Sequence[NicPlan]], str]] = {
    Renderer.NETPLAN: netplan.body,
    Renderer.NETWORK_MANAGER: networkmanager.body,
    Renderer.IFUPDOWN: ifupdown.body,
    Renderer.IPROUTE: iproute.body,
}

#: Prints the renderer of a Linux guest, and after a space the digest of the plan that it has.
DETECT = f"""\
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
stamp=
[ -e {shell.STAMP} ] && stamp=$(cat {shell.STAMP})
if command -v netplan >/dev/null 2>&1 && [ -d /etc/netplan ]; then
    echo "{Renderer.NETPLAN} $stamp"
elif command -v nmcli >/dev/null 2>&1 && [ "$(nmcli -g RUNNING general 2>/dev/null)" = running ]
then
    echo "{Renderer.NETWORK_MANAGER} $stamp"
elif command -v ifup >/dev/null 2>&1 && [ -d /etc/network/interfaces.d ]; then
    echo "{Renderer.IFUPDOWN} $stamp"
else
    echo "{Renderer.IPROUTE} $stamp"
fi
"""

LINUX_SHELL = ("/bin/sh", "-s")
#: Not ``-Command -``, which reads its input line by line as if somebody typed it.
WINDOWS_SHELL = (
    "powershell.exe", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass",
    "-Command", "[Console]::In.ReadToEnd() | Invoke-Expression",
)  # fmt: skip


def digest_of(plans: Sequence[NicPlan]) -> str:
    """Return what stands for a plan; two plans that differ in anything have different ones."""
    return hashlib.sha256(repr(tuple(plans)).encode()).hexdigest()[:16]


def parse_detected(output: str) -> tuple[Renderer, str]:
    """Return renderer and digest from the output of ``DETECT``. ValueError if it is neither."""
    kind, _, digest = output.strip().partition(" ")
    return Renderer(kind), digest


def script(renderer: Renderer, plans: Sequence[NicPlan]) -> str:
    """Return the whole script for a guest of this kind, for ``LINUX_SHELL`` or PowerShell.

    Exit codes: 0 done, 1 something failed, 3 a NIC of the plan is not in the guest.
    """
    digest = digest_of(plans)
    if renderer is Renderer.WINDOWS:
        return windows.script(plans, digest)
    return shell.PREAMBLE + shell.ALONE + _BODIES[renderer](plans) + shell.ending(digest)
