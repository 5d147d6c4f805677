"""The rules for ranges of external segments: pure functions over :mod:`ipaddress`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from django.utils.translation import gettext as _

from scloud.lib.errors import InvalidInput

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network
#: The first and the last address of a range, as numbers.
IpRange = tuple[int, int]

#: A range must have room for a gateway and two addresses at least.
NARROWEST: Final = {4: 29, 6: 125}
WIDEST: Final = {4: 8, 6: 32}


def parse_range(
    text: str,
    version: int,
    *,
    field: str = "cidr",
    check: Callable[[IpNetwork], None] | None = None,
) -> IpNetwork:
    """Read ``203.0.113.0/24`` or ``2001:db8::/64``.

    ``check`` raises what else is wrong with a range. It comes before a beginning that is not the
    start of the range is refused, so that the range suggested then can be had.

    Raises InvalidInput (``cidr_invalid``, and what ``check`` raises).
    """
    cleaned = text.strip()
    try:
        if "/" not in cleaned or "%" in cleaned:
            raise ValueError(cleaned)
        loose = ip_network(cleaned, strict=False)
    except ValueError as error:
        raise InvalidInput(
            _("“%(text)s” is not an address range.") % {"text": cleaned[:60]},
            code="cidr_invalid",
            field=field,
            remedy=_("Write an address and a mask, such as 203.0.113.0/24."),
        ) from error
    if loose.version != version:
        raise InvalidInput(
            _("%(network)s is not an IPv%(version)s range.")
            % {"network": loose, "version": version},
            code="cidr_invalid",
            field=field,
        )
    if check is not None:
        check(loose)
    if ip_address(cleaned.split("/")[0]) != loose.network_address:
        raise InvalidInput(
            _("%(text)s does not begin at the start of its range.") % {"text": cleaned},
            code="cidr_invalid",
            field=field,
            remedy=_("Did you mean %(loose)s?") % {"loose": loose},
        )
    return loose


def check_range(network: IpNetwork, *, field: str = "cidr") -> None:
    """Raise InvalidInput unless a segment can have the range."""
    widest, narrowest = WIDEST[network.version], NARROWEST[network.version]
    if not widest <= network.prefixlen <= narrowest:
        raise InvalidInput(
            _("The mask must be between %(widest)s and %(narrowest)s, not %(given)s.")
            % {"widest": widest, "narrowest": narrowest, "given": network.prefixlen},
            code="cidr_mask",
            field=field,
            numbers={"min": widest, "max": narrowest, "given": network.prefixlen},
        )
    if (
        network.is_multicast
        or network.is_loopback
        or network.is_link_local
        or network.overlaps(ip_network("0.0.0.0/8" if network.version == 4 else "::/127"))
        or (network.version == 4 and network.overlaps(ip_network("240.0.0.0/4")))
    ):
        raise InvalidInput(
            _("No machine can have an address of %(network)s.") % {"network": network},
            code="cidr_unusable",
            field=field,
        )


def check_destination(network: IpNetwork) -> None:
    """Raise InvalidInput if a specified route would lead everywhere."""
    if network.prefixlen == 0:
        raise InvalidInput(
            _("Choose the default route for everything."),
            code="cidr_mask",
            field="destinations",
            numbers={"given": 0},
        )


def parse_held(text: str, network: IpNetwork, *, field: str = "held_back") -> IpRange:
    """Read an address, ``A-B`` or a range with a mask within ``network``.

    Raises InvalidInput (``held_back_invalid``).
    """
    cleaned = text.strip()
    try:
        if "/" in cleaned:
            part = ip_network(cleaned)
            first, last = part.network_address, part.broadcast_address
        elif "-" in cleaned:
            low, high = cleaned.split("-", 1)
            first, last = ip_address(low.strip()), ip_address(high.strip())
        else:
            first = last = ip_address(cleaned)
        within = first in network and last in network and int(first) <= int(last)
    except ValueError:
        within = False
    if not within:
        raise InvalidInput(
            _("“%(text)s” is not an address or a range within %(network)s.")
            % {"text": cleaned[:90], "network": network},
            code="held_back_invalid",
            field=field,
        )
    return int(first), int(last)


def usable_span(network: IpNetwork) -> IpRange:
    """Return the first and the last address that could be given away at all."""
    last = int(network.broadcast_address) - (1 if network.version == 4 else 0)
    return int(network.network_address) + 1, last


def free_spans(network: IpNetwork, held: Iterable[IpRange]) -> list[IpRange]:
    """Return what remains of a range without what is held back, in order.

    >>> from ipaddress import ip_network
    >>> network = ip_network("203.0.113.0/29")
    >>> base = int(network.network_address)
    >>> spans = free_spans(network, [(base + 1, base + 1), (base + 3, base + 4)])
    >>> [(low - base, high - base) for low, high in spans]
    [(2, 2), (5, 6)]
    """
    low, last = usable_span(network)
    spans = []
    for first, end in sorted(held):
        if first > low:
            spans.append((low, min(first - 1, last)))
        low = max(low, end + 1)
    if low <= last:
        spans.append((low, last))
    return [(first, end) for first, end in spans if first <= end]
