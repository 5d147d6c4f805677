"""The script for plain ``ip``, run for real in a network namespace of the kernel."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from compute.hypervisor.guestnet import ifupdown, scripts, shell
from network.rules.guest import GuestNic, HeldAddress, plan, routes_of, rules_of
from tests.compute.guestnet.samples import ETH0, ETH2, FIRST, FULL, PARTNER, SECOND, SIX, eth1

pytestmark = pytest.mark.lab

#: What the kernel calls the cards; the last one was just plugged in and has no name of ours.
CARDS = {"eth0": ETH0.mac, "eth1": "52:54:00:00:00:02", "ens9": ETH2.mac}


@dataclass(frozen=True)
class Box:
    """A namespace that stands for a guest."""

    name: str

    @property
    def stamp(self) -> Path:
        return Path(f"/run/scloud-network-{self.name}")

    def own(self, script: str) -> str:
        """The script with files of its own: the box shares the machine's."""
        return script.replace(shell.STAMP, str(self.stamp))

    def run(self, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *words], input=given, capture_output=True, text=True
        )

    def ip(self, words: str) -> list[str]:
        done = self.run("ip", *words.split())
        assert done.returncode == 0, done.stderr
        return [" ".join(line.split()) for line in done.stdout.splitlines()]

    def apply(self, nics: list[GuestNic], *, code: int = shell.DONE) -> None:
        text = self.own(scripts.script(scripts.Renderer.IPROUTE, plan(nics)))
        words = ["busybox", "sh", "-s"] if shutil.which("busybox") else ["sh", "-s"]
        done = self.run(*words, given=text)
        assert done.returncode == code, done.stderr
        if code == shell.DONE:
            assert done.stderr == ""
            assert self.stamp.read_text() == scripts.digest_of(plan(nics))
        self.stamp.unlink(missing_ok=True)

    def addresses(self, device: str) -> set[str]:
        return {line.split()[3] for line in self.ip(f"-o address show dev {device} scope global")}

    def rules(self) -> set[str]:
        lines = [*self.ip("rule"), *self.ip("-6 rule")]
        return {line for line in lines if line.startswith("10100:")}

    def main(self, family: int) -> set[str]:
        return set(self.ip(f"-{family} route show table main scope global"))

    def gateway(self, source: str, far: str = "192.0.99.9") -> str:
        return self.ip(f"route get {far} from {source}")[0].split(" via ")[1].split()[0]


@pytest.fixture
def box() -> Iterator[Box]:
    found = Box("scloud-guestnet")
    subprocess.run(["ip", "netns", "del", found.name], capture_output=True)
    subprocess.run(["ip", "netns", "add", found.name], check=True)
    for number, (card, mac) in enumerate(CARDS.items()):
        found.ip(f"link add {card} address {mac} type veth peer name out{number}")
        found.ip(f"link set out{number} up")
    yield found
    Path(f"{found.stamp}.lock").unlink(missing_ok=True)
    subprocess.run(["ip", "netns", "del", found.name], check=True)


def test_each_address_answers_by_its_gateway_and_the_egress_is_the_default(box: Box) -> None:
    box.apply(FULL)
    assert box.addresses("eth1") == {
        "203.0.113.11/24", "203.0.113.12/24", "198.51.100.7/25", "2001:db8:113::11/64",
    }  # fmt: skip
    assert box.addresses("eth2") == {"10.0.1.9/24"}, "the new card did not get its name"
    assert len(box.rules()) == sum(len(rules_of(nic)) for nic in plan(FULL)) == 6
    for nic in FULL:
        for held in nic.addresses:
            far = "192.0.99.9" if held.interface.version == 4 else "2001:db8:ff::9"
            assert box.gateway(str(held.interface.ip), far) == str(held.gateway)
    routes = box.ip("route show default")
    assert routes == ["default via 203.0.113.1 dev eth1 proto 197 src 203.0.113.11 metric 50"], (
        "eth0 still has a default route"
    )
    assert "192.0.9.1 via 198.51.100.1 dev eth1 proto 197" in box.main(4)
    assert any(
        line.startswith("default via 2001:db8:113::1 dev eth1 proto 197 src 2001:db8:113::11")
        for line in box.main(6)
    )
    assert " mtu 1442 " in box.ip("link show dev eth2")[0]


def test_doing_it_again_changes_nothing(box: Box) -> None:
    box.apply(FULL)
    before = everything(box)
    box.apply(FULL)
    assert everything(box) == before


def everything(box: Box) -> list[str]:
    """All that is configured, but for what the kernel does by itself on each link."""
    lines = [
        *box.ip("rule"),
        *box.ip("-6 rule"),
        *box.ip("-o address show scope global"),
        *box.ip("route show table all"),
        *box.ip("-6 route show table all"),
    ]
    return [line for line in lines if "fe80:" not in line and "ff00:" not in line]


