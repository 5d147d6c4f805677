"""Capacity in use on clusters, hosts and pools, for operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compute.hosts import placement, pools
from compute.models import Cluster, Drift, Host, StoragePool
from compute.states.hosts import HostState
from scloud.jobs import health, workers
from scloud.jobs.models import ACTIVE, Job, JobStatus
from scloud.recovery.models import SweepFreeze
from scloud.tenancy.scoping import scopes_disabled


@dataclass(frozen=True)
class HostUsage:
    """A host with the capacity in use and in total. Memory in MiB, with the overhead of VMs.

    ``vms`` counts those that are on it. What is on its way to it takes capacity too.
    """

    host: Host
    vms: int
    vcpus_taken: int
    vcpus_total: int
    memory_taken_mib: int
    memory_total_mib: int


def hosts() -> list[HostUsage]:
    """Return every host with the capacity in use, in three queries."""
    return [_usage(one) for one in _loads()]


def _loads() -> list[placement.Candidate]:
    rows = Host.objects.select_related("cluster").order_by("cluster", "name")
    return placement.loads(list(rows))


def _usage(one: placement.Candidate) -> HostUsage:
    return HostUsage(
        host=one.host,
        vms=one.vms - one.arriving,
        vcpus_taken=one.vcpus_taken,
        vcpus_total=one.vcpus_total,
        memory_taken_mib=one.memory_taken_mib,
        memory_total_mib=max(0, one.memory_total_mib),
    )


def clusters() -> list[dict[str, Any]]:
    """Return the sum of each cluster's hosts, and the reserve that decides what is sold."""
    loads = _loads()
    out = []
    for cluster in Cluster.objects.select_related("region"):
        mine = [one for one in loads if one.host.cluster_id == cluster.pk]
        usages = [_usage(one) for one in mine]
        out.append(
            {
                "reserve": placement.reserve_of(cluster, mine),
                "cluster": cluster,
                "hosts": len(mine),
                "vms": sum(usage.vms for usage in usages),
                "vcpus_taken": sum(usage.vcpus_taken for usage in usages),
                "vcpus_total": sum(usage.vcpus_total for usage in usages),
                "memory_taken_mib": sum(usage.memory_taken_mib for usage in usages),
                "memory_total_mib": sum(usage.memory_total_mib for usage in usages),
            }
        )
    return out


def overview() -> dict[str, Any]:
    return {
        "clusters": clusters(),
        "hosts": hosts(),
        "pools": list(pools.rooms(list(StoragePool.objects.select_related("region"))).values()),
    }


def front() -> dict[str, Any]:
    """Return the few figures of the front page. Failed jobs are those nobody has acknowledged."""
    with scopes_disabled():
        failed = Job.objects.filter(status=JobStatus.FAILED, acknowledged_at__isnull=True)
        return {
            "clusters": clusters(),
            "jobs": {
                "active": Job.objects.filter(status__in=ACTIVE).count(),
                "failed": failed.count(),
            },
            "workers_seen": health.workers_seen(),
            "sweeper_seen": health.sweeper_seen(),
            "frozen": SweepFreeze.objects.filter(released_at__isnull=True).exists(),
            "unknown": workers.unknown(),
            "drift": Drift.objects.filter(repaired_at__isnull=True).count(),
            "silent_hosts": Host.objects.filter(unreachable_since__isnull=False)
            .exclude(state=HostState.MAINTENANCE)
            .count(),
        }
