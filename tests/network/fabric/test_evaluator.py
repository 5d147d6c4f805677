"""The rule evaluator says what OVN does: random groups, random packets, both traced by OVN.

The budget here is small; ``make soak`` takes 2,000 groups (``SCLOUD_RULE_SETS``,
``SCLOUD_RULE_SEED``).
"""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, ip_address
from pathlib import Path

import pytest
from ovs.unixctl.client import UnixctlClient

from network.fabric import ovn
from network.fabric.base import (
    Fabric,
    FabricRefused,
    IpProtocol,
    PortSpec,
    SecurityGroupSpec,
    SubnetSpec,
    TraceSpec,
    VpcSpec,
)
from network.fabric.ovn import tracing
from network.fabric.ovn.matches import group_acls, port_group_name
from network.models import RuleDirection, SecurityGroupRule
from network.rules.evaluate import (
    ICMP,
    ICMPV6,
    TCP,
    Because,
    IpAddress,
    Packet,
    Verdict,
    evaluate,
    matches,
    rank,
)
from network.tasks.specs import rule_spec
from scloud.lib.ids import new_id
from tests.network.fabric.conftest import Databases
from tests.network.fabric.rule_sets import some_group, some_packets

SETS = int(os.environ.get("SCLOUD_RULE_SETS", "60"))
SEED = int(os.environ.get("SCLOUD_RULE_SEED", "1"))
RULES_AT_MOST = 20
PACKETS = 8
AT_ONCE = 20
ANYWHERE_OUT = [
    SecurityGroupRule(
        pk=f"sgr-{number}", direction="out", protocol="all", cidr=cidr, action="accept",
        priority="low",
    )
    for number, cidr in enumerate(("0.0.0.0/0", "::/0"))
]  # fmt: skip
NOBODY = ip_address("fd00:77::77")
OUTSIDE_MAC = "52:54:00:00:ff:01"
#: What OVN adds to an ACL's priority to have its flow's.
ACL_OFFSET = 1000


@dataclass(frozen=True)
class Decision:
    """What OVN made of a packet: whether it came out, and the flow of the group's that decided."""

    allowed: bool
    priority: int
    match: str


class Tracer:
    """``ovn-trace`` that has read the database once, as it does, and answers many questions."""

    def __init__(self, databases: Databases, switch: str, questions: int) -> None:
        self.switch = switch
        self.folder = databases.folder
        self.pidfile = self.folder / "trace.pid"
        control = self.folder / "trace.ctl"
        # Every connection is a new one: at both ends of each question.
        fresh = ["--ct=new"] * (2 * questions)
        subprocess.run(
            ["ovn-trace", f"--db={databases.sb}", "--detach", "--no-chdir", "--no-friendly-names",
             f"--pidfile={self.pidfile}", f"--unixctl={control}", *fresh],
            check=True, capture_output=True,
        )  # fmt: skip
        self.pid = int(self.pidfile.read_text())
        error, self.client = UnixctlClient.create(str(control))
        assert not error

    def ask(self, flow: str) -> str:
        status, error, said = self.client.transact("trace", ["--detailed", self.switch, flow])
        assert not status, flow
        assert not error, f"{flow}: {error}"
        return str(said)

    def close(self) -> None:
        self.client.close()
        os.kill(self.pid, signal.SIGTERM)
        while Path(f"/proc/{self.pid}").exists():
            if Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                break


@contextmanager
def tracer_of(databases: Databases, switch: str, questions: int) -> Iterator[Tracer]:
    found = Tracer(databases, switch, questions)
    try:
        yield found
    finally:
        found.close()


