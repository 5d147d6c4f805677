"""A sample of random groups, tried with real connections between machines on two hosts."""

from __future__ import annotations

import random
import subprocess

import pytest

from network.fabric.base import Direction, SecurityGroupSpec
from network.models import SecurityGroupRule
from network.rules.evaluate import ICMP, ICMPV6, TCP, IpAddress, Packet, evaluate
from network.tasks.specs import rule_spec
from tests.budget import WHOLE
from tests.network.fabric.rule_sets import some_group
from tests.network.fabric.site import Machine, Site, eventually

GROUPS = 12 if WHOLE else 3
#: Of further ones, until packets of each direction were let through and refused.
MORE_GROUPS = 20
PORTS = (22, 443)


def settle(site: Site) -> None:
    """Wait until every host has the rules."""
    command = ["ovn-nbctl", *site.lab.nb_options, "--wait=hv", "--timeout=30", "sync"]
    subprocess.run(command, check=True)


def same(one: Machine, version: int) -> IpAddress:
    return next(address for address in one.spec.addresses if address.version == version)


@pytest.mark.lab
@pytest.mark.timeout(600)
def test_real_connections_pass_where_the_evaluator_says_so(site: Site) -> None:
    subnet = site.subnet()
    group = site.group()
    guarded = site.machine(subnet, "h1", group, ipv6=True)
    other = site.machine(subnet, "h2", ipv6=True)
    for port in PORTS:
        guarded.serve(port)
        other.serve(port)
    assert eventually(lambda: not other.probe.reaches(guarded.address, timeout_s=1))
    rng = random.Random(5)
    seen: set[tuple[str, bool]] = set()
    wrong: list[str] = []
    all_of_them = {(direction, allowed) for direction in Direction for allowed in (True, False)}
    for number in range(GROUPS + MORE_GROUPS):
        if number >= GROUPS and seen == all_of_them:
            break
        rules = some_group(rng, 12, [*other.spec.addresses, *guarded.spec.addresses])
        specs = tuple(map(rule_spec, rules))
        site.fabric.ensure_security_group(SecurityGroupSpec(group.id, specs))
        settle(site)
        for direction in Direction:
            ends = (guarded, other) if direction is Direction.OUT else (other, guarded)
            wrong += tried(*ends, direction, rules, seen)
    assert wrong == []
    assert seen == all_of_them


def tried(
    source: Machine,
    to: Machine,
    direction: Direction,
    rules: list[SecurityGroupRule],
    seen: set[tuple[str, bool]],
) -> list[str]:
    """What went otherwise than the evaluator says."""
    found = []
    for version in (4, 6):
        here, there = same(source, version), same(to, version)
        echo, kind = (ICMP, 8) if version == 4 else (ICMPV6, 128)
        packets = [
            Packet(source=here, destination=there, protocol=TCP, port=port, source_port=40_000)
            for port in PORTS
        ]
        packets.append(Packet(source=here, destination=there, protocol=echo, icmp_type=kind))
        for packet in packets:
            expected = evaluate(rules, direction, packet).allowed
            seen.add((direction, expected))
            address = str(packet.destination)
            if packet.port is not None:
                passed = source.calls(address, packet.port)
            else:
                passed = source.probe.reaches(address, timeout_s=2)
            if passed != expected:
                found.append(f"{direction} {packet}: {passed}, not {expected}, by {rules}")
    return found
