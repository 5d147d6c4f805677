"""What a guest has to configure: every address answers by its own gateway, one default route."""

from __future__ import annotations

import itertools
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network.rules import guest
from network.rules.guest import (
    AddressPlan,
    GuestNic,
    HeldAddress,
    NextHop,
    NicPlan,
    RoutePolicy,
    plan,
)

VPC = ip_network("10.0.0.0/16")
ETH0 = GuestNic(
    index=0,
    device="eth0",
    mac="52:54:00:00:00:01",
    mtu_bytes=1442,
    external=False,
    addresses=(
        HeldAddress(ip_interface("10.0.0.5/24"), ip_address("10.0.0.1"), destinations=(VPC,)),
    ),
    dns=(ip_address("10.0.0.1"),),
)


def eth1(*addresses: HeldAddress) -> GuestNic:
    return GuestNic(1, "eth1", "52:54:00:00:00:02", 1500, external=True, addresses=addresses)


def eip(
    interface: str,
    gateway: str | None,
    policy: RoutePolicy = RoutePolicy.DEFAULT,
    *,
    destinations: tuple[str, ...] = (),
    egress: bool = False,
) -> HeldAddress:
    return HeldAddress(
        ip_interface(interface),
        ip_address(gateway) if gateway else None,
        policy,
        tuple(ip_network(one) for one in destinations),
        egress,
    )


def defaults(plans: tuple[NicPlan, ...]) -> list[str]:
    return [str(one.interface) for nic in plans for one in nic.addresses if one.default_route]


def test_a_vm_with_a_private_address_alone_has_a_default_route_and_no_tables() -> None:
    (first, second) = plan([eth1(), ETH0])
    assert first.addresses == (
        AddressPlan(
            ip_interface("10.0.0.5/24"), ip_address("10.0.0.1"), (VPC,), default_route=True
        ),
    )
    assert (second.device, second.addresses, second.mtu_bytes) == ("eth1", (), 1500)


def test_the_egress_takes_the_default_route_from_the_private_nic() -> None:
    a = eip("203.0.113.11/24", "203.0.113.1")
    b = eip("198.51.100.7/25", "198.51.100.1", egress=True)
    plans = plan([ETH0, eth1(a, b)])
    assert defaults(plans) == ["198.51.100.7/25"]
    tables = [one.table for nic in plans for one in nic.addresses]
    assert None not in tables
    assert len(set(tables)) == 3
    assert plans[0].addresses[0].routes == (VPC,)


def test_without_a_chosen_egress_the_private_nic_keeps_the_default_route() -> None:
    b = eip(
        "198.51.100.7/25", "198.51.100.1", RoutePolicy.SPECIFIED, destinations=("192.0.2.0/24",)
    )
    plans = plan([ETH0, eth1(b)])
    assert defaults(plans) == ["10.0.0.5/24"]
    assert plans[1].addresses[0].routes == (ip_network("192.0.2.0/24"),)
    assert plans[1].addresses[0].table is not None


def test_the_versions_have_default_routes_of_their_own() -> None:
    six = eip("2001:db8:113::11/64", "2001:db8:113::1", egress=True)
    plans = plan([ETH0, eth1(six)])
    assert defaults(plans) == ["10.0.0.5/24", "2001:db8:113::11/64"]


INSIDE6 = HeldAddress(
    ip_interface("fd12:3456:789a:0:5054:ff:fe00:1/64"),
    hops=(NextHop(ip_network("fd12:3456:789a::/48"), ip_address("fd12:3456:789a::1")),),
)
DUAL = replace(ETH0, addresses=(*ETH0.addresses, INSIDE6))


def test_private_ipv6_alone_has_its_vpc_and_no_default_route() -> None:
    (first, _) = plan([DUAL, eth1()])
    four, six = first.addresses
    assert (four.table, six.table) == (None, None)
    assert six == AddressPlan(INSIDE6.interface, None, hops=INSIDE6.hops)
    assert defaults((first,)) == ["10.0.0.5/24"]


