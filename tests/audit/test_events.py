"""Events are kept for as long as the platform's settings say; money and the log stay."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from scloud.audit import events
from scloud.audit.models import Event, Operation
from scloud.tenancy.models import PlatformSettings, Tenant

pytestmark = pytest.mark.usefixtures("unscoped")


def happened(tenant: Tenant, days_ago: float) -> Event:
    event = events.emit(tenant_id=tenant.pk, kind="x", resource_kind="vm", resource_id="vm-1")
    Event.objects.filter(pk=event.pk).update(at=timezone.now() - timedelta(days=days_ago))
    return event


def test_events_are_kept_for_the_days_of_the_settings(tenant: Tenant) -> None:
    rows = {days: happened(tenant, days).pk for days in (366, 364, 29, 1)}
    old = timezone.now() - timedelta(days=10_000)
    Operation.objects.create(tenant=tenant, actor="a", via="api", verb="v", succeeded=True, at=old)
    assert events.forget_old() == 1
    assert set(Event.objects.values_list("pk", flat=True)) == {rows[364], rows[29], rows[1]}
    PlatformSettings.objects.create(pk=1, events_keep_days=30)
    assert events.forget_old() == 1
    assert set(Event.objects.values_list("pk", flat=True)) == {rows[29], rows[1]}
    assert events.forget_old() == 0
    assert Operation.objects.count() == 1


def test_many_are_forgotten_in_several_rounds(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "FORGOTTEN_AT_ONCE", 2)
    for _ in range(3):
        happened(tenant, 400)
    happened(tenant, 1)
    assert [events.forget_old() for _ in range(3)] == [2, 1, 0]
