"""The metrics store port: what SCloud asks of the engine that keeps its measurements.

Contract of every method of `MetricsStore`:

* **Only numbers.** The store knows tenants, resources and devices as opaque texts, and nothing of
  what they are. A tenant of ``""`` is the platform itself, which owns what hosts say.
* **Tenants are apart.** Every question names one tenant, or the tenant of each resource. What
  another one owns is not found, even where its id is asked for.
* **Writing may be repeated.** After `StoreUnavailable` any part of a batch may have been written.
  Writing it again completes it and changes nothing that is there. A batch that is refused leaves
  nothing behind in an engine with transactions.
* **Gaps stay gaps.** A step without a sample has no value: nothing is carried on, interpolated or
  taken for zero.
* **Bounded.** A call returns or raises within the driver's time-out, and no answer has more than
  `MAX_LINES` lines or `MAX_CELLS` values.
* **Errors** are `StoreError`s with a stable `code`, a `message` for operators and `retryable`.

Times are aware datetimes, kept to the millisecond. Steps begin at multiples of their length since
1970, and belong to ``[begin, begin + step)``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Final, Protocol

PLATFORM: Final = ""
"""The tenant of what belongs to nobody else."""

MAX_POINTS: Final = 2_000
MAX_LINES: Final = 4_000
MAX_RESOURCES: Final = 1_000
MAX_CELLS: Final = 400_000
"""Steps times lines of one answer."""
MAX_VALUE: Final = 1e30
"""Beyond anything that is measured; what is larger is a defect, not a number."""
MAX_DEVICE_LENGTH: Final = 64

FIVE_MINUTES_S: Final = 300
HOUR_S: Final = 3600
LATE_S: Final = 180
"""How long after its end a step is closed: what was kept while the database was away comes late."""

_METRIC = re.compile(r"[a-z][a-z0-9_]{0,59}")
# What is asked and written as it is, inside of quotes and patterns of other languages too.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


# -- errors ------------------------------------------------------------------------------------


class StoreError(Exception):
    """A call to the store failed. `message` is for operators alone."""

    code: ClassVar[str] = "metrics_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class StoreUnavailable(StoreError):
    """The store did not answer in time; whether it did what was asked is not known."""

    code = "metrics_unavailable"
    retryable = True


class StoreRefused(StoreError):
    """The store answered, and does not take or give this."""

    code = "metrics_refused"


class QueryTooLarge(StoreRefused):
    """More steps, resources or lines than an answer may have."""

    code = "metrics_query_too_large"


# -- what is written ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, order=True)
class SeriesKey:
    """What is measured, and on which device of the resource; `device` is empty for all of it."""

    metric: str
    device: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError for names that no engine could keep."""
        if not _METRIC.fullmatch(self.metric):
            raise ValueError(f"{self.metric!r} is no name of a metric.")
        if len(self.device) > MAX_DEVICE_LENGTH or not self.device.isprintable():
            raise ValueError(f"{self.device!r} is no name of a device.")


