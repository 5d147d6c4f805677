"""No NIC speaks for another: forged frames of every kind, sent and listened for on the wire."""

from __future__ import annotations

import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from network.fabric.base import Direction, IpProtocol, SecurityGroupSpec, SegmentSpec
from tests.network.fabric import frames
from tests.network.fabric.frames import ARP, BROADCAST, IPV4, IPV6, NO_MAC, Catcher
from tests.network.fabric.site import Machine, Site, eventually, rule

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

OTHER_MAC = "52:54:00:00:99:99"
OTHER, OTHER6 = IPv4Address("10.0.0.99"), IPv6Address("fd00::99")
#: OVN answers solicitations of addresses that it knows by itself and forwards the others.
UNUSED6 = IPv6Address("fd00::77")
GATEWAY = IPv4Address("10.0.0.1")
ALL_NODES = IPv6Address("ff02::1")
ALL_NODES_MAC = "33:33:00:00:00:01"
OPEN = tuple(
    rule(direction, IpProtocol.ALL, remote=remote)
    for direction in Direction
    for remote in ("0.0.0.0/0", "::/0")
)


def four(machine: Machine) -> IPv4Address:
    return next(one for one in machine.spec.addresses if isinstance(one, IPv4Address))


def six(machine: Machine) -> IPv6Address:
    return next(one for one in machine.spec.addresses if isinstance(one, IPv6Address))


def link_local(mac: str) -> IPv6Address:
    """The address that a MAC gives (RFC 4291, appendix A)."""
    one = bytearray(frames.mac(mac))
    one[0] ^= 2
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes(one[:3]) + b"\xff\xfe" + bytes(one[3:]))


def mark() -> bytes:
    """A payload that no other frame has."""
    return uuid.uuid4().bytes


def honest_frame(sender: Machine, to: Machine) -> bytes:
    data = frames.udp(four(sender), four(to), (4000, 4000), mark())
    return frames.ethernet(sender.spec.mac, to.spec.mac, IPV4, data)


def honest(sender: Machine, to: Machine) -> dict[str, bytes]:
    """What must pass, so that what does not is no accident."""
    mac, there = sender.spec.mac, to.spec.mac
    own, own6 = four(sender), six(sender)
    local = link_local(mac)

    def datagram(source: object, target: object) -> bytes:
        return frames.udp(source, target, (4000, 4000), mark())  # type: ignore[arg-type]  # both are addresses

    def neighbour(kind: int, about: IPv6Address, source: IPv6Address) -> bytes:
        return frames.discovery(kind, source, six(to), about, mac)

    return {
        "IPv4": frames.ethernet(mac, there, IPV4, datagram(own, four(to))),
        "IPv6": frames.ethernet(mac, there, IPV6, datagram(own6, six(to))),
        "IPv6 link-local": frames.ethernet(mac, there, IPV6, datagram(local, link_local(there))),
        "ARP answer": frames.ethernet(
            mac, there, ARP, frames.arp(2, (mac, own), (there, four(to)))
        ),
        "ARP broadcast": frames.ethernet(
            mac, BROADCAST, ARP, frames.arp(1, (mac, own), (NO_MAC, IPv4Address("10.0.0.77")))
        ),
        "advertisement": frames.ethernet(mac, there, IPV6, neighbour(136, own6, own6)),
        "solicitation": frames.ethernet(mac, there, IPV6, neighbour(135, UNUSED6, own6)),
    }


