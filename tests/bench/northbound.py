"""What it takes to write networks down for OVN: many ports and rules at once, and one rule."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network, ip_network

from network.fabric.base import Fabric, PortSpec
from scloud.lab import certificates
from tests.bench import installation
from tests.bench.rows import Row, p50, p95, seconds

GOAL_S = 10.0
RULE_GOAL_S = 0.2
GROUPS, RULES = 50, 20
#: So many ports go in one batch, as those of a purchase of VMs do.
BATCH = 10
RANGE = IPv4Network("10.32.0.0/16")


def run(quick: bool) -> list[Row]:
    """Write ports and groups by the product's driver, then change one rule at a time."""
    ports, changes = (100, 5) if quick else (1_000, 40)
    installation.whole()
    from network.fabric import ovn

    lab = installation.stack().lab
    ovn.use_certificates(certificates.of_worker(lab) / "ovn")
    fabric = ovn.connect(lab.nb, owner=f"bench-{uuid.uuid4()}")
    made = _Network(ports)
    try:
        began = time.perf_counter()
        fabric.ensure_vpc(made.vpc)
        fabric.ensure_subnet(made.subnet)
        for group in made.groups:
            fabric.ensure_security_group(group)
        for batch in made.batches():
            fabric.ensure_ports(batch)
        took_s = time.perf_counter() - began
        owned = fabric.list_owned().owned
        assert len(owned) == 2 + GROUPS + ports, len(owned)
        times = [_changed_s(fabric, made, turn) for turn in range(changes)]
    finally:
        for batch in made.batches():
            fabric.delete_ports([one.name for one in batch])
        for group in made.groups:
            fabric.delete_security_group(group.id)
        fabric.delete_subnet(made.subnet.id)
        fabric.delete_vpc(made.vpc.id)
        fabric.close()
    return [
        Row(
            f"Northbound: {ports} ports and {GROUPS} groups of {RULES} rules, written",
            f"<= {seconds(GOAL_S)}",
            seconds(took_s),
            took_s <= GOAL_S,
        ),
        Row(
            f"Northbound: one rule of a group with {ports // GROUPS} ports changed "
            f"({changes} changes)",
            f"<= {seconds(RULE_GOAL_S)}",
            f"p50 {p50(times) * 1000:.1f} ms, p95 {p95(times) * 1000:.1f} ms",
            p95(times) <= RULE_GOAL_S,
        ),
    ]


class _Network:
    """What is written."""

    def __init__(self, ports: int) -> None:
        from network.fabric.base import (
            Direction,
            IpProtocol,
            RuleAction,
            RulePriority,
            RuleSpec,
            SecurityGroupSpec,
            SubnetSpec,
            VpcSpec,
        )
        from scloud.lib.ids import new_id

        self.vpc = VpcSpec(new_id("vpc"))
        self.subnet = SubnetSpec(new_id("subnet"), self.vpc.id, RANGE, RANGE[1])
        self.groups = [
            SecurityGroupSpec(
                new_id("sg"),
                tuple(
                    RuleSpec(
                        id=new_id("rule"),
                        direction=Direction.IN,
                        protocol=IpProtocol.TCP,
                        remote=ip_network(f"198.51.{rule}.0/24"),
                        action=RuleAction.ACCEPT,
                        priority=RulePriority.MEDIUM,
                        port_min=1000 + rule,
                        port_max=1000 + rule,
                    )
                    for rule in range(RULES)
                ),
            )
            for _ in range(GROUPS)
        ]
        self.ports = [
            PortSpec(
                name=str(uuid.uuid4()),
                nic_id=new_id("nic"),
                switch_id=self.subnet.id,
                mac=f"52:56:00:00:{number >> 8:02x}:{number & 255:02x}",
                addresses=(RANGE[number + 10],),
                security_group_id=self.groups[number % GROUPS].id,
            )
            for number in range(ports)
        ]

    def batches(self) -> Iterator[list[PortSpec]]:
        """Yield the ports as purchases would bring them."""
        for first in range(0, len(self.ports), BATCH):
            yield self.ports[first : first + BATCH]


def _changed_s(fabric: Fabric, made: _Network, turn: int) -> float:
    """Change the ports of one rule; return the seconds until the database has it."""
    group = made.groups[turn % GROUPS]
    first, *rest = group.rules
    changed = replace(first, port_min=2000 + turn, port_max=2000 + turn)
    group = made.groups[turn % GROUPS] = replace(group, rules=(changed, *rest))
    began = time.perf_counter()
    assert fabric.ensure_security_group(group), "nothing was changed"
    return time.perf_counter() - began
