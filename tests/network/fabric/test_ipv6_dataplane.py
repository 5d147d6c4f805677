"""Private IPv6 on the wire: what routers announce, DHCPv6, the ways within a VPC, rogue guests."""

from __future__ import annotations

import struct
import threading
import time
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network

import pytest

from network.fabric.base import Direction, IpProtocol, SecurityGroupSpec
from tests.network.fabric import frames
from tests.network.fabric.frames import IPV6, Catcher
from tests.network.fabric.site import Machine, Site, eventually, rule
from tests.network.fabric.test_spoofing import link_local, six

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

FIRST, SECOND = "fd12:3456:789a:a0::/64", "fd12:3456:789a:a8::/64"
WHOLE = IPv6Network("fd12:3456:789a::/48")
ALL_ROUTERS, ALL_ROUTERS_MAC = IPv6Address("ff02::2"), "33:33:00:00:00:02"
ALL_DHCP, ALL_DHCP_MAC = IPv6Address("ff02::1:2"), "33:33:00:01:00:02"
#: Of an Ethernet and an IPv6 header.
HEADERS = 14 + 40


def heard(machine: Machine, sent: bytes, next_header: int, kind: int, at: int) -> bytes:
    """What follows the IPv6 header of the first frame that has ``kind`` at its byte ``at``.

    ``sent`` is repeated until there is one.
    """
    catcher = Catcher(machine.probe)
    found: list[bytes] = []

    def listen() -> None:
        for line in catcher.lines:
            frame = bytes.fromhex(line.strip())
            body = frame[HEADERS:]
            if frame[12:14] == b"\x86\xdd" and frame[20] == next_header and body[at:][:1] == want:
                found.append(body)

    def answered() -> bool:
        frames.send(machine.probe, [sent])
        time.sleep(0.3)
        return bool(found)

    want = bytes([kind])
    listener = threading.Thread(target=listen)
    listener.start()
    try:
        assert eventually(answered), "nothing was heard"
    finally:
        catcher.close()
        listener.join(10)
    return found[0]


def options_of(data: bytes) -> dict[int, bytes]:
    """The options of neighbour discovery, without type and length."""
    found = {}
    while len(data) >= 2 and data[1]:
        found[data[0]] = data[2 : 8 * data[1]]
        data = data[8 * data[1] :]
    return found


def solicitation(machine: Machine) -> bytes:
    """A router solicitation."""
    own = link_local(machine.spec.mac)
    body = bytes(4) + struct.pack("!BB", 1, 1) + frames.mac(machine.spec.mac)
    message = frames.icmpv6(133, own, ALL_ROUTERS, body)
    return frames.ethernet(machine.spec.mac, ALL_ROUTERS_MAC, IPV6, message)


def test_the_router_announces_the_vpc_and_that_addresses_come_by_dhcpv6(site: Site) -> None:
    subnet = site.subnet(ipv6=FIRST)
    guest = site.machine(subnet, "h2", site.group(), ipv6=True)
    said = heard(guest, solicitation(guest), frames.ICMPV6, 134, 0)
    flags = said[5]
    # Managed (M), and a low preference as a default router.
    assert (flags & 0x80, flags & 0x18) == (0x80, 0x18)
    options = options_of(said[16:])
    length, prefix_flags = options[3][0], options[3][1]
    # On the link (L), and no addresses of one's own (A).
    assert (length, prefix_flags & 0xC0) == (64, 0x80)
    assert IPv6Address(options[3][-16:]) == IPv6Network(FIRST)[0]
    assert int.from_bytes(options[5][2:6]) == 1400
    route = options[24]
    # Of a high preference.
    assert (route[0], route[1] & 0x18) == (48, 0x08)
    assert WHOLE[0].packed.startswith(route[6:12])


