"""Bridges, veth pairs and network namespaces."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
import struct
from pathlib import Path

from scloud.lab.shell import run, succeeds

SIOCETHTOOL = 0x8946
# ETHTOOL_S{RXCSUM,TXCSUM,SG,TSO,GSO,GRO} of linux/ethtool.h
OFFLOAD_SETTERS = (0x15, 0x17, 0x19, 0x1F, 0x24, 0x2C)


def offload_off(interface: str) -> None:
    """Switch checksum and segmentation offload off (``ethtool -K``, without ethtool).

    Packets that leave through a user-space switch must carry their checksum: nothing
    fills it in later, and TCP hangs while ping works.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for setter in OFFLOAD_SETTERS:
            value = array.array("B", struct.pack("II", setter, 0))
            request = struct.pack("16sP", interface.encode(), value.buffer_info()[0])
            # An interface that has no such offload refuses; then there is nothing to do.
            with contextlib.suppress(OSError):
                fcntl.ioctl(control, SIOCETHTOOL, request)


def offload_off_in(netns: str, interface: str) -> None:
    """``offload_off`` inside a named network namespace."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            import ctypes

            with Path(f"/run/netns/{netns}").open() as handle:
                # os.setns only came with Python 3.12.
                if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), 0x40000000) == 0:
                    offload_off(interface)
                    status = 0
        finally:
            os._exit(status)
    _, state = os.waitpid(pid, 0)
    if state != 0:
        raise OSError(f"cannot enter network namespace {netns}")


def exists(interface: str) -> bool:
    return Path(f"/sys/class/net/{interface}").exists()


def netns_exists(netns: str) -> bool:
    return Path(f"/run/netns/{netns}").exists()


#: Of the networks that carry tunnels and segments: as wide as switches of data centres let through,
#: so that a segment or an underlay of jumbo frames can be tried.
WIDE_MTU_BYTES = 9216


def ensure_bridge(name: str, addresses: list[str], *, mtu_bytes: int = 1500) -> None:
    if not exists(name):
        run("ip", "link", "add", name, "type", "bridge", "forward_delay", "0", "stp_state", "0")
        run("sysctl", "-qw", f"net.ipv6.conf.{name}.accept_ra=0", check=False)
    run("ip", "link", "set", name, "mtu", str(mtu_bytes), "up")
    for address in addresses:
        if ":" in address:
            run("ip", "-6", "address", "replace", address, "dev", name, "nodad")
        else:
            run("ip", "address", "replace", address, "dev", name)


def delete_link(name: str) -> None:
    """Delete an interface; one that is not there is fine."""
    if exists(name):
        succeeds("ip", "link", "delete", name)


def ensure_netns(name: str) -> None:
    """A network namespace with that name which really is one."""
    path = Path(f"/run/netns/{name}")
    # After a crash a plain file can stay behind where nothing is mounted.
    if path.exists() and not os.path.ismount(path) and not succeeds("ip", "-n", name, "link"):
        path.unlink()
    if not path.exists():
        run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "set", "lo", "up")


def delete_netns(name: str) -> None:
    """Delete a network namespace with what is in it; one that is not there is fine."""
    if netns_exists(name) and not succeeds("ip", "netns", "delete", name):
        succeeds("umount", "-l", f"/run/netns/{name}")
        Path(f"/run/netns/{name}").unlink(missing_ok=True)


def plug(outer: str, bridge: str, netns: str, inner: str, *, mtu_bytes: int = 1500) -> None:
    """A fresh veth pair: ``outer`` on the bridge, ``inner`` inside the namespace."""
    delete_link(outer)
    run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", netns)
    mtu = ("mtu", str(mtu_bytes))
    run("ip", "link", "set", outer, "master", bridge, *mtu, "up")
    run("ip", "-n", netns, "link", "set", inner, *mtu, "up")
