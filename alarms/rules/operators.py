"""What operators are told of without having asked: the conditions, their thresholds, their words.

Pure: figures go in, findings come out. A figure that is not known (None) meets no condition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

DAY_S: Final = 86_400


class Severity(StrEnum):
    """How soon somebody has to look."""

    WARNING = "warning"
    CRITICAL = "critical"


class Condition(StrEnum):
    """Names that stay: messages, mutes and webhooks go by them."""

    HOST_SUSPECT = "host_suspect"
    HOST_NOT_OFF = "host_not_off"
    HOST_OFF = "host_off"
    HOST_SILENT = "host_silent"
    HOST_NOT_MEASURED = "host_not_measured"
    PROCESS_SILENT = "process_silent"
    POOL_UNUSABLE = "pool_unusable"
    POOL_NEARLY_FULL = "pool_nearly_full"
    CAPACITY_ENDS_SOON = "capacity_ends_soon"
    JOBS_BACKLOG = "jobs_backlog"
    JOBS_FAILED = "jobs_failed"
    JOBS_UNKNOWN = "jobs_unknown"
    LEDGER_DIFFERS = "ledger_differs"
    DATE_ENDS_SOON = "date_ends_soon"


WORDS: Final[Mapping[Condition, str | Promise]] = {
    Condition.HOST_SUSPECT: _(
        "Host %(name)s has given no sign of life for %(minutes)d min. %(reason)s"
    ),
    Condition.HOST_NOT_OFF: _("Host %(name)s is not known to be off. %(reason)s"),
    Condition.HOST_OFF: _(
        "Host %(name)s has been off for %(minutes)d min. VMs that wait to be started again: "
        "%(vms)d."
    ),
    Condition.HOST_SILENT: _("Host %(name)s has not answered for %(minutes)d min."),
    Condition.HOST_NOT_MEASURED: _(
        "The newest measurement of host %(name)s is %(minutes)d min old."
    ),
    Condition.PROCESS_SILENT: _("The %(name)s was last seen %(minutes)d min ago."),
    Condition.POOL_UNUSABLE: _(
        "Storage pool %(name)s has not been usable for %(minutes)d min: %(reason)s"
    ),
    Condition.POOL_NEARLY_FULL: _("Storage pool %(name)s is %(percent)d %% full."),
    Condition.CAPACITY_ENDS_SOON: _("%(name)s will be full on %(date)s if it grows as before."),
    Condition.JOBS_BACKLOG: _(
        "Jobs that wait for a worker: %(jobs)d. The oldest has waited %(minutes)d min."
    ),
    Condition.JOBS_FAILED: _("Jobs that failed within the last hour: %(jobs)d."),
    Condition.JOBS_UNKNOWN: _("Waiting jobs of kind %(name)s, which no worker supports: %(jobs)d."),
    Condition.LEDGER_DIFFERS: _(
        "Figures of the ledger that differ from their inputs: %(differences)d."
    ),
    Condition.DATE_ENDS_SOON: _("%(name)s ends on %(date)s."),
}
_ENDED: Final = _("%(name)s ended on %(date)s.")

#: What lists call a condition.
TITLES: Final[Mapping[Condition, str | Promise]] = {
    Condition.HOST_SUSPECT: _("Host suspect"),
    Condition.HOST_NOT_OFF: _("Host not known to be off"),
    Condition.HOST_OFF: _("Host off"),
    Condition.HOST_SILENT: _("Host silent"),
    Condition.HOST_NOT_MEASURED: _("Host not measured"),
    Condition.PROCESS_SILENT: _("Process silent"),
    Condition.POOL_UNUSABLE: _("Storage pool not usable"),
    Condition.POOL_NEARLY_FULL: _("Storage pool nearly full"),
    Condition.CAPACITY_ENDS_SOON: _("Capacity ends soon"),
    Condition.JOBS_BACKLOG: _("Jobs wait for a worker"),
    Condition.JOBS_FAILED: _("Many failed jobs"),
    Condition.JOBS_UNKNOWN: _("Jobs that no worker supports"),
    Condition.LEDGER_DIFFERS: _("Ledger differs"),
    Condition.DATE_ENDS_SOON: _("Date ends soon"),
}


@dataclass(frozen=True, slots=True)
class Damping:
    """How long a condition has to hold before it opens, and not to hold before it has recovered.

    Seconds. What is looked at by its age, such as a silent host, needs no wait to open.
    """

    open_s: float = 0
    recover_s: float = 300


_DAMPING: Final[Mapping[Condition, Damping]] = {
    # A pool goes up and down by the writes of its VMs, and a forecast by the hour.
    Condition.POOL_NEARLY_FULL: Damping(300, 900),
    Condition.CAPACITY_ENDS_SOON: Damping(3600, 6 * 3600),
    # A batch of many short jobs is no backlog.
    Condition.JOBS_BACKLOG: Damping(120, 300),
    # While workers are replaced, those of the earlier release remain for a moment.
    Condition.JOBS_UNKNOWN: Damping(120, 300),
    Condition.JOBS_FAILED: Damping(0, 900),
    # A certificate whose file is replaced at this moment cannot be read.
    Condition.DATE_ENDS_SOON: Damping(0, 3600),
}


def damping_of(condition: Condition) -> Damping:
    """Return how a condition is damped."""
    return _DAMPING.get(condition, Damping())


class Course(StrEnum):
    """What becomes of a condition that was found before."""

    STAYS = "stays"
    OPENS = "opens"
    RECOVERS = "recovers"
    FORGOTTEN = "forgotten"


def course(
    damping: Damping,
    now: datetime,
    *,
    holds: bool,
    first_seen: datetime,
    last_seen: datetime,
    is_open: bool,
) -> Course:
    """Return what becomes of a condition, by when it was found first and last.

    One that does not hold any more before it has opened begins anew.
    """
    if holds:
        waited = (now - first_seen).total_seconds() >= damping.open_s
        return Course.OPENS if waited and not is_open else Course.STAYS
    if not is_open:
        return Course.FORGOTTEN
    calm = (now - last_seen).total_seconds() >= damping.recover_s
    return Course.RECOVERS if calm else Course.STAYS


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From when on a figure is a finding; the settings ``SCLOUD_OPERATOR_ALARMS`` by name."""

    host_silent_s: float = 120
    host_not_measured_s: float = 300
    process_silent_s: float = 90
    pool_full_percent: float = 85
    pool_critical_percent: float = 95
    capacity_days: float = 14
    backlog_jobs: int = 100
    backlog_s: float = 300
    failed_jobs: int = 10
    date_days: float = 30
    date_critical_days: float = 7

    def __post_init__(self) -> None:
        """Raise ValueError for a threshold that is not above zero."""
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} has to be above 0.")


