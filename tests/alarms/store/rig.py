"""A store, fake or real, and short words for what the tests of the contract write and ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from alarms.store.base import (
    HOUR_S,
    Aggregate,
    MetricsStore,
    RangeQuery,
    Sample,
    SeriesKey,
    floor,
)

CPU = "cpu_usage_ratio"
DISK = "disk_read_bytes_per_second"
EVERY_S = 30


def recently() -> datetime:
    """A full hour some hours ago, so that an engine that looks at the clock keeps the samples."""
    return floor(datetime.now(UTC), HOUR_S) - timedelta(hours=8)


def near(points: Sequence[float | None], *, rel: float = 1e-6, least: float = 1e-9) -> list[object]:
    """The points, compared with some tolerance; gaps are exactly gaps."""
    return [None if one is None else pytest.approx(one, rel=rel, abs=least) for one in points]


@dataclass
class Rig:
    """One store. `settle` waits until what was written is found."""

    kind: str
    store: MetricsStore
    settle: Callable[[], None]
    start: datetime
    # Of a test alone, where stores are shared.
    tenant: str = "tenant-a"
    other_tenant: str = "tenant-b"

    def sample(
        self, at_s: float, value: float, *, resource: str = "vm-1", tenant: str | None = None
    ) -> Sample:
        """The CPU of a VM so many seconds after the start."""
        at = self.start + timedelta(seconds=at_s)
        owner = self.tenant if tenant is None else tenant
        return Sample(owner, resource, at, {SeriesKey(CPU): value})

    def sample_of(
        self,
        resource: str,
        at_s: float,
        values: Mapping[SeriesKey, float],
        totals: Mapping[SeriesKey, float] | None = None,
    ) -> Sample:
        at = self.start + timedelta(seconds=at_s)
        return Sample(self.tenant, resource, at, values, totals or {})

    def write(self, samples: Sequence[Sample]) -> None:
        """Write, and wait until it is found."""
        self.store.write(samples)
        self.settle()

    def ask(
        self,
        *resources: str,
        end_s: float,
        step_s: int,
        start_s: float = 0,
        metric: str = CPU,
        device: str | None = None,
        aggregate: Aggregate = Aggregate.AVG,
        tenant: str | None = None,
    ) -> dict[tuple[str, str], list[float | None]]:
        """The lines of an answer by resource and device; without resources, of vm-1."""
        query = RangeQuery(
            self.tenant if tenant is None else tenant,
            resources or ("vm-1",),
            metric,
            self.start + timedelta(seconds=start_s),
            self.start + timedelta(seconds=end_s),
            step_s,
            device,
            aggregate,
        )
        lines = self.store.query(query)
        return {(line.resource, line.device): list(line.points) for line in lines}

    def roll_up(self, *, seconds: float) -> None:
        """Roll up as far as it goes so many seconds after the start."""
        now = self.start + timedelta(seconds=seconds)
        for _ in range(100):
            if self.store.roll_up(now) == 0:
                return
        raise AssertionError("the roll-ups do not end")
