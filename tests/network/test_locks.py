"""What orders those who take addresses holds up nobody who only refers to the row."""

from __future__ import annotations

import pytest

from network.actions import Defaults, addresses, external_addresses
from network.models import Nic, NicKind, NicNetwork
from network.transitions import egress
from scloud.lib.errors import NotFound
from scloud.resources.models import Region
from tests.locks import locking
from tests.outside import make_segment

pytestmark = pytest.mark.usefixtures("scoped")


def test_rows_that_refer_to_a_locked_one_can_be_written_meanwhile(
    defaults: Defaults, region: Region
) -> None:
    """PostgreSQL lets a new row refer to one that is locked FOR NO KEY UPDATE, not FOR UPDATE."""
    assert defaults.subnet is not None
    subnet, segment = defaults.subnet, make_segment(region)
    nic = Nic.objects.create(
        tenant=defaults.vpc.tenant,
        region=region,
        vm_id="vm-1",
        kind=NicKind.ENI,
        network=NicNetwork.EXTERNAL,
    )
    taken = {
        "private addresses": lambda: addresses.allocate(subnet, [None]),
        "external addresses": lambda: external_addresses.allocate(segment, [None]),
        "what a NIC carries": lambda: egress.locked_nic(nic.pk),
    }
    assert {name: locking(work) for name, work in taken.items()} == {
        "private addresses": ["FOR NO KEY UPDATE"],
        "external addresses": ["FOR NO KEY UPDATE"],
        "what a NIC carries": ["FOR NO KEY UPDATE"],
    }


def test_a_nic_that_is_gone_is_not_found(defaults: Defaults) -> None:
    with pytest.raises(NotFound, match="nic-unknown"):
        egress.locked_nic("nic-unknown")
