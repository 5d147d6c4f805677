"""What OVN's own tracer says of a packet: for operators, from the southbound database.

Nothing is sent and nothing is changed; ``ovn-trace`` follows the logical flows on paper.
"""

from __future__ import annotations

import subprocess
from typing import Final

from network.fabric.base import (
    FabricError,
    FabricRefused,
    FabricUnreachable,
    IpProtocol,
    TraceSpec,
)
from network.fabric.ovn import tls

#: Long traces of a large router fit; what is beyond is cut.
LONGEST: Final = 60_000
#: How the way through the first datapath begins.
_BEGIN: Final = "ingress(dp="
#: Every connection is a new one wherever its state is asked; a way has few such places.
_NEW: Final = ["--ct=new"] * 12


def trace(sb: str, spec: TraceSpec, *, timeout_s: float = 30.0) -> str:
    """Return the trace of the first packet of a connection, table by table.

    ``sb`` is the address of the southbound database. Raises FabricUnreachable when it does not
    answer in time, FabricRefused when OVN cannot follow the packet, FabricError where this machine
    has no ``ovn-trace``.
    """
    command = [
        "ovn-trace", f"--db={sb}", *tls.options(sb), "--no-leader-only", "--detailed", *_NEW,
        spec.switch_id, flow(spec),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as error:
        raise FabricError("ovn-trace is not installed on this machine") from error
    except subprocess.TimeoutExpired as error:
        raise FabricUnreachable(f"{sb} did not answer in {timeout_s:g} s") from error
    # What it cannot follow it tells on its output and calls a success.
    if done.returncode or _BEGIN not in done.stdout:
        said = (done.stderr or done.stdout).strip()[:1000]
        raise FabricRefused(said or f"ovn-trace ended with {done.returncode}")
    return done.stdout[:LONGEST]


def flow(spec: TraceSpec) -> str:
    """The packet in OVN's language."""
    version = spec.source.version
    parts = [
        f'inport == "{spec.port_name}"',
        f"eth.src == {spec.source_mac}",
        f"eth.dst == {spec.destination_mac}",
        f"ip{version}.src == {spec.source}",
        f"ip{version}.dst == {spec.destination}",
        "ip.ttl == 64",
    ]
    if spec.protocol in (IpProtocol.TCP, IpProtocol.UDP):
        parts += [f"{spec.protocol.value}.dst == {spec.port}"]
    elif spec.protocol is IpProtocol.ICMP:
        parts += ["icmp4.type == 8", "icmp4.code == 0"]
    elif spec.protocol is IpProtocol.ICMPV6:
        parts += ["icmp6.type == 128", "icmp6.code == 0"]
    return " && ".join(parts)
