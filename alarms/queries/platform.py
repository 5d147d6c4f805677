"""Figures of the platform itself, for operators and for Prometheus.

For the platform alone: within a scope of a tenant the questions of models would answer for that
tenant only, so they are asked with scopes disabled.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from django.conf import settings
from django.db import connection
from django.db.models import Count, Min, Q, Sum
from django.db.models.functions import Coalesce, Now
from django.utils import timezone
from django.utils.translation import gettext

from alarms.models import Collector, Contact, HostCollection, PlatformAlarm, Webhook
from alarms.queries.capacity import Outlook
from alarms.queries.engine import metrics_store
from alarms.queries.metrics import FRESH
from alarms.rules.operators import CapacityFigures, Figures, HostFigures, PoolFigures
from alarms.store.base import PLATFORM, Latest, StoreError
from compute.models import VM, Disk, Drift, Host, StoragePool
from compute.queries.maintenance import waiting_by_host
from compute.states.disks import DiskStatus
from compute.states.hosts import HostState
from compute.states.pools import PoolState
from compute.states.vms import VmStatus
from network.models import NetworkDrift
from scloud.jobs import health, workers
from scloud.jobs.models import Heartbeat, WorkerHost
from scloud.jobs.periodic import Lane
from scloud.lib.backoff import Said
from scloud.pki import Pki, PkiError
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled

said = Said(logging.getLogger(__name__))

_USABLE: Final = (PoolState.UNKNOWN, PoolState.AVAILABLE)

RECENTLY: Final = timedelta(hours=1)
#: A host is measured late when so many rounds are missing.
LATE_ROUNDS: Final = 3
#: So many open alarms stand on the operators' front page; their list has all.
SHOWN_ALARMS: Final = 20


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds that half, and that 19 of 20, took at most; None where there was none."""

    median_s: float | None
    p95_s: float | None


@dataclass(frozen=True, slots=True)
class Jobs:
    """The queue, and what became of it within a time: waits and durations in seconds.

    ``due`` could begin now; ``oldest_due_s`` is for how long the first of them has waited.
    """

    queued: int
    running: int
    due: int
    oldest_due_s: float
    succeeded: int
    failed: int
    wait: Times
    duration: Times


# Waits begin when a job may begin, not when it was queued. Of one that gave its slot back
# meanwhile, or was tried again, the first wait is not known any more.
_JOBS = """
WITH due AS (
    SELECT not_before FROM jobs_job
    WHERE status = 'queued' AND not_before <= statement_timestamp()
), recent AS (
    SELECT status,
        CASE WHEN not_before <= started_at
            THEN EXTRACT(EPOCH FROM started_at - GREATEST(created_at, not_before)) END AS wait_s,
        EXTRACT(EPOCH FROM finished_at - started_at) AS took_s
    FROM jobs_job WHERE finished_at > statement_timestamp() - make_interval(secs => %(within_s)s)
)
SELECT
    (SELECT count(*) FROM jobs_job WHERE status = 'queued'),
    (SELECT count(*) FROM jobs_job WHERE status = 'running'),
    (SELECT count(*) FROM due),
    COALESCE((SELECT EXTRACT(EPOCH FROM statement_timestamp() - min(not_before)) FROM due), 0),
    count(*) FILTER (WHERE status = 'succeeded'),
    count(*) FILTER (WHERE status = 'failed'),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY wait_s) FILTER (WHERE wait_s IS NOT NULL),
    percentile_cont(0.95) WITHIN GROUP (ORDER BY wait_s) FILTER (WHERE wait_s IS NOT NULL),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY took_s) FILTER (WHERE took_s IS NOT NULL),
    percentile_cont(0.95) WITHIN GROUP (ORDER BY took_s) FILTER (WHERE took_s IS NOT NULL)
FROM recent
"""


def jobs(within: timedelta = RECENTLY) -> Jobs:
    """Return how the queue does, of what ended within a time."""
    with connection.cursor() as cursor:
        cursor.execute(_JOBS, {"within_s": within.total_seconds()})
        row = cursor.fetchone()
    assert row is not None
    waits = [_seconds(value) for value in row[6:]]
    return Jobs(
        queued=row[0],
        running=row[1],
        due=row[2],
        oldest_due_s=float(row[3]),
        succeeded=row[4],
        failed=row[5],
        wait=Times(*waits[:2]),
        duration=Times(*waits[2:]),
    )


def seen() -> list[tuple[str, str, datetime]]:
    """Return when each process or part of one was last seen: (process, name, time)."""
    found = [("worker", row.name, row.seen_at) for row in WorkerHost.objects.order_by("name")]
    for beat in Heartbeat.objects.exclude(name=health.CALLED).order_by("name"):
        process, _slash, part = beat.name.partition("/")
        found.append((process, part, beat.seen_at))
    found += [("collector", row.pk, row.seen_at) for row in Collector.objects.all()]
    return found