def dhcpv6(machine: Machine, kind: int, transaction: int) -> bytes:
    """A message of a client: its identifier (by MAC), one address asked for."""
    client = struct.pack("!HH", 3, 1) + frames.mac(machine.spec.mac)
    asked = struct.pack("!III", 1, 0, 0)
    body = struct.pack("!I", kind << 24 | transaction)
    body += struct.pack("!HH", 1, len(client)) + client
    body += struct.pack("!HH", 3, len(asked)) + asked
    datagram = frames.udp(link_local(machine.spec.mac), ALL_DHCP, (546, 547), body)
    return frames.ethernet(machine.spec.mac, ALL_DHCP_MAC, IPV6, datagram)


def test_dhcpv6_gives_the_address_even_where_nothing_else_passes(site: Site) -> None:
    subnet = site.subnet(ipv6=FIRST)
    guest = site.machine(subnet, "h1", site.group(), ipv6=True)
    solicit, advertise = 1, 2
    # After the UDP header.
    said = heard(guest, dhcpv6(guest, solicit, 0x5C10D), frames.UDP, advertise, 8)[8:]
    assert six(guest).packed in said
    assert subnet.ipv6 is not None
    assert subnet.ipv6.dns[0].packed in said


def test_guests_of_a_vpc_reach_each_other_across_hosts_and_subnets(site: Site) -> None:
    first = site.subnet("10.0.0.0/24", ipv6=FIRST)
    second = site.subnet("10.0.1.0/24", vpc=first.vpc_id, ipv6=SECOND)
    here, there = site.machine(first, "h1", ipv6=True), site.machine(first, "h2", ipv6=True)
    far = site.machine(second, "h2", ipv6=True)
    for one, other in ((here, there), (here, far), (far, here)):
        assert eventually(lambda one=one, other=other: one.probe.reaches(str(six(other))))  # type: ignore[misc]  # bound now
    far.serve(80)
    assert here.calls(str(six(far)), 80)


def test_vpcs_stay_apart_even_with_the_same_range(site: Site) -> None:
    ours, theirs = site.subnet(ipv6=FIRST), site.subnet(ipv6=FIRST)
    elsewhere = site.subnet(ipv6=SECOND)
    us, ally = (site.machine(ours, host, ipv6=True) for host in ("h1", "h2"))
    stranger, other = (site.machine(one, "h2", ipv6=True) for one in (theirs, elsewhere))
    assert eventually(lambda: us.probe.reaches(str(six(ally))))
    for far in (stranger, other):
        assert not us.probe.reaches(str(six(far)), timeout_s=2)
        assert not far.probe.reaches(str(six(us)), timeout_s=2)


def test_a_group_filters_private_ipv6(site: Site) -> None:
    subnet = site.subnet(ipv6=FIRST)
    group: SecurityGroupSpec = site.group(rule(Direction.IN, IpProtocol.TCP, 22, remote=str(WHOLE)))
    guarded = site.machine(subnet, "h1", group, ipv6=True)
    other = site.machine(subnet, "h2", ipv6=True)
    for port in (22, 23):
        guarded.serve(port)
    assert eventually(lambda: other.calls(str(six(guarded)), 22))
    assert not other.calls(str(six(guarded)), 23)
    assert not other.probe.reaches(str(six(guarded)), timeout_s=2)
    away = replace(group.rules[0], remote=IPv6Network("fd00:dead::/48"))
    site.fabric.ensure_security_group(replace(group, rules=(away,)))
    assert eventually(lambda: not other.calls(str(six(guarded)), 22))


def test_turned_off_nothing_is_announced_and_the_addresses_are_nobodys(site: Site) -> None:
    subnet = site.subnet(ipv6=FIRST)
    one, other = (site.machine(subnet, host, ipv6=True) for host in ("h1", "h2"))
    assert eventually(lambda: one.probe.reaches(str(six(other))))
    without = [
        replace(machine.spec, addresses=machine.spec.addresses[:1]) for machine in (one, other)
    ]
    site.fabric.ensure_ports(without)
    site.fabric.ensure_subnet(replace(subnet, ipv6=None))
    assert eventually(lambda: not one.probe.reaches(str(six(other)), timeout_s=1))
    assert one.probe.reaches(other.address)
