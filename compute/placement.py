"""Where a VM goes: filters that say why a host cannot take it, and a weight that spreads."""

from collections import Counter
from dataclasses import dataclass

from django.db.models import Count, Q, Sum

from compute.models import VM, Cluster, Host
from compute.models.platform import HostState
from compute.states import VmStatus
from scloud.lib.errors import NoCapacity
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled

# VMs in these states keep nothing on a host.
WITHOUT_HOST = (VmStatus.BINNED, VmStatus.DESTROYED, VmStatus.FAILED)

REASONS = {
    "state": "not available for new VMs",
    "unreachable": "not answering",
    "vcpus": "too few vCPUs left",
    "memory": "too little memory left",
    "vcpus_total": "fewer CPUs than the VM needs",
}


@dataclass
class Room:
    """A host with what is taken on it."""

    host: Host
    vcpus_taken: int
    memory_taken_mib: int
    vms_of_tenant: int
    vms: int

    def refusal(self, vcpus: int, memory_mib: int) -> str | None:
        """Return the key of the first condition that fails, or None."""
        host = self.host
        if host.state != HostState.AVAILABLE:
            return "state"
        if host.unreachable_since is not None or host.vcpus == 0:
            return "unreachable"
        if vcpus > host.vcpus:
            return "vcpus_total"
        if self.vcpus_taken + vcpus > host.vcpus * host.cluster.cpu_overcommit:
            return "vcpus"
        if self.memory_taken_mib + memory_mib > host.memory_mib - host.reserved_memory_mib:
            return "memory"
        return None

    def take(self, vcpus: int, memory_mib: int) -> None:
        """Count one more VM of the tenant."""
        self.vcpus_taken += vcpus
        self.memory_taken_mib += memory_mib
        self.vms_of_tenant += 1
        self.vms += 1


def rooms(cluster: Cluster, tenant: Tenant | None, *, lock: bool = False) -> list[Room]:
    """Return the hosts of a cluster with what is taken; with ``lock`` nobody else places now."""
    with scopes_disabled():
        hosts = Host.objects.filter(cluster=cluster).select_related("cluster").order_by("id")
        if lock:
            hosts = hosts.select_for_update(of=("self",))
        found = list(hosts)
        taken = {
            row["host"]: row
            for row in VM.objects.filter(host__in=found)
            .exclude(status__in=WITHOUT_HOST)
            .order_by()
            .values("host")
            .annotate(
                vcpus=Sum("vcpus"),
                memory=Sum("memory_mib"),
                vms=Count("id"),
                mine=Count("id", filter=Q(tenant=tenant)),
            )
        }
    empty = {"vcpus": 0, "memory": 0, "vms": 0, "mine": 0}
    return [
        Room(
            host,
            (row := taken.get(host.pk, empty))["vcpus"],
            row["memory"],
            row["mine"],
            row["vms"],
        )
        for host in found
    ]


def refuse(cluster: Cluster, all_rooms: list[Room], vcpus: int, memory_mib: int) -> NoCapacity:
    """Return the error that says which condition failed on how many hosts."""
    counts = Counter(room.refusal(vcpus, memory_mib) or "" for room in all_rooms)
    counts.pop("", None)
    said = "; ".join(f"{REASONS[key]}: {n} host{'s' * (n != 1)}" for key, n in counts.items())
    size = f"{vcpus} vCPU and {memory_mib / 1024:g} GiB"
    return NoCapacity(
        f"No host of {cluster.alias} can take {size}: {said or 'it has no hosts'}.",
        field="spec",
        remedy="Choose a smaller size or another model, or try again later.",
        numbers={"vcpus": vcpus, "memory_mib": memory_mib, "refused": dict(counts)},
    )


def place(
    cluster: Cluster,
    tenant: Tenant,
    *,
    vcpus: int,
    memory_mib: int,
    count: int = 1,
    excluded: frozenset[str] = frozenset(),
) -> list[Host]:
    """Choose a host for each of ``count`` like VMs and lock the hosts until the transaction ends.

    Raises NoCapacity when not all of them find one. A tenant's VMs spread: the host with the
    fewest of them comes first, then the one with the most memory left.
    """
    candidates = [
        room for room in rooms(cluster, tenant, lock=True) if room.host.pk not in excluded
    ]
    chosen: list[Host] = []
    for _ in range(count):
        fitting = [room for room in candidates if room.refusal(vcpus, memory_mib) is None]
        if not fitting:
            raise refuse(cluster, candidates, vcpus, memory_mib)
        best = min(
            fitting,
            key=lambda room: (
                room.vms_of_tenant,
                room.memory_taken_mib / max(1, room.host.memory_mib),
                room.host.pk,
            ),
        )
        best.take(vcpus, memory_mib)
        chosen.append(best.host)
    return chosen


def why_not(cluster: Cluster, all_rooms: list[Room], vcpus: int, memory_mib: int) -> str | None:
    """Return why a size fits nowhere at present (for the greyed-out spec), or None."""
    if any(room.refusal(vcpus, memory_mib) is None for room in all_rooms):
        return None
    return refuse(cluster, all_rooms, vcpus, memory_mib).message