def open_drift() -> list[tuple[str, int, datetime]]:
    """Return each kind of difference that is open: how many, and since when the oldest."""
    of_hosts = Drift.objects.filter(repaired_at__isnull=True).values_list("kind")
    of_network = NetworkDrift.objects.filter(resolved_at__isnull=True).values_list("problem")
    found: list[tuple[str, int, datetime]] = []
    for rows, prefix in ((of_hosts, ""), (of_network, "network_")):
        counted = rows.annotate(number=Count("pk"), since=Min("first_seen_at")).order_by("number")
        found += [(f"{prefix}{kind}", number, since) for kind, number, since in counted]
    return sorted(found)


def vms_by_status() -> dict[str, int]:
    """Return how many VMs there are, by status; destroyed ones are none."""
    with scopes_disabled():
        rows = VM.objects.order_by().values("status").annotate(number=Count("pk"))
        found = {row["status"]: row["number"] for row in rows}
    found.pop(VmStatus.DESTROYED, None)
    return found


def host_samples(hosts: Sequence[Host]) -> Mapping[str, Latest]:
    """Return the newest fresh sample of each host; none where the store does not answer."""
    try:
        return metrics_store().latest(
            PLATFORM, [host.pk for host in hosts], since=timezone.now() - FRESH
        )
    except StoreError:
        return {}


def front() -> dict[str, Any]:
    """Return the few figures of the operators' front page, in two queries.

    ``alarms`` are the open ones that nobody has acknowledged, the newest first, at most
    ``SHOWN_ALARMS``.
    """
    limit = Now() - timedelta(seconds=settings.SCLOUD_COLLECT_EVERY_S * LATE_ROUNDS)
    found = HostCollection.objects.aggregate(
        late=Count("pk", filter=Q(stored_at__lt=limit) | Q(stored_at=None)),
        silent=Coalesce(Sum("silent_agents"), 0),
    )
    alarms = PlatformAlarm.objects.filter(
        opened_at__isnull=False, recovered_at__isnull=True, acknowledged_at__isnull=True
    )
    figures = {name: int(number) for name, number in found.items()}
    return {**figures, "alarms": list(alarms[:SHOWN_ALARMS])}


# -- over a day, and by whom -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hour:
    """Jobs that ended within an hour; seconds, None where none ended."""

    begin: datetime
    ended: int
    failed: int
    wait_p95_s: float | None
    duration_p95_s: float | None


_HOURS = """
SELECT
    hour,
    count(id),
    count(id) FILTER (WHERE status = 'failed'),
    percentile_cont(0.95) WITHIN GROUP (ORDER BY CASE WHEN not_before <= started_at
        THEN EXTRACT(EPOCH FROM started_at - GREATEST(created_at, not_before)) END),
    percentile_cont(0.95) WITHIN GROUP (ORDER BY EXTRACT(EPOCH FROM finished_at - started_at))
FROM generate_series(
    date_trunc('hour', statement_timestamp()) - make_interval(hours => %(hours)s - 1),
    statement_timestamp(),
    interval '1 hour'
) AS hour
LEFT JOIN jobs_job ON finished_at >= hour AND finished_at < hour + interval '1 hour'
GROUP BY hour ORDER BY hour
"""


def job_hours(hours: int = 24) -> list[Hour]:
    """Return each of the last hours, the present one last."""
    with connection.cursor() as cursor:
        cursor.execute(_HOURS, {"hours": hours})
        rows = cursor.fetchall()
    return [
        Hour(begin, ended, failed, _seconds(wait), _seconds(took))
        for begin, ended, failed, wait, took in rows
    ]


@dataclass(frozen=True, slots=True)
class KindOfJob:
    """Jobs of a kind that ended within a time; seconds."""

    kind: str
    ended: int
    failed: int
    median_s: float | None
    p95_s: float | None


_KINDS = """
SELECT
    kind,
    count(*),
    count(*) FILTER (WHERE status = 'failed'),
    percentile_cont(0.5) WITHIN GROUP (ORDER BY EXTRACT(EPOCH FROM finished_at - started_at)),
    percentile_cont(0.95) WITHIN GROUP (ORDER BY EXTRACT(EPOCH FROM finished_at - started_at))
        AS p95
FROM jobs_job
WHERE finished_at > statement_timestamp() - make_interval(secs => %(within_s)s)
GROUP BY kind ORDER BY p95 DESC NULLS LAST, kind LIMIT %(most)s
"""


def slowest_kinds(within: timedelta, most: int = 10) -> list[KindOfJob]:
    """Return the kinds of jobs that took longest."""
    with connection.cursor() as cursor:
        cursor.execute(_KINDS, {"within_s": within.total_seconds(), "most": most})
        rows = cursor.fetchall()
    return [
        KindOfJob(kind, ended, failed, _seconds(median), _seconds(p95))
        for kind, ended, failed, median, p95 in rows
    ]


@dataclass(frozen=True, slots=True)
class TenantUse:
    """What a tenant's VMs and disks take, the recycle bin included."""

    tenant: Tenant
    vms: int
    vcpus: int
    memory_mib: int
    disks_gib: int


