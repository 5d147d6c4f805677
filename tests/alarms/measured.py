"""A VM of which something was measured, and the store that holds it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import connection

from alarms.catalogue import METRICS, Device, Subject, Unit
from alarms.store.base import MetricsStore, Sample, SeriesKey, floor
from compute.models import VM, Disk
from network.models import Nic

EVERY_S = 30


@dataclass(frozen=True)
class Gap:
    """Seconds before now between which nothing was measured."""

    begin_s: float
    end_s: float


def keys_of(vm: VM) -> list[SeriesKey]:
    """Everything that is measured of a VM, of its own disks and NICs and of two file systems."""
    devices = {
        Device.NONE: [""],
        Device.DISK: list(Disk.objects.filter(vm=vm).values_list("pk", flat=True)),
        Device.NIC: list(Nic.objects.filter(vm_id=vm.pk).values_list("pk", flat=True)),
        Device.FILESYSTEM: ["/", "/data"],
    }
    return [
        SeriesKey(metric.name, device)
        for metric in METRICS.values()
        if metric.subject is Subject.VM
        for device in devices[metric.device]
    ]


def measure(
    store: MetricsStore,
    vm: VM,
    *,
    hours: float,
    until: datetime | None = None,
    gaps: Iterable[Gap] = (),
) -> datetime:
    """Write what a VM could have told up to now; return the time of the newest sample."""
    until = floor(until or datetime.now(UTC), EVERY_S)
    keys = keys_of(vm)
    samples = []
    for number in range(int(hours * 3600 / EVERY_S)):
        before_s = number * EVERY_S
        if any(gap.begin_s >= before_s > gap.end_s for gap in gaps):
            continue
        at = until - timedelta(seconds=before_s)
        samples.append(Sample(vm.tenant_id, vm.pk, at, _numbers(keys, at)))
    for first in range(0, len(samples), 1000):
        store.write(samples[first : first + 1000])
    return until


def _numbers(keys: Iterable[SeriesKey], at: datetime) -> dict[SeriesKey, float]:
    turn = at.timestamp() / 900
    found = {}
    for place, key in enumerate(keys):
        wave = 1.2 + math.sin(turn + place)
        unit = METRICS[key.metric].unit
        found[key] = {Unit.RATIO: wave / 3, Unit.COUNT: round(4 * wave)}.get(unit, wave * 1e6)
    return found


def forget_everything() -> None:
    """Empty the store after a test that has committed: its tables are no models."""
    tables = ("source", "points_raw", "points_5m", "points_1h", "latest", "progress")
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE " + ", ".join(f"alarms_{name}" for name in tables))
