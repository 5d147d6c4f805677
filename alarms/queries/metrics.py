"""What tenants and the platform ask of the metrics store, within the open scope.

Every question goes by here: the store is given the tenant of the scope, and without a scope nothing
is asked at all. Questions take rows, never ids from outside.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from django.utils import timezone
from django_scopes.exceptions import ScopeError
from django_scopes.state import get_scope

from alarms.catalogue import Metric, Subject
from alarms.queries.engine import metrics_store, retention
from alarms.store.base import (
    FIVE_MINUTES_S,
    HOUR_S,
    MAX_RESOURCES,
    PLATFORM,
    Aggregate,
    Latest,
    Line,
    RangeQuery,
    SeriesKey,
)
from compute.models import Host

#: The newest sample is told for so long; what is older says nothing of how a VM is.
FRESH: Final = timedelta(minutes=3)
#: Steps that a chart may have, and how many points it has at most by choice of its step.
STEPS_S: Final = (30, 60, 120, 300, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400)
POINTS: Final = 400


class Owned(Protocol):
    """A row of a tenant that is measured: a VM, an external IP."""

    @property
    def pk(self) -> str: ...
    @property
    def tenant_id(self) -> str: ...


def step_for(start: datetime, end: datetime, *, now: datetime | None = None) -> int:
    """Return the step in seconds of a chart from ``start`` to ``end``.

    It is the finest one with a bearable number of points of which the beginning is still kept.
    """
    finest = finest_step(start, now=now)
    length_s = (end - start).total_seconds()
    fitting = [step for step in STEPS_S if step >= finest and length_s / step <= POINTS]
    return fitting[0] if fitting else STEPS_S[-1]


def finest_step(start: datetime, *, now: datetime | None = None) -> int:
    """Return the shortest step in seconds of which there still are values at ``start``."""
    kept, now = retention(), now or timezone.now()
    if start < now - kept.five_minutes:
        return HOUR_S
    return FIVE_MINUTES_S if start < now - kept.raw else STEPS_S[0]


def lines(
    rows: Sequence[Owned],
    metric: Metric,
    *,
    start: datetime,
    end: datetime,
    step_s: int | None = None,
    device: str | None = None,
    aggregate: Aggregate = Aggregate.AVG,
) -> tuple[RangeQuery, tuple[Line, ...]]:
    """Return a metric of a tenant's rows over a time, with the question that was asked.

    Raises ScopeError without a scope, ValueError for a metric of something else, QueryTooLarge.
    """
    if metric.subject is Subject.HOST:
        raise ValueError(f"{metric.name} is of hosts.")
    asked = _asked(rows)
    query = RangeQuery.around(
        asked,
        tuple(row.pk for row in rows),
        metric.name,
        start=start,
        end=end,
        step_s=step_s or step_for(start, end),
        device=device,
        aggregate=aggregate,
    )
    return query, metrics_store().query(query)


def latest(rows: Sequence[Owned]) -> Mapping[str, Latest]:
    """Return the newest sample of each of a tenant's rows that has a fresh one, by id."""
    if not rows:
        return {}
    tenant = _asked(rows)
    return metrics_store().latest(tenant, [row.pk for row in rows], since=timezone.now() - FRESH)


def _asked(rows: Sequence[Owned]) -> str:
    """Return the tenant that the scope and all rows agree on; raise ScopeError where they differ.

    With scopes disabled, as for the platform itself, it is the rows' tenant, which must be one.
    """
    opened = get_scope()
    owners = {row.tenant_id for row in rows}
    if opened.get("_enabled", True):
        if "tenant" not in opened:
            raise ScopeError("Metrics of tenants are asked for within the scope of one.")
        owners.add(opened["tenant"].pk)
    if len(owners) != 1:
        raise ScopeError("The rows are not of one tenant, or not of the tenant of the scope.")
    (tenant,) = owners
    return tenant


def means(
    owners: Mapping[str, str], metrics: Collection[str], *, start: datetime, end: datetime
) -> Mapping[str, Mapping[SeriesKey, float]]:
    """Return the average of each line of some metrics over a time, by resource.

    For the platform's sweeps, which look at the resources of all tenants: ``owners`` is the tenant
    of each, read from its row. Raises ScopeError in a scope of a tenant, StoreUnavailable.
    """
    if get_scope().get("_enabled", True):
        raise ScopeError("Means of several tenants are the platform's: no scope may be open.")
    found: dict[str, Mapping[SeriesKey, float]] = {}
    asked = list(owners.items())
    for begin in range(0, len(asked), MAX_RESOURCES):
        part = dict(asked[begin : begin + MAX_RESOURCES])
        found.update(metrics_store().means(part, metrics, start=start, end=end))
    return found


# -- the platform's own ------------------------------------------------------------------------


def host_lines(
    hosts: Sequence[Host],
    metric: Metric,
    *,
    start: datetime,
    end: datetime,
    step_s: int | None = None,
    aggregate: Aggregate = Aggregate.AVG,
) -> tuple[RangeQuery, tuple[Line, ...]]:
    """Return a metric of hosts over a time. For the platform alone: raises ScopeError in a scope
    of a tenant, ValueError for a metric of something else.
    """
    if get_scope().get("_enabled", True):
        raise ScopeError("Metrics of hosts are the platform's: no tenant's scope may be open.")
    if metric.subject is not Subject.HOST:
        raise ValueError(f"{metric.name} is not of hosts.")
    query = RangeQuery.around(
        PLATFORM,
        tuple(host.pk for host in hosts),
        metric.name,
        start=start,
        end=end,
        step_s=step_s or step_for(start, end),
        aggregate=aggregate,
    )
    return query, metrics_store().query(query)