@dataclass(frozen=True, slots=True)
class HostFigures:
    """``in_service`` is False for a host that operators have taken out.

    ``suspect_since`` is None for a host that is not suspect, ``reason`` why it is. ``not_off`` says
    why one that is to be given up is not known to be off. ``off_since`` is None for one that is
    not, ``waiting`` how many of its VMs wait.
    """

    name: str
    in_service: bool
    unreachable_since: datetime | None
    measured_at: datetime | None
    suspect_since: datetime | None = None
    reason: str = ""
    not_off: str = ""
    off_since: datetime | None = None
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """``unusable_since`` is None for a pool that can be read and written."""

    name: str
    unusable_since: datetime | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CapacityFigures:
    """A pool, or the vCPUs or memory of a cluster; ``name`` says which, for people."""

    name: str
    is_pool: bool
    used_ratio: float | None
    days_left: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """All that the conditions look at. ``processes`` are names with when they were last seen."""

    now: datetime
    hosts: Sequence[HostFigures] = ()
    pools: Sequence[PoolFigures] = ()
    capacities: Sequence[CapacityFigures] = ()
    processes: Sequence[tuple[str, datetime | None]] = ()
    jobs_due: int = 0
    oldest_due_s: float = 0
    jobs_failed: int = 0
    unknown_jobs: Sequence[tuple[str, int]] = ()
    ledger_differences: int | None = None
    dates: Sequence[tuple[str, datetime]] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition that holds. ``subject`` tells two findings of one condition apart."""

    condition: Condition
    subject: str
    severity: Severity
    values: Mapping[str, Any]
    template: str | Promise

    @property
    def words(self) -> str:
        """The finding as a sentence, in the language that is active."""
        return str(self.template) % self.values


def findings(figures: Figures, thresholds: Thresholds) -> list[Finding]:
    """Return what holds now, the critical first."""
    found = [
        *_hosts(figures, thresholds),
        *_processes(figures, thresholds),
        *_pools(figures),
        *_capacities(figures, thresholds),
        *_jobs(figures, thresholds),
        *_books(figures),
        *_dates(figures, thresholds),
    ]
    return sorted(found, key=lambda one: one.severity is not Severity.CRITICAL)


def _finding(condition: Condition, severity: Severity, subject: str = "", **values: Any) -> Finding:
    named = {"name": subject, **values}
    return Finding(condition, subject, severity, named, WORDS[condition])


def _hosts(figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    for host in figures.hosts:
        if not host.in_service:
            continue
        if host.not_off:
            yield _finding(
                Condition.HOST_NOT_OFF, Severity.CRITICAL, host.name, reason=host.not_off
            )
        off_s = _age_s(figures.now, host.off_since)
        if off_s is not None:
            yield _finding(
                Condition.HOST_OFF,
                Severity.CRITICAL if host.waiting else Severity.WARNING,
                host.name,
                minutes=off_s // 60,
                vms=host.waiting,
            )
            # That it is silent follows from it.
            continue
        suspect_s = _age_s(figures.now, host.suspect_since)
        if suspect_s is not None:
            # The state is damped already. That it is silent is the same trouble.
            yield _finding(
                Condition.HOST_SUSPECT,
                Severity.CRITICAL,
                host.name,
                minutes=suspect_s // 60,
                reason=host.reason,
            )
            continue
        silent_s = _age_s(figures.now, host.unreachable_since)
        if silent_s is not None and silent_s >= limits.host_silent_s:
            minutes = silent_s // 60
            yield _finding(Condition.HOST_SILENT, Severity.CRITICAL, host.name, minutes=minutes)
            # That nothing is measured follows from it.
            continue
        old_s = _age_s(figures.now, host.measured_at)
        if old_s is not None and old_s >= limits.host_not_measured_s:
            yield _finding(
                Condition.HOST_NOT_MEASURED, Severity.WARNING, host.name, minutes=old_s // 60
            )


def _processes(figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    for name, seen_at in figures.processes:
        silent_s = _age_s(figures.now, seen_at)
        if silent_s is not None and silent_s >= limits.process_silent_s:
            yield _finding(
                Condition.PROCESS_SILENT, Severity.CRITICAL, name, minutes=silent_s // 60
            )


def _pools(figures: Figures) -> Iterator[Finding]:
    # Seen once a minute, so that it has lasted when it is seen again: no threshold.
    for pool in figures.pools:
        since_s = _age_s(figures.now, pool.unusable_since)
        if since_s is not None:
            yield _finding(
                Condition.POOL_UNUSABLE,
                Severity.CRITICAL,
                pool.name,
                minutes=since_s // 60,
                reason=pool.reason,
            )


def _capacities(figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    for one in figures.capacities:
        percent = None if one.used_ratio is None else one.used_ratio * 100
        if one.is_pool and percent is not None and percent >= limits.pool_full_percent:
            critical = percent >= limits.pool_critical_percent
            yield _finding(
                Condition.POOL_NEARLY_FULL,
                Severity.CRITICAL if critical else Severity.WARNING,
                one.name,
                percent=percent,
            )
        elif one.days_left is not None and one.days_left <= limits.capacity_days:
            yield _finding(
                Condition.CAPACITY_ENDS_SOON,
                Severity.WARNING,
                one.name,
                date=(figures.now + timedelta(days=one.days_left)).date().isoformat(),
            )


def _jobs(figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    waits_long = figures.jobs_due > 0 and figures.oldest_due_s >= limits.backlog_s
    if waits_long or figures.jobs_due >= limits.backlog_jobs:
        yield _finding(
            Condition.JOBS_BACKLOG,
            Severity.CRITICAL if waits_long else Severity.WARNING,
            jobs=figures.jobs_due,
            minutes=figures.oldest_due_s // 60,
        )
    if figures.jobs_failed >= limits.failed_jobs:
        yield _finding(Condition.JOBS_FAILED, Severity.WARNING, jobs=figures.jobs_failed)
    for kind, jobs in figures.unknown_jobs:
        yield _finding(Condition.JOBS_UNKNOWN, Severity.WARNING, kind, jobs=jobs)


def _books(figures: Figures) -> Iterator[Finding]:
    # One is too many: no threshold.
    if figures.ledger_differences:
        yield _finding(
            Condition.LEDGER_DIFFERS, Severity.CRITICAL, differences=figures.ledger_differences
        )


def _dates(figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    for name, ends_at in figures.dates:
        days = (ends_at - figures.now).total_seconds() / DAY_S
        if days <= limits.date_days:
            critical = days <= limits.date_critical_days
            yield Finding(
                Condition.DATE_ENDS_SOON,
                name,
                Severity.CRITICAL if critical else Severity.WARNING,
                {"name": name, "date": ends_at.date().isoformat()},
                _ENDED if days <= 0 else WORDS[Condition.DATE_ENDS_SOON],
            )


def _age_s(now: datetime, at: datetime | None) -> float | None:
    return None if at is None else (now - at).total_seconds()
