"""The values that the charts of a VM draw, and the file of them."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from alarms.catalogue import METRICS
from alarms.queries import metrics
from alarms.queries.charts import CHARTS, Series
from alarms.store.fake import FakeStore
from alarms.views.charts import scale_of
from compute.models import VM
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope
from tests.alarms.measured import Gap, measure
from tests.compute.factories import Platform, make_vm


@pytest.fixture
def vm(platform: Platform, actor: Actor, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> VM:
    store = FakeStore()
    monkeypatch.setattr(metrics, "metrics_store", lambda: store)
    made = make_vm(platform, actor, name="web")
    with scope(tenant=tenant):
        measure(store, made, hours=1, gaps=[Gap(1200, 600)])
    return made


def test_the_values_of_ten_charts_and_their_file(vm: VM, console: Client) -> None:
    url, file_url = (reverse(name, args=[vm.pk]) for name in ("vm-charts", "vm-charts-csv"))
    body = console.get(url).json()
    assert (body["step_s"], body["points"]) == (30, 121)
    assert [one["key"] for one in body["charts"]] == [chart.key for chart in CHARTS]
    shown: dict[str, Any] = {one["key"]: one for one in body["charts"]}
    units = {key: one["unit"] for key, one in shown.items()}
    assert units == {
        "cpu": "%",
        "memory": "%",
        "space": "%",
        "nic_bandwidth": "Mb/s",
        "nic_packets": "M/s",
        "disk_throughput": "MB/s",
        "disk_operations": "M/s",
        "load": "",
        "tcp": "",
        "blocked": "",
    }
    cpu = shown["cpu"]
    assert cpu["top"] == 100
    (line,) = cpu["lines"]
    assert len(line["values"]) == 121
    # Ten minutes of nothing in the middle stay empty, whatever is on either side.
    empty = [number for number, value in enumerate(line["values"]) if value is None]
    assert len([number for number in empty if 70 < number < 110]) == 20
    highest = max(value for value in line["values"] if value is not None)
    assert float(line["peak"]) == pytest.approx(highest, abs=0.05)

    answer = console.get(file_url)
    assert answer.headers["Content-Disposition"].startswith(f'attachment; filename="{vm.pk}-')
    rows = list(csv.DictReader(io.StringIO(answer.content.decode())))
    assert len(rows) == 121
    assert "filesystem_usage_ratio /data" in rows[0]
    moments = [int(datetime.fromisoformat(row["time"]).timestamp()) for row in rows]
    assert {after - begin for begin, after in pairwise(moments)} == {30}
    written = {at: row["cpu_usage_ratio"] for at, row in zip(moments, rows, strict=True)}
    for number, value in enumerate(line["values"]):
        at = body["start"] + 30 * number
        # A step may have passed between the two requests.
        if at in written and 1 < number < 119:
            assert (value is None) == (not written[at]), at


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ({"range": "2h"}, 400, "range"),
        ({"start": "2026-05-04T10:00"}, 400, "end"),
        ({"start": "yesterday", "end": "2026-05-04T10:00"}, 400, "start"),
        ({"start": "2026-05-04T10:00", "end": "2026-05-04T09:00"}, 400, "end"),
        ({"disk": "disk-zzzzzzzzz"}, 404, None),
    ],
)
def test_what_cannot_be_shown_is_said(
    vm: VM, console: Client, query: dict[str, str], status: int, field: str | None
) -> None:
    answer = console.get(reverse("vm-charts", args=[vm.pk]), query)
    assert answer.status_code == status
    if field:
        assert answer.json()["field"] == field
        assert answer.json()["message"]


@pytest.mark.parametrize(
    ("key", "peak", "words"),
    [
        ("cpu", 0.5, "50 %"),
        ("nic_bandwidth", 12.5e6, "100 Mb/s"),
        ("nic_bandwidth", 30, "240 b/s"),
        ("disk_throughput", 5 * 1024**2, "5 MB/s"),
        ("disk_throughput", 1023, "1,023 B/s"),
        ("disk_operations", 9_345.6, "9,346 /s"),
        ("disk_operations", 12_345.6, "12.3 k/s"),
        ("load", 0.123, "0.12"),
        ("tcp", 0, "0"),
    ],
)
def test_numbers_are_written_in_a_unit_that_is_easy_to_read(
    key: str, peak: float, words: str
) -> None:
    chart = next(one for one in CHARTS if one.key == key)
    line = Series(METRICS["load1"], "", (peak,), peak, peak, peak)
    scale = scale_of(chart, [line])
    assert f"{scale.text(peak)} {scale.unit}".strip() == words
    assert scale.of(None) is None
