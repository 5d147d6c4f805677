"""The rules for address ranges: pure functions over :mod:`ipaddress`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
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
