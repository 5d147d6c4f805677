"""Changed limits reach what runs: jobs for the disk types and clusters whose limits were changed.

What is set is compared with what was last applied, so it does not matter who changed it.
"""

from __future__ import annotations

from django.db.models import F, Q
from django.utils.translation import gettext as _

from compute.models import Cluster, DiskType
from scloud.jobs import service as jobs
from scloud.jobs.rows import each
from scloud.lib.errors import Conflict

DEADLINE_S = 3600.0


def _differs(now: str, applied: str) -> Q:
    """Two nullable columns that do not hold the same."""
    return ~Q(**{now: F(applied)}) & ~Q(**{f"{now}__isnull": True, f"{applied}__isnull": True})


def apply_changed_limits() -> int:
    """Queue a job for each disk type and cluster whose limits changed; return how many."""
    disk_types = DiskType.objects.filter(
        _differs("iops_limit", "applied_iops_limit")
        | _differs("throughput_limit_mbps", "applied_throughput_limit_mbps")
    )
    clusters = Cluster.objects.filter(
        _differs("cpu_shares_per_vcpu", "applied_cpu_shares_per_vcpu")
        | _differs("cpu_quota_percent", "applied_cpu_quota_percent")
    )
    queued: list[str] = []

    def of_disk_type(disk_type: DiskType) -> None:
        queued.extend(
            _enqueue(
                "disk_type.apply_limits",
                _("Apply the limits of %(name)s") % {"name": disk_type.alias},
                "disk_type",
                disk_type.pk,
                {
                    "iops": disk_type.iops_limit,
                    "throughput_mbps": disk_type.throughput_limit_mbps,
                },
            )
        )

    def of_cluster(cluster: Cluster) -> None:
        queued.extend(
            _enqueue(
                "cluster.apply_limits",
                _("Apply the CPU limits of %(name)s") % {"name": cluster.alias},
                "cluster",
                cluster.pk,
                {
                    "shares": cluster.cpu_shares_per_vcpu,
                    "quota_percent": cluster.cpu_quota_percent,
                },
            )
        )

    each(list(disk_types), of_disk_type, "changed limits of a disk type")
    each(list(clusters), of_cluster, "changed limits of a cluster")
    return len(queued)


def _enqueue(kind: str, title: str, target: str, pk: str, payload: dict[str, object]) -> list[str]:
    try:
        jobs.enqueue(
            kind=kind,
            tenant=None,
            title=title,
            target_kind=target,
            target_id=pk,
            payload=payload,
            deadline_s=DEADLINE_S,
        )
    except Conflict:
        # One is on its way; if it applies an older figure, the next round sees it.
        return []
    return [pk]
