"""How full the platform is, for its operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q, Sum

from compute.models import VM, Cluster, Drift, Host, StoragePool
from scloud.jobs import workers
from scloud.jobs.models import ACTIVE, Job, JobStatus
from scloud.tenancy.scoping import scopes_disabled


@dataclass(frozen=True)
class HostRoom:
    """A host with what is taken and what it can give. Memory in MiB."""

    host: Host
    vms: int
    vcpus_taken: int
    vcpus_total: int
    memory_taken_mib: int
    memory_total_mib: int


def hosts() -> list[HostRoom]:
    """Return every host with what is taken on it, in three queries."""
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
        HostRoom(
            host=host,
            vms=(row := taken.get(host.pk, none))["vms"],
            vcpus_taken=row["vcpus"],
            vcpus_total=int(host.vcpus * host.cluster.cpu_overcommit),
            memory_taken_mib=row["memory"],
            memory_total_mib=max(0, host.memory_mib - host.reserved_memory_mib),
        )
        for host in found
    ]


def clusters() -> list[dict[str, Any]]:
    """Return the sum of each cluster's hosts."""
    rooms = hosts()
    out = []
    for cluster in Cluster.objects.select_related("region"):
        mine = [room for room in rooms if room.host.cluster_id == cluster.pk]
        out.append(
            {
                "cluster": cluster,
                "hosts": len(mine),
                "vms": sum(room.vms for room in mine),
                "vcpus_taken": sum(room.vcpus_taken for room in mine),
                "vcpus_total": sum(room.vcpus_total for room in mine),
                "memory_taken_mib": sum(room.memory_taken_mib for room in mine),
                "memory_total_mib": sum(room.memory_total_mib for room in mine),
            }
        )
    return out


def overview() -> dict[str, Any]:
    """Return what the capacity page shows."""
    return {
        "clusters": clusters(),
        "hosts": hosts(),
        "pools": list(StoragePool.objects.select_related("region")),
    }


def front() -> dict[str, Any]:
    """Return the few figures of the front page."""
    with scopes_disabled():
        jobs = Job.objects.aggregate(
            active=Count("pk", filter=Q(status__in=ACTIVE)),
            failed=Count("pk", filter=Q(status=JobStatus.FAILED)),
        )
        return {
            "clusters": clusters(),
            "jobs": jobs,
            "unknown": workers.unknown(),
            "drift": Drift.objects.filter(repaired_at__isnull=True).count(),
            "silent_hosts": Host.objects.filter(unreachable_since__isnull=False).count(),
        }
