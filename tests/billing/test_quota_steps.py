"""Quotas that are raised until a day, requests that take two administrators, and templates."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from django.test import Client
from django.urls import reverse

from billing import hooks, quotas, reminding
from billing.actions import decide_quota_request, request_quota
from billing.models import (
    QuotaApprovalLimit,
    QuotaLimit,
    QuotaRequest,
    QuotaTemplate,
    QuotaTemplateUse,
)
from scloud.audit.models import Event
from scloud.lib.errors import Conflict, Forbidden, InvalidInput, QuotaExceeded
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scopes_disabled

pytestmark = pytest.mark.usefixtures("scoped")

Clock = Callable[[datetime], None]
START = datetime(2026, 5, 1, 12, tzinfo=UTC)
LAST_DAY = date(2026, 6, 1)
# The end of that day in Shanghai.
END = datetime(2026, 6, 1, 16, tzinfo=UTC)
RAISE, TENANT = quotas.Source.RAISE, quotas.Source.TENANT


def administrator(name: str) -> Actor:
    return Actor.administrator(User.objects.create_superuser(f"{name}@platform.test", "x"), None)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[hooks.Notice]:
    """What people are told of."""
    told: list[hooks.Notice] = []
    monkeypatch.setattr(hooks, "_listeners", [told.append])
    return told


def test_a_raise_holds_until_its_last_day_and_is_told_before(
    at: Clock, actor: Actor, tenant: Tenant, region: Region, heard: list[hooks.Notice]
) -> None:
    at(START)
    QuotaLimit.objects.create(tenant=tenant, item="vms", limit=3)
    root = administrator("root")
    asked = request_quota(actor=actor, region=region, item="vms", limit_wanted=5)
    for wrong in (date(2026, 4, 30), date(2036, 6, 1)):
        with pytest.raises(InvalidInput) as refused:
            decide_quota_request(actor=root, quota_request=asked, approve=True, last_day=wrong)
        assert refused.value.field == "last_day"
    decide_quota_request(actor=root, quota_request=asked, approve=True, last_day=LAST_DAY)
    assert (asked.status, asked.expires_at) == ("approved", END)
    assert quotas.limits_of(tenant, region)["vms"] == quotas.Limit(5, 3, 3, END, RAISE)
    assert QuotaLimit.objects.get().limit == 3
    quotas.take(tenant, region, {"vms": 5}, "vm-1")
    # Of two raises the larger counts, and the other one afterwards if it lasts longer.
    longer = request_quota(actor=actor, region=region, item="vms", limit_wanted=4)
    decide_quota_request(
        actor=root, quota_request=longer, approve=True, last_day=LAST_DAY + timedelta(days=30)
    )
    assert quotas.limits_of(tenant, region)["vms"] == quotas.Limit(5, 3, 4, END, RAISE)

    told = [reminding.run(END - timedelta(days=days, hours=-1)) for days in (8, 7, 7, 3, 1, 1)]
    assert told == [[], [asked.pk], [], [asked.pk], [asked.pk], []]
    assert {one.kind for one in heard} == {"billing.quota_expiring"}
    assert [one.data["days"] for one in heard] == [7, 3, 1]
    assert heard[0].data | {"region": ""} == {
        "item": "vms",
        "region": "",
        "expires_at": END.isoformat(),
        "days": 7,
        "limit": 5,
        "limit_afterwards": 4,
        "used": 5,
    }
    assert Event.objects.filter(kind="billing.quota_expiring").count() == 3

    at(END)
    assert quotas.limits(tenant, region)["vms"] == 4
    assert quotas.usage(tenant, region)["vms"].used == 5
    with pytest.raises(QuotaExceeded):
        quotas.take(tenant, region, {"vms": 1}, "vm-2")
    at(END + timedelta(days=30))
    assert quotas.limits_of(tenant, region)["vms"] == quotas.Limit(3, 3, 3, None, TENANT)


def test_a_raise_below_what_lasts_is_nothing_and_not_told(
    at: Clock, actor: Actor, tenant: Tenant, region: Region, heard: list[hooks.Notice]
) -> None:
    at(START)
    root = administrator("root")
    asked = request_quota(actor=actor, region=region, item="vms", limit_wanted=80)
    decide_quota_request(actor=root, quota_request=asked, approve=True, last_day=LAST_DAY)
    # What holds for a time only can be asked for again, to last.
    again = request_quota(actor=actor, region=region, item="vms", limit_wanted=80)
    assert again.limit_before == 50
    decide_quota_request(actor=root, quota_request=again, approve=True)
    assert quotas.limits_of(tenant, region)["vms"] == quotas.Limit(80, 80, 80, None, TENANT)
    assert reminding.run(END - timedelta(hours=1)) == []
    assert heard == []


def test_above_the_approval_limit_two_administrators_approve(
    at: Clock, actor: Actor, tenant: Tenant, region: Region, heard: list[hooks.Notice]
) -> None:
    at(START)
    QuotaApprovalLimit.objects.create(item="vms", above=80)
    first, second = administrator("first"), administrator("second")
    small = request_quota(actor=actor, region=region, item="vms", limit_wanted=80)
    assert decide_quota_request(actor=first, quota_request=small, approve=True).status == "approved"
    asked = request_quota(actor=actor, region=region, item="vms", limit_wanted=81)
    decide_quota_request(actor=first, quota_request=asked, approve=True, last_day=LAST_DAY)
    assert (asked.status, asked.first_approved_by, asked.decided_by) == (
        "pending",
        first.user,
        None,
    )
    assert quotas.limits(tenant, region)["vms"] == 80
    assert [(one.kind, one.tenant, one.data["limit"]) for one in heard] == [
        ("billing.quota_request_waits", None, 81)
    ]
    with pytest.raises(Conflict) as waits:
        request_quota(actor=actor, region=region, item="vms", limit_wanted=82)
    assert waits.value.code == "quota_request_pending"
    with pytest.raises(Forbidden) as same:
        decide_quota_request(actor=first, quota_request=asked, approve=True)
    assert same.value.code == "second_administrator_needed"
    decide_quota_request(actor=second, quota_request=asked, approve=True, answer="Fine")
    assert (asked.status, asked.decided_by, asked.expires_at) == ("approved", second.user, END)
    assert quotas.limits(tenant, region)["vms"] == 81

    late = request_quota(actor=actor, region=region, item="vms", limit_wanted=90)
    decide_quota_request(actor=first, quota_request=late, approve=True, last_day=START.date())
    at(START + timedelta(days=1))
    with pytest.raises(Conflict) as over:
        decide_quota_request(actor=second, quota_request=late, approve=True)
    assert over.value.code == "last_day_over"
    # One is enough to reject, also the one who approved.
    decide_quota_request(actor=first, quota_request=late, approve=False)
    assert (late.status, late.expires_at) == ("rejected", None)


def test_the_pages_show_the_last_day_and_the_first_approval(
    at: Clock, actor: Actor, region: Region, console: Client
) -> None:
    at(START)
    QuotaApprovalLimit.objects.create(item="vcpu", above=500)
    asked = request_quota(actor=actor, region=region, item="vms", limit_wanted=80)
    large = request_quota(actor=actor, region=region, item="vcpu", limit_wanted=900)
    with scopes_disabled():
        client = Client()
        client.force_login(User.objects.create_superuser("root@platform.test", "x"))
        decide = reverse("admin:billing_quotarequest_decide", args=[asked.pk])
        client.post(decide, {"approve": "1", "last_day": "soon"})
        asked.refresh_from_db()
        assert asked.status == "pending"
        client.post(decide, {"approve": "1", "answer": "Fine", "last_day": "2026-06-01"})
        client.post(reverse("admin:billing_quotarequest_decide", args=[large.pk]), {"approve": "1"})
        url = reverse("admin:billing_quotarequest_change", args=[large.pk])
        page = client.get(url).content.decode()
        assert "awaits a second administrator" in page
        assert "root@platform.test approved it" in page
        assert 'name="answer"' in page
        assert 'name="last_day"' not in page
    text = " ".join(console.get(reverse("quotas")).content.decode().split())
    assert "Raised until" in text
    assert "(afterwards 50)" in text
    assert QuotaRequest.objects.get(pk=asked.pk).expires_at == END


def test_a_template_counts_for_all_who_use_it_and_limits_of_ones_own_before_it(
    tenant: Tenant, region: Region
) -> None:
    with scopes_disabled():
        root = Client()
        root.force_login(User.objects.create_superuser("root@platform.test", "x"))
        other = Tenant.objects.create(name="Other")
        sent = {
            "name": "Small",
            "limits-TOTAL_FORMS": "2",
            "limits-INITIAL_FORMS": "0",
            "limits-0-item": "vms",
            "limits-0-limit": "4",
            "limits-1-item": "vcpu",
            "limits-1-limit": "8",
            "limits-1-region": region.pk,
            "uses-TOTAL_FORMS": "1",
            "uses-INITIAL_FORMS": "0",
            "uses-0-tenant": other.pk,
        }
        assert root.post(reverse("admin:billing_quotatemplate_add"), sent).status_code == 302
        template = QuotaTemplate.objects.get()
        # The page of a tenant shows its template, and applies one.
        page = reverse("admin:tenancy_tenant_change", args=[other.pk])
        assert "Small" in root.get(page).content.decode()
        applied = {
            "name": tenant.name,
            "is_active": "on",
            "ask_above": "1000",
            "quota_template_use-TOTAL_FORMS": "1",
            "quota_template_use-INITIAL_FORMS": "0",
            "quota_template_use-0-template": str(template.pk),
        }
        url = reverse("admin:tenancy_tenant_change", args=[tenant.pk])
        assert root.post(url, applied).status_code == 302
    QuotaLimit.objects.create(item="vms", region=region, limit=1)
    template.limits.create(item="disks", limit=9)

    def found(of: Tenant) -> list[tuple[int, str]]:
        limits = quotas.limits_of(of, region)
        return [
            (limits[item].now, limits[item].source) for item in ("vms", "vcpu", "disks", "gpus")
        ]

    given = [(4, "template"), (8, "template"), (9, "template"), (8, "platform")]
    assert found(tenant) == found(other) == given
    QuotaLimit.objects.create(tenant=tenant, item="vms", limit=2)
    template.limits.filter(item="vcpu").update(limit=16)
    assert found(tenant) == [(2, "tenant"), (16, "template"), (9, "template"), (8, "platform")]
    assert found(other)[0] == (4, "template")
    with scopes_disabled():
        sure = reverse("admin:billing_quotatemplate_delete", args=[template.pk])
        root.post(sure, {"post": "yes"})
        assert QuotaTemplate.objects.exists()
    QuotaTemplateUse.objects.get(tenant=other).delete()
    assert found(other)[:2] == [(1, "platform"), (200, "platform")]
