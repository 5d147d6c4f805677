"""What orders buyers and administrators holds up nobody who only refers to the row."""

from __future__ import annotations

import pytest

from billing import ledger, pricelists, quotas
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant
from tests.locks import locking

pytestmark = pytest.mark.usefixtures("scoped")


def test_rows_that_refer_to_a_locked_one_can_be_written_meanwhile(
    tenant: Tenant, region: Region
) -> None:
    """PostgreSQL lets a new row refer to one that is locked FOR NO KEY UPDATE, not FOR UPDATE."""
    ledger.account_of(tenant)
    taken = {
        "price lists": lambda: pricelists.next_version(region),
        "money": lambda: ledger.lock_account(tenant),
        "quotas": lambda: quotas.take(tenant, region, {"vms": 1}, "vm-a"),
    }
    assert {name: locking(work) for name, work in taken.items()} == {
        "price lists": ["FOR NO KEY UPDATE"],
        "money": ["FOR NO KEY UPDATE"],
        "quotas": ["FOR NO KEY UPDATE"],
    }