def top_tenants(most: int = 10) -> list[TenantUse]:
    """Return the tenants with the most virtual CPUs, then the most memory, in three queries."""
    with scopes_disabled():
        rows = (
            VM.objects.exclude(status=VmStatus.DESTROYED)
            .order_by()
            .values("tenant")
            .annotate(vms=Count("pk"), cpus=Sum("vcpus"), memory=Sum("memory_mib"))
            .order_by("-cpus", "-memory", "tenant")[:most]
        )
        found = {row["tenant"]: row for row in rows}
        disks = dict(
            Disk.objects.exclude(status=DiskStatus.DESTROYED)
            .filter(tenant__in=list(found))
            .order_by()
            .values_list("tenant")
            .annotate(gib=Sum("size_gib"))
        )
        tenants = Tenant.objects.in_bulk(list(found))
    return [
        TenantUse(tenants[pk], row["vms"], row["cpus"], row["memory"], disks.get(pk, 0))
        for pk, row in found.items()
    ]


def _seconds(value: Any) -> float | None:
    return None if value is None else float(value)


# -- what operators are told of ----------------------------------------------------------------


def figures(now: datetime, outlooks: Sequence[Outlook]) -> Figures:
    """Return what the operators' conditions look at.

    The difference of the ledger's replay is not among them: computing it takes minutes.
    """
    queue = jobs()
    last: dict[str, datetime] = {}
    for process, name, at in seen():
        # Of several machines one is enough. Only the lane that waits for nothing tells of a
        # sweeper.
        if process != "sweeper" or name == Lane.WAKE_UPS:
            last[process] = max(at, last.get(process, at))
    collected = dict(HostCollection.objects.values_list("host_id", "stored_at"))
    waiting = waiting_by_host()
    return Figures(
        now,
        hosts=[
            HostFigures(
                host.name,
                host.state != HostState.MAINTENANCE,
                host.unreachable_since,
                collected.get(host.pk),
                host.state_since if host.state == HostState.SUSPECT else None,
                host.state_reason,
                host.failover_note,
                host.state_since if host.is_off else None,
                waiting[host.pk],
            )
            for host in Host.objects.order_by("name")
        ],
        pools=[
            PoolFigures(
                pool.pk,
                None if pool.state in _USABLE else pool.state_since,
                pool.last_error,
            )
            for pool in StoragePool.objects.order_by("pk")
        ],
        capacities=[
            CapacityFigures(
                one.amount.label, one.amount.is_pool, one.amount.ratio, one.forecast.days
            )
            for one in outlooks
        ],
        processes=sorted(last.items()),
        jobs_due=queue.due,
        oldest_due_s=queue.oldest_due_s,
        jobs_failed=queue.failed,
        unknown_jobs=[(one.kind, one.jobs) for one in workers.unknown()],
        dates=dates(),
    )


def is_somebody_told() -> bool:
    """Tell whether operators are told of what is wrong, by e-mail or by a webhook."""
    with scopes_disabled():
        return (
            Contact.objects.filter(tenant__isnull=True, verified_at__isnull=False).exists()
            or Webhook.objects.filter(tenant__isnull=True, enabled=True).exists()
        )


def _own_certificates() -> list[tuple[str, datetime]]:
    """Return when the certificates end that the platform issued on this machine.

    Also those that were replaced, until somebody says that the new ones are installed. What cannot
    be read is logged and left out.
    """
    root = settings.SCLOUD_PKI_DIR
    problems: list[str] = []
    ends: list[tuple[str, datetime]] = []
    former: list[tuple[str, datetime]] = []
    try:
        ends = Pki(root).ends(problems=problems)
        former = Pki(root).former(problems=problems)
    except (OSError, ValueError, PkiError) as error:
        problems.append(str(error))
    if problems:
        words = "; ".join(dict.fromkeys(problems))
        said.say(str(root), words[:2000], logging.ERROR, "certificates in %s: %s", root, words)
    else:
        said.over(str(root))
    words = gettext("The former certificate of %(holder)s, until the new one is installed")
    return [
        *((gettext("The certificate of %(holder)s") % {"holder": one}, at) for one, at in ends),
        *((words % {"holder": one}, at) for one, at in former),
    ]


def dates() -> list[tuple[str, datetime]]:
    """Return what ends and when: the certificates and the dates that the settings name.

    The certificates of ``manage.py pki`` are among them. What cannot be read is logged and left
    out.
    """
    found = _own_certificates()
    for path in settings.SCLOUD_CERTIFICATES:
        try:
            for certificate in x509.load_pem_x509_certificates(Path(path).read_bytes())[:1]:
                ends_at = certificate.not_valid_after_utc
                found.append((gettext("The certificate %(path)s") % {"path": path}, ends_at))
        except (OSError, ValueError) as error:
            said.say(path, repr(error)[:200], logging.ERROR, "certificate %s: %s", path, error)
        else:
            said.over(path)
    for name, day in settings.SCLOUD_DATES.items():
        found.append((name, datetime.combine(date.fromisoformat(day), time.min, tzinfo=UTC)))
    return found
