"""A tenant's network on a real fabric, with namespaces in the place of guests."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from network.fabric.base import (
    Direction,
    Fabric,
    IpProtocol,
    PortSpec,
    QosSpec,
    RuleAction,
    RulePriority,
    RuleSpec,
    SecurityGroupSpec,
    SegmentSpec,
    SubnetIpv6Spec,
    SubnetSpec,
    VpcSpec,
)
from scloud.lab import probe
from scloud.lab.plan import Lab, LabError
from scloud.lib.ids import new_id

ECHO = """
import socket, sys, threading
server = socket.create_server(
    ("", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True
)
def answer(link):
    while data := link.recv(65536):
        link.sendall(data)
print("ready", flush=True)
while True:
    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()
"""
CALL = """
import socket, sys
link = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)
link.sendall(b"hello")
print(link.recv(5).decode())
"""
#: What was changed in the databases reaches every host's flows within this time.
SETTLE_S = 10.0


@dataclass
class Machine:
    """A probe on a port of its own."""

    spec: PortSpec
    probe: probe.Probe

    @property
    def address(self) -> str:
        return str(self.spec.addresses[0])

    def serve(self, port: int) -> None:
        server = self.probe.popen(sys.executable, "-c", ECHO, str(port))
        self.servers.append(server)
        assert server.stdout is not None
        assert server.stdout.readline().strip() == "ready"

    def calls(self, other: Machine | str, port: int) -> bool:
        """Whether a TCP connection gets through and is answered."""
        address = other if isinstance(other, str) else other.address
        try:
            said = self.probe.run(sys.executable, "-c", CALL, address, str(port))
        except LabError:
            return False
        return said.strip() == "hello"

    servers: list = field(default_factory=list)  # type: ignore[type-arg]  # of Popen


def eventually(condition: Callable[[], bool], *, within_s: float = SETTLE_S) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


class Site:
    """A tenant's VPC with machines in it; everything is taken away at the end."""

    def __init__(self, fabric: Fabric, lab: Lab) -> None:
        self.fabric, self.lab = fabric, lab
        self.machines: list[Machine] = []
        self.subnets: list[SubnetSpec] = []
        self.segments: list[str] = []
        self.groups: list[str] = []
        self.vpcs: list[str] = []

    def subnet(
        self, cidr: str = "10.0.0.0/24", vpc: str | None = None, *, ipv6: str | None = None
    ) -> SubnetSpec:
        """One of a VPC of its own unless one is named; ``ipv6`` is a /64 that it has besides."""
        if vpc is None:
            vpc = new_id("vpc")
            self.fabric.ensure_vpc(VpcSpec(vpc))
            self.vpcs.append(vpc)
        network = IPv4Network(cidr)
        spec = SubnetSpec(
            id=new_id("subnet"),
            vpc_id=vpc,
            cidr=network,
            gateway=network.network_address + 1,
            dns=(IPv4Address("10.0.0.53"),),
            routes=(IPv4Network("10.0.0.0/16"),),
            # The probes' own links are narrower than the tunnels.
            mtu_bytes=1400,
            ipv6=_ipv6(ipv6) if ipv6 else None,
        )
        self.fabric.ensure_subnet(spec)
        self.subnets.append(spec)
        return spec

    def segment(self) -> SegmentSpec:
        """A segment of a physical network that no host has: it ends at the host."""
        spec = SegmentSpec(new_id("seg"), "nowhere")
        self.fabric.ensure_segment(spec)
        self.segments.append(spec.id)
        return spec

    def group(self, *rules: RuleSpec) -> SecurityGroupSpec:
        spec = SecurityGroupSpec(new_id("sg"), rules)
        self.fabric.ensure_security_group(spec)
        self.groups.append(spec.id)
        return spec

    def machine(
        self,
        subnet: SubnetSpec,
        host: str,
        group: SecurityGroupSpec | None = None,
        *,
        qos: tuple[QosSpec, ...] = (),
        configured: bool = True,
        ipv6: bool = False,
        segment: SegmentSpec | None = None,
    ) -> Machine:
        """One with an address of ``subnet``; on ``segment`` instead of its switch if one is given.

        With ``ipv6`` it also has an address of the subnet's IPv6 range, else of ``fd00::/64``.
        """
        number = len(self.machines) + 5
        address = subnet.cidr.network_address + number
        six = subnet.ipv6
        address6 = six.cidr[number] if six else IPv6Address(f"fd00::{number:x}")
        gateways = [str(subnet.gateway), *([str(six.gateway)] if six and ipv6 else [])]
        spec = PortSpec(
            name=str(uuid.uuid4()),
            nic_id=new_id("nic"),
            switch_id=segment.id if segment else subnet.id,
            mac=f"52:54:00:00:01:{number:02x}",
            addresses=(address, address6) if ipv6 else (address,),
            dhcp=segment is None,
            security_group_id=group.id if group else None,
            qos=qos,
        )
        self.fabric.ensure_ports([spec])
        place = probe.add(
            self.lab,
            name=f"net{number}",
            port=spec.name,
            mac=spec.mac,
            ip=[
                *([f"{address}/{subnet.cidr.prefixlen}"] if configured else []),
                *([f"{address6}/64"] if configured and ipv6 else []),
            ],
            gateway=gateways if configured else [],
            host=host,
        )
        machine = Machine(spec, place)
        self.machines.append(machine)
        assert eventually(lambda: self.fabric.port_observation(spec.name).up)
        return machine

    def clear(self) -> None:
        for machine in self.machines:
            for server in machine.servers:
                server.kill()
                server.communicate()
            probe.delete(self.lab, name=machine.probe.name)
        self.fabric.delete_ports([machine.spec.name for machine in self.machines])
        for group in self.groups:
            self.fabric.delete_security_group(group)
        for segment in self.segments:
            self.fabric.delete_segment(segment)
        for subnet in self.subnets:
            self.fabric.delete_subnet(subnet.id)
        for vpc in self.vpcs:
            self.fabric.delete_vpc(vpc)


def _ipv6(cidr: str) -> SubnetIpv6Spec:
    """The first address is the router's; the VPC has the /48 around it."""
    network = IPv6Network(cidr)
    return SubnetIpv6Spec(
        cidr=network,
        gateway=network[1],
        dns=(network[0x53],),
        routes=(network.supernet(new_prefix=48),),
    )


def rule(
    direction: Direction,
    protocol: IpProtocol,
    port: int | None = None,
    *,
    remote: str = "0.0.0.0/0",
    action: RuleAction = RuleAction.ACCEPT,
    priority: RulePriority = RulePriority.MEDIUM,
) -> RuleSpec:
    return RuleSpec(
        id=new_id("sgr"), direction=direction, protocol=protocol, remote=ip_network(remote),
        action=action, priority=priority, port_min=port, port_max=port,
    )  # fmt: skip
