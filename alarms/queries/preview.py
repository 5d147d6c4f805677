"""What a rule would have done: how often it would have opened an alarm in the last day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from alarms.catalogue import Metric
from alarms.queries import clock, metrics
from alarms.queries.metrics import Owned
from alarms.rules.evaluation import Condition, Episode, episodes
from alarms.store.base import floor

PREVIEW: Final = timedelta(hours=24)
#: Resources of one preview: more are not drawn on one chart.
MOST_RESOURCES: Final = 20


@dataclass(frozen=True, slots=True)
class Drawn:
    """One device of one resource: what was measured per period, and the alarms of it."""

    resource: str
    device: str
    points: tuple[float | None, ...]
    episodes: tuple[Episode, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """``times`` alarms would have opened from ``start`` to ``end``, in periods of ``step_s``."""

    times: int
    start: datetime
    end: datetime
    step_s: int
    lines: tuple[Drawn, ...]


@dataclass(frozen=True, slots=True)
class Fired:
    """One alarm that would have opened: of what, and from when to when."""

    resource: str
    device: str
    begin: datetime
    end: datetime | None


def fired(found: Preview, names: Mapping[str, str]) -> list[Fired]:
    """Return the alarms of a preview, the newest first."""
    length = timedelta(seconds=found.step_s)
    out = [
        Fired(
            names.get(line.resource, line.resource),
            line.device,
            found.start + (one.first + 1) * length,
            found.start + (one.last + 2) * length if one.ended else None,
        )
        for line in found.lines
        for one in line.episodes
    ]
    return sorted(out, key=lambda one: one.begin, reverse=True)


def preview(
    rows: Sequence[Owned], metric: Metric, condition: Condition, *, period_s: int, device: str = ""
) -> Preview:
    """Return what a rule would have done to a tenant's rows in the last 24 hours.

    Raises ScopeError without a scope, StoreError.
    """
    end = floor(clock.now(), period_s)
    start = end - PREVIEW
    drawn: list[Drawn] = []
    if rows:
        _query, found = metrics.lines(
            list(rows[:MOST_RESOURCES]),
            metric,
            start=start,
            end=end,
            step_s=period_s,
            device=device or None,
        )
        drawn = [
            Drawn(line.resource, line.device, line.points, tuple(episodes(condition, line.points)))
            for line in found
        ]
    times = sum(len(one.episodes) for one in drawn)
    return Preview(times, start, end, period_s, tuple(drawn))
