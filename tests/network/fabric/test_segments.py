"""External segments on OVN, seen from the machine outside: what answers, from where, and what not.

A namespace stands in for a guest; it is configured by the very script that guests are.
"""

from __future__ import annotations

import socket
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, ip_address, ip_interface

import pytest

from compute.hypervisor.guestnet import iproute, shell
from network.fabric import ovn
from network.fabric.base import Fabric, PortSpec, SegmentSpec
from network.rules.guest import GuestNic, HeldAddress, RoutePolicy, plan
from scloud.lab import probe, region
from scloud.lab.plan import PHYSICAL_NETWORK, Lab, SegmentPlan
from scloud.lab.shell import succeeds
from scloud.lib.ids import new_id
from tests.network.fabric.site import eventually

pytestmark = pytest.mark.lab

MAC = "52:54:00:00:02:01"
CALL = """
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()
"""


@dataclass
class Machine:
    """A machine on a segment's switch, and its port."""

    lab: Lab
    fabric: Fabric
    spec: PortSpec
    probe: probe.Probe

    def let_through(self, *held: HeldAddress) -> None:
        """What its port may send and receive."""
        addresses = tuple(one.interface.ip for one in held)
        self.fabric.ensure_ports([replace(self.spec, addresses=addresses)])

    def configure(self, *held: HeldAddress) -> None:
        """What its guest is told."""
        nic = GuestNic(1, "eth0", MAC, 1400, external=True, addresses=held)
        self.probe.run("sh", "-c", shell.PREAMBLE + iproute.body(plan([nic])) + 'exit "$failed"')

    def answers(self, held: HeldAddress, *, within_s: int = 1) -> bool:
        """Whether the machine outside gets an answer from the address."""
        address = str(held.interface.ip)
        return succeeds("ping", "-n", "-q", "-c", "1", "-w", str(within_s), address)

    def seen_as(self) -> str:
        """By which source address somebody far outside sees it."""
        far = self.lab.management_address
        with socket.create_server((far, 0)) as server:
            server.settimeout(20)
            caller = self.probe.popen(sys.executable, "-c", CALL, far, str(server.getsockname()[1]))
            link, peer = server.accept()
            link.close()
            caller.communicate(timeout=20)
        return str(peer[0])


def held(segment: SegmentPlan, number: int, *, egress: bool = False) -> HeldAddress:
    """The address of that number in a segment."""
    network = ip_interface(segment.gateway_interface).network
    return HeldAddress(
        ip_interface(f"{network[number]}/{network.prefixlen}"),
        ip_address(segment.gateway),
        RoutePolicy.SPECIFIED if segment.destinations else RoutePolicy.DEFAULT,
        tuple(IPv4Network(one) for one in segment.destinations),
        egress,
    )


@pytest.fixture
def machine(lab: Lab) -> Iterator[Machine]:
    facts = region.status(lab)["ovn"]
    fabric = ovn.connect(facts["nb"], owner=f"test-{uuid.uuid4()}", sb=facts["sb"])
    segment, port = new_id("seg"), str(uuid.uuid4())
    fabric.ensure_segment(SegmentSpec(segment, PHYSICAL_NETWORK))
    spec = PortSpec(port, new_id("nic"), segment, MAC, dhcp=False)
    fabric.ensure_ports([spec])
    place = probe.add(lab, name="segment", port=port, mac=MAC, ip=[], host="h2")
    yield Machine(lab, fabric, spec, place)
    probe.delete(lab, name="segment")
    fabric.delete_ports([port])
    fabric.delete_segment(segment)
    fabric.close()


def test_addresses_of_all_segments_answer_and_a_foreign_one_is_silent(
    machine: Machine, lab: Lab
) -> None:
    office, partners, office6 = lab.segments
    a, b = held(office, 51, egress=True), held(office, 52)
    p, six = held(partners, 53), held(office6, 54, egress=True)
    foreign = held(office, 55)
    mine = (a, b, p, six)
    machine.let_through(*mine)
    # The guest takes one more than it has been given.
    machine.configure(*mine, foreign)
    for one in mine:
        assert eventually(lambda one=one: machine.answers(one)), one  # type: ignore[misc]  # bound now
    assert not machine.answers(foreign, within_s=2)
    assert machine.seen_as() == str(a.interface.ip)

    # The other address of the segment becomes the egress, and the first one goes.
    rest = (replace(b, egress=True), p, six)
    machine.configure(*rest)
    assert machine.seen_as() == str(b.interface.ip)
    assert not machine.answers(a, within_s=2)

    # What the platform takes away is silent at once, whatever the guest still has.
    machine.let_through(b, six)
    assert eventually(lambda: not machine.answers(p))
    assert machine.answers(b, within_s=5)
    assert machine.answers(six, within_s=5)