def forged(sender: Machine, to: Machine) -> dict[str, bytes]:
    """What must not pass. Each is well formed; only who it says that it comes from is false."""
    mac, there = sender.spec.mac, to.spec.mac
    own, own6 = four(sender), six(sender)
    victim, victim6 = four(to), six(to)

    def ipv4(source: IPv4Address, *, hardware: str = mac, target: str = there) -> bytes:
        data = frames.udp(source, victim, (4000, 4000), mark())
        return frames.ethernet(hardware, target, IPV4, data)

    def ipv6(source: IPv6Address, *, hardware: str = mac) -> bytes:
        data = frames.udp(source, victim6, (4000, 4000), mark())
        return frames.ethernet(hardware, there, IPV6, data)

    def says(
        operation: int, who: str, address: IPv4Address, *, hardware: str = mac, target: str = there
    ) -> bytes:
        body = frames.arp(operation, (who, address), (there, victim))
        return frames.ethernet(hardware, target, ARP, body)

    def neighbour(kind: int, source: IPv6Address, about: IPv6Address, option: str = mac) -> bytes:
        return frames.ethernet(
            mac, there, IPV6, frames.discovery(kind, source, victim6, about, option)
        )

    dhcp = frames.udp(IPv4Address(0), IPv4Address("255.255.255.255"), (67, 68), mark())
    return {
        "MAC, IPv4": ipv4(own, hardware=OTHER_MAC),
        "MAC, IPv6": ipv6(own6, hardware=OTHER_MAC),
        "MAC, ARP": says(2, mac, own, hardware=OTHER_MAC),
        "MAC of the victim": ipv4(own, hardware=there),
        "MAC and address of another": ipv4(OTHER, hardware=OTHER_MAC),
        "MAC of a group": ipv4(own, hardware="53:54:00:00:01:05"),
        "IPv4 of a neighbour": ipv4(OTHER),
        "IPv4 of the victim": ipv4(victim),
        "IPv4 of the gateway": ipv4(GATEWAY),
        "IPv4 from elsewhere": ipv4(IPv4Address("8.8.8.8")),
        "IPv4, broadcast": ipv4(OTHER, target=BROADCAST),
        "IPv6 of a neighbour": ipv6(OTHER6),
        "IPv6 of the victim": ipv6(victim6),
        "IPv6 link-local of a neighbour": ipv6(link_local(OTHER_MAC)),
        "IPv6 from elsewhere": ipv6(IPv6Address("2001:db8::1")),
        "ARP answer for the gateway": says(2, mac, GATEWAY),
        "ARP answer for a neighbour": says(2, mac, OTHER),
        "ARP answer with a false MAC": says(2, OTHER_MAC, own),
        "ARP answer, all false": says(2, OTHER_MAC, GATEWAY),
        "ARP question in the gateway's name": says(1, mac, GATEWAY, target=BROADCAST),
        "ARP announcement of another": frames.ethernet(
            mac, BROADCAST, ARP, frames.arp(2, (mac, OTHER), (BROADCAST, OTHER))
        ),
        "advertisement of a neighbour": neighbour(136, own6, OTHER6),
        "advertisement with a false MAC": neighbour(136, own6, own6, OTHER_MAC),
        "advertisement from a neighbour": neighbour(136, OTHER6, OTHER6),
        "solicitation with a false MAC": neighbour(135, own6, UNUSED6, OTHER_MAC),
        "solicitation from a neighbour": neighbour(135, OTHER6, UNUSED6),
        "DHCP server without an address": frames.ethernet(mac, BROADCAST, IPV4, dhcp),
        "of a VLAN": frames.tagged(ipv4(own), 101),
    }


# Seen with OVN 23.03 on Open vSwitch 3.1, and told in docs/network.md: it is about the address of
# its sender, the only one that a neighbour can learn a wrong MAC for.
GETS_THROUGH = {"solicitation with a false MAC"}


@contextmanager
def catching(*machines: Machine) -> Iterator[list[Catcher]]:
    found = [Catcher(machine.probe) for machine in machines]
    try:
        yield found
    finally:
        for one in found:
            one.close()


