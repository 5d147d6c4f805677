"""How full pools and clusters are, how that has changed, and when they will be full.

What is used is written into the metrics store as the platform's own, every few minutes; it is no
metric of a resource, so it is in no catalogue. A prefix keeps ids of pools and clusters apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone
from django.utils.translation import gettext

from alarms.queries.engine import metrics_store
from alarms.rules.trend import Forecast, forecast
from alarms.store.base import HOUR_S, PLATFORM, Aggregate, RangeQuery, Sample, SeriesKey
from compute.hosts import capacity, pools
from compute.models import StoragePool

USED: Final = SeriesKey("capacity_used")
TOTAL: Final = SeriesKey("capacity_total")
#: What the trend is drawn through; the values of an hour are kept for longer.
LOOKED_AT: Final = timedelta(days=30)

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Amount:
    """What is used of what there is, now: bytes, or virtual CPUs.

    ``is_promised``: the sizes of a pool's disks and images, of what it may promise.
    """

    key: str
    name: str
    place: str
    is_pool: bool
    in_bytes: bool
    used: float
    total: float
    observed_at: datetime | None = None
    is_promised: bool = False

    @property
    def label(self) -> str:
        """What it is, for people."""
        if self.is_pool:
            return self.name
        if self.is_promised:
            return gettext("Promised space of %(name)s") % {"name": self.name}
        if self.in_bytes:
            return gettext("Memory of %(name)s") % {"name": self.name}
        return gettext("vCPU of %(name)s") % {"name": self.name}

    @property
    def ratio(self) -> float | None:
        """The share that is used; None where nothing is known."""
        return self.used / self.total if self.total > 0 else None


@dataclass(frozen=True, slots=True)
class Outlook:
    """An amount, what it was at each hour (None where it was not written), and its forecast."""

    amount: Amount
    points: tuple[float | None, ...]
    forecast: Forecast


def amounts() -> list[Amount]:
    """Return pools that were observed, what they promised, then vCPUs and memory of clusters."""
    observed = list(StoragePool.objects.select_related("region").filter(observed_at__isnull=False))
    bounded = [pool for pool in observed if pool.overprovisioning is not None]
    found = [
        Amount(
            f"pool.{pool.pk}",
            pool.pk,
            str(pool.region),
            is_pool=True,
            in_bytes=True,
            used=pool.total_bytes - pool.available_bytes,
            total=pool.total_bytes,
            observed_at=pool.observed_at,
        )
        for pool in observed
    ]
    found += [
        Amount(
            f"promised.{room.pool.pk}",
            room.pool.pk,
            str(room.pool.region),
            is_pool=False,
            in_bytes=True,
            used=room.promised,
            total=room.limit,
            observed_at=room.pool.observed_at,
            is_promised=True,
        )
        for room in pools.rooms(bounded).values()
        if room.limit is not None
    ]
    for row in capacity.clusters():
        cluster = row["cluster"]
        for part, used, total, factor in (
            ("vcpus", row["vcpus_taken"], row["vcpus_total"], 1),
            ("memory", row["memory_taken_mib"], row["memory_total_mib"], _MIB),
        ):
            found.append(
                Amount(
                    f"{part}.{cluster.pk}",
                    cluster.alias,
                    str(cluster.region),
                    is_pool=False,
                    in_bytes=part == "memory",
                    used=used * factor,
                    total=total * factor,
                )
            )
    return found


def samples(now: datetime) -> list[Sample]:
    """Return what is to be kept of now. A pool that is not observed any more has no value."""
    return [
        Sample(PLATFORM, one.key, now, {USED: one.used, TOTAL: one.total})
        for one in amounts()
        if one.observed_at is None or now - one.observed_at < timedelta(minutes=15)
    ]


def outlooks(now: datetime | None = None) -> list[Outlook]:
    """Return all amounts with their forecasts. Raises StoreError."""
    now = now or timezone.now()
    found = amounts()
    points = _history([one.key for one in found], now)
    hours = LOOKED_AT // timedelta(hours=1)
    made = []
    for one in found:
        line = points.get(one.key, (None,) * hours)
        known = [(place / 24, value) for place, value in enumerate(line) if value is not None]
        made.append(Outlook(one, line, forecast(known, used=one.used, total=one.total)))
    return made


def _history(keys: Sequence[str], now: datetime) -> dict[str, tuple[float | None, ...]]:
    """Return what was used at the end of each hour."""
    if not keys:
        return {}
    query = RangeQuery.around(
        PLATFORM,
        tuple(keys),
        USED.metric,
        start=now - LOOKED_AT,
        end=now,
        step_s=HOUR_S,
        aggregate=Aggregate.LAST,
    )
    return {line.resource: line.points for line in metrics_store().query(query)}
