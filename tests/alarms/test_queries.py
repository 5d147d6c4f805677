"""Questions to the metrics store stay within the tenant of the open scope."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TypedDict

import pytest
from django_scopes.exceptions import ScopeError

from alarms import catalogue as c
from alarms.models import MetricSettings
from alarms.queries import metrics
from alarms.queries.metrics import host_lines, latest, lines, step_for
from alarms.store.base import PLATFORM, Sample, SeriesKey
from alarms.store.fake import FakeStore
from compute.models import VM
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.compute.factories import Platform, make_vm

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


class Span(TypedDict):
    """From when to when it is asked."""

    start: datetime
    end: datetime


TIME: Span = {"start": NOW - HOUR, "end": NOW}


@pytest.fixture
def vm(platform: Platform, actor: Actor) -> VM:
    return make_vm(platform, actor, name="web")


@pytest.fixture(autouse=True)
def store(vm: VM, monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    """One sample of the VM, one of a host."""
    made = FakeStore()
    at = NOW - timedelta(seconds=10)
    made.write([Sample(vm.tenant_id, vm.pk, at, {SeriesKey("cpu_usage_ratio"): 0.5})])
    assert vm.host is not None
    key = SeriesKey("host_cpu_usage_ratio")
    made.write([Sample(PLATFORM, vm.host.pk, at, {key: 0.7})])
    monkeypatch.setattr(metrics, "metrics_store", lambda: made)
    # However long the tests before took, the samples are of a moment ago.
    monkeypatch.setattr(metrics, "timezone", SimpleNamespace(now=lambda: NOW))
    return made


def test_a_tenant_sees_its_own(vm: VM, tenant: Tenant) -> None:
    with scope(tenant=tenant):
        query, (line,) = lines([vm], c.CPU_USAGE, **TIME)
        assert query.step_s == 30
        assert [point for point in line.points if point is not None] == [0.5]
        assert latest([vm])[vm.pk].values == {SeriesKey("cpu_usage_ratio"): 0.5}


def test_without_a_scope_nothing_is_asked(vm: VM) -> None:
    with pytest.raises(ScopeError):
        lines([vm], c.CPU_USAGE, **TIME)
    with pytest.raises(ScopeError):
        latest([vm])


def test_a_row_of_somebody_else_raises(vm: VM, other_tenant: Tenant) -> None:
    with scope(tenant=other_tenant):
        with pytest.raises(ScopeError):
            lines([vm], c.CPU_USAGE, **TIME)
        with pytest.raises(ScopeError):
            latest([vm])


def test_what_changed_hands_does_not_show_what_was_before(vm: VM, other_tenant: Tenant) -> None:
    vm.tenant = other_tenant
    with scope(tenant=other_tenant):
        assert lines([vm], c.CPU_USAGE, **TIME)[1] == ()
        assert latest([vm]) == {}


def test_the_platform_sees_one_tenant_at_a_time(vm: VM, other_tenant: Tenant) -> None:
    with scopes_disabled():
        assert len(lines([vm], c.CPU_USAGE, **TIME)[1]) == 1
        stranger = VM(pk="vm-other", tenant=other_tenant)
        with pytest.raises(ScopeError):
            lines([vm, stranger], c.CPU_USAGE, **TIME)


def test_nothing_is_asked_of_no_rows(tenant: Tenant) -> None:
    with scope(tenant=tenant):
        assert latest([]) == {}


def test_hosts_are_the_platforms(vm: VM, tenant: Tenant) -> None:
    assert vm.host is not None
    with scopes_disabled():
        _query, (line,) = host_lines([vm.host], c.HOST_CPU_USAGE, **TIME)
        assert [point for point in line.points if point is not None] == [0.7]
        with pytest.raises(ValueError, match="not of hosts"):
            host_lines([vm.host], c.CPU_USAGE, **TIME)
    with scope(tenant=tenant):
        with pytest.raises(ScopeError):
            host_lines([vm.host], c.HOST_CPU_USAGE, **TIME)
        with pytest.raises(ValueError, match="is of hosts"):
            lines([vm], c.HOST_CPU_USAGE, **TIME)


@pytest.mark.parametrize(
    ("before", "length", "step_s"),
    [
        (HOUR, HOUR, 30),
        (6 * HOUR, 6 * HOUR, 60),
        (12 * HOUR, 12 * HOUR, 120),
        (24 * HOUR, 24 * HOUR, 300),
        (7 * 24 * HOUR, 7 * 24 * HOUR, 1800),
        (30 * 24 * HOUR, 30 * 24 * HOUR, 7200),
        # An hour of which no samples are kept, or no values of five minutes.
        (5 * 24 * HOUR, HOUR, 300),
        (50 * 24 * HOUR, HOUR, 3600),
        (9000 * 24 * HOUR, 9000 * 24 * HOUR, 86_400),
    ],
)
def test_the_step_fits_the_time_and_what_is_kept(
    before: timedelta, length: timedelta, step_s: int
) -> None:
    start = NOW - before
    assert step_for(start, start + length, now=NOW) == step_s


def test_the_step_follows_the_retention() -> None:
    MetricSettings.objects.create(samples_keep_h=24 * 7)
    start = NOW - 5 * 24 * HOUR
    assert step_for(start, start + HOUR, now=NOW) == 30