def test_the_external_egress_has_the_default_route_of_ipv6_and_private_ipv6_its_own_table() -> None:
    out = eip("2001:db8:113::11/64", "2001:db8:113::1", egress=True)
    plans = plan([DUAL, eth1(out)])
    assert defaults(plans) == ["10.0.0.5/24", "2001:db8:113::11/64"]
    tables = [one.table for nic in plans for one in nic.addresses]
    assert None not in tables
    assert len(set(tables)) == 3
    (main,) = (
        one for one in guest.routes_of(plans[0]) if one.table is None and one.to.version == 6
    )
    assert (str(main.to), str(main.via)) == ("fd12:3456:789a::/48", "fd12:3456:789a::1")


def test_a_vpc_that_two_nics_are_in_has_one_route_in_the_main_table() -> None:
    eni6 = replace(
        INSIDE6,
        interface=ip_interface("fd12:3456:789a:a0:5054:ff:fe00:3/64"),
        hops=(NextHop(ip_network("fd12:3456:789a::/48"), ip_address("fd12:3456:789a:a0::1")),),
    )
    eth2 = GuestNic(2, "eth2", "52:54:00:00:00:03", 1442, False, (eni6,))
    plans = plan([DUAL, eth1(), eth2])
    assert [hop.main for nic in plans for one in nic.addresses for hop in one.hops] == [True, False]
    assert plans[2].addresses[0].table is not None
    # Nothing in IPv6 leads anywhere but into the VPC, in no table.
    routes = [one for nic in plans for one in guest.routes_of(nic) if one.to.version == 6]
    assert {str(one.to) for one in routes} == {
        "fd12:3456:789a::/48", "fd12:3456:789a::/64", "fd12:3456:789a:a0::/64",
    }  # fmt: skip


def test_addresses_of_one_segment_share_a_table_and_its_specified_routes_appear_once() -> None:
    behind = ("192.0.2.0/24", "203.0.113.0/24", "2001:db8::/32")
    policy = RoutePolicy.SPECIFIED
    a = eip("203.0.113.11/24", "203.0.113.1", policy, destinations=behind)
    b = eip("203.0.113.12/24", "203.0.113.1", policy, destinations=behind)
    first, second = plan([ETH0, eth1(a, b)])[1].addresses
    assert first.table == second.table
    assert (first.routes, second.routes) == ((ip_network("192.0.2.0/24"),), ())


def test_a_segment_without_routes_adds_none_and_still_answers() -> None:
    a = eip("203.0.113.11/24", "203.0.113.1", RoutePolicy.NONE, destinations=("192.0.2.0/24",))
    (one,) = plan([ETH0, eth1(a)])[1].addresses
    assert (one.routes, one.default_route) == ((), False)
    assert one.table is not None
    assert one.gateway == ip_address("203.0.113.1")


def test_an_address_that_an_earlier_nic_has_is_left_out() -> None:
    eth2 = GuestNic(2, "eth2", "52:54:00:00:00:03", 1442, False, ETH0.addresses)
    plans = plan([ETH0, eth2])
    assert [len(nic.addresses) for nic in plans] == [1, 0]


@pytest.mark.parametrize(
    "addresses",
    [
        (
            eip("203.0.113.11/24", "203.0.113.1", egress=True),
            eip("203.0.113.12/24", "203.0.113.1", egress=True),
        ),
        (eip("203.0.113.11/24", None, egress=True),),
        (eip("203.0.113.11/24", "203.0.113.1", RoutePolicy.NONE, egress=True),),
    ],
)
def test_rows_that_contradict_themselves_are_refused(addresses: tuple[HeldAddress, ...]) -> None:
    with pytest.raises(ValueError, match="egress"):
        plan([ETH0, eth1(*addresses)])


SEGMENTS = [
    (f"203.0.{number}.0/24", f"203.0.{number}.1", policy)
    for number, policy in enumerate(itertools.islice(itertools.cycle(RoutePolicy), 7))
] + [
    (f"2001:db8:{number:x}::/64", f"2001:db8:{number:x}::1", policy)
    for number, policy in enumerate(itertools.islice(itertools.cycle(RoutePolicy), 5))
]


