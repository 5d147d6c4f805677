"""A tenant's VMs and external IPs for its own Prometheus."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from alarms.catalogue import METRICS, Kind, Subject
from alarms.queries import metrics
from alarms.store.base import Sample, SeriesKey, milliseconds
from alarms.store.fake import FakeStore
from compute.models import VM
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from tests.api.client import Program, program_of
from tests.compute.factories import Platform, make_vm
from tests.fixtures import new_user
from tests.outside import buy_ip, make_segment
from tests.prometheus import Read, parse

URL = "/api/v1/metrics/prometheus"
# As Prometheus asks; the first form is not spoken here.
ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    made = FakeStore()
    monkeypatch.setattr(metrics, "metrics_store", lambda: made)
    return made


@pytest.fixture
def vm(platform: Platform, actor: Actor) -> VM:
    return make_vm(platform, actor, name="web-1")


def scrape(program: Program, accept: str = ACCEPT) -> dict[str, Read]:
    headers = {"Authorization": f"Bearer {program.secret}", "Accept": accept}
    answer = Client().get(URL, headers=headers)
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parse(answer.content.decode())


def test_what_was_measured_last(
    vm: VM, platform: Platform, actor: Actor, user: User, store: FakeStore
) -> None:
    address = buy_ip(actor, make_segment(platform.region))
    at = timezone.now() - timedelta(seconds=20)
    sda, root = "disk-000000001", '/srv/"data"\\x'
    values = {
        SeriesKey("cpu_usage_ratio"): 0.5,
        SeriesKey("vcpus"): 2.0,
        SeriesKey("disk_read_bytes_per_second", sda): 10.0,
        SeriesKey("filesystem_used_bytes", root): 7.0,
        SeriesKey("filesystem_used_bytes", "/"): 8.0,
    }
    totals = {
        SeriesKey("cpu_usage_ratio"): 123.5,
        SeriesKey("disk_read_bytes_per_second", sda): 4096.0,
    }
    rate = SeriesKey("external_ip_receive_bytes_per_second")
    store.write([Sample(vm.tenant_id, vm.pk, at, values, totals)])
    store.write([Sample(vm.tenant_id, address.pk, at, {rate: 1.0}, {rate: 99.0})])
    found = scrape(program_of(user))
    at_ms = milliseconds(at)
    mine = ("vm", vm.pk)
    assert found["scloud_vm_cpu_seconds_total"].type == "counter"
    assert found["scloud_vm_cpu_seconds_total"].samples == {(mine,): (123.5, at_ms)}
    assert found["scloud_vm_vcpus"].type == "gauge"
    assert found["scloud_vm_disk_read_bytes_total"].samples == {
        (mine, ("disk", sda)): (4096.0, at_ms)
    }
    assert found["scloud_vm_filesystem_used_bytes"].samples == {
        (mine, ("mountpoint", "/")): (8.0, at_ms),
        (mine, ("mountpoint", root)): (7.0, at_ms),
    }
    labels = (mine, ("name", "web-1"), ("region", platform.region.pk))
    assert found["scloud_vm_info"].samples == {labels: (1.0, None)}
    assert found["scloud_external_ip_receive_bytes_total"].samples == {
        (("external_ip", address.pk),): (99.0, at_ms)
    }
    # A rate is not told beside the total that it is of.
    assert "scloud_vm_cpu_usage_ratio" not in found


def test_nobody_sees_more_than_the_key_may(
    vm: VM, user: User, other_tenant: Tenant, store: FakeStore
) -> None:
    key = SeriesKey("vcpus")
    store.write([Sample(vm.tenant_id, vm.pk, timezone.now(), {key: 2.0})])
    assert scrape(program_of(user, ["alarms.view*", "compute.view*"]))["scloud_vm_vcpus"]
    assert scrape_nothing(program_of(user, ["alarms.view*"]))
    assert scrape_nothing(program_of(new_user(other_tenant)))
    refused = program_of(user, ["compute.view*"]).get("/metrics/prometheus")
    refused.error(403, "forbidden")
    assert Client().get(URL).status_code == 401


def scrape_nothing(program: Program) -> bool:
    headers = {"Authorization": f"Bearer {program.secret}"}
    answer = Client().get(URL, headers=headers)
    return (answer.status_code, answer.content) == (200, b"")


def test_refusals_come_in_their_form_whatever_was_asked_for(
    vm: VM, user: User, store: FakeStore
) -> None:
    program = program_of(user)
    assert scrape(program, "text/plain")["scloud_vm_info"]
    store.faults.away = True
    headers = {"Authorization": f"Bearer {program.secret}", "Accept": "text/plain"}
    answer = Client().get(URL, headers=headers)
    assert (answer.status_code, answer["Retry-After"]) == (503, "30")
    assert answer.json()["code"] == "metrics_unavailable"


def test_names_of_the_catalogue_follow_the_conventions() -> None:
    for metric in METRICS.values():
        assert metric.exposed.startswith("scloud_")
        assert metric.exposed.endswith("_total") == (metric.kind is Kind.COUNTER)
        if metric.subject is not Subject.HOST:
            assert metric.exposed.startswith(f"scloud_{metric.subject}_")
