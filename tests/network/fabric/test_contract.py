"""What every fabric promises, asked of the one in memory and of OVN alike."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest

from network.fabric.base import (
    Direction,
    Fabric,
    FabricInUse,
    FabricMissing,
    IpProtocol,
    Kind,
    OwnedRow,
    PortSpec,
    QosSpec,
    RouteSpec,
    RuleAction,
    RulePriority,
    RuleSpec,
    SecurityGroupSpec,
    SegmentSpec,
    SubnetIpv6Spec,
    SubnetSpec,
    VpcSpec,
)
from scloud.lib.ids import new_id
from tests.network.fabric.conftest import Answer, Opener


class Things:
    """A VPC with a subnet, a group and a port, with ids that no other test uses."""

    def __init__(self) -> None:
        self.vpc = VpcSpec(new_id("vpc"))
        self.subnet = SubnetSpec(
            id=new_id("subnet"),
            vpc_id=self.vpc.id,
            cidr=IPv4Network("10.0.0.0/24"),
            gateway=IPv4Address("10.0.0.1"),
            dns=(IPv4Address("10.0.0.2"),),
            routes=(IPv4Network("10.0.0.0/16"),),
        )
        self.group = SecurityGroupSpec(
            new_id("sg"),
            (
                RuleSpec(
                    id=new_id("sgr"),
                    direction=Direction.IN,
                    protocol=IpProtocol.TCP,
                    remote=ip_network("0.0.0.0/0"),
                    action=RuleAction.ACCEPT,
                    priority=RulePriority.HIGH,
                    port_min=22,
                    port_max=22,
                ),
            ),
        )
        self.port = PortSpec(
            name=str(uuid.uuid4()),
            nic_id=new_id("nic"),
            switch_id=self.subnet.id,
            mac="52:54:00:00:00:05",
            addresses=(IPv4Address("10.0.0.5"),),
            security_group_id=self.group.id,
            qos=(QosSpec(Direction.IN, 4000), QosSpec(Direction.OUT, 4000)),
            vm_id="vm-1",
        )

    def ensure_all(self, fabric: Fabric) -> None:
        fabric.ensure_vpc(self.vpc)
        fabric.ensure_subnet(self.subnet)
        fabric.ensure_security_group(self.group)
        fabric.ensure_ports([self.port])

    def delete_all(self, fabric: Fabric) -> None:
        fabric.delete_ports([self.port.name])
        fabric.delete_security_group(self.group.id)
        fabric.delete_subnet(self.subnet.id)
        fabric.delete_vpc(self.vpc.id)

    @property
    def rows(self) -> set[OwnedRow]:
        return {
            OwnedRow(Kind.VPC, self.vpc.id),
            OwnedRow(Kind.SUBNET, self.subnet.id),
            OwnedRow(Kind.SECURITY_GROUP, self.group.id),
            OwnedRow(Kind.PORT, self.port.name),
        }


@pytest.fixture
def fabric(open_fabric: Opener) -> Fabric:
    return open_fabric(f"owner-{uuid.uuid4()}")


@pytest.fixture
def things() -> Things:
    return Things()


def test_everything_can_be_made_and_a_second_time_changes_nothing(
    fabric: Fabric, things: Things
) -> None:
    assert fabric.ensure_vpc(things.vpc)
    assert fabric.ensure_subnet(things.subnet)
    assert fabric.ensure_security_group(things.group)
    assert fabric.ensure_ports([things.port])

    assert fabric.ensure_vpc(things.vpc) == ()
    assert fabric.ensure_subnet(things.subnet) == ()
    assert fabric.ensure_security_group(things.group) == ()
    assert fabric.ensure_ports([things.port]) == ()
    assert fabric.list_owned().owned == things.rows


def test_everything_can_be_deleted_and_a_second_time_is_no_error(
    fabric: Fabric, things: Things
) -> None:
    things.ensure_all(fabric)
    things.delete_all(fabric)
    assert fabric.list_owned().owned == set()
    things.delete_all(fabric)


def test_a_rehearsal_tells_what_would_change_and_changes_nothing(
    fabric: Fabric, things: Things
) -> None:
    assert fabric.ensure_vpc(things.vpc, dry_run=True)
    assert fabric.list_owned().owned == set()
    things.ensure_all(fabric)
    other = replace(things.port, security_group_id=None, addresses=(IPv4Address("10.0.0.6"),))
    assert fabric.ensure_ports([other], dry_run=True)
    assert fabric.ensure_ports([things.port], dry_run=True) == ()
    assert fabric.ensure_subnet(things.subnet, dry_run=True) == ()
    assert fabric.ensure_security_group(things.group, dry_run=True) == ()


def test_a_change_is_noticed_and_applied(fabric: Fabric, things: Things) -> None:
    things.ensure_all(fabric)
    rule = replace(things.group.rules[0], action=RuleAction.DROP)
    group = replace(things.group, rules=(rule,))
    assert fabric.ensure_security_group(group)
    assert fabric.ensure_security_group(group) == ()
    assert fabric.ensure_security_group(replace(group, rules=()))
    subnet = replace(things.subnet, dns=(), lease_s=60)
    assert fabric.ensure_subnet(subnet)
    assert fabric.ensure_subnet(subnet) == ()
    static = (RouteSpec(IPv4Network("192.0.2.0/24"), IPv4Address("10.0.0.7")),)
    assert fabric.ensure_subnet(replace(subnet, static_routes=static))
    assert fabric.ensure_subnet(replace(subnet, static_routes=static), dry_run=True) == ()
    assert fabric.ensure_subnet(subnet)
    port = replace(things.port, addresses=(IPv4Address("10.0.0.7"),), qos=())
    assert fabric.ensure_ports([port])
    assert fabric.ensure_ports([port]) == ()
    router = replace(port, forwards=(IPv4Network("192.0.2.0/24"),))
    assert fabric.ensure_ports([router])
    assert fabric.ensure_ports([router], dry_run=True) == ()
    assert fabric.ensure_ports([port])


SIX = SubnetIpv6Spec(
    cidr=IPv6Network("fd12:3456:789a:a0::/64"),
    gateway=IPv6Address("fd12:3456:789a:a0::1"),
    dns=(IPv6Address("fd12:3456:789a::53"), IPv6Address("2001:db8::53")),
    routes=(IPv6Network("fd12:3456:789a::/48"),),
)
OWN6 = IPv6Address("fd12:3456:789a:a0:5054:ff:fe00:5")


def test_ipv6_is_turned_on_changed_and_off_again(fabric: Fabric, things: Things) -> None:
    things.ensure_all(fabric)
    dual = replace(things.subnet, ipv6=SIX)
    assert fabric.ensure_subnet(dual, dry_run=True)
    assert fabric.ensure_subnet(things.subnet, dry_run=True) == ()
    assert fabric.ensure_subnet(dual)
    assert fabric.ensure_subnet(dual) == fabric.ensure_subnet(dual, dry_run=True) == ()
    port = replace(things.port, addresses=(*things.port.addresses, OWN6))
    assert fabric.ensure_ports([port])
    assert fabric.ensure_ports([port]) == fabric.ensure_ports([port], dry_run=True) == ()
    for other in (
        replace(SIX, dns=SIX.dns[1:]),
        replace(SIX, dns=()),
        replace(SIX, routes=()),
    ):
        changed = replace(dual, ipv6=other)
        assert fabric.ensure_subnet(changed)
        assert fabric.ensure_subnet(changed) == ()
    narrower = replace(dual, mtu_bytes=1400)
    assert fabric.ensure_subnet(narrower)
    assert fabric.ensure_subnet(narrower, dry_run=True) == ()
    # One more thing that is the subnet's, and none that stands by itself.
    assert fabric.list_owned().owned == things.rows
    assert fabric.ensure_ports([port], dry_run=True) == ()

    assert fabric.ensure_ports([things.port])
    assert fabric.ensure_subnet(things.subnet, dry_run=True)
    assert fabric.ensure_subnet(narrower, dry_run=True) == ()
    assert fabric.ensure_subnet(things.subnet)
    assert fabric.ensure_subnet(things.subnet) == fabric.ensure_ports([things.port]) == ()
    assert fabric.list_owned().owned == things.rows


def test_a_subnet_with_ipv6_is_deleted_whole(fabric: Fabric, things: Things) -> None:
    things.subnet = replace(things.subnet, ipv6=SIX)
    things.port = replace(things.port, addresses=(*things.port.addresses, OWN6))
    things.ensure_all(fabric)
    with pytest.raises(FabricInUse):
        fabric.delete_subnet(things.subnet.id)
    things.delete_all(fabric)
    assert fabric.list_owned().owned == set()
    things.delete_all(fabric)


def test_a_port_moves_between_subnets_with_and_without_ipv6(fabric: Fabric, things: Things) -> None:
    things.ensure_all(fabric)
    dual = replace(
        things.subnet,
        id=new_id("subnet"),
        cidr=IPv4Network("10.0.7.0/24"),
        gateway=IPv4Address("10.0.7.1"),
        ipv6=SIX,
    )
    fabric.ensure_subnet(dual)
    moved = replace(things.port, switch_id=dual.id, addresses=(IPv4Address("10.0.7.9"), OWN6))
    for port in (moved, things.port):
        assert fabric.ensure_ports([port])
        assert fabric.ensure_ports([port], dry_run=True) == ()
    fabric.delete_subnet(dual.id)
    assert fabric.list_owned().owned == things.rows


def test_ipv6_that_hosts_could_not_use_is_no_specification() -> None:
    with pytest.raises(ValueError, match="no /64"):
        replace(SIX, cidr=IPv6Network("fd12:3456:789a::/48"))
    with pytest.raises(ValueError, match="is not in"):
        replace(SIX, gateway=IPv6Address("fe80::1"))


def test_a_port_moves_to_another_subnet_and_leaves_the_first(
    fabric: Fabric, things: Things
) -> None:
    things.ensure_all(fabric)
    other = replace(
        things.subnet,
        id=new_id("subnet"),
        cidr=IPv4Network("10.0.7.0/24"),
        gateway=IPv4Address("10.0.7.1"),
    )
    fabric.ensure_subnet(other)
    moved = replace(things.port, switch_id=other.id, addresses=(IPv4Address("10.0.7.9"),))
    assert fabric.ensure_ports([moved])
    assert fabric.ensure_ports([moved], dry_run=True) == ()
    fabric.delete_subnet(things.subnet.id)
    with pytest.raises(FabricInUse):
        fabric.delete_subnet(other.id)


def test_a_subnet_needs_its_vpc(fabric: Fabric, things: Things) -> None:
    with pytest.raises(FabricMissing):
        fabric.ensure_subnet(things.subnet)
    assert fabric.list_owned().owned == set()


def test_ports_are_made_all_or_none(fabric: Fabric, things: Things) -> None:
    things.ensure_all(fabric)
    good = replace(things.port, name=str(uuid.uuid4()), nic_id="nic-good")
    bad = replace(things.port, name=str(uuid.uuid4()), nic_id="nic-bad", security_group_id="sg-no")
    with pytest.raises(FabricMissing):
        fabric.ensure_ports([good, bad])
    with pytest.raises(FabricMissing):
        fabric.ensure_ports([good, replace(bad, security_group_id=None, switch_id="subnet-no")])
    assert not fabric.port_observation(good.name).exists
    assert fabric.list_owned().owned == things.rows


def test_groups_are_made_together_with_the_ports_that_come_into_them(
    fabric: Fabric, things: Things
) -> None:
    things.ensure_all(fabric)
    left = replace(things.group, rules=())
    entered = replace(things.group, id=new_id("sg"))
    port = replace(things.port, security_group_id=entered.id)
    rehearsed = fabric.ensure_ports([port], groups=[left, entered], dry_run=True)
    assert fabric.list_owned().owned == things.rows
    assert fabric.ensure_ports([port], groups=[left, entered]) == rehearsed != ()
    assert fabric.ensure_ports([port], groups=[left, entered]) == ()
    assert fabric.ensure_security_group(left) == ()
    assert fabric.ensure_security_group(entered) == ()
    assert fabric.ensure_ports([port]) == ()


def test_groups_are_not_made_without_their_ports(fabric: Fabric, things: Things) -> None:
    things.ensure_all(fabric)
    entered = replace(things.group, id=new_id("sg"))
    port = replace(things.port, security_group_id=entered.id, switch_id="subnet-no")
    for dry_run in (True, False):
        with pytest.raises(FabricMissing):
            fabric.ensure_ports([port], groups=[entered], dry_run=dry_run)
    assert fabric.list_owned().owned == things.rows
    assert fabric.ensure_ports([things.port]) == ()


def test_what_is_used_cannot_be_deleted(fabric: Fabric, things: Things) -> None:
    things.ensure_all(fabric)
    for delete, thing_id in (
        (fabric.delete_vpc, things.vpc.id),
        (fabric.delete_subnet, things.subnet.id),
        (fabric.delete_security_group, things.group.id),
    ):
        with pytest.raises(FabricInUse):
            delete(thing_id)
    assert fabric.list_owned().owned == things.rows


def test_a_port_leaves_its_old_group_when_it_gets_another(fabric: Fabric, things: Things) -> None:
    things.ensure_all(fabric)
    other = replace(things.group, id=new_id("sg"), rules=())
    fabric.ensure_security_group(other)
    fabric.ensure_ports([replace(things.port, security_group_id=other.id)])
    fabric.delete_security_group(things.group.id)
    with pytest.raises(FabricInUse):
        fabric.delete_security_group(other.id)
    fabric.ensure_ports([replace(things.port, security_group_id=None)])
    fabric.delete_security_group(other.id)


def test_a_port_that_is_not_there_is_observed_as_such(fabric: Fabric, things: Things) -> None:
    assert not fabric.port_observation(things.port.name).exists
    things.ensure_all(fabric)
    seen = fabric.port_observation(things.port.name)
    assert seen.exists
    assert not seen.up
    assert seen.chassis is None


def test_chassis_answer_numbered_questions(fabric: Fabric, answer: Answer) -> None:
    h1, h2 = new_id("h"), new_id("h")
    answer(h1, 0)
    answer(h2, 0)
    first = fabric.ask_chassis()
    second = fabric.ask_chassis()
    assert second > first > 0
    answer(h1, second)
    answer(h2, first)

    def answered() -> dict[str, int]:
        return {one.hostname: one.number for one in fabric.chassis_answers()}

    end = time.monotonic() + 5
    while (seen := answered()).get(h1) != second or seen.get(h2) != first:
        assert time.monotonic() < end, seen
        time.sleep(0.02)


def test_a_segment_carries_ports_too(fabric: Fabric, things: Things) -> None:
    segment = SegmentSpec(new_id("seg"), physical_network="ext", vlan=12)
    assert fabric.ensure_segment(segment)
    assert fabric.ensure_segment(segment) == ()
    untagged = replace(segment, vlan=None)
    assert fabric.ensure_segment(untagged)
    port = replace(things.port, switch_id=segment.id, security_group_id=None, dhcp=False)
    fabric.ensure_ports([port])
    with pytest.raises(FabricInUse):
        fabric.delete_segment(segment.id)
    fabric.delete_ports([port.name])
    fabric.delete_segment(segment.id)
    assert fabric.list_owned().owned == set()


def test_owners_do_not_see_each_other_but_as_foreign(
    open_fabric: Opener, fabric: Fabric, things: Things
) -> None:
    things.ensure_all(fabric)
    stranger = open_fabric(f"owner-{uuid.uuid4()}")
    assert stranger.list_owned().owned == set()
    assert things.vpc.id in {row.name for row in stranger.list_owned().foreign}
    assert not {row.name for row in fabric.list_owned().foreign} & {things.vpc.id}


def test_two_workers_that_make_the_same_thing_make_it_once(
    open_fabric: Opener, things: Things
) -> None:
    owner = f"owner-{uuid.uuid4()}"
    fabrics = [open_fabric(owner) for _ in range(4)]
    for one in fabrics:
        one.list_owned()
    problems: list[BaseException] = []
    start = threading.Barrier(len(fabrics))

    def work(one: Fabric) -> None:
        try:
            start.wait(10)
            things.ensure_all(one)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(one,)) for one in fabrics]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert problems == []
    assert fabrics[0].list_owned().owned == things.rows


def test_threads_share_one_fabric(fabric: Fabric) -> None:
    many = [Things() for _ in range(8)]
    threads = [threading.Thread(target=one.ensure_all, args=(fabric,)) for one in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert fabric.list_owned().owned == {row for one in many for row in one.rows}