@st.composite
def machines(draw: st.DrawFn) -> list[GuestNic]:
    """A VM with up to six ENIs and any number of addresses; at most one egress per version."""
    count = draw(st.integers(1, 8))
    nics = [draw(st.sampled_from([ETH0, DUAL]))]
    used: set[tuple[int, int]] = set()
    egress: set[int] = set()
    for index in range(1, count):
        addresses = []
        for _ in range(draw(st.integers(0, 6 if index == 1 else 1))):
            which, host = draw(st.integers(0, len(SEGMENTS) - 1)), draw(st.integers(2, 250))
            if (which, host) in used:
                continue
            used.add((which, host))
            cidr, gateway, policy = SEGMENTS[which]
            network = ip_network(cidr)
            wanted = draw(st.booleans()) and policy is RoutePolicy.DEFAULT
            chosen = wanted and network.version not in egress
            if chosen:
                egress.add(network.version)
            addresses.append(
                HeldAddress(
                    ip_interface(f"{network[host]}/{network.prefixlen}"),
                    ip_address(gateway),
                    policy,
                    (ip_network("192.0.2.0/24"), ip_network("2001:db8:ffff::/48")),
                    chosen,
                )
            )
        mac = f"52:54:00:00:01:{index:02x}"
        nics.append(GuestNic(index, f"eth{index}", mac, 1500, True, tuple(addresses)))
    return draw(st.permutations(nics))


@settings(deadline=None, max_examples=60)
@given(machines())
def test_every_address_answers_by_its_own_gateway(nics: list[GuestNic]) -> None:
    plans = plan(nics)
    held = {one.interface.ip: (nic, one) for nic in nics for one in nic.addresses}
    planned = {one.interface.ip: (nic, one) for nic in plans for one in nic.addresses}
    assert held.keys() == planned.keys()
    assert [nic.index for nic in plans] == sorted(nic.index for nic in nics)
    networks: dict[int, set[tuple[int, object]]] = {}
    for address, (nic, one) in planned.items():
        assert held[address][0].mac == nic.mac
        assert one.gateway == held[address][1].gateway
        if one.table is not None:
            assert guest.FIRST_TABLE <= one.table < guest.FIRST_TABLE + guest.TABLES
            networks.setdefault(one.table, set()).add((nic.index, one.interface.network))
    # A table serves one network of one NIC.
    assert all(len(served) == 1 for served in networks.values())
    # Where the main table does the answering, there is nothing between which it could mistake.
    for version in (4, 6):
        alone = [one for _, one in planned.values() if one.table is None]
        assert len({one.interface.network for one in alone if one.interface.version == version}) < 2


@settings(deadline=None, max_examples=60)
@given(machines())
def test_there_is_one_default_route_per_version_and_it_is_the_egress(nics: list[GuestNic]) -> None:
    plans = plan(nics)
    chosen = {one.interface for nic in nics for one in nic.addresses if one.egress}
    for version in (4, 6):
        found = [one for nic in plans for one in nic.addresses if one.default_route]
        ours = [one.interface for one in found if one.interface.version == version]
        wanted = [interface for interface in chosen if interface.version == version]
        assert ours == (wanted or ([ip_interface("10.0.0.5/24")] if version == 4 else []))
    destinations = [route for nic in plans for one in nic.addresses for route in one.routes]
    assert len(destinations) == len(set(destinations))


@settings(deadline=None, max_examples=60)
@given(machines())
def test_unbinding_one_address_renumbers_no_other(nics: list[GuestNic]) -> None:
    before = {one.interface: one.table for nic in plan(nics) for one in nic.addresses}
    for nic in nics:
        for gone in nic.addresses:
            rest = [
                GuestNic(
                    one.index, one.device, one.mac, one.mtu_bytes, one.external,
                    tuple(held for held in one.addresses if held != gone),
                )
                for one in nics
            ]  # fmt: skip
            after = {one.interface: one.table for n in plan(rest) for one in n.addresses}
            kept = {key: table for key, table in after.items() if table is not None}
            assert kept.items() <= before.items()
