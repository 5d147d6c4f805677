"""What charts show: steps, gaps, peaks, chosen parts, and what happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from alarms import catalogue as c
from alarms.models import MetricSettings
from alarms.queries import charts, metrics
from alarms.store.base import Sample, SeriesKey
from alarms.store.fake import FakeStore
from compute.models import VM
from network.models import ExternalIp
from scloud.audit.models import Event
from scloud.lib.errors import InvalidInput, NotFound, Unavailable
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from tests.alarms.measured import measure
from tests.compute.factories import Platform, make_vm
from tests.outside import buy_ips, make_segment

NOW = datetime(2026, 5, 4, 12, 0, 10, tzinfo=UTC)
CPU = SeriesKey(c.CPU_USAGE.name)


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    made = FakeStore()
    monkeypatch.setattr(metrics, "metrics_store", lambda: made)
    for module in (metrics, charts):
        monkeypatch.setattr(module, "timezone", SimpleNamespace(now=lambda: NOW))
    return made


@pytest.fixture
def vm(platform: Platform, actor: Actor, scoped: Tenant) -> VM:
    return make_vm(platform, actor, name="web")


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


def test_a_chart_has_whole_steps_up_to_now(db: None) -> None:
    period = charts.last("1h")
    assert (period.step_s, period.points) == (30, 121)
    assert (period.start.minute, period.end.second) == (0, 30)
    assert list(period.moments())[-1] == period.end - timedelta(seconds=30)
    # What has not been yet is no part of it.
    cut = charts.between(ago(hours=2), NOW + timedelta(days=3))
    assert cut.end - NOW < timedelta(seconds=cut.step_s)


@pytest.mark.parametrize(
    ("start", "end", "step_s", "code", "field"),
    [
        (ago(hours=1), ago(hours=1), None, "metrics_time", "end"),
        (ago(hours=-1), ago(hours=-2), None, "metrics_time", "start"),
        (datetime(1, 1, 1, tzinfo=UTC), NOW, None, "metrics_too_old", "start"),
        (ago(hours=1), NOW, 45, "metrics_step", "step"),
        (ago(days=4), NOW, 30, "metrics_step", "step"),
        (ago(hours=30), NOW, 30, "metrics_too_many", "step"),
    ],
)
def test_a_time_that_cannot_be_shown_is_refused(
    db: None, start: datetime, end: datetime, step_s: int | None, code: str, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        charts.between(start, end, step_s=step_s)
    assert (refused.value.code, refused.value.field) == (code, field)


def test_a_time_of_many_years_is_refused_where_so_much_is_kept(vm: VM) -> None:
    MetricSettings.objects.create(hours_keep_days=3650)
    period = charts.between(ago(days=3600), NOW)
    with pytest.raises(InvalidInput) as refused:
        charts.series_of(vm, [c.CPU_USAGE], period)
    assert refused.value.code == "metrics_too_many"


def test_gaps_stay_gaps_and_a_peak_is_not_averaged_away(vm: VM, store: FakeStore) -> None:
    def sample(at: datetime, value: float) -> Sample:
        return Sample(vm.tenant_id, vm.pk, at, {CPU: value})

    store.write([sample(ago(minutes=minute), 0.1) for minute in (50, 40, 39.5, 39)])
    store.write([sample(ago(minutes=38.5), 0.9)])
    (line,) = charts.series_of(vm, [c.CPU_USAGE, c.LOAD_1], charts.between(ago(hours=1), NOW))
    assert [point for point in line.points if point is not None] == [0.1, 0.1, 0.1, 0.1, 0.9]
    assert line.points[-1] is None
    (line,) = charts.series_of(vm, [c.CPU_USAGE], charts.between(ago(hours=1), NOW, step_s=300))
    there = [point for point in line.points if point is not None]
    assert max(there) < 0.9
    assert (line.peak, line.last) == (0.9, there[-1])
    assert line.average == pytest.approx(sum(there) / len(there))


def test_charts_are_of_the_chosen_disk_nic_or_external_ip(
    vm: VM, store: FakeStore, platform: Platform, actor: Actor
) -> None:
    measure(store, vm, hours=0.1, until=NOW)
    (address,) = buy_ips(actor, make_segment(platform.region))
    ExternalIp.objects.filter(pk=address.pk).update(target_kind="vm", target_id=vm.pk)
    store.write(
        [
            Sample(
                vm.tenant_id, address.pk, ago(minutes=1), {SeriesKey(c.ADDRESS_SENT.name): 125_000}
            )
        ]
    )
    period, parts = charts.last("1h"), charts.parts_of(vm)
    assert [one.id for one in parts.external_ips] == [address.pk]

    def shown(**chosen: str) -> dict[str, list[tuple[str, str]]]:
        filled = charts.charts_of(vm, period, parts, **chosen)
        return {
            one.chart.key: [(str(label), line.device) for label, line in one.lines]
            for one in filled
        }

    first = shown()
    assert len(first) == 10
    assert all(first.values())
    disk, nic = parts.disks[0].id, parts.nics[0].id
    assert first["disk_throughput"] == [("Read", disk), ("Write", disk)]
    assert first["nic_packets"] == [("In", nic), ("Out", nic)]
    assert first["space"] == [("/", "/"), ("/data", "/data")]
    assert [label for label, _device in first["load"]] == ["1 min", "5 min", "15 min"]
    other = shown(network=parts.nics[1].id)
    assert {device for _label, device in other["nic_bandwidth"]} == {parts.nics[1].id}
    outside = shown(network=address.pk)
    assert (outside["nic_bandwidth"], outside["nic_packets"]) == ([("Out", "")], [])
    assert outside["disk_throughput"] == first["disk_throughput"]
    for chosen in ({"disk": nic}, {"network": disk}, {"disk": "disk-zzzzzzzzz"}):
        with pytest.raises(NotFound):
            shown(**chosen)


def test_what_happened_is_shown_at_its_time(vm: VM) -> None:
    Event.objects.all().delete()

    def event(kind: str, at: datetime, **changes: Any) -> None:
        values = {"tenant": vm.tenant, "resource_kind": "vm", "resource_id": vm.pk, **changes}
        Event.objects.create(kind=kind, at=at, **values)

    event("vm.migrated", ago(minutes=10))
    event("vm.started", ago(minutes=30))
    event("vm.starting", ago(minutes=31))
    event("vm.started", ago(hours=3))
    event("vm.started", ago(minutes=5), resource_id="vm-other")
    event("alarm.opened", ago(minutes=20))
    found = charts.marks_of(vm, charts.last("1h"))
    assert [str(mark.label) for mark in found] == ["Started", "Alarm", "Migrated"]
    assert [mark.at for mark in found] == sorted(mark.at for mark in found)


def test_a_store_that_does_not_answer_is_said(vm: VM, store: FakeStore) -> None:
    store.faults.away = True
    with pytest.raises(Unavailable) as refused:
        charts.series_of(vm, [c.CPU_USAGE], charts.last("1h"))
    assert refused.value.code == "metrics_unavailable"
