"""What charts show: which lines there are, over which time, in which steps, and what happened.

A step without a measurement has no value, nor has anything that is made of it: gaps stay gaps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from alarms import catalogue as c
from alarms.catalogue import Device, Metric, Source
from alarms.queries import metrics as questions
from alarms.queries.engine import retention
from alarms.queries.metrics import STEPS_S, Owned
from alarms.store.base import (
    MAX_POINTS,
    Aggregate,
    Line,
    QueryTooLarge,
    SeriesKey,
    StoreUnavailable,
    floor,
)
from compute.models import VM, Disk
from network.queries.external_ips import external_ips_of
from network.queries.nics import nics_of
from scloud.audit.models import Event
from scloud.lib.errors import InvalidInput, NotFound, Unavailable
from scloud.web.status import Tone

Text = str | Promise
Measured = TypeVar("Measured", bound=Owned)

RANGES: Final[Mapping[str, timedelta]] = {
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "12h": timedelta(hours=12),
    "1d": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}

#: Things that happened which are shown at a time axis; of more the newest.
MAX_MARKS: Final = 100


# -- times ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Period:
    """A time in whole steps: from ``start`` to before ``end``, ``step_s`` seconds each."""

    start: datetime
    end: datetime
    step_s: int

    @property
    def points(self) -> int:
        """How many steps there are."""
        return int((self.end - self.start).total_seconds()) // self.step_s

    def moments(self) -> Iterator[datetime]:
        """Yield when each step begins."""
        for number in range(self.points):
            yield self.start + timedelta(seconds=number * self.step_s)


def last(name: str, *, step_s: int | None = None) -> Period:
    """Return the time up to now of one of `RANGES`. Raises InvalidInput for a wrong step."""
    now = timezone.now()
    return _period(now - RANGES[name], now, step_s, now)


def between(start: datetime, end: datetime, *, step_s: int | None = None) -> Period:
    """Return the steps around a time, of which the future is left out.

    Raises InvalidInput, naming ``start``, ``end`` or ``step``, for a time that is not in order or
    of which nothing is kept, and for a step that is not kept or makes too many values.
    """
    now = timezone.now()
    kept = retention().hours
    if start >= end:
        raise InvalidInput(_("The time ends before it begins."), code="metrics_time", field="end")
    if start >= now:
        raise InvalidInput(
            _("The time lies in the future."),
            code="metrics_time",
            field="start",
            remedy=_("Nothing has been measured yet. Choose an earlier time."),
        )
    if start < now - kept:
        raise InvalidInput(
            _("Measurements are kept for %(days)d days.") % {"days": kept.days},
            code="metrics_too_old",
            field="start",
            remedy=_("Choose a later time."),
            numbers={"days": kept.days},
        )
    return _period(start, min(end, now), step_s, now)


def _period(start: datetime, end: datetime, step_s: int | None, now: datetime) -> Period:
    chosen = questions.step_for(start, end, now=now)
    if step_s is not None:
        _check_step(step_s, start, end, now)
        chosen = step_s
    length = timedelta(seconds=chosen)
    begin, stop = floor(start, chosen), floor(end, chosen)
    return Period(begin, stop + length if stop < end or stop == begin else stop, chosen)


def _check_step(step_s: int, start: datetime, end: datetime, now: datetime) -> None:
    """Raise InvalidInput for a step in which a time cannot be told."""
    if step_s not in STEPS_S:
        raise InvalidInput(
            _("There is no step of %(step_s)d seconds.") % {"step_s": step_s},
            code="metrics_step",
            field="step",
            remedy=_("Use one of: %(steps)s.") % {"steps": ", ".join(map(str, STEPS_S))},
        )
    finest = questions.finest_step(start, now=now)
    if step_s < finest:
        raise InvalidInput(
            _("Of that time only values of %(finest)d seconds are kept.") % {"finest": finest},
            code="metrics_step",
            field="step",
            remedy=_("Use a longer step, or a later time."),
            numbers={"finest_s": finest},
        )
    points = math.ceil((end - start).total_seconds() / step_s)
    if points > MAX_POINTS:
        raise InvalidInput(
            _("These are %(points)d steps; at most %(most)d can be asked for at once.")
            % {"points": points, "most": MAX_POINTS},
            code="metrics_too_many",
            field="step",
            remedy=_("Use a longer step, or a shorter time."),
            numbers={"points": points, "most": MAX_POINTS},
        )


# -- lines ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Series:
    """A line: a value for each step of a period, None where there is none.

    ``peak`` is the highest single measurement, which the mean of a long step hides; ``average`` is
    the mean of the values, ``last`` the newest of them. All None where nothing was measured.
    """

    metric: Metric
    device: str
    points: tuple[float | None, ...]
    peak: float | None
    average: float | None
    last: float | None


def series_of(
    row: Owned,
    metrics: Iterable[Metric],
    period: Period,
    *,
    device: str | None = None,
    aggregate: Aggregate = Aggregate.AVG,
) -> list[Series]:
    """Return the lines of a tenant's row, by metric and device; one without any value is left out.

    Raises ScopeError without a scope, Unavailable (``metrics_unavailable``) while the store does
    not answer, InvalidInput (``metrics_too_many``).
    """
    found = []
    with _answers():
        for metric in metrics:
            drawn = _lines(row, metric, period, device, aggregate)
            # The samples themselves are in the shortest steps, one in each.
            plain = period.step_s == STEPS_S[0] or aggregate is Aggregate.MAX
            tops = (
                drawn if plain or not drawn else _lines(row, metric, period, device, Aggregate.MAX)
            )
            peaks = {line.device: _there(line) for line in tops}
            for line in drawn:
                there, highest = _there(line), peaks.get(line.device) or _there(line)
                found.append(
                    Series(
                        metric,
                        line.device,
                        line.points,
                        peak=max(highest),
                        average=sum(there) / len(there),
                        last=there[-1],
                    )
                )
    return found


def _lines(
    row: Owned, metric: Metric, period: Period, device: str | None, aggregate: Aggregate
) -> tuple[Line, ...]:
    _query, lines = questions.lines(
        [row],
        metric,
        start=period.start,
        end=period.end,
        step_s=period.step_s,
        device=device,
        aggregate=aggregate,
    )
    return lines


def _there(line: Line) -> list[float]:
    return [point for point in line.points if point is not None]


@contextmanager
def _answers() -> Iterator[None]:
    """Turn the store's errors into what people are told."""
    try:
        yield
    except QueryTooLarge as error:
        raise InvalidInput(
            _("These are more values than one answer may have."),
            code="metrics_too_many",
            remedy=_("Ask for fewer metrics, a longer step or a shorter time."),
            detail=error.message,
        ) from error
    except StoreUnavailable as error:
        raise Unavailable(
            _("Measurements cannot be read at the moment."),
            code="metrics_unavailable",
            remedy=_("Try again in a moment."),
            detail=error.message,
        ) from error