class Bench:
    """A switch with NICs of one group each, and a port through which the rest of the world is."""

    def __init__(self, fabric: Fabric, databases: Databases, *, nics: int) -> None:
        self.fabric, self.databases = fabric, databases
        vpc = VpcSpec(new_id("vpc"))
        network = IPv4Network("10.0.0.0/24")
        self.subnet = SubnetSpec(new_id("subnet"), vpc.id, network, gateway=network[1])
        self.outside = f"outside-{uuid.uuid4()}"
        self.ports = [self._port(number) for number in range(5, 5 + nics)]
        fabric.ensure_vpc(vpc)
        fabric.ensure_subnet(self.subnet)
        for port in self.ports:
            fabric.ensure_security_group(SecurityGroupSpec(str(port.security_group_id)))
        fabric.ensure_ports(self.ports)
        databases.nbctl(
            "lsp-add", self.subnet.id, self.outside, "--",
            "lsp-set-addresses", self.outside, "unknown",
        )  # fmt: skip

    def _port(self, number: int) -> PortSpec:
        return PortSpec(
            name=str(uuid.uuid4()),
            nic_id=new_id("nic"),
            switch_id=self.subnet.id,
            mac=f"52:54:00:00:00:{number:02x}",
            addresses=(ip_address(f"10.0.0.{number}"), ip_address(f"fd00::{number:x}")),
            security_group_id=new_id("sg"),
            # OVN would answer itself, and there would be nothing to compare.
            dhcp=False,
        )

    def apply(self, port: PortSpec, rules: list[SecurityGroupRule]) -> None:
        specs = tuple(map(rule_spec, rules))
        self.fabric.ensure_security_group(SecurityGroupSpec(str(port.security_group_id), specs))

    def settle(self) -> None:
        self.databases.nbctl("--wait=sb", "sync")

    def flow(self, port: PortSpec, direction: str, packet: Packet) -> str:
        out = direction == RuleDirection.OUT
        ways = (port.name, port.mac, OUTSIDE_MAC) if out else (self.outside, OUTSIDE_MAC, port.mac)
        version = packet.source.version
        parts = [
            f'inport == "{ways[0]}"', f"eth.src == {ways[1]}", f"eth.dst == {ways[2]}",
            f"ip{version}.src == {packet.source}", f"ip{version}.dst == {packet.destination}",
            "ip.ttl == 255", f"ip.proto == {packet.protocol}",
        ]  # fmt: skip
        if packet.port is not None:
            name = "tcp" if packet.protocol == TCP else "udp"
            parts += [f"{name}.dst == {packet.port}", f"{name}.src == {packet.source_port}"]
        if packet.icmp_type is not None:
            name = "icmp4" if packet.protocol == ICMP else "icmp6"
            parts += [f"{name}.type == {packet.icmp_type}", f"{name}.code == 0"]
        if packet.protocol == ICMPV6 and packet.icmp_type in (135, 136):
            # Anything else is false discovery, which port security drops before; and OVN answers
            # by itself when somebody looks for an address that it knows.
            asks = packet.icmp_type == 135
            about, side = (NOBODY, "sll") if asks else (packet.source, "tll")
            parts += [f"nd.target == {about}", f"nd.{side} == {ways[1]}"]
        return " && ".join(parts)

    def decide(self, tracer: Tracer, port: PortSpec, direction: str, packet: Packet) -> Decision:
        said = tracer.ask(self.flow(port, direction, packet))
        out = direction == RuleDirection.OUT
        stage = "ls_in_acl" if out else "ls_out_acl"
        arrived = self.outside if out else port.name
        flows = re.findall(rf"{stage} \([^)]*\): (.*), priority (\d+), uuid", said)
        # The last one: what came before it only prepared the packet.
        assert flows, said
        match, priority = flows[-1]
        return Decision(f'output to "{arrived}"' in said, int(priority), match)


def expected_keys(
    rules: list[SecurityGroupRule], direction: str, packet: Packet, verdict: Verdict
) -> set[str]:
    """Which ACLs may be the deciding one: rules of one rank that match say the same."""
    if verdict.rule is None:
        return {"deny-out" if direction == RuleDirection.OUT else "deny-in"}
    best = rank(verdict.rule)
    same = [rule for rule in rules if rule.direction == direction and rank(rule) == best]
    return {rule.pk for rule in same if matches(rule, packet)}


def difference(
    bench: Bench,
    tracer: Tracer,
    port: PortSpec,
    rules: list[SecurityGroupRule],
    asked: tuple[str, Packet],
) -> str:
    """What evaluator and OVN disagree about; nothing if they agree."""
    direction, packet = asked
    verdict = evaluate(rules, direction, packet)
    traced = bench.decide(tracer, port, direction, packet)
    said = f"{direction} {packet}: {verdict} but {traced}"
    if verdict.allowed != traced.allowed:
        return said
    if verdict.because is Because.ALWAYS:
        return ""
    spec = SecurityGroupSpec(str(port.security_group_id), tuple(map(rule_spec, rules)))
    keys = expected_keys(rules, direction, packet, verdict)
    acls = [acl for acl in group_acls(spec) if acl.key in keys]
    named = any(
        acl.priority + ACL_OFFSET == traced.priority
        # On a switch without any stateful rule OVN puts nothing around the match.
        and (acl.match == traced.match or f"({acl.match})" in traced.match)
        for acl in acls
    )
    return "" if named else said


@pytest.fixture(scope="module")
def bench(databases: Databases) -> Iterator[Bench]:
    fabric = ovn.connect(databases.nb, owner="evaluator", sb=databases.sb, timeout_s=60)
    yield Bench(fabric, databases, nics=AT_ONCE)
    fabric.close()