def test_what_is_unbound_goes_and_the_rest_of_its_subnet_stays(box: Box) -> None:
    box.apply(FULL)
    # The first address of a subnet takes the others along, unless the kernel is told not to.
    box.apply([ETH0, eth1(replace(SECOND, egress=True), SIX), ETH2])
    assert box.addresses("eth1") == {"203.0.113.12/24", "2001:db8:113::11/64"}
    assert box.ip("route show default") == [
        "default via 203.0.113.1 dev eth1 proto 197 src 203.0.113.12 metric 50"
    ]
    assert not any("198.51.100.1" in line for line in box.ip("route show table all"))
    assert box.gateway("203.0.113.12") == "203.0.113.1"
    assert len(box.rules()) == 4


def test_without_external_addresses_the_first_nic_has_the_default_again(box: Box) -> None:
    box.apply(FULL)
    box.apply([ETH0, eth1()])
    assert box.rules() == set()
    assert box.ip("route show default") == [
        "default via 10.0.0.1 dev eth0 proto 197 src 10.0.0.5 metric 50"
    ]
    assert box.addresses("eth1") == set()


def test_what_others_have_configured_is_left_alone(box: Box) -> None:
    box.apply([ETH0, eth1(FIRST)])
    box.ip("address add 10.0.0.77/24 dev eth0")
    box.ip("rule add from 10.9.9.9 table 77 priority 50")
    box.ip("route add 10.7.0.0/16 via 203.0.113.9 dev eth1")
    box.ip("route add default via 10.7.0.1 dev out2 onlink metric 900")
    box.apply([ETH0, eth1(FIRST, PARTNER)])
    assert "10.0.0.77/24" in box.addresses("eth0")
    assert any("10.9.9.9" in line for line in box.ip("rule"))
    assert "10.7.0.0/16 via 203.0.113.9 dev eth1" in box.main(4)
    assert any("dev out2" in line for line in box.ip("route show default"))


def test_the_default_route_that_dhcp_left_on_the_first_nic_goes(box: Box) -> None:
    box.apply([ETH0, eth1()])
    box.ip("route add default via 10.0.0.1 dev eth0 proto dhcp")
    box.ip("route add default via 10.0.0.1 dev eth0 proto dhcp metric 100")
    box.apply([ETH0, eth1(FIRST)])
    assert [line.split()[4] for line in box.ip("route show default")] == ["eth1"]


def test_a_nic_that_is_not_there_yet_is_told(box: Box) -> None:
    absent = replace(ETH2, mac="52:54:00:00:00:77", index=3, device="eth3")
    box.apply([ETH0, eth1(FIRST), absent], code=shell.NIC_MISSING)
    assert box.addresses("eth1") == {"203.0.113.11/24"}


def test_what_rests_on_a_nic_and_has_its_mac_is_not_taken_for_it(box: Box) -> None:
    box.ip("link add br0 type bridge")
    box.ip("link set ens9 master br0")
    box.ip(f"link set br0 address {ETH2.mac}")
    box.apply([ETH0, eth1(FIRST), ETH2])
    assert box.addresses("eth2") == {"10.0.1.9/24"}
    assert box.addresses("br0") == set()


def test_at_a_boot_of_ifupdown_each_nic_waits_for_its_turn(box: Box) -> None:
    # ifupdown fails at an address that a NIC has before it is up.
    boot = box.own(ifupdown.boot_script(plan(FULL)))
    turns: tuple[tuple[str, set[str]], ...]
    turns = (("eth0", {"eth1", "eth2"}), ("eth1", {"eth2"}), ("eth2", set()))
    for card, others in turns:
        box.ip(f"link set {card} up")
        done = box.run("sh", "-s", given=boot)
        assert (done.returncode, done.stderr) == (0, "")
        up = {line.split()[1].partition("@")[0] for line in box.ip("-o link show up")}
        assert not up & others
    assert box.addresses("eth2") == {"10.0.1.9/24"}
    before = everything(box)
    box.apply(FULL)
    assert everything(box) == before


def test_two_scripts_wait_for_each_other(box: Box) -> None:
    with subprocess.Popen(["flock", f"{box.stamp}.lock", "sleep", "1"]):
        time.sleep(0.2)
        begun = time.monotonic()
        box.apply([ETH0, eth1(FIRST)])
        assert time.monotonic() - begun > 0.7


def test_fifty_addresses_of_one_segment(box: Box) -> None:
    gateway, network = ip_address("203.0.113.1"), ip_network("203.0.113.0/24")
    many = [
        HeldAddress(ip_interface(f"{network[number]}/24"), gateway, egress=number == 10)
        for number in range(10, 60)
    ]
    box.apply([ETH0, eth1(*many)])
    assert len(box.addresses("eth1")) == 50
    assert len(box.rules()) == 51
    (_, nic) = plan([ETH0, eth1(*many)])
    assert len({route.table for route in routes_of(nic)}) == 2
