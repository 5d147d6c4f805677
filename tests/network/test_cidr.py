"""Which ranges a VPC and a subnet may have."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.models import cidr
from scloud.lib.errors import Conflict, InvalidInput


@pytest.mark.parametrize(
    "text", ["10.0.0.0/16", "10.255.255.248/29", "172.16.0.0/16", "172.31.0.0/24", "192.168.0.0/16"]
)
def test_private_ranges_with_a_mask_from_16_to_29_are_fine(text: str) -> None:
    network = cidr.parse_ipv4_network(text)
    cidr.check_vpc_range(network)
    assert str(network) == text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("10.0.0.0/15", "cidr_mask"),
        ("10.0.0.0/8", "cidr_mask"),
        ("10.0.0.0/30", "cidr_mask"),
        ("10.0.0.0/32", "cidr_mask"),
        ("172.15.0.0/16", "cidr_not_private"),
        ("172.32.0.0/16", "cidr_not_private"),
        ("192.169.0.0/24", "cidr_not_private"),
        ("8.8.8.0/24", "cidr_not_private"),
        ("0.0.0.0/0", "cidr_not_private"),
    ],
)
def test_other_ranges_are_refused_with_the_reason(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        cidr.check_vpc_range(cidr.parse_ipv4_network(text))
    assert refused.value.code == code
    assert refused.value.field == "cidr"


@pytest.mark.parametrize(
    "text",
    ["", " ", "10.0.0.0", "10.0.0.1/16", "10.0.0.0/33", "10.0.0/16", "fd00::/64", "a/16",
     "10.0.0.0/-1", "10.0.0.0/16/2", "10.0.0.0/16; DROP TABLE", "10.0.0.0/１６", "x" * 10_000],
)  # fmt: skip
def test_what_is_no_range_is_refused_as_such(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        cidr.parse_ipv4_network(text)
    assert refused.value.code == "cidr_invalid"
    assert len(refused.value.message) < 200


def test_a_range_with_host_bits_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(InvalidInput, match="does not begin") as refused:
        cidr.parse_ipv4_network("10.0.5.0/16")
    assert refused.value.remedy == "Did you mean 10.0.0.0/16?"


def test_a_mask_in_dotted_form_is_understood() -> None:
    assert cidr.parse_ipv4_network("10.0.0.0/255.255.0.0") == IPv4Network("10.0.0.0/16")


def test_a_subnet_lies_within_its_vpc_and_beside_the_others() -> None:
    vpc = IPv4Network("10.0.0.0/16")
    others = [IPv4Network("10.0.0.0/24"), IPv4Network("10.0.2.0/23")]
    cidr.check_subnet_range(IPv4Network("10.0.1.0/24"), vpc, others)
    cidr.check_subnet_range(vpc, vpc, [])
    for text, code in (
        ("10.1.0.0/24", "cidr_outside_vpc"),
        ("10.0.0.128/25", "cidr_overlaps"),
        ("10.0.3.0/24", "cidr_overlaps"),
        ("10.0.0.0/16", "cidr_overlaps"),
        ("10.0.9.0/30", "cidr_mask"),
    ):
        with pytest.raises((InvalidInput, Conflict)) as refused:
            cidr.check_subnet_range(IPv4Network(text), vpc, others)
        assert refused.value.code == code


def test_network_gateway_and_broadcast_are_not_for_nics() -> None:
    network = IPv4Network("10.0.0.0/29")
    assert str(cidr.gateway_of(network)) == "10.0.0.1"
    assert cidr.usable_addresses(network) == 5


@pytest.mark.parametrize("text", ["203.0.113.7", "10.0.0.0/8", "::/0", "2001:db8::1", "0.0.0.0/0"])
def test_the_other_side_of_a_rule_is_an_address_or_a_range(text: str) -> None:
    assert str(cidr.parse_remote(text)).split("/")[0] == text.split("/")[0]


@pytest.mark.parametrize("text", ["", "anywhere", "10.0.0.1/8", "10.0.0.0/99", "2001:db8::g"])
def test_the_other_side_of_a_rule_is_nothing_else(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        cidr.parse_remote(text)
    assert refused.value.code == "cidr_invalid"


MACS = st.binary(min_size=6, max_size=6).map(lambda octets: octets.hex(":"))
SUBNETS = st.integers(0, 2**16 - 1).map(
    lambda number: IPv6Network((0xFD12_3456_789A << 80 | number << 64, 64))
)


def test_a_vpc_draws_a_range_of_40_random_bits() -> None:
    drawn = {cidr.random_ula() for _ in range(200)}
    assert len(drawn) == 200
    assert all(one.prefixlen == 48 and one.subnet_of(cidr.ULA) for one in drawn)
    # Each of the 40 bits was drawn as 0 and as 1.
    numbers = [int(one.network_address) >> 80 & 2**40 - 1 for one in drawn]
    assert all({number >> bit & 1 for number in numbers} == {0, 1} for bit in range(40))


@given(SUBNETS, MACS)
def test_a_mac_gives_one_address_that_says_the_mac_again(network: IPv6Network, mac: str) -> None:
    address = cidr.eui64(network, mac)
    assert address in network
    assert cidr.mac_of(address) == mac
    assert address not in (network[0], cidr.ipv6_gateway_of(network))


@given(MACS, MACS)
def test_two_macs_never_give_one_address(one: str, other: str) -> None:
    network = IPv6Network("fd12:3456:789a::/64")
    assert (cidr.eui64(network, one) == cidr.eui64(network, other)) == (one == other)


def test_the_address_is_the_one_of_rfc_4291() -> None:
    assert cidr.eui64(IPv6Network("fd00::/64"), "34:56:78:9a:bc:de") == IPv6Address(
        "fd00::3656:78ff:fe9a:bcde"
    )
    assert cidr.mac_of(IPv6Address("fd00::1")) is None


@st.composite
def vpcs_with_two_subnets(draw: st.DrawFn) -> tuple[IPv4Network, IPv4Network, IPv4Network]:
    """A VPC and two ranges in it that do not overlap."""
    mask = draw(st.integers(cidr.WIDEST_MASK, cidr.NARROWEST_MASK - 1))
    number = draw(st.integers(0, 2**mask - 1))
    vpc = IPv4Network((number << (32 - mask), mask))
    found = []
    for half in vpc.subnets(1):
        narrow = draw(st.integers(half.prefixlen, cidr.NARROWEST_MASK))
        offset = draw(st.integers(0, 2 ** (narrow - half.prefixlen) - 1))
        first = int(half.network_address) + (offset << (32 - narrow))
        found.append(IPv4Network((first, narrow)))
    return vpc, found[0], found[1]


@given(vpcs_with_two_subnets())
def test_two_subnets_of_a_vpc_never_have_one_ipv6_range(
    three: tuple[IPv4Network, IPv4Network, IPv4Network],
) -> None:
    vpc, one, other = three
    outer = IPv6Network("fd12:3456:789a::/48")
    first, second = (cidr.ipv6_range_of(outer, vpc, subnet) for subnet in (one, other))
    assert first.subnet_of(outer)
    assert second.subnet_of(outer)
    assert not first.overlaps(second)