@dataclass(frozen=True, slots=True)
class Sample:
    """All that was measured of one resource at one moment.

    `values` are what is drawn and compared: sizes, shares, rates per second. `totals` are the
    counters behind some of them, under the same keys; the store keeps only their last.
    """

    tenant: str
    resource: str
    at: datetime
    values: Mapping[SeriesKey, float]
    totals: Mapping[SeriesKey, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ValueError for a sample without values, zone or finite numbers."""
        check_id(self.resource)
        if self.tenant != PLATFORM:
            check_id(self.tenant)
        if self.at.tzinfo is None:
            raise ValueError("The time of a sample must say its zone.")
        if not self.values:
            raise ValueError("A sample has values.")
        for number in (*self.values.values(), *self.totals.values()):
            if not math.isfinite(number) or abs(number) > MAX_VALUE:
                raise ValueError(f"{number!r} is no measurement.")
        if not self.totals.keys() <= self.values.keys():
            raise ValueError("Only what has a value has a total.")


def check_id(text: str) -> None:
    """Raise ValueError unless the text can be the id of a tenant or a resource."""
    if not _ID.fullmatch(text):
        raise ValueError(f"{text!r} is no id.")


# -- what is asked -----------------------------------------------------------------------------


class Aggregate(StrEnum):
    """How the samples of a step become one number."""

    AVG = "avg"
    MAX = "max"
    MIN = "min"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class RangeQuery:
    """One metric of some resources over a time, in steps.

    `device` None asks for every device. `start` and `end` are multiples of `step_s`; see `around`.
    """

    tenant: str
    resources: tuple[str, ...]
    metric: str
    start: datetime
    end: datetime
    step_s: int
    device: str | None = None
    aggregate: Aggregate = Aggregate.AVG

    def __post_init__(self) -> None:
        """Raise ValueError for what makes no sense, `QueryTooLarge` for what is too much."""
        SeriesKey(self.metric, self.device or "")
        if self.tenant != PLATFORM:
            check_id(self.tenant)
        for resource in self.resources:
            check_id(resource)
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("The times of a query must say their zone.")
        if self.step_s < 1:
            raise ValueError("A step takes at least a second.")
        if self.start != floor(self.start, self.step_s) or self.end != floor(self.end, self.step_s):
            raise ValueError("A query begins and ends where steps do.")
        if self.end <= self.start:
            raise ValueError("A query ends after it begins.")
        if self.points > MAX_POINTS:
            raise QueryTooLarge(f"{self.points} steps; at most {MAX_POINTS} can be asked for.")
        if len(self.resources) > MAX_RESOURCES:
            raise QueryTooLarge(f"{len(self.resources)} resources; at most {MAX_RESOURCES}.")
        if len(self.resources) * self.points > MAX_CELLS:
            raise QueryTooLarge(
                f"{len(self.resources)} resources with {self.points} steps; at most {MAX_CELLS}"
                " values can be asked for."
            )

    @classmethod
    def around(
        cls,
        tenant: str,
        resources: tuple[str, ...],
        metric: str,
        *,
        start: datetime,
        end: datetime,
        step_s: int,
        device: str | None = None,
        aggregate: Aggregate = Aggregate.AVG,
    ) -> RangeQuery:
        """Return the query of the whole steps around a time."""
        begin = floor(start, step_s)
        stop = floor(end, step_s)
        if stop < end or stop == begin:
            stop += timedelta(seconds=step_s)
        return cls(tenant, resources, metric, begin, stop, step_s, device, aggregate)

    @property
    def points(self) -> int:
        """How many steps there are."""
        return int((self.end - self.start).total_seconds()) // self.step_s


@dataclass(frozen=True, slots=True)
class Line:
    """The answer for one resource and device: one value per step, None where there is none."""

    resource: str
    device: str
    points: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest sample of a resource."""

    at: datetime
    values: Mapping[SeriesKey, float]
    totals: Mapping[SeriesKey, float]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long each resolution is kept."""

    raw: timedelta = timedelta(hours=48)
    five_minutes: timedelta = timedelta(days=30)
    hours: timedelta = timedelta(days=400)


# -- the port ----------------------------------------------------------------------------------


def check_size(lines: int, points: int) -> None:
    """Raise `QueryTooLarge` for an answer of so many lines and steps that is too large."""
    if lines > MAX_LINES or lines * points > MAX_CELLS:
        raise QueryTooLarge(
            f"{lines} lines with {points} steps; at most {MAX_LINES} lines and {MAX_CELLS} values"
            " can be answered."
        )


class MetricsStore(Protocol):
    """One engine. See the module's docstring for what holds for every method."""

    def write(self, samples: Sequence[Sample]) -> None:
        """Keep the samples; one that was written before stays as it is.

        What comes after its step was closed opens the step again.
        """
        ...

    def latest(
        self, tenant: str, resources: Collection[str], *, since: datetime
    ) -> Mapping[str, Latest]:
        """Return the newest sample of each resource that has one at or after `since`."""
        ...

    def query(self, query: RangeQuery) -> tuple[Line, ...]:
        """Return the lines that have a value in at least one step, by resource and device.

        Steps of five minutes or an hour, and multiples of them, are answered from what was rolled
        up as far as it goes, else from the samples. Raises `QueryTooLarge`.
        """
        ...

    def means(
        self, owners: Mapping[str, str], metrics: Collection[str], *, start: datetime, end: datetime
    ) -> Mapping[str, Mapping[SeriesKey, float]]:
        """Return the average over a time of each line of some metrics, by resource.

        `owners` is the tenant of each resource, at most `MAX_RESOURCES`. A line without a sample
        from `start` to before `end` is missing, and a resource without any too. Answered from what
        was rolled up as far as it goes where `start` and `end` are multiples of five minutes, else
        from the samples. Raises ValueError for texts that are no ids, `QueryTooLarge`.
        """
        ...

    def roll_up(self, now: datetime) -> int:
        """Close the steps of 5 minutes and 1 hour that ended `LATE_S` ago; return how many.

        Bounded: a backlog takes several calls, and 0 says that there is none left. An engine that
        needs no roll-ups returns 0.
        """
        ...

    def prune(self, now: datetime, keep: Retention) -> int:
        """Make room for what comes, and forget what is older than is kept; return how many parts.

        Samples go only when they have been rolled up. Whole parts go at once, so that something
        may be found for the length of a part beyond its time. An engine whose retention is a
        setting of its own returns 0.
        """
        ...


def check_owners(owners: Mapping[str, str]) -> None:
    """Raise `QueryTooLarge` for too many resources, ValueError for what is no id."""
    if len(owners) > MAX_RESOURCES:
        raise QueryTooLarge(f"{len(owners)} resources; at most {MAX_RESOURCES}.")
    for resource, tenant in owners.items():
        check_id(resource)
        if tenant != PLATFORM:
            check_id(tenant)


# -- times -------------------------------------------------------------------------------------


def floor(moment: datetime, step_s: int) -> datetime:
    """Return the beginning of the step in which a moment is."""
    return _EPOCH + ((moment - _EPOCH) // timedelta(seconds=step_s)) * timedelta(seconds=step_s)


def milliseconds(moment: datetime) -> int:
    """Return the whole milliseconds since 1970."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(number: int) -> datetime:
    """Return the moment so many milliseconds after 1970."""
    return _EPOCH + timedelta(milliseconds=number)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
