"""A metrics store in memory, for tests. Keeps the port's contract."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from alarms.store.base import (
    FIVE_MINUTES_S,
    HOUR_S,
    LATE_S,
    Aggregate,
    Latest,
    Line,
    RangeQuery,
    Retention,
    Sample,
    SeriesKey,
    StoreUnavailable,
    check_owners,
    check_size,
    floor,
    from_milliseconds,
    milliseconds,
)

#: Steps that one call closes of each length.
_AT_ONCE = 288


@dataclass(frozen=True, slots=True)
class _Point:
    """What is known of one line over a step, or at a moment."""

    at: datetime
    count: int
    mean: float
    top: float
    low: float
    last: float


_Series = tuple[str, str, SeriesKey]


@dataclass(slots=True)
class FakeFaults:
    """What shall go wrong: `away` for each call, `lost_answers` after so many writes were done."""

    away: bool = False
    lost_answers: int = 0


@dataclass
class FakeStore:
    """The port on dictionaries."""

    faults: FakeFaults = field(default_factory=FakeFaults)
    samples: dict[tuple[str, str, datetime], Sample] = field(default_factory=dict)
    _rolled: dict[int, dict[tuple[_Series, datetime], _Point]] = field(
        default_factory=lambda: {FIVE_MINUTES_S: {}, HOUR_S: {}}
    )
    _done: dict[int, datetime] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def _ask(self) -> None:
        if self.faults.away:
            raise StoreUnavailable("The store does not answer.")

    def write(self, samples: Sequence[Sample]) -> None:
        self._ask()
        with self._lock:
            for sample in samples:
                at = from_milliseconds(milliseconds(sample.at))
                self.samples.setdefault((sample.tenant, sample.resource, at), sample)
                for step_s, done in self._done.items():
                    self._done[step_s] = min(done, floor(at, step_s))
        if self.faults.lost_answers:
            self.faults.lost_answers -= 1
            raise StoreUnavailable("The connection broke.")

    def latest(
        self, tenant: str, resources: Collection[str], *, since: datetime
    ) -> Mapping[str, Latest]:
        self._ask()
        found: dict[str, Latest] = {}
        with self._lock:
            for (owner, resource, at), sample in self.samples.items():
                if owner != tenant or resource not in resources or at < since:
                    continue
                if resource not in found or found[resource].at < at:
                    found[resource] = Latest(at, dict(sample.values), dict(sample.totals))
        return found

    def query(self, query: RangeQuery) -> tuple[Line, ...]:
        self._ask()
        with self._lock:
            steps: dict[tuple[str, str], dict[int, list[_Point]]] = {}
            for (tenant, resource, key), point in self._points(query):
                if tenant != query.tenant or resource not in query.resources:
                    continue
                if key.metric != query.metric or query.device not in (None, key.device):
                    continue
                number = int((point.at - query.start).total_seconds() // query.step_s)
                line = steps.setdefault((resource, key.device), {})
                line.setdefault(number, []).append(point)
        check_size(len(steps), query.points)
        return tuple(
            Line(
                resource,
                device,
                tuple(
                    _value(line[number], query.aggregate) if number in line else None
                    for number in range(query.points)
                ),
            )
            for (resource, device), line in sorted(steps.items())
        )

    def means(
        self, owners: Mapping[str, str], metrics: Collection[str], *, start: datetime, end: datetime
    ) -> Mapping[str, Mapping[SeriesKey, float]]:
        self._ask()
        check_owners(owners)
        numbers: dict[str, dict[SeriesKey, list[float]]] = {}
        with self._lock:
            for (tenant, resource, at), sample in self.samples.items():
                if owners.get(resource) != tenant or not start <= at < end:
                    continue
                for key, value in sample.values.items():
                    if key.metric in metrics:
                        numbers.setdefault(resource, {}).setdefault(key, []).append(value)
        return {
            resource: {key: sum(values) / len(values) for key, values in lines.items()}
            for resource, lines in numbers.items()
        }

    def _points(self, query: RangeQuery) -> Iterable[tuple[_Series, _Point]]:
        """From the coarsest resolution that fits, and what is not rolled up yet from the finer."""
        begin = query.start
        for step_s in (HOUR_S, FIVE_MINUTES_S):
            if query.step_s % step_s:
                continue
            done = min(self._done.get(step_s, begin), query.end)
            for (series, at), point in self._rolled[step_s].items():
                if begin <= at < done:
                    yield series, point
            begin = max(begin, done)
        yield from self._raw(begin, query.end)

    def _raw(self, begin: datetime, end: datetime) -> Iterable[tuple[_Series, _Point]]:
        for (tenant, resource, at), sample in self.samples.items():
            if begin <= at < end:
                for key, value in sample.values.items():
                    yield (tenant, resource, key), _Point(at, 1, value, value, value, value)

    def roll_up(self, now: datetime) -> int:
        self._ask()
        with self._lock:
            if not self.samples:
                return 0
            first = min(at for _tenant, _resource, at in self.samples)
            fine = self._close(FIVE_MINUTES_S, first, now - timedelta(seconds=LATE_S))
            return fine + self._close(HOUR_S, first, self._done[FIVE_MINUTES_S])

    def _close(self, step_s: int, first: datetime, until: datetime) -> int:
        step = timedelta(seconds=step_s)
        begin = self._done.get(step_s, floor(first, step_s))
        end = min(floor(until, step_s), begin + _AT_ONCE * step)
        if end <= begin:
            self._done.setdefault(step_s, begin)
            return 0
        if step_s == FIVE_MINUTES_S:
            points = list(self._raw(begin, end))
        else:
            fine = self._rolled[FIVE_MINUTES_S].items()
            points = [(series, point) for (series, at), point in fine if begin <= at < end]
        gathered: dict[tuple[_Series, datetime], list[_Point]] = {}
        for series, point in points:
            gathered.setdefault((series, floor(point.at, step_s)), []).append(point)
        for (series, at), some in gathered.items():
            self._rolled[step_s][series, at] = _joined(at, some)
        self._done[step_s] = end
        return int((end - begin) / step)

    def prune(self, now: datetime, keep: Retention) -> int:
        self._ask()
        with self._lock:
            # What is not rolled up yet waits, however old it is.
            never = datetime.min.replace(tzinfo=UTC)
            limit = min(now - keep.raw, self._done.get(FIVE_MINUTES_S, never))
            old = [key for key in self.samples if key[2] < limit]
            for key in old:
                del self.samples[key]
            dropped = len(old)
            limits = {
                FIVE_MINUTES_S: min(now - keep.five_minutes, self._done.get(HOUR_S, never)),
                HOUR_S: now - keep.hours,
            }
            for step_s, limit in limits.items():
                aged = [one for one in self._rolled[step_s] if one[1] < limit]
                for one in aged:
                    del self._rolled[step_s][one]
                dropped += len(aged)
            return dropped


def _joined(at: datetime, points: list[_Point]) -> _Point:
    count = sum(point.count for point in points)
    return _Point(
        at=at,
        count=count,
        mean=sum(point.mean * point.count for point in points) / count,
        top=max(point.top for point in points),
        low=min(point.low for point in points),
        last=max(points, key=lambda point: point.at).last,
    )


def _value(points: list[_Point], aggregate: Aggregate) -> float:
    joined = _joined(points[0].at, points)
    return {
        Aggregate.AVG: joined.mean,
        Aggregate.MAX: joined.top,
        Aggregate.MIN: joined.low,
        Aggregate.LAST: joined.last,
    }[aggregate]
