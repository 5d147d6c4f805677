"""The rules for address ranges: pure functions over :mod:`ipaddress`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

from django.utils.translation import gettext as _

from scloud.lib.errors import Conflict, InvalidInput

PRIVATE: Final = tuple(
    IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
WIDEST_MASK: Final = 16
NARROWEST_MASK: Final = 29
#: Network, gateway and broadcast address of every subnet.
RESERVED_ADDRESSES: Final = 3
#: The private IPv6 ranges of a VPC and of a subnet in it (RFC 4193, section 3.1).
VPC_IPV6_MASK: Final = 48
SUBNET_IPV6_MASK: Final = 64
#: Unique local addresses whose global identifier is random, not assigned by anybody.
ULA: Final = IPv6Network("fd00::/8")


def parse_ipv4_network(
    text: str,
    *,
    field: str = "cidr",
    check: Callable[[IPv4Network], None] = lambda _network: None,
) -> IPv4Network:
    """Read ``10.0.0.0/16``. Raises InvalidInput (``cidr_invalid``) for anything else.

    A range with host bits is refused with the range that was probably meant, if ``check``, which
    raises for what would be refused next, lets that one pass.
    """
    cleaned = text.strip()
    try:
        loose = IPv4Network(cleaned, strict=False)
    except ValueError:
        loose = None
    if loose is None or "/" not in cleaned:
        raise InvalidInput(
            _("“%(cleaned)s” is not an IPv4 range.") % {"cleaned": cleaned[:60]},
            code="cidr_invalid",
            field=field,
            remedy=_("Enter an address and a mask, such as 10.0.0.0/16."),
        )
    # 10.0.0.0/255.255.0.0 is understood too, but stored in one way only.
    if IPv4Address(cleaned.split("/")[0]) != loose.network_address:
        # What cannot be had anyway is refused for that reason, and not offered.
        check(loose)
        raise InvalidInput(
            _("%(cleaned)s does not begin at the start of its range.") % {"cleaned": cleaned},
            code="cidr_invalid",
            field=field,
            remedy=_("Did you mean %(loose)s?") % {"loose": loose},
        )
    return loose


def check_vpc_range(network: IPv4Network, *, field: str = "cidr") -> None:
    """Raise InvalidInput unless the range is private and its mask 16 to 29."""
    if not any(network.subnet_of(block) for block in PRIVATE):
        raise InvalidInput(
            _("%(network)s is not within a private range.") % {"network": network},
            code="cidr_not_private",
            field=field,
            remedy=_("Choose a range within 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16."),
        )
    _check_mask(network, WIDEST_MASK, field)


def check_subnet_range(
    network: IPv4Network, vpc: IPv4Network, others: Iterable[IPv4Network], *, field: str = "cidr"
) -> None:
    """Raise unless the range is within the VPC's, has a mask up to 29 and overlaps no other."""
    _check_mask(network, WIDEST_MASK, field)
    if not network.subnet_of(vpc):
        raise InvalidInput(
            _("%(network)s is not within the VPC's range %(vpc)s.")
            % {"network": network, "vpc": vpc},
            code="cidr_outside_vpc",
            field=field,
            remedy=_("Choose a range within %(vpc)s.") % {"vpc": vpc},
        )
    for other in others:
        if network.overlaps(other):
            raise Conflict(
                _("%(network)s overlaps the subnet %(other)s.")
                % {"network": network, "other": other},
                code="cidr_overlaps",
                field=field,
                remedy=_("Choose a range that no other subnet of the VPC uses."),
            )


def _check_mask(network: IPv4Network, widest: int, field: str) -> None:
    if not widest <= network.prefixlen <= NARROWEST_MASK:
        raise InvalidInput(
            _("The mask must be between %(widest)s and %(narrowest_mask)s, not %(prefixlen)s.")
            % {"widest": widest, "narrowest_mask": NARROWEST_MASK, "prefixlen": network.prefixlen},
            code="cidr_mask",
            field=field,
            numbers={"min": widest, "max": NARROWEST_MASK, "given": network.prefixlen},
        )


def first_free_range(
    vpc: IPv4Network, used: Iterable[IPv4Network], *, prefix: int = 24
) -> IPv4Network | None:
    """The first range of a VPC that overlaps no subnet, to offer it; None if there is none."""
    taken = list(used)
    candidates = vpc.subnets(new_prefix=max(prefix, vpc.prefixlen))
    return next((one for one in candidates if not any(one.overlaps(t) for t in taken)), None)


