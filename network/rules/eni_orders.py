"""What is ordered with an ENI, and what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from billing.services import QuoteItem
from network.models import ExternalSegment, SecurityGroup, Subnet
from network.rules.external_orders import bandwidth_items
from scloud.resources.models import Region

#: The first place in a VM that is not one of its own two NICs.
FIRST_INDEX: Final = 2


@dataclass(frozen=True, kw_only=True)
class EniOrder:
    """An ENI: inside with a ``subnet``, outside with a ``segment`` and a bandwidth.

    ``address`` is a chosen one, empty for automatic.
    """

    region: Region
    subnet: Subnet | None = None
    segment: ExternalSegment | None = None
    bandwidth_mbps: int = 0
    address: str = ""
    group: SecurityGroup | None = None
    name: str = "eni"
    remark: str = ""
    tags: Sequence[str] = ()
    method: str = "hour"
    periods: int = 1
    auto_renew: bool | None = None

    @property
    def items(self) -> list[QuoteItem]:
        """What it costs: nothing inside."""
        if self.segment is None:
            return []
        return bandwidth_items(self.segment, self.bandwidth_mbps)

    @property
    def quota(self) -> dict[str, int]:
        """The quota that it takes."""
        outside = {"bandwidth_mbps": self.bandwidth_mbps} if self.segment is not None else {}
        return {"enis": 1, **outside}
