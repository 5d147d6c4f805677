"""Which external addresses a NIC has at the moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from network.models import ExternalSegment, Nic, NicKind

#: What a query of NICs must read along.
WITH_ADDRESSES: Final = (
    "addresses",
    "external_ips__segment",
    "external_address__segment",
    "eni",
)
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Carried:
    """An external address that the network lets through to a NIC."""

    address: IPv4Address | IPv6Address
    segment: ExternalSegment
    bandwidth_mbps: int
    egress: bool


def is_plugged(nic: Nic) -> bool:
    """Whether the network shall know the NIC: a VM's own always, an ENI while it is bound."""
    if nic.kind != NicKind.ENI:
        return True
    eni = getattr(nic, "eni", None)
    return eni is not None and eni.is_carried


def carried_by(nic: Nic) -> list[Carried]:
    """Return the external addresses of a NIC in the order in which they were bound.

    Those of expired external IPs and of such as are being unbound are not among them.
    """
    rows = sorted(nic.external_ips.all(), key=lambda row: (row.bound_at or _LONG_AGO, str(row.pk)))
    found = [
        Carried(ip_address(row.address), row.segment, row.bandwidth_mbps, row.egress)
        for row in rows
        if row.is_carried and row.segment is not None
    ]
    own = getattr(nic, "external_address", None)
    if own is not None and is_plugged(nic):
        found.append(
            Carried(ip_address(own.address), own.segment, nic.bandwidth_mbps or 1, nic.egress)
        )
    return found
