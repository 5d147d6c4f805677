"""That packets do what the specifications say: machines of different hosts on OVN's switches.

Namespaces stand in for guests here: they send what a guest would, and start at once.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path

import pytest

from network.fabric.base import Direction, IpProtocol, QosSpec, RuleAction, RulePriority, RuleSpec
from scloud.lab.plan import LabError
from scloud.lib.ids import new_id
from tests.network.fabric.site import Site, eventually, rule

pytestmark = pytest.mark.lab

HOLD = """
import socket, sys
link = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)
link.settimeout(2)
for line in sys.stdin:
    try:
        link.sendall(line.encode())
        print("alive" if link.recv(100) else "closed", flush=True)
    except OSError:
        print("cut", flush=True)
"""
DOWNLOAD = """
import socket, sys, time
link = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
left, begun = int(sys.argv[3]), time.monotonic()
block = bytes(8192)
while left > 0:
    link.sendall(block)
    got = 0
    while got < len(block):
        got += len(link.recv(65536))
    left -= len(block)
print(time.monotonic() - begun)
"""
OUT_ALL = rule(Direction.OUT, IpProtocol.ALL)


def test_machines_of_a_vpc_reach_each_other_across_hosts_and_subnets(site: Site) -> None:
    first = site.subnet("10.0.0.0/24")
    second = site.subnet("10.0.1.0/24", vpc=first.vpc_id)
    here, there = site.machine(first, "h1"), site.machine(first, "h2")
    elsewhere = site.machine(second, "h2")
    assert here.probe.reaches(there.address)
    assert here.probe.reaches(elsewhere.address)
    elsewhere.serve(80)
    assert here.calls(elsewhere, 80)
    seen = site.fabric.port_observation(there.spec.name)
    assert (seen.up, seen.chassis) == (True, site.lab.host("h2").hostname)


def test_vpcs_with_the_same_range_do_not_know_of_each_other(site: Site) -> None:
    ours, theirs = site.subnet(), site.subnet()
    us, neighbour = site.machine(ours, "h1"), site.machine(ours, "h2")
    stranger = site.machine(theirs, "h2")
    assert us.probe.reaches(neighbour.address)
    assert not us.probe.reaches(stranger.address, timeout_s=2)
    assert not stranger.probe.reaches(us.address, timeout_s=2)


def test_a_group_lets_in_what_its_rules_name_and_nothing_else(site: Site) -> None:
    subnet = site.subnet()
    group = site.group(rule(Direction.IN, IpProtocol.TCP, 22))
    guarded, other = site.machine(subnet, "h1", group), site.machine(subnet, "h2")
    for port in (22, 23):
        guarded.serve(port)
        other.serve(port)
    assert other.calls(guarded, 22)
    assert not other.calls(guarded, 23)
    assert not other.probe.reaches(guarded.address, timeout_s=2)
    # Nothing is allowed out; only answers leave.
    assert not guarded.calls(other, 22)
    site.fabric.ensure_security_group(replace(group, rules=(*group.rules, OUT_ALL)))
    assert eventually(lambda: guarded.calls(other, 22))


def test_a_higher_priority_decides_and_a_drop_beats_an_accept(site: Site) -> None:
    subnet = site.subnet()
    group = site.group()
    guarded, other = site.machine(subnet, "h1", group), site.machine(subnet, "h2")
    guarded.serve(80)
    everyone = rule(Direction.IN, IpProtocol.TCP, 80)
    not_him = replace(everyone, id=new_id("sgr"), action=RuleAction.DROP)

    def apply(*rules: RuleSpec) -> None:
        site.fabric.ensure_security_group(replace(group, rules=rules))

    apply(everyone)
    assert eventually(lambda: other.calls(guarded, 80))
    apply(everyone, not_him)
    assert eventually(lambda: not other.calls(guarded, 80))
    apply(replace(everyone, priority=RulePriority.HIGH), not_him)
    assert eventually(lambda: other.calls(guarded, 80))
    apply(everyone, replace(not_him, remote=ip_network("10.0.0.200/32")))
    assert other.calls(guarded, 80)


def test_a_connection_that_becomes_forbidden_is_cut(site: Site) -> None:
    subnet = site.subnet()
    group = site.group(rule(Direction.IN, IpProtocol.TCP, 80), OUT_ALL)
    guarded, other = site.machine(subnet, "h1", group), site.machine(subnet, "h2")
    guarded.serve(80)
    held = other.probe.popen(sys.executable, "-c", HOLD, guarded.address, "80")
    other.servers.append(held)
    to_it, from_it = held.stdin, held.stdout
    assert to_it is not None
    assert from_it is not None

    def say() -> str:
        to_it.write("x\n")
        to_it.flush()
        return str(from_it.readline().strip())

    assert say() == "alive"
    site.fabric.ensure_security_group(replace(group, rules=(OUT_ALL,)))
    assert eventually(lambda: say() == "cut")


def test_a_machine_cannot_send_from_an_address_that_is_not_its_own(site: Site) -> None:
    subnet = site.subnet()
    honest, liar = site.machine(subnet, "h1"), site.machine(subnet, "h2")
    assert liar.probe.reaches(honest.address)
    false = "10.0.0.99"
    liar.probe.run("ip", "address", "add", f"{false}/24", "dev", "eth0")
    with pytest.raises(LabError):
        liar.probe.run("ping", "-n", "-c", "1", "-w", "2", "-I", false, honest.address)
    assert liar.probe.reaches(honest.address)
    liar.probe.run("ip", "link", "set", "eth0", "address", "52:54:00:00:02:02")
    assert not liar.probe.reaches(honest.address, timeout_s=2)


def test_a_next_hop_forwards_for_its_routes_and_for_nothing_else(site: Site) -> None:
    subnet = site.subnet()
    guest, router = site.machine(subnet, "h1"), site.machine(subnet, "h2")
    router.probe.run("ip", "link", "set", "lo", "up")
    for beyond in ("192.0.2", "198.51.100"):
        router.probe.run("ip", "address", "add", f"{beyond}.9/32", "dev", "lo")
        guest.probe.run("ip", "route", "add", f"{beyond}.0/24", "via", router.address)
    assert guest.probe.reaches(router.address)
    assert not guest.probe.reaches("192.0.2.9", timeout_s=2)
    route = IPv4Network("192.0.2.0/24")
    site.fabric.ensure_ports([replace(router.spec, forwards=(route,))])
    assert guest.probe.reaches("192.0.2.9", timeout_s=10)
    assert not guest.probe.reaches("198.51.100.9", timeout_s=2)
    site.fabric.ensure_ports([router.spec])
    assert eventually(lambda: not guest.probe.reaches("192.0.2.9", timeout_s=1))
    assert guest.probe.reaches(router.address)


def test_a_port_without_addresses_is_silent(site: Site) -> None:
    subnet = site.subnet()
    one, other = site.machine(subnet, "h1"), site.machine(subnet, "h2")
    assert one.probe.reaches(other.address)
    site.fabric.ensure_ports([replace(other.spec, addresses=())])
    assert eventually(lambda: not one.probe.reaches(other.address, timeout_s=1))


def test_dhcp_gives_address_route_and_name_server_even_where_nothing_else_passes(
    site: Site, tmp_path: Path
) -> None:
    subnet = site.subnet()
    newcomer = site.machine(subnet, "h2", site.group(), configured=False)
    script = tmp_path / "lease"
    script.write_text(
        '#!/bin/sh\n[ "$1" = bound ] && echo "$ip/$mask $serverid $router $dns $mtu"'
        ' && echo "$staticroutes"\nexit 0\n'
    )
    script.chmod(0o755)
    busybox = shutil.which("busybox")
    assert busybox is not None
    said = newcomer.probe.run(
        busybox, "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "5", "-T", "1",
        "-O", "staticroutes", "-O", "mtu", "-s", script,
    )  # fmt: skip
    assert f"{newcomer.address}/24 10.0.0.1 10.0.0.1 10.0.0.53 1400" in said
    assert "10.0.0.0/16 10.0.0.1" in said


def test_bandwidth_is_bounded_on_the_host_that_holds_the_machine(site: Site) -> None:
    subnet = site.subnet()
    bound = (QosSpec(Direction.OUT, 4000, address=ip_address("10.0.0.5")),)
    slow, other = site.machine(subnet, "h1", qos=bound), site.machine(subnet, "h2")
    other.serve(80)

    def seconds_for(size_bytes: int) -> float:
        return float(
            slow.probe.run(
                sys.executable, "-c", DOWNLOAD, other.address, "80", str(size_bytes), timeout_s=60
            )
        )

    # 2 MB at 500 kB/s, of which the first second's burst may go at once.
    assert eventually(lambda: seconds_for(8192) < 1)
    assert seconds_for(2_000_000) > 2.5
    site.fabric.ensure_ports([replace(slow.spec, qos=())])
    assert eventually(lambda: seconds_for(2_000_000) < 2)
