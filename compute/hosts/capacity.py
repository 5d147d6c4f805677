"""Capacity in use on clusters, hosts and pools, for operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Sum

from compute.hosts import placement, pools
from compute.models import VM, Cluster, Drift, Host, StoragePool
from compute.states.hosts import HostState
from scloud.jobs import health, workers
from scloud.jobs.models import ACTIVE, Job, JobStatus
from scloud.recovery.models import SweepFreeze
from scloud.tenancy.scoping import scopes_disabled


@dataclass(frozen=True)
class HostUsage:
    """A host with the capacity in use and in total. Memory in MiB, with the overhead of VMs."""

    host: Host
    vms: int
    vcpus_taken: int
    vcpus_total: int
    memory_taken_mib: int
    memory_total_mib: int


def hosts() -> list[HostUsage]:
    """Return every host with the capacity in use, in three queries."""
    with scopes_disabled():
        taken = {
            row["host"]: row
            for row in VM.objects.filter(host__isnull=False)
            .order_by()
            .values("host")
            .annotate(vms=Count("id"), vcpus=Sum("vcpus"), memory=Sum("memory_mib"))
        }
        found = list(Host.objects.select_related("cluster").order_by("cluster", "name"))
    none: dict[str, Any] = {"vms": 0, "vcpus": 0, "memory": 0}
    return [
        HostUsage(
            host=host,
            vms=(row := taken.get(host.pk, none))["vms"],
            vcpus_taken=row["vcpus"],
            vcpus_total=int(host.vcpus * host.cluster.cpu_overcommit),
            memory_taken_mib=row["memory"]
            + row["vms"] * host.cluster.vm_overhead_mib
            + row["vcpus"] * host.cluster.vcpu_overhead_mib,
            memory_total_mib=max(0, host.memory_mib - host.reserved_memory_mib),
        )
        for host in found
    ]


def clusters() -> list[dict[str, Any]]:
    """Return the sum of each cluster's hosts."""
    usages = hosts()
    out = []
    for cluster in Cluster.objects.select_related("region"):
        mine = [usage for usage in usages if usage.host.cluster_id == cluster.pk]
        reserve = placement.reserve_of(
            cluster,
            [
                placement.Candidate(
                    one.host, one.vcpus_taken, one.memory_taken_mib, vms_of_tenant=0, vms=one.vms
                )
                for one in mine
            ],
        )
        out.append(
            {
                "reserve": reserve,
                "cluster": cluster,
                "hosts": len(mine),
                "vms": sum(usage.vms for usage in mine),
                "vcpus_taken": sum(usage.vcpus_taken for usage in mine),
                "vcpus_total": sum(usage.vcpus_total for usage in mine),
                "memory_taken_mib": sum(usage.memory_taken_mib for usage in mine),
                "memory_total_mib": sum(usage.memory_total_mib for usage in mine),
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
