"""A guest with addresses of two segments, IPv6 and an external ENI, seen from outside the region.

The guest boots with what the product writes into a seed, is changed while it runs by what the
product's agent calls would run in it, and boots again. ``make test`` does it with the mini guest, a
soak with Debian under netplan and under NetworkManager too.
"""

from __future__ import annotations

import json
import shutil
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, ip_address, ip_interface

import pytest

from compute.hypervisor.guestnet import netplan, scripts
from network.fabric import ovn
from network.fabric.base import Fabric, PortSpec, SegmentSpec, SubnetSpec, VpcSpec
from network.rules.guest import GuestNic, HeldAddress, RoutePolicy, plan
from scloud.lab import region
from scloud.lab.plan import PHYSICAL_NETWORK, Lab, LabError, SegmentPlan
from scloud.lab.shell import succeeds, wait_for
from scloud.lib.ids import new_id
from tests.lab.guest import Guest

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

PRIVATE = IPv4Network("10.46.0.0/24")
MACS = ("52:54:00:1a:c0:00", "52:54:00:1a:c0:01", "52:54:00:1a:c0:02")


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


@dataclass
class Stage:
    """The guest, and how to give its NICs other addresses."""

    lab: Lab
    fabric: Fabric
    guest: Guest
    segment_id: str
    subnet_id: str
    ports: tuple[str, str, str]
    instance: str
    renderer: scripts.Renderer

    @property
    def reads_tables(self) -> bool:
        """What ``compute.rules.guests.reads_tables`` says of the guest's image."""
        return self.renderer is not scripts.Renderer.NETWORK_MANAGER

    def nics(
        self, addresses: tuple[HeldAddress, ...], eni: HeldAddress | None
    ) -> tuple[GuestNic, ...]:
        private = HeldAddress(
            ip_interface(f"{PRIVATE[11]}/24"), PRIVATE[1], destinations=(PRIVATE,)
        )
        return (
            GuestNic(0, "eth0", MACS[0], 1442, external=False, addresses=(private,)),
            GuestNic(1, "eth1", MACS[1], 1500, external=True, addresses=addresses),
            GuestNic(2, "eth2", MACS[2], 1500, external=True, addresses=(eni,) if eni else ()),
        )

    def let_through(self, nics: tuple[GuestNic, ...]) -> None:
        """What the platform's network lets the NICs send and receive."""
        self.fabric.ensure_ports(
            [
                PortSpec(
                    name=port,
                    nic_id=new_id("nic"),
                    switch_id=self.segment_id if nic.external else self.subnet_id,
                    mac=nic.mac,
                    addresses=tuple(one.interface.ip for one in nic.addresses),
                    dhcp=not nic.external,
                )
                for port, nic in zip(self.ports, nics, strict=True)
            ]
        )

    def write_seed(self, nics: tuple[GuestNic, ...]) -> None:
        meta = {"instance-id": self.instance, "local-hostname": "outside"}
        network = json.dumps(netplan.network_config(plan(nics), tables=self.reads_tables))
        self.guest.write_seed(json.dumps(meta), "#cloud-config\n{}\n", network)

    def apply(self, nics: tuple[GuestNic, ...]) -> None:
        """What the platform does to a guest that runs."""
        found = self.guest.execute(scripts.DETECT)
        renderer, _ = scripts.parse_detected(found)
        assert renderer is self.renderer
        self.guest.execute(scripts.script(renderer, plan(nics)))

    def answers(self, one: HeldAddress, *, within_s: int = 5) -> bool:
        """Whether the outer machine gets an answer from the address."""
        return succeeds(
            "ping", "-n", "-q", "-c", "1", "-w", str(within_s), str(one.interface.ip),
            timeout_s=within_s + 5,
        )  # fmt: skip

    def seen_as(self, version: int) -> str:
        """The source by which the outer machine, outside all segments, sees the guest."""
        outside = self.lab.management_address if version == 4 else f"fd00:99::{self.lab.index}"
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with socket.create_server((outside, 0), family=family) as server:
            server.settimeout(20)
            port = server.getsockname()[1]
            # Debian has no nc, the mini guest no bash.
            call = f"nc -w 5 {outside} {port}"
            self.guest.execute(
                f"(sleep 1; if command -v nc; then echo hi | {call}; "
                f"else bash -c 'echo hi > /dev/tcp/{outside}/{port}'; fi) >/dev/null 2>&1 &"
            )
            link, peer = server.accept()
            link.close()
        return str(peer[0])

    def gateway_of(self, one: HeldAddress) -> str:
        """By which gateway the guest answers somebody far away."""
        far = "192.0.99.1" if one.interface.version == 4 else "2001:db8:ffff::1"
        route = self.guest.execute(f"ip route get {far} from {one.interface.ip}")
        return route.split(" via ")[1].split()[0]


STAGES = [
    ("mini", scripts.Renderer.IPROUTE),
    pytest.param(("debian", scripts.Renderer.NETPLAN), marks=pytest.mark.soak),
    pytest.param(("debian-nm", scripts.Renderer.NETWORK_MANAGER), marks=pytest.mark.soak),
]


