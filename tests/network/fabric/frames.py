"""Ethernet frames as a hostile guest would make them, and what it takes to send and catch them."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from network.fabric.base import IpAddress
from scloud.lab.probe import Probe

BROADCAST = "ff:ff:ff:ff:ff:ff"
NO_MAC = "00:00:00:00:00:00"
ARP, IPV4, IPV6, VLAN = 0x0806, 0x0800, 0x86DD, 0x8100
ICMPV6, UDP = 58, 17

_SEND = """
import socket, sys
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("eth0", 0))
for frame in sys.argv[1:]:
    link.send(bytes.fromhex(frame))
"""
# All that arrives, one frame a line, for as long as the process lives.
_CATCH = """
import socket
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
link.bind(("eth0", 3))
print("ready", flush=True)
while True:
    frame, (_, _, kind, *_) = link.recvfrom(65536)
    if kind != socket.PACKET_OUTGOING:
        print(frame.hex(), flush=True)
"""


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ethernet(source: str, to: str, kind: int, payload: bytes) -> bytes:
    return mac(to) + mac(source) + struct.pack("!H", kind) + payload


def tagged(frame: bytes, vlan: int) -> bytes:
    """The frame as one of a VLAN."""
    return frame[:12] + struct.pack("!HH", VLAN, vlan) + frame[12:]


def arp(operation: int, sender: tuple[str, IPv4Address], target: tuple[str, IPv4Address]) -> bytes:
    """1 asks, 2 answers."""
    ends = b"".join(mac(hardware) + address.packed for hardware, address in (sender, target))
    return struct.pack("!HHBBH", 1, IPV4, 6, 4, operation) + ends


def udp(source: IpAddress, to: IpAddress, ports: tuple[int, int], data: bytes) -> bytes:
    """An IP packet of either version with a UDP datagram."""
    head = struct.pack("!HHHH", *ports, 8 + len(data), 0)
    if isinstance(source, IPv6Address):
        check = _checksum(_pseudo(source, to, UDP, head + data) + head + data) or 0xFFFF
        head = head[:6] + struct.pack("!H", check)
    return _ip(source, to, UDP, head + data, hops=64)


def discovery(
    kind: int, source: IPv6Address, to: IPv6Address, about: IPv6Address, hardware: str
) -> bytes:
    """A neighbour solicitation (135) or advertisement (136) with its link-layer option."""
    flags = 0 if kind == 135 else 0x60000000
    option = struct.pack("!BB", 1 if kind == 135 else 2, 1) + mac(hardware)
    body = struct.pack("!I", flags) + about.packed + option
    return icmpv6(kind, source, to, body)


def icmpv6(kind: int, source: IPv6Address, to: IPv6Address, body: bytes) -> bytes:
    message = struct.pack("!BBH", kind, 0, 0) + body
    check = _checksum(_pseudo(source, to, ICMPV6, message) + message)
    return _ip(source, to, ICMPV6, message[:2] + struct.pack("!H", check) + message[4:], hops=255)


def _ip(source: IpAddress, to: IpAddress, protocol: int, payload: bytes, *, hops: int) -> bytes:
    if isinstance(source, IPv6Address):
        head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops)
        return head + source.packed + to.packed + payload
    length = 20 + len(payload)
    head = struct.pack("!BBHHHBBH", 0x45, 0, length, 1, 0, hops, protocol, 0)
    head += source.packed + to.packed
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + payload


def _pseudo(source: IpAddress, to: IpAddress, protocol: int, payload: bytes) -> bytes:
    return source.packed + to.packed + struct.pack("!II", len(payload), protocol)


def _checksum(data: bytes) -> int:
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2))
    total: int = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def send(probe: Probe, frames: Iterable[bytes]) -> None:
    """Put frames on the wire of a probe, as they are."""
    probe.run(sys.executable, "-c", _SEND, *(frame.hex() for frame in frames))


class Catcher:
    """All that arrives at a probe from now on."""

    def __init__(self, probe: Probe) -> None:
        self.process: subprocess.Popen[str] = probe.popen(sys.executable, "-c", _CATCH)
        assert self.process.stdout is not None
        self.lines = self.process.stdout
        assert self.lines.readline().strip() == "ready"

    def until(self, last: bytes, *, within: int = 2000) -> list[bytes]:
        """What has arrived up to the frame ``last``, which must be among the next ``within``."""
        found: list[bytes] = []
        for _ in range(within):
            line = self.lines.readline()
            assert line, "the catcher ended"
            found.append(bytes.fromhex(line.strip()))
            if found[-1].startswith(last):
                return found
        raise AssertionError(f"{last.hex()} did not arrive")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
