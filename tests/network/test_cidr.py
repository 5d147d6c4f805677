"""Which ranges a VPC and a subnet may have."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

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