# -- the charts of a VM --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drawn:
    """A line of a chart: what it is of, and its name beside the others, empty where it is alone."""

    metric: Metric
    label: Text = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart. ``top`` is where its axis ends; without it that follows from the values."""

    key: str
    label: Text
    lines: tuple[Drawn, ...]
    top: float | None = None

    @property
    def device(self) -> Device:
        """Which parts of the VM it is of."""
        return self.lines[0].metric.device

    @property
    def source(self) -> Source:
        """Who knows its numbers."""
        return self.lines[0].metric.source


_IN: Final = pgettext_lazy("traffic", "In")
_OUT: Final = pgettext_lazy("traffic", "Out")
_READ: Final = pgettext_lazy("disk", "Read")
_WRITE: Final = pgettext_lazy("disk", "Write")

CHARTS: Final = (
    Chart("cpu", gettext_lazy("CPU usage"), (Drawn(c.CPU_USAGE),), top=1.0),
    Chart("memory", gettext_lazy("Memory usage"), (Drawn(c.MEMORY_USAGE),), top=1.0),
    Chart("space", gettext_lazy("Space usage"), (Drawn(c.FILESYSTEM_USAGE),), top=1.0),
    Chart(
        "nic_bandwidth",
        gettext_lazy("NIC bandwidth"),
        (Drawn(c.NIC_RECEIVED, _IN), Drawn(c.NIC_SENT, _OUT)),
    ),
    Chart(
        "nic_packets",
        gettext_lazy("NIC packets"),
        (Drawn(c.NIC_PACKETS_RECEIVED, _IN), Drawn(c.NIC_PACKETS_SENT, _OUT)),
    ),
    Chart(
        "disk_throughput",
        gettext_lazy("Disk throughput"),
        (Drawn(c.DISK_READ, _READ), Drawn(c.DISK_WRITTEN, _WRITE)),
    ),
    Chart(
        "disk_operations",
        gettext_lazy("Disk operations"),
        (Drawn(c.DISK_READS, _READ), Drawn(c.DISK_WRITES, _WRITE)),
    ),
    Chart(
        "load",
        gettext_lazy("Average load"),
        (
            Drawn(c.LOAD_1, gettext_lazy("1 min")),
            Drawn(c.LOAD_5, gettext_lazy("5 min")),
            Drawn(c.LOAD_15, gettext_lazy("15 min")),
        ),
    ),
    Chart("tcp", gettext_lazy("TCP connections"), (Drawn(c.TCP_CONNECTIONS),)),
    Chart("blocked", gettext_lazy("Blocked processes"), (Drawn(c.PROCESSES_BLOCKED),)),
)

#: What an external IP tells where its VM's NIC tells the other.
_OUTSIDE: Final[Mapping[Metric, Metric]] = {
    c.NIC_RECEIVED: c.ADDRESS_RECEIVED,
    c.NIC_SENT: c.ADDRESS_SENT,
    c.NIC_PACKETS_RECEIVED: c.ADDRESS_PACKETS_RECEIVED,
    c.NIC_PACKETS_SENT: c.ADDRESS_PACKETS_SENT,
}


@dataclass(frozen=True, slots=True)
class Part:
    """A disk, a network interface or an external IP whose charts can be chosen.

    ``row`` is what is measured by itself rather than as a part of the VM.
    """

    id: str
    label: str
    row: Owned | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """What a VM's charts can be of, the first ones first."""

    disks: tuple[Part, ...]
    nics: tuple[Part, ...]
    external_ips: tuple[Part, ...]


