"""Placement: filters that say why a VM does not fit on a host, and a weight that spreads VMs."""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext

from compute.models import VM, Cluster, GpuDevice, Host
from compute.states.hosts import HostState
from scloud.lib.errors import NoCapacity
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled

# A host may be unreachable this long, as when libvirtd restarts, before it takes no more VMs; until
# then it is only the last choice. A job that finds it still unreachable tries again.
SILENCE_GRACE = timedelta(seconds=30)

REASONS = {
    "state": "not available for new VMs",
    "unreachable": "not answering",
    "vcpus": "too few vCPUs left",
    "memory": "too little memory left",
    "vcpus_total": "fewer CPUs than the VM needs",
    "gpus": "too few free GPU chips",
}


@dataclass
class Candidate:
    """A host on which a VM may be placed, with the capacity in use. Memory in MiB."""

    host: Host
    vcpus_taken: int
    memory_taken_mib: int
    vms_of_tenant: int
    vms: int
    gpus_free: int = 0

    def refusal(self, vcpus: int, memory_mib: int, gpus: int = 0) -> str | None:
        """Return the key of the first condition that fails, or None."""
        host = self.host
        if host.state != HostState.AVAILABLE:
            return "state"
        if host.vcpus == 0 or (self.silent and self.silent_for > SILENCE_GRACE):
            return "unreachable"
        if vcpus > host.vcpus:
            return "vcpus_total"
        if self.vcpus_taken + vcpus > host.vcpus * host.cluster.cpu_overcommit:
            return "vcpus"
        if self.memory_taken_mib + memory_mib > host.memory_mib - host.reserved_memory_mib:
            return "memory"
        if gpus > self.gpus_free:
            return "gpus"
        return None

    @property
    def silent(self) -> bool:
        """Whether the host does not answer at present."""
        return self.host.unreachable_since is not None

    @property
    def silent_for(self) -> timedelta:
        """How long the host has not answered."""
        since = self.host.unreachable_since
        return timedelta(0) if since is None else timezone.now() - since

    def take(self, vcpus: int, memory_mib: int, gpus: int = 0) -> None:
        """Count one more VM of the tenant."""
        self.vcpus_taken += vcpus
        self.memory_taken_mib += memory_mib
        self.vms_of_tenant += 1
        self.vms += 1
        self.gpus_free -= gpus


def candidates(cluster: Cluster, tenant: Tenant | None, *, lock: bool = False) -> list[Candidate]:
    """Return the hosts of a cluster with the capacity in use, in order of their ids.

    ``lock`` keeps every other placement on these hosts out until the transaction ends.
    """
    with scopes_disabled():
        hosts = Host.objects.filter(cluster=cluster).select_related("cluster").order_by("id")
        if lock:
            hosts = hosts.select_for_update(of=("self",))
        found = list(hosts)
        taken = {host.pk: Candidate(host, 0, 0, 0, 0) for host in found}
        # A VM on its way to a host takes capacity there as well as where it still runs. One that
        # failed or was destroyed has a host as long as nobody knows that it is off it.
        for place in ("host", "destination"):
            for row in (
                VM.objects.filter(**{f"{place}__in": found})
                .order_by()
                .values(place)
                .annotate(
                    vcpus=Sum("vcpus"),
                    memory=Sum("memory_mib"),
                    vms=Count("id"),
                    mine=Count("id", filter=Q(tenant=tenant)),
                )
            ):
                candidate = taken[row[place]]
                candidate.vcpus_taken += row["vcpus"]
                candidate.memory_taken_mib += row["memory"]
                candidate.vms_of_tenant += row["mine"]
                candidate.vms += row["vms"]
        if cluster.gpu_type:
            for row in (
                GpuDevice.objects.filter(
                    host__in=found, gpu_type=cluster.gpu_type, vm=None, present=True
                )
                .order_by()
                .values("host")
                .annotate(free=Count("id"))
            ):
                taken[row["host"]].gpus_free = row["free"]
    return list(taken.values())


def refuse(
    cluster: Cluster, of_cluster: list[Candidate], vcpus: int, memory_mib: int, gpus: int = 0
) -> NoCapacity:
    """Return the error for the tenant; its detail says which condition failed on how many hosts."""
    counts = Counter(candidate.refusal(vcpus, memory_mib, gpus) or "" for candidate in of_cluster)
    counts.pop("", None)
    said = "; ".join(f"{REASONS[key]}: {n} host{'s' * (n != 1)}" for key, n in counts.items())
    size = f"{vcpus} vCPU, {memory_mib} MiB"
    if gpus:
        size += f", {gpus} {cluster.gpu_type}"
    return NoCapacity(
        gettext("This size is not available here right now."),
        field="spec",
        remedy=gettext("Choose a smaller size or another model, or try again later."),
        numbers={"vcpus": vcpus, "memory_mib": memory_mib},
        detail=f"Hosts of {cluster.pk} for {size}: {said or 'there are none'}.",
    )


def place(
    cluster: Cluster,
    tenant: Tenant,
    *,
    vcpus: int,
    memory_mib: int,
    gpus: int = 0,
    count: int = 1,
    excluded: frozenset[str] = frozenset(),
) -> list[Host]:
    """Choose a host for each of ``count`` like VMs and lock the hosts until the transaction ends.

    Raises NoCapacity when not all of them find one. A tenant's VMs spread: the host with the
    fewest of them comes first, then the one with the most memory left.
    """
    allowed = [
        candidate
        for candidate in candidates(cluster, tenant, lock=True)
        if candidate.host.pk not in excluded
    ]
    chosen: list[Host] = []
    for _ in range(count):
        fitting = [
            candidate for candidate in allowed if candidate.refusal(vcpus, memory_mib, gpus) is None
        ]
        if not fitting:
            raise refuse(cluster, allowed, vcpus, memory_mib, gpus)
        best = min(
            fitting,
            key=lambda candidate: (
                candidate.silent,
                candidate.vms_of_tenant,
                candidate.memory_taken_mib / max(1, candidate.host.memory_mib),
                candidate.host.pk,
            ),
        )
        best.take(vcpus, memory_mib, gpus)
        chosen.append(best.host)
    return chosen


def why_not(
    cluster: Cluster, of_cluster: list[Candidate], vcpus: int, memory_mib: int, gpus: int = 0
) -> str | None:
    """Return why a size fits nowhere at present (for the greyed-out spec), or None."""
    if any(candidate.refusal(vcpus, memory_mib, gpus) is None for candidate in of_cluster):
        return None
    return refuse(cluster, of_cluster, vcpus, memory_mib, gpus).message


def refusal_to_grow(vm: VM, vcpus: int, memory_mib: int) -> str | None:
    """Return why a VM's own host cannot give it another size, or None.

    Locks the hosts of its cluster until the transaction ends.
    """
    for candidate in candidates(vm.cluster, vm.tenant, lock=True):
        if candidate.host.pk == vm.host_id:
            candidate.vcpus_taken -= vm.vcpus
            candidate.memory_taken_mib -= vm.memory_mib
            return candidate.refusal(vcpus, memory_mib)
    return "state"


def place_on(host: Host, cluster: Cluster, tenant: Tenant, *, vcpus: int, memory_mib: int) -> Host:
    """Return that host with the cluster's hosts locked. Raises NoCapacity if it cannot take it."""
    chosen = [
        candidate
        for candidate in candidates(cluster, tenant, lock=True)
        if candidate.host.pk == host.pk
    ]
    if not chosen or chosen[0].refusal(vcpus, memory_mib) is not None:
        raise refuse(cluster, chosen, vcpus, memory_mib)
    return chosen[0].host
