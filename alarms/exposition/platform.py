"""The platform's own figures as families of Prometheus."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

from django.conf import settings

from alarms.catalogue import METRICS, Kind, Subject
from alarms.models import HostCollection
from alarms.queries import platform
from alarms.queries.platform import Times
from alarms.store.base import Latest, milliseconds
from compute.hosts import capacity
from compute.models import StoragePool
from compute.states.hosts import HostState
from scloud.lib.exposition import Family

_MIB = 1024 * 1024


def families() -> list[Family]:
    """Return all families; a bounded number of queries, one question to the metrics store."""
    return [*_queue(), *_processes(), *_hosts(), *_pools(), *_resources()]


def _queue() -> list[Family]:
    jobs = platform.jobs()
    active = Family("scloud_jobs_active", "Jobs that are queued or running.")
    active.add(jobs.queued, {"status": "queued"}).add(jobs.running, {"status": "running"})
    ended = Family("scloud_jobs_ended_last_hour", "Jobs that ended within the last hour.")
    ended.add(jobs.succeeded, {"status": "succeeded"}).add(jobs.failed, {"status": "failed"})
    return [
        active,
        ended,
        Family("scloud_jobs_due", "Jobs that could begin now and wait for a worker.").add(jobs.due),
        Family("scloud_jobs_oldest_due_seconds", "How long the first of them has waited.").add(
            jobs.oldest_due_s
        ),
        *_times("scloud_job_wait", "until jobs began that ended within the last hour", jobs.wait),
        *_times("scloud_job_duration", "that jobs took which ended within it", jobs.duration),
    ]


def _times(name: str, words: str, times: Times) -> list[Family]:
    found = []
    for part, share, value in (
        ("median", "half of them", times.median_s),
        ("p95", "19 of 20", times.p95_s),
    ):
        family = Family(f"{name}_{part}_seconds", f"Seconds {words}: {share} at most.")
        if value is not None:
            family.add(value)
        found.append(family)
    return found


def _processes() -> list[Family]:
    build = Family("scloud_build_info", "The version; the value is always 1.")
    build.add(1, {"version": _version()})
    seen = Family(
        "scloud_process_last_seen_timestamp_seconds",
        "When a worker's machine, a lane of the sweeper or a collector last said that it works.",
    )
    for process, name, at in platform.seen():
        seen.add(milliseconds(at) / 1000, {"process": process, "name": name})
    return [build, seen]


@lru_cache(maxsize=1)
def _version() -> str:
    """The version of this release, which is in pyproject.toml and nowhere else."""
    project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())
    return str(project["project"]["version"])


def _hosts() -> list[Family]:
    usages = capacity.hosts()
    by_state = Family("scloud_hosts", "Hosts, by state.")
    counted = Counter(usage.host.state for usage in usages)
    for state in HostState.values:
        by_state.add(counted[state], {"state": state})
    unreachable = Family("scloud_host_unreachable", "1 for a host that does not answer, else 0.")
    vcpus = Family("scloud_host_vcpus", "Virtual CPUs that a host may give, overcommit included.")
    vcpus_taken = Family("scloud_host_vcpus_allocated", "Virtual CPUs of the VMs of a host.")
    memory = Family("scloud_host_memory_bytes", "Memory that a host may give to VMs.")
    memory_taken = Family("scloud_host_memory_allocated_bytes", "Memory of the VMs of a host.")
    stored = Family(
        "scloud_host_stored_timestamp_seconds", "Time of a host's newest sample in the store."
    )
    labels = {
        usage.host.pk: {"host": usage.host.name, "cluster": usage.host.cluster_id}
        for usage in usages
    }
    for usage in usages:
        mine = labels[usage.host.pk]
        unreachable.add(float(usage.host.unreachable_since is not None), mine)
        vcpus.add(usage.vcpus_total, mine)
        vcpus_taken.add(usage.vcpus_taken, mine)
        memory.add(usage.memory_total_mib * _MIB, mine)
        memory_taken.add(usage.memory_taken_mib * _MIB, mine)
    for row in HostCollection.objects.filter(stored_at__isnull=False).order_by("host__name"):
        if row.stored_at is not None and row.pk in labels:
            stored.add(milliseconds(row.stored_at) / 1000, labels[row.pk])
    latest = platform.host_samples([usage.host for usage in usages])
    measured = _measured(latest, labels)
    families = [by_state, unreachable, vcpus, vcpus_taken, memory, memory_taken, stored]
    return [*families, *measured]


def _measured(latest: Mapping[str, Latest], labels: Mapping[str, dict[str, str]]) -> list[Family]:
    """What hosts said last of themselves."""
    found: dict[str, Family] = {}
    for pk, sample in sorted(latest.items()):
        for key, value in sample.values.items():
            metric = METRICS.get(key.metric)
            if metric is None or metric.subject is not Subject.HOST:
                continue
            assert metric.kind is Kind.GAUGE
            family = found.setdefault(
                metric.exposed, Family(metric.exposed, f"{metric.label}, as it was measured last.")
            )
            family.add(value, labels[pk])
    return list(found.values())


def _pools() -> list[Family]:
    size = Family("scloud_pool_size_bytes", "Size of a storage pool.")
    free = Family("scloud_pool_available_bytes", "Space that is left in a storage pool.")
    for pool in StoragePool.objects.filter(observed_at__isnull=False):
        size.add(pool.total_bytes, {"pool": pool.pk, "region": pool.region_id})
        free.add(pool.available_bytes, {"pool": pool.pk, "region": pool.region_id})
    return [size, free]


def _resources() -> list[Family]:
    vms = Family("scloud_vms", "VMs, by status.")
    for status, number in sorted(platform.vms_by_status().items()):
        vms.add(number, {"status": status})
    drift = Family("scloud_drift_open", "Differences between what is intended and what is seen.")
    for kind, number, _since in platform.open_drift():
        drift.add(number, {"kind": kind})
    return [vms, drift]