def parts_of(vm: VM) -> Parts:
    """Return the disks, NICs and external IPs that a VM has now."""
    disks = Disk.objects.filter(vm=vm).order_by("-is_system", "target", "id")
    return Parts(
        disks=tuple(Part(one.pk, _named(one.target, one.name)) for one in disks),
        nics=tuple(
            Part(one.pk, _named(one.device, *map(str, one.private_addresses[:1])))
            for one in nics_of(vm.pk)
        ),
        external_ips=tuple(
            Part(one.pk, _named(str(one.address), one.name), one)
            for one in external_ips_of(VM.KIND, vm.pk)
        ),
    )


def _named(*words: str) -> str:
    return " · ".join(word for word in words if word)


@dataclass(frozen=True, slots=True)
class Filled:
    """A chart with its lines and their names."""

    chart: Chart
    lines: tuple[tuple[Text, Series], ...]


def charts_of(
    vm: VM, period: Period, parts: Parts, *, disk: str = "", network: str = ""
) -> list[Filled]:
    """Return the charts of a VM, of one disk and of one NIC or external IP by id; else the first.

    Raises NotFound for an id that is not the VM's, and what :func:`series_of` raises.
    """
    chosen = {
        Device.DISK: _choose(disk, parts.disks, "disk"),
        Device.NIC: _choose(network, (*parts.nics, *parts.external_ips), "network"),
    }
    outside = next((one.row for one in parts.external_ips if one.id == network), None)
    found = []
    for chart in CHARTS:
        lines: list[tuple[Text, Series]] = []
        device = chosen.get(chart.device)
        for drawn in chart.lines if device != "" else ():
            if chart.device is Device.NIC and outside is not None:
                some = series_of(outside, [_OUTSIDE[drawn.metric]], period)
            else:
                some = series_of(vm, [drawn.metric], period, device=device)
            lines += [(drawn.label or one.device, one) for one in some]
        found.append(Filled(chart, tuple(lines)))
    return found


