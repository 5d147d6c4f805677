"""Fifty programs at once for the last five external addresses: exactly five are sold."""

from __future__ import annotations

import pytest

from billing.models import Charge, QuotaClaim, QuotaLimit, Subscription
from network.models import ExternalAddress, ExternalIp, ExternalSegment
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scopes_disabled
from tests.api.client import Program, program_of
from tests.api.test_last_ones import BUYERS, race
from tests.billing.helpers import balances, fund
from tests.compute.factories import Platform
from tests.outside import make_segment

pytestmark = pytest.mark.django_db(transaction=True)
PRICE_MINOR = 20


@pytest.fixture
def small(platform: Platform, tenant: Tenant) -> ExternalSegment:
    """Five addresses to give, and money for more than all of them."""
    fund(tenant, cash="1000")
    QuotaLimit.objects.create(tenant=tenant, item="eips", limit=1000)
    return make_segment(
        platform.region,
        cidr="203.0.113.0/28",
        gateway="203.0.113.1",
        held_back=["203.0.113.2-203.0.113.9"],
    )


def test_five_external_addresses_are_sold_to_five_of_fifty(
    small: ExternalSegment, tenant: Tenant, user: User
) -> None:
    buyers: list[Program] = [program_of(user) for _ in range(BUYERS)]
    body = {"region": small.region_id, "segment": small.pk, "bandwidth_mbps": 5}
    tokens = [buyer.post("/external-ips/quote", body).body["token"] for buyer in buyers]

    def buy(number: int) -> str:
        sent = {**body, "quote_token": tokens[number]}
        answer = buyers[number].post("/external-ips", sent)
        if answer.status == 201:
            return "ok"
        assert answer.status == 409, answer.body
        return str(answer.body["code"])

    assert race(buy, BUYERS) == {"ok": 5, "segment_exhausted": 45}
    assert balances(tenant) == (100_000 - 5 * PRICE_MINOR, 0)
    with scopes_disabled():
        addresses = set(ExternalIp.objects.values_list("address", flat=True))
        assert addresses == {f"203.0.113.{last}" for last in range(10, 15)}
        assert set(ExternalAddress.objects.values_list("address", flat=True)) == addresses
        assert {row.status for row in ExternalIp.objects.all()} == {"free"}
        assert Subscription.objects.count() == Charge.objects.count() == 5
        assert QuotaClaim.objects.filter(item="eips").count() == 5
