"""Asking for more quota, and the administrator's answer."""

from collections.abc import Callable

import pytest

from billing import quotas
from billing.actions import decide_quota_request, request_quota
from billing.models import QuotaLimit, QuotaRequest
from scloud.lib.errors import Conflict, Forbidden, InvalidInput
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User

pytestmark = pytest.mark.usefixtures("scoped")


@pytest.fixture
def administrator(db: None) -> Actor:
    """A platform administrator."""
    return Actor.administrator(User.objects.create_superuser("root@platform.test", "x"), None)


@pytest.fixture
def request_(actor: Actor, region: Region) -> QuotaRequest:
    """A request for 80 VMs."""
    return request_quota(
        actor=actor, region=region, item="vms", limit_wanted=80, reason="Load test"
    )


def test_an_approved_request_raises_the_limit(
    request_: QuotaRequest, administrator: Actor, tenant: Tenant, region: Region
) -> None:
    assert request_.limit_before == 50
    decide_quota_request(actor=administrator, quota_request=request_, approve=True, answer="Fine")
    request_.refresh_from_db()
    assert (request_.status, request_.answer) == ("approved", "Fine")
    assert request_.decided_by == administrator.user
    assert quotas.limits(tenant, region)["vms"] == 80


def test_a_rejected_request_changes_nothing_but_itself(
    request_: QuotaRequest, administrator: Actor, tenant: Tenant, region: Region
) -> None:
    decide_quota_request(actor=administrator, quota_request=request_, approve=False, answer="No")
    assert request_.status == "rejected"
    assert quotas.limits(tenant, region)["vms"] == 50


def test_a_request_is_decided_once(
    request_: QuotaRequest, administrator: Actor, tenant: Tenant, region: Region
) -> None:
    decide_quota_request(actor=administrator, quota_request=request_, approve=False)
    with pytest.raises(Conflict) as refusal:
        decide_quota_request(actor=administrator, quota_request=request_, approve=True)
    assert refusal.value.code == "quota_request_decided"
    assert quotas.limits(tenant, region)["vms"] == 50


def test_tenants_do_not_decide(request_: QuotaRequest, actor: Actor) -> None:
    with pytest.raises(Forbidden):
        decide_quota_request(actor=actor, quota_request=request_, approve=True)


def test_one_request_per_quota_waits(
    request_: QuotaRequest, administrator: Actor, actor: Actor, region: Region
) -> None:
    with pytest.raises(Conflict) as refusal:
        request_quota(actor=actor, region=region, item="vms", limit_wanted=90)
    assert refusal.value.code == "quota_request_pending"
    decide_quota_request(actor=administrator, quota_request=request_, approve=True)
    request_quota(actor=actor, region=region, item="vms", limit_wanted=90)


@pytest.mark.parametrize(
    ("item", "wanted", "code"),
    [
        ("cats", 5, "quota_unknown"),
        ("vms", 50, "quota_not_higher"),
        ("vms", 10**12, "quota_not_higher"),
    ],
)
def test_a_senseless_request_is_refused(
    actor: Actor, region: Region, item: str, wanted: int, code: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        request_quota(actor=actor, region=region, item=item, limit_wanted=wanted)
    assert refusal.value.code == code
    assert not QuotaLimit.objects.exists()


def test_an_operator_may_ask_and_a_reader_may_not(
    tenant: Tenant, region: Region, make_user: Callable[..., User]
) -> None:
    def someone(role: str) -> Actor:
        return Actor(tenant=tenant, user=make_user(tenant, role), role=role, via="console")

    request_quota(actor=someone("operator"), region=region, item="vms", limit_wanted=60)
    with pytest.raises(Forbidden):
        request_quota(actor=someone("readonly"), region=region, item="vcpu", limit_wanted=999)