def _choose(wanted: str, known: Sequence[Part], field: str) -> str:
    """Return the wanted id, or the first; empty where the VM has none."""
    if not wanted:
        return known[0].id if known else ""
    if wanted not in [part.id for part in known]:
        raise NotFound(
            _("The VM does not have %(part)s.") % {"part": wanted[:40]},
            code="metrics_part_not_found",
            field=field,
            remedy=_("It may have been detached. Reload the page."),
        )
    return wanted


# -- lines in lists ------------------------------------------------------------------------------

#: How long the lines in lists are, and their steps.
RECENTLY: Final = timedelta(hours=1)
RECENT_STEP_S: Final = 120
RECENT: Final = (c.CPU_USAGE, c.MEMORY_USAGE)


def recent_of(rows: Sequence[Owned]) -> dict[str, dict[Metric, tuple[float | None, ...]]]:
    """Return the last hour of `RECENT` of a tenant's rows, by id and metric, each asked once.

    Rows, and metrics of them, without a value are left out. Raises Unavailable.
    """
    now = timezone.now()
    found: dict[str, dict[Metric, tuple[float | None, ...]]] = {}
    with _answers():
        for metric in RECENT:
            _query, lines = questions.lines(
                rows, metric, start=now - RECENTLY, end=now, step_s=RECENT_STEP_S
            )
            for line in lines:
                found.setdefault(line.resource, {})[metric] = line.points
    return found


def busiest(rows: Sequence[Measured], *, most: int) -> list[tuple[Measured, float, float | None]]:
    """Return the VMs that use most of their CPUs now, with the usage of CPUs and of memory.

    Those without a fresh sample are left out. Raises Unavailable.
    """
    cpu, memory = SeriesKey(c.CPU_USAGE.name), SeriesKey(c.MEMORY_USAGE.name)
    with _answers():
        newest = questions.latest(rows)
    found = [
        (row, newest[row.pk].values[cpu], newest[row.pk].values.get(memory))
        for row in rows
        if row.pk in newest and cpu in newest[row.pk].values
    ]
    return sorted(found, key=lambda one: -one[1])[:most]


# -- what happened -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a moment and may explain what the lines show."""

    at: datetime
    label: Text
    tone: Tone = "off"


_TOLD: Final[Mapping[str, tuple[Text, Tone]]] = {
    "vm.started": (gettext_lazy("Started"), "ok"),
    "vm.running": (gettext_lazy("Found running"), "ok"),
    "vm.restarted": (gettext_lazy("Restarted"), "ok"),
    "vm.resumed": (gettext_lazy("Resumed"), "ok"),
    "vm.paused": (gettext_lazy("Paused"), "warn"),
    "vm.stopped": (gettext_lazy("Shut down"), "off"),
    "vm.powered_off": (gettext_lazy("Powered off"), "off"),
    "vm.stopped_itself": (gettext_lazy("Stopped by itself"), "warn"),
    "vm.host_failed": (gettext_lazy("Host failed"), "warn"),
    "vm.modified": (gettext_lazy("Resized"), "busy"),
    "vm.upgraded": (gettext_lazy("Resized"), "busy"),
    "vm.grown": (gettext_lazy("Resized"), "busy"),
    "vm.reinstalled": (gettext_lazy("Reinstalled"), "busy"),
    "vm.migrated": (gettext_lazy("Migrated"), "busy"),
    "vm.failed_over": (gettext_lazy("Failed over"), "warn"),
    "vm.evacuated": (gettext_lazy("Shut down for maintenance"), "off"),
    "alarm.opened": (gettext_lazy("Alarm"), "warn"),
    "alarm.ended": (gettext_lazy("Alarm ended"), "ok"),
}


def marks_of(vm: VM, period: Period) -> list[Mark]:
    """Return what happened to a VM in a period, the oldest first; of too much the newest."""
    rows = Event.objects.filter(
        resource_id=vm.pk, kind__in=_TOLD, at__gte=period.start, at__lt=period.end
    )
    newest = rows.order_by("-at").values_list("kind", "at")[:MAX_MARKS]
    return [Mark(at, *_TOLD[kind]) for kind, at in reversed(newest)]