@pytest.mark.lab
@pytest.mark.timeout(7200)
def test_every_verdict_is_ovns(bench: Bench) -> None:
    rng = random.Random(SEED)
    wrong: list[str] = []
    seen: set[tuple[int, str, bool, Because]] = set()
    own: dict[str, tuple[IpAddress, ...]] = {port.name: port.addresses for port in bench.ports}
    near = [address for addresses in own.values() for address in addresses]
    for begin in range(0, SETS, AT_ONCE):
        ports = bench.ports[: min(AT_ONCE, SETS - begin)]
        groups = {port.name: some_group(rng, RULES_AT_MOST, near) for port in ports}
        for port in ports:
            bench.apply(port, groups[port.name])
        bench.settle()
        with tracer_of(bench.databases, bench.subnet.id, len(ports) * PACKETS) as tracer:
            for port in ports:
                rules = groups[port.name]
                packets = some_packets(rng, rules, own[port.name])
                for asked in itertools.islice(packets, PACKETS):
                    found = difference(bench, tracer, port, rules, asked)
                    wrong += [f"seed {SEED}, set from {begin}: {found}"] if found else []
                    verdict = evaluate(rules, *asked)
                    seen.add((asked[1].source.version, asked[0], verdict.allowed, verdict.because))
    assert wrong == []
    # It was about both versions, both directions, and rules that accept and that drop.
    for version, direction in itertools.product((4, 6), RuleDirection.values):
        for allowed in (True, False):
            assert (version, direction, allowed, Because.RULE) in seen
        assert (version, direction, False, Because.NO_RULE) in seen
    assert any(because is Because.ALWAYS for *_, because in seen)


@pytest.mark.lab
@pytest.mark.parametrize("stateful", [True, False], ids=["with a rule", "without any rule"])
def test_what_ipv6_always_needs_passes_whatever_the_group_says(
    bench: Bench, stateful: bool
) -> None:
    rules = ANYWHERE_OUT[:1] if stateful else []
    for port in bench.ports:
        bench.apply(port, rules)
    bench.settle()
    port = bench.ports[0]
    own, link_local = port.addresses[1], ip_address("fe80::5054:ff:fe00:5")
    far, near, group = map(ip_address, ("2001:db8::1", "fe80::1", "ff02::16"))
    ways = {
        "out": [(own, far), (own, group), (link_local, near), (link_local, group)],
        "in": [(far, own), (far, group), (near, link_local), (near, group)],
    }
    asked = [
        (
            direction,
            Packet(source=source, destination=to, protocol=ICMPV6, icmp_type=icmp_type),
        )
        for direction, pairs in ways.items()
        for source, to in pairs
        for icmp_type in range(125, 150)
    ]
    with tracer_of(bench.databases, bench.subnet.id, len(asked)) as tracer:
        wrong = [found for one in asked if (found := difference(bench, tracer, port, rules, one))]
    assert wrong == []


@pytest.mark.lab
@pytest.mark.parametrize("protocol", list(set(IpProtocol) - {IpProtocol.ALL}))
def test_an_operators_trace_shows_what_decides(bench: Bench, protocol: IpProtocol) -> None:
    port, neighbour = bench.ports[:2]
    bench.apply(port, [])
    bench.settle()
    number = 1 if protocol is IpProtocol.ICMPV6 else 0
    spec = TraceSpec(
        switch_id=bench.subnet.id,
        port_name=port.name,
        source_mac=port.mac,
        destination_mac=neighbour.mac,
        source=port.addresses[number],
        destination=neighbour.addresses[number],
        protocol=protocol,
        port=443 if protocol in (IpProtocol.TCP, IpProtocol.UDP) else None,
    )
    said = tracing.trace(bench.databases.sb, spec)
    assert f"inport == @{port_group_name(str(port.security_group_id))} && ip" in said
    assert "output to" not in said
    bench.apply(port, [ANYWHERE_OUT[number]])
    bench.settle()
    assert "ls_out_acl" in tracing.trace(bench.databases.sb, spec)
    with pytest.raises(FabricRefused, match="unknown datapath"):
        tracing.trace(bench.databases.sb, replace(spec, switch_id="no-such-switch"))
    with pytest.raises(FabricRefused, match="unknown logical port"):
        tracing.trace(bench.databases.sb, replace(spec, port_name="no-such-port"))


@pytest.mark.lab
def test_the_comparison_notices_a_wrong_verdict(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: an evaluator for which the accept beats the drop is found out."""
    both = [
        SecurityGroupRule(
            pk=f"sgr-{action}", direction="in", protocol="tcp", port_min=22, port_max=22,
            cidr="0.0.0.0/0", action=action, priority="medium",
        )
        for action in ("drop", "accept")
    ]  # fmt: skip
    port = bench.ports[0]
    bench.apply(port, both)
    bench.settle()
    packet = Packet(
        source=ip_address("192.0.2.1"), destination=port.addresses[0], protocol=TCP, port=22,
        source_port=40_000,
    )  # fmt: skip
    with tracer_of(bench.databases, bench.subnet.id, 2) as tracer:
        assert difference(bench, tracer, port, both, ("in", packet)) == ""
        monkeypatch.setattr("network.rules.evaluate.rank", lambda rule: (0, rule.action == "drop"))
        assert "allowed=True" in difference(bench, tracer, port, both, ("in", packet))