def arrived(sender: Machine, to: Machine, sent: dict[str, bytes]) -> set[str]:
    """The names of what came through, sent three times.

    A good frame at the end of each time tells that the others had the time to: a switch decides on
    what it has not seen before in threads, so that one may overtake another.
    """
    caught: list[bytes] = []
    with catching(to) as (catcher,):
        for _ in range(3):
            last = honest_frame(sender, to)
            frames.send(sender.probe, sent.values())
            time.sleep(0.5)
            frames.send(sender.probe, [last])
            caught += catcher.until(last)
    return {
        name
        for name, frame in sent.items()
        # A switch may pad a short frame, and a rewritten source is a forgery all the same.
        if any(one.startswith(frame) or one[14:].startswith(frame[14:]) for one in caught)
    }


@pytest.mark.parametrize("place", ["subnet", "segment"])
@pytest.mark.parametrize("guarded", [False, True], ids=["without a group", "with an open group"])
def test_a_nic_sends_from_its_own_mac_and_addresses_only(
    site: Site, place: str, guarded: bool
) -> None:
    subnet = site.subnet()
    segment: SegmentSpec | None = site.segment() if place == "segment" else None
    group: SecurityGroupSpec | None = site.group(*OPEN) if guarded else None
    # Nothing carries a segment to another host here.
    elsewhere = "h1" if segment else "h2"
    liar = site.machine(subnet, "h1", group, ipv6=True, segment=segment)
    victim = site.machine(subnet, elsewhere, group, ipv6=True, segment=segment)
    assert eventually(lambda: liar.probe.reaches(victim.address, timeout_s=1))
    good = honest(liar, victim)
    assert arrived(liar, victim, good) == set(good)
    assert arrived(liar, victim, forged(liar, victim)) <= GETS_THROUGH


def test_without_port_security_the_forgeries_do_arrive(site: Site) -> None:
    """The control: it is port security that keeps them away, and they are seen when they come."""
    subnet = site.subnet()
    liar, victim = (site.machine(subnet, host, ipv6=True) for host in ("h1", "h2"))
    assert eventually(lambda: liar.probe.reaches(victim.address, timeout_s=1))
    subprocess.run(
        ["ovn-nbctl", *site.lab.nb_options, "--wait=hv", "--timeout=30",
         "set", "logical_switch_port", liar.spec.name, "port_security=[]"],
        check=True,
    )  # fmt: skip
    assert arrived(liar, victim, forged(liar, victim)) >= {
        "MAC, IPv4",
        "IPv4 of a neighbour",
        "IPv6 of a neighbour",
        "ARP answer for the gateway",
        "ARP announcement of another",
        "advertisement of a neighbour",
        "DHCP server without an address",
    }


def test_a_nic_without_ipv6_sends_none(site: Site) -> None:
    subnet = site.subnet()
    liar, victim = site.machine(subnet, "h1"), site.machine(subnet, "h2", ipv6=True)
    assert eventually(lambda: liar.probe.reaches(victim.address, timeout_s=1))
    local = link_local(liar.spec.mac)
    mac, there = liar.spec.mac, victim.spec.mac
    sent = {
        f"{name} {source}": frames.ethernet(mac, there, IPV6, packet)
        for source in (local, OTHER6)
        for name, packet in (
            ("datagram", frames.udp(source, six(victim), (4000, 4000), mark())),
            ("advertisement", frames.discovery(136, source, six(victim), source, mac)),
            ("router", frames.icmpv6(134, source, ALL_NODES, bytes(12))),
        )
    }
    assert arrived(liar, victim, sent) == set()


