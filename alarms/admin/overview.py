"""How the platform does, on one page for operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from alarms import catalogue as c
from alarms.models import HostCollection
from alarms.queries import capacity, metrics, platform
from alarms.queries.platform import Hour
from alarms.rules import operators
from alarms.rules.operators import Thresholds
from alarms.rules.trend import Forecast, Outlook
from alarms.store.base import Latest, SeriesKey, StoreError
from compute.models import Host
from scloud.lib import sparklines
from scloud.lib.sizes import size_bytes
from scloud.tenancy.admintools import needs

DAY: Final = timedelta(days=1)
#: Of the lines of hosts: 96 points a day.
STEP_S: Final = 900
WIDTH: Final = 160
HEIGHT: Final = 32
CHART_WIDTH: Final = 720
CHART_HEIGHT: Final = 120
#: Hosts whose lines are drawn; all are in the table.
DRAWN: Final = 200


@dataclass(frozen=True, slots=True)
class Line:
    """A small chart: its polylines, and in words what it says."""

    lines: list[str]
    words: str


@dataclass(frozen=True, slots=True)
class HostRow:
    """A host with what was measured last, and its lines over a day."""

    host: Host
    cpu: float | None
    memory: float | None
    vms: int | None
    silent: int | None
    lag_s: int | None
    is_late: bool
    error: str
    cpu_line: Line | None
    memory_line: Line | None


@dataclass(frozen=True, slots=True)
class CapacityRow:
    """A pool, or vCPUs or memory of a cluster."""

    outlook: capacity.Outlook
    used: str
    total: str
    percent: int | None
    per_day: str
    until_full: str
    is_soon: bool
    line: Line | None


@needs("alarms.view_hostcollection")
def page(request: HttpRequest) -> HttpResponse:
    """Show findings, processes, hosts, capacity, jobs, drift and the largest tenants."""
    now = timezone.now()
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": _("Platform"),
        "opts": HostCollection._meta,
        "width": WIDTH,
        "height": HEIGHT,
        "queue": platform.jobs(DAY),
        "hours": _hours(platform.job_hours()),
        "kinds": platform.slowest_kinds(DAY),
        "drift": platform.open_drift(),
        "tenants": platform.top_tenants(),
        "processes": _processes(now),
        "is_somebody_told": platform.is_somebody_told(),
    }
    limits = Thresholds(**settings.SCLOUD_OPERATOR_ALARMS)
    try:
        outlooks = capacity.outlooks(now)
        context["capacities"] = [_capacity(one, limits) for one in outlooks]
        context["hosts"] = _hosts(now)
    except StoreError as error:
        context["store_error"] = error.message
        outlooks = [
            capacity.Outlook(one, (), Forecast(Outlook.TOO_FEW)) for one in capacity.amounts()
        ]
    context["findings"] = operators.findings(platform.figures(now, outlooks), limits)
    return TemplateResponse(request, "alarms/admin/overview.html", context)


# -- hosts -------------------------------------------------------------------------------------


def _hosts(now: datetime) -> list[HostRow]:
    hosts = list(Host.objects.select_related("cluster").order_by("cluster", "name"))
    drawn = hosts[:DRAWN]
    cpu = _lines(drawn, c.HOST_CPU_USAGE, now)
    memory = _lines(drawn, c.HOST_MEMORY_USAGE, now)
    latest = platform.host_samples(hosts)
    collected = HostCollection.objects.in_bulk([host.pk for host in hosts])
    late_s = settings.SCLOUD_COLLECT_EVERY_S * platform.LATE_ROUNDS
    rows = []
    for host in hosts:
        sample, row = latest.get(host.pk), collected.get(host.pk)
        stored_at = None if row is None else row.stored_at
        lag_s = None if stored_at is None else max(0, int((now - stored_at).total_seconds()))
        rows.append(
            HostRow(
                host,
                cpu=_percent(sample, c.HOST_CPU_USAGE),
                memory=_percent(sample, c.HOST_MEMORY_USAGE),
                vms=None if row is None else row.vms,
                silent=None if row is None else row.silent_agents,
                lag_s=lag_s,
                is_late=lag_s is None or lag_s > late_s,
                error="" if row is None else row.last_error,
                cpu_line=cpu.get(host.pk),
                memory_line=memory.get(host.pk),
            )
        )
    return rows


def _lines(hosts: Sequence[Host], metric: c.Metric, now: datetime) -> dict[str, Line]:
    """Return the lines of a share, by host, over a day."""
    if not hosts:
        return {}
    _query, found = metrics.host_lines(hosts, metric, start=now - DAY, end=now, step_s=STEP_S)
    made = {}
    for line in found:
        known = [point for point in line.points if point is not None]
        words = _("24 h: lowest %(low)d %%, highest %(high)d %%") % {
            "low": min(known) * 100,
            "high": max(known) * 100,
        }
        drawn = sparklines.lines(line.points, width=WIDTH, height=HEIGHT, top=1)
        made[line.resource] = Line(drawn, words)
    return made


def _percent(sample: Latest | None, metric: c.Metric) -> float | None:
    value = None if sample is None else sample.values.get(SeriesKey(metric.name))
    return None if value is None else value * 100


# -- capacity ----------------------------------------------------------------------------------


def _capacity(one: capacity.Outlook, limits: Thresholds) -> CapacityRow:
    amount, ahead = one.amount, one.forecast
    ratio = amount.ratio
    top = max([amount.total, *(point for point in one.points if point is not None)])
    drawn = sparklines.lines(one.points, width=WIDTH, height=HEIGHT, top=top)
    words = _("30 days, up to %(total)s") % {"total": _amount(amount, top)}
    full = amount.is_pool and ratio is not None and ratio * 100 >= limits.pool_full_percent
    return CapacityRow(
        one,
        used=_amount(amount, amount.used),
        total=_amount(amount, amount.total),
        percent=None if ratio is None else int(ratio * 100),
        per_day="" if ahead.per_day is None else _per_day(amount, ahead.per_day),
        until_full=_until_full(ahead),
        is_soon=full or (ahead.days is not None and ahead.days <= limits.capacity_days),
        line=Line(drawn, words) if drawn else None,
    )


def _amount(amount: capacity.Amount, value: float) -> str:
    return size_bytes(value) if amount.in_bytes else f"{value:g}"


def _per_day(amount: capacity.Amount, value: float) -> str:
    sign = "+" if value > 0 else "−" if value < 0 else ""
    size = abs(value)
    return sign + (size_bytes(size) if amount.in_bytes else f"{size:.2g}")


def _until_full(ahead: Forecast) -> str:
    if ahead.outlook is Outlook.TOO_FEW:
        return _("Too few measurements: 3 days are needed")
    if ahead.outlook is Outlook.NOT_GROWING:
        return _("Not growing")
    if ahead.outlook is Outlook.FAR:
        return _("More than 10 years")
    if ahead.outlook is Outlook.FULL:
        return _("Full")
    days = int(ahead.days or 0)
    return ngettext("%(days)d day", "%(days)d days", days) % {"days": days}


# -- jobs and processes ------------------------------------------------------------------------


def _hours(hours: Sequence[Hour]) -> dict[str, Any]:
    """Return the chart of waits and durations over a day, and its rows."""
    values = [one.wait_p95_s for one in hours], [one.duration_p95_s for one in hours]
    top = max([1.0, *(value for line in values for value in line if value is not None)])
    waits, durations = (
        sparklines.lines(line, width=CHART_WIDTH, height=CHART_HEIGHT, top=top) for line in values
    )
    return {
        "rows": list(reversed(hours)),
        "waits": waits,
        "durations": durations,
        "top_s": top,
        "width": CHART_WIDTH,
        "height": CHART_HEIGHT,
        "begin": hours[0].begin if hours else None,
        "is_empty": not waits and not durations,
    }


def _processes(now: datetime) -> list[dict[str, Any]]:
    """Return who was seen when; what is late stands out."""
    limit_s = Thresholds(**settings.SCLOUD_OPERATOR_ALARMS).process_silent_s
    found = []
    for process, name, at in platform.seen():
        age_s = max(0, int((now - at).total_seconds()))
        # A collector that ended gives its hosts to others; a machine may be gone for good.
        late = age_s > limit_s
        found.append({"process": process, "name": name, "age_s": age_s, "is_late": late})
    return found
