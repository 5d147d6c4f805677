"""Measurements by API: what can be asked for, the form of the answer, whose they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest

from alarms.queries import metrics
from alarms.store.fake import FakeStore
from compute.models import VM, Disk
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope
from tests.alarms.measured import measure
from tests.api.client import Answer, program_of
from tests.compute.factories import Platform, make_vm
from tests.fixtures import new_user


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    made = FakeStore()
    monkeypatch.setattr(metrics, "metrics_store", lambda: made)
    return made


@pytest.fixture
def vm(platform: Platform, actor: Actor, tenant: Tenant, store: FakeStore) -> VM:
    made = make_vm(platform, actor, name="web")
    with scope(tenant=tenant):
        measure(store, made, hours=0.2)
    return made


def test_measurements_of_a_vm(vm: VM, tenant: Tenant, other_tenant: Tenant) -> None:
    owner = program_of(new_user(tenant, email="second@acme.test"))
    path = f"/vms/{vm.pk}/metrics"

    def ask(names: str = "cpu_usage_ratio", **query: object) -> Answer:
        return owner.get(f"{path}?{urlencode({'metrics': names, **query})}")

    listed = owner.get("/metrics").body
    names = {one["name"] for one in listed}
    assert {"cpu_usage_ratio", "external_ip_receive_bytes_per_second"} <= names
    assert not [name for name in names if name.startswith("host_")]
    assert {one["resource_kind"] for one in listed} == {"vm", "external_ip"}

    body = ask("cpu_usage_ratio,load1").body
    assert (body["resource_id"], body["step_s"], body["aggregate"]) == (vm.pk, 30, "avg")
    cpu, load = body["series"]
    assert (cpu["metric"], cpu["unit"], cpu["device"]) == ("cpu_usage_ratio", "ratio", None)
    begin, end = (datetime.fromisoformat(body[name]) for name in ("start", "end"))
    assert len(cpu["values"]) == len(load["values"]) == (end - begin) / timedelta(seconds=30)
    there = [value for value in cpu["values"] if value is not None]
    assert 20 <= len(there) <= 24 < len(cpu["values"])
    assert (cpu["peak"], cpu["last"]) == (max(there), there[-1])

    with scope(tenant=tenant):
        disk = Disk.objects.get(vm=vm)
    found = ask("disk_read_bytes_per_second", device=disk.pk).body["series"]
    assert [one["device"] for one in found] == [disk.pk]
    found = ask("filesystem_usage_ratio", device="/data", range="6h", step=300, aggregate="max")
    assert (found.body["step_s"], found.body["aggregate"]) == (300, "max")
    assert [one["device"] for one in found.body["series"]] == ["/data"]
    now = datetime.now(UTC)
    early = ask(
        start=(now - timedelta(days=3)).isoformat(), end=(now - timedelta(days=2)).isoformat()
    )
    assert (early.status, early.body["step_s"], early.body["series"]) == (200, 300, [])

    for query, code, field in (
        ({"names": "cpu_usage"}, "invalid_input", "metrics"),
        ({"names": "host_cpu_usage_ratio"}, "invalid_input", "metrics"),
        ({"names": ",".join(sorted(names))}, "invalid_input", "metrics"),
        ({"names": "external_ip_receive_bytes_per_second"}, "metrics_subject", "metrics"),
        ({"range": "2h"}, "invalid_query", "range"),
        ({"start": now.isoformat()}, "invalid_input", "end"),
        ({"range": "1h", "start": now, "end": now}, "invalid_input", "range"),
        ({"start": "0001-01-01T00:00:00Z", "end": now}, "metrics_too_old", "start"),
        (
            {"start": now + timedelta(hours=1), "end": "9999-12-31T23:59:59Z"},
            "metrics_time",
            "start",
        ),
        ({"step": 31}, "metrics_step", "step"),
        ({"step": 0}, "invalid_query", "step"),
        ({"range": "30d", "step": 300}, "metrics_too_many", "step"),
        ({"device": "/"}, "metrics_device", "device"),
        ({"names": "filesystem_usage_ratio", "device": "\u2028"}, "invalid_input", "device"),
        ({"aggregate": "p99"}, "invalid_query", "aggregate"),
        ({"colour": "red"}, "invalid_query", "colour"),
    ):
        ask(**query).error(400, code, field)
    ask("disk_read_bytes_per_second", device="disk-zzzzzzzzz").error(
        404, "metrics_part_not_found", "device"
    )

    stranger = program_of(new_user(other_tenant))
    stranger.get(f"{path}?metrics=cpu_usage_ratio").error(404, "vm_not_found")
    blind = program_of(new_user(tenant, email="third@acme.test"), ["network.view*"])
    blind.get(f"{path}?metrics=cpu_usage_ratio").error(403, "forbidden")


def test_a_store_that_is_away_is_told(vm: VM, tenant: Tenant, store: FakeStore) -> None:
    program = program_of(new_user(tenant, email="second@acme.test"))
    store.faults.away = True
    answer = program.get(f"/vms/{vm.pk}/metrics?metrics=load1")
    answer.error(503, "metrics_unavailable")