@pytest.fixture(scope="module", params=STAGES, ids=["mini", "netplan", "networkmanager"])
def stage(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Stage]:
    image, renderer = request.param
    real = {} if image == "mini" else {"image": image, "memory_mib": 512, "size_gib": 4}
    facts = region.status(lab)["ovn"]
    fabric = ovn.connect(facts["nb"], owner=f"test-{uuid.uuid4()}", sb=facts["sb"])
    vpc, subnet, segment = new_id("vpc"), new_id("subnet"), new_id("seg")
    fabric.ensure_vpc(VpcSpec(vpc))
    fabric.ensure_subnet(SubnetSpec(subnet, vpc, PRIVATE, PRIVATE[1]))
    fabric.ensure_segment(SegmentSpec(segment, PHYSICAL_NETWORK))
    ports = (str(uuid.uuid4()), str(uuid.uuid4()), str(uuid.uuid4()))
    guest = Guest(
        lab,
        lab.host("h1"),
        "lab-tests-outside",
        7,
        ports=list(zip(ports, MACS, strict=True)),
        **real,
    )
    guest.destroy()
    shutil.rmtree(guest.directory, ignore_errors=True)
    yield Stage(lab, fabric, guest, segment, subnet, ports, str(uuid.uuid4()), renderer)
    guest.destroy()
    shutil.rmtree(guest.directory, ignore_errors=True)
    fabric.delete_ports(ports)
    fabric.delete_segment(segment)
    fabric.delete_subnet(subnet)
    fabric.delete_vpc(vpc)
    fabric.close()


@pytest.fixture(scope="module")
def far_away(lab: Lab) -> Iterator[None]:
    """An IPv6 address of the outer machine that belongs to no segment."""
    address = f"fd00:99::{lab.index}/128"
    succeeds("ip", "-6", "address", "add", address, "dev", lab.external_bridge, "nodad")
    yield
    succeeds("ip", "-6", "address", "del", address, "dev", lab.external_bridge)


@pytest.mark.usefixtures("far_away")
def test_every_address_answers_from_outside_at_boot_and_after_every_change(stage: Stage) -> None:
    office, partners, office6 = stage.lab.segments
    a, b = held(office, 11, egress=True), held(office, 12)
    p, six = held(partners, 21), held(office6, 31, egress=True)
    eni = held(office, 41)
    foreign = held(office, 13)

    nics = stage.nics((a, b, p, six), eni)
    stage.let_through(nics)
    stage.write_seed(nics)
    stage.guest.create()
    _await_boot(stage)
    if not stage.reads_tables:
        # Its first boot has one egress for all; the platform brings the rest by the agent.
        assert stage.seen_as(4) == str(a.interface.ip)
        stage.apply(nics)
    for one in (a, b, p, six, eni):
        assert stage.answers(one, within_s=20), one
        assert stage.gateway_of(one) == str(one.gateway)
    assert stage.seen_as(4) == str(a.interface.ip)
    assert stage.seen_as(6) == str(six.interface.ip)

    # What the guest takes without being given it stays silent.
    stage.guest.execute(f"ip address add {foreign.interface} dev eth1")
    assert not stage.answers(foreign, within_s=2)

    # Live: the egress goes and another takes over, an address of the same subnet stays.
    six_b, c = held(office6, 32, egress=True), held(office, 14)
    later = stage.nics((replace(b, egress=True), p, c, six_b), eni)
    stage.let_through(later)
    stage.apply(later)
    for one in (b, p, c, six_b, eni):
        assert stage.answers(one), one
        assert stage.gateway_of(one) == str(one.gateway)
    for one in (a, six, foreign):
        assert not stage.answers(one, within_s=2)
        assert str(one.interface.ip) not in stage.guest.execute("ip -o address").split()
    assert stage.seen_as(4) == str(b.interface.ip)
    assert stage.seen_as(6) == str(six_b.interface.ip)
    state = _network_of(stage.guest)
    stage.apply(later)
    assert _network_of(stage.guest) == state, "doing it again changed something"

    # The ENI becomes the egress, and a boot with the seed that says so ends in the same state.
    last = stage.nics((b, p, six_b), replace(eni, egress=True))
    stage.let_through(last)
    stage.apply(last)
    assert stage.seen_as(4) == str(eni.interface.ip)
    state = _network_of(stage.guest)
    stage.write_seed(last)
    _reboot(stage)
    for one in (b, p, six_b, eni):
        assert stage.answers(one, within_s=20), one
    assert stage.seen_as(4) == str(eni.interface.ip)
    assert stage.seen_as(6) == str(six_b.interface.ip)
    stage.apply(last)
    assert _network_of(stage.guest) == state

    # Without external addresses the private NIC has the default route again.
    nothing = stage.nics((), None)
    stage.let_through(nothing)
    stage.apply(nothing)
    assert f"default via {PRIVATE[1]} dev eth0" in stage.guest.execute("ip route")
    assert "10100:" not in stage.guest.execute("ip rule; ip -6 rule")
    assert " eth1 " not in stage.guest.execute("ip -o -4 address")


def _network_of(guest: Guest) -> str:
    """All that the guest has configured, in an order that does not depend on how it came there."""
    lines = guest.execute(
        "ip -o address show scope global | sed 's/ *valid_lft.*//';"
        "ip route show table all type unicast; ip -6 route show table all type unicast;"
        "ip rule; ip -6 rule; ip -o link | sed 's/ mode .*//'"
    )
    return "\n".join(sorted(line.strip() for line in lines.splitlines()))


def _await_boot(stage: Stage) -> None:
    """Wait until the guest has done all that it does at a boot."""
    stage.guest.wait_for_agent(timeout_s=400)
    if stage.renderer is not scripts.Renderer.IPROUTE:
        said = stage.guest.execute("cloud-init status --wait --long || true", timeout_s=400)
        assert "status: done" in said


def _reboot(stage: Stage) -> None:
    guest = stage.guest
    boot = guest.execute("cat /proc/sys/kernel/random/boot_id")
    guest.virsh("reboot", guest.name, "--mode", "agent")

    def rebooted() -> bool:
        try:
            return guest.execute("cat /proc/sys/kernel/random/boot_id") != boot
        except LabError:
            return False

    wait_for("the guest to come back", rebooted, timeout_s=400, every_s=1)
    _await_boot(stage)