def gateway_of(network: IPv4Network) -> IPv4Address:
    """The first address of a subnet is its gateway."""
    return network.network_address + 1


def usable_addresses(network: IPv4Network) -> int:
    """How many addresses of a subnet NICs can have."""
    return network.num_addresses - RESERVED_ADDRESSES


def random_ula() -> IPv6Network:
    """A private IPv6 range for a VPC: fd00::/8 and a random global identifier of 40 bits."""
    identifier = secrets.randbits(VPC_IPV6_MASK - ULA.prefixlen)
    first = int(ULA.network_address) | identifier << (128 - VPC_IPV6_MASK)
    return IPv6Network((first, VPC_IPV6_MASK))


def ipv6_range_of(vpc: IPv6Network, vpc_ipv4: IPv4Network, subnet: IPv4Network) -> IPv6Network:
    """The private IPv6 range of a subnet: its number in the VPC follows from its IPv4 range.

    Subnets do not overlap and have 8 addresses at least, so no two of a VPC have one number, and
    the 16 bits of it suffice for every VPC (mask 16 at most).

    >>> vpc = IPv6Network("fd12:3456:789a::/48")
    >>> str(ipv6_range_of(vpc, IPv4Network("10.0.0.0/16"), IPv4Network("10.0.5.0/24")))
    'fd12:3456:789a:a0::/64'
    """
    offset = int(subnet.network_address) - int(vpc_ipv4.network_address)
    number = offset >> (32 - NARROWEST_MASK)
    first = int(vpc.network_address) | number << (128 - SUBNET_IPV6_MASK)
    return IPv6Network((first, SUBNET_IPV6_MASK))


def ipv6_gateway_of(network: IPv6Network) -> IPv6Address:
    """The first address of a subnet is its gateway, as in IPv4."""
    return network.network_address + 1


def eui64(network: IPv6Network, mac: str) -> IPv6Address:
    """The address of a MAC in a /64 (RFC 4291, appendix A): one MAC, one address.

    >>> str(eui64(IPv6Network("fd12:3456:789a:a0::/64"), "52:54:00:12:34:56"))
    'fd12:3456:789a:a0:5054:ff:fe12:3456'
    """
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return network.network_address + int.from_bytes(identifier)


def mac_of(address: IPv6Address) -> str | None:
    """The MAC that :func:`eui64` made an address of; None where it is no such address."""
    identifier = address.packed[8:]
    if identifier[3:5] != b"\xff\xfe":
        return None
    octets = bytes([identifier[0] ^ 2]) + identifier[1:3] + identifier[5:]
    return octets.hex(":")


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """What guests of a subnet reach through another address of it than the gateway."""

    destination: IPv4Network
    next_hop: IPv4Address

    def __str__(self) -> str:
        return f"{self.destination} via {self.next_hop}"

    @classmethod
    def parse(cls, text: str) -> StaticRoute:
        """Read what :meth:`__str__` wrote."""
        destination, _via, next_hop = text.split()
        return cls(IPv4Network(destination), IPv4Address(next_hop))


def parse_remote(text: str, *, field: str = "cidr") -> IPv4Network | IPv6Network:
    """Read the other side of a rule: an address or a range, IPv4 or IPv6.

    Raises InvalidInput (``cidr_invalid``).
    """
    cleaned = text.strip()
    if "%" in cleaned:
        # A zone names an interface of one machine (RFC 4007); no packet carries it.
        raise InvalidInput(
            _("“%(text)s” has a zone, which is not allowed here.") % {"text": cleaned[:60]},
            code="cidr_invalid",
            field=field,
            remedy=_("Remove the “%” and what follows it."),
        )
    try:
        return ip_network(cleaned)
    except ValueError as error:
        try:
            meant = ip_network(cleaned, strict=False)
            remedy = _("Did you mean %(meant)s?") % {"meant": meant}
        except ValueError:
            remedy = _("Enter an address or a range, such as 203.0.113.7 or 10.0.0.0/8 or ::/0.")
        raise InvalidInput(
            _("“%(cleaned)s” is not an address or a range.") % {"cleaned": cleaned[:60]},
            code="cidr_invalid",
            field=field,
            remedy=remedy,
        ) from error