def test_a_changed_address_is_the_nics_and_the_old_one_is_not_any_more(site: Site) -> None:
    subnet = site.subnet()
    changing, other = (site.machine(subnet, host, ipv6=True) for host in ("h1", "h2"))
    assert eventually(lambda: changing.probe.reaches(other.address, timeout_s=1))
    before = honest(changing, other)
    assert arrived(changing, other, before) == set(before)

    old = changing.spec
    changing.spec = replace(old, addresses=(ip_address("10.0.0.50"), ip_address("fd00::50")))
    site.fabric.ensure_ports([changing.spec])

    with catching(other) as (catcher,):
        heard = threading.Event()
        wanted = honest_frame(changing, other)

        def listen() -> None:
            catcher.until(wanted)
            heard.set()

        listener = threading.Thread(target=listen)
        listener.start()

        def passes() -> bool:
            frames.send(changing.probe, [wanted])
            return heard.wait(0.5)

        assert eventually(passes)
        listener.join()
    after = honest(changing, other)
    assert arrived(changing, other, after) == set(after)
    # The link-local address follows the MAC, which has not changed.
    gone = {
        name: frame
        for name, frame in honest(replace(changing, spec=old), other).items()
        if name != "IPv6 link-local"
    }
    assert arrived(changing, other, gone) == set()


def dhcp_offer(server: Machine) -> bytes:
    """A DHCPOFFER as a rogue server sends it: to everybody, from its own address."""
    body = struct.pack("!BBBBIHH", 2, 1, 6, 0, 0x5C10D, 0, 0x8000)
    body += bytes(4) + four(server).packed + four(server).packed + bytes(4)
    body += bytes(16) + bytes(192) + bytes.fromhex("63825363") + b"\x35\x01\x02\xff"
    everybody = IPv4Address("255.255.255.255")
    packet = frames.udp(four(server), everybody, (67, 68), body)
    return frames.ethernet(server.spec.mac, BROADCAST, IPV4, packet)


def test_tenants_with_the_same_range_on_one_host_hear_nothing_of_each_other(site: Site) -> None:
    ours, theirs = site.subnet(), site.subnet()
    us, ally = (site.machine(ours, "h1", ipv6=True) for _ in range(2))
    stranger, friend = (site.machine(theirs, "h1", ipv6=True) for _ in range(2))
    # Addresses differ, so that no ARP of the one can be taken for one of the other.
    for one in (us, stranger):
        other = ally if one is us else friend
        assert eventually(lambda one=one, other=other: one.probe.reaches(other.address))  # type: ignore[misc]  # bound now

    def everything(sender: Machine, target: Machine) -> dict[str, bytes]:
        found = honest(sender, target)
        found["broadcast"] = frames.ethernet(
            sender.spec.mac, BROADCAST, IPV4,
            frames.udp(four(sender), IPv4Address("255.255.255.255"), (4000, 4000), mark()),
        )  # fmt: skip
        found["multicast"] = frames.ethernet(
            sender.spec.mac, ALL_NODES_MAC, IPV6,
            frames.udp(link_local(sender.spec.mac), ALL_NODES, (4000, 4000), mark()),
        )  # fmt: skip
        found["rogue DHCP"] = dhcp_offer(sender)
        found["rogue router"] = frames.ethernet(
            sender.spec.mac, ALL_NODES_MAC, IPV6,
            frames.icmpv6(134, link_local(sender.spec.mac), ALL_NODES, mark()[:12]),
        )  # fmt: skip
        return found

    for sender, ally_of_it, far, far_friend in (
        (us, ally, stranger, friend),
        (stranger, friend, us, ally),
    ):
        sent = everything(sender, ally_of_it) | {
            f"{name}, to the other tenant": frame for name, frame in everything(sender, far).items()
        }
        last, far_last = honest_frame(sender, ally_of_it), honest_frame(far_friend, far)
        with catching(ally_of_it, far, far_friend) as (near, there, beside):
            frames.send(sender.probe, sent.values())
            time.sleep(1)
            frames.send(sender.probe, [last])
            caught_near = near.until(last)
            # Whatever there is to hear was heard before these, which are sent later.
            frames.send(far_friend.probe, [far_last])
            caught = there.until(far_last)
            back = honest_frame(far, far_friend)
            frames.send(far.probe, [back])
            caught += beside.until(back)
        assert sent["broadcast"] in caught_near
        assert sent["rogue DHCP"] in caught_near
        for name, frame in sent.items():
            assert not any(one[14:].startswith(frame[14:]) for one in caught), name
