"""Placement: filters that say why a VM does not fit on a host, and a weight that orders the rest.

One set of rules for all who ask: purchases, growth, starts, migrations and failovers choose by it,
the greyed-out sizes and the operators' page *Why not?* explain it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal

from django.db.models import Count, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from compute.hosts import machines
from compute.hosts.groups import GroupRule, rules_for, rules_off
from compute.models import VM, Cluster, GpuDevice, Host, PlacementGroup, Spec
from compute.states.hosts import IN_SERVICE, HostState
from scloud.lib.errors import NoCapacity
from scloud.lib.sizes import size_mib
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled

# A host may be unreachable this long, as when libvirtd restarts, before it takes no more VMs; until
# then it is only the last choice. A job that finds it still unreachable tries again.
SILENCE_GRACE = timedelta(seconds=30)

REASONS = {
    "state": "not available for new VMs",
    "unreachable": "not answering",
    "tags": "without the required tags",
    "machine": "without the VM's machine type",
    "vcpus": "too few vCPUs left",
    "memory": "too little memory left",
    "vcpus_total": "fewer CPUs than the VM needs",
    "gpus": "too few free GPU chips",
    "apart": "has a VM of the placement group already",
    "together": "not the host of the placement group",
    "excluded": "not considered",
    "reserve": "room that is kept for failures",
}
# What keeps a host out whatever it is asked for.
_AWAY = frozenset({"excluded", "state", "unreachable"})


def words_of(tags: str) -> frozenset[str]:
    """Return the tags that a column lists."""
    return frozenset(tags.split())


@dataclass(frozen=True, slots=True)
class Demand:
    """What a VM needs of a host. Memory in MiB, without the overhead."""

    vcpus: int
    memory_mib: int
    gpus: int = 0
    tags: frozenset[str] = frozenset()
    rules: tuple[GroupRule, ...] = ()
    machine_type: str = ""

    def overhead_mib(self, cluster: Cluster) -> int:
        """Return what the VM takes of the host's memory beside its own."""
        return cluster.vm_overhead_mib + self.vcpus * cluster.vcpu_overhead_mib


@dataclass
class Candidate:
    """A host on which a VM may be placed, with the capacity in use. Memory in MiB.

    ``memory_taken_mib`` includes the overhead of the VMs. Of ``vms`` so many are ``arriving``: they
    are on their way, and on another host as well.
    """

    host: Host
    vcpus_taken: int
    memory_taken_mib: int
    vms_of_tenant: int
    vms: int
    gpus_free: int = 0
    excluded: bool = False
    arriving: int = 0

    @property
    def vcpus_total(self) -> int:
        """How many vCPUs it can promise."""
        return int(self.host.vcpus * Decimal(self.host.cluster.cpu_overcommit))

    @property
    def memory_total_mib(self) -> int:
        """The memory without what is kept for the host itself."""
        return self.host.memory_mib - self.host.reserved_memory_mib

    def refusal(self, demand: Demand) -> str | None:
        """Return the key of the first condition that fails, or None."""
        host = self.host
        needed_mib = demand.memory_mib + demand.overhead_mib(host.cluster)
        if self.excluded:
            return "excluded"
        if host.state != HostState.AVAILABLE:
            return "state"
        if self.is_unreachable:
            return "unreachable"
        if demand.tags - words_of(host.tags):
            return "tags"
        if not machines.offers(host, demand.machine_type):
            return "machine"
        if demand.vcpus > host.vcpus:
            return "vcpus_total"
        if self.vcpus_taken + demand.vcpus > self.vcpus_total:
            return "vcpus"
        if self.memory_taken_mib + needed_mib > self.memory_total_mib:
            return "memory"
        if demand.gpus > self.gpus_free:
            return "gpus"
        broken = (rule.refusal(host.pk) for rule in demand.rules)
        return next((key for key in broken if key is not None), None)

    def words(self, demand: Demand) -> str:
        """Return for operators the condition that :meth:`refusal` found, with its figures."""
        host = self.host
        key = self.refusal(demand)
        if key is None:
            return ""
        if key in ("apart", "together"):
            return next(one.words(host.pk) for one in demand.rules if one.refusal(host.pk))
        text = {
            "excluded": gettext("It is not considered for this."),
            "state": gettext("It is: %(state)s."),
            "unreachable": gettext("It has not answered for %(seconds)d s.")
            if host.vcpus
            else gettext("It was never seen."),
            "tags": gettext("It does not have these tags: %(tags)s."),
            "machine": gettext("It does not offer the machine type %(machine)s."),
            "vcpus_total": gettext(
                "It has %(cpus)d CPUs, and a VM of %(vcpus)d vCPU needs as many."
            ),
            "vcpus": gettext("%(taken)d of %(total)d vCPU are taken; %(vcpus)d are needed."),
            "memory": gettext(
                "%(memory_taken)s of %(memory_total)s memory are taken; %(memory)s are needed, "
                "overhead included. %(kept)s are kept for the host."
            ),
            "gpus": gettext("%(free)d GPU chips are free; %(gpus)d are needed."),
        }[key]
        return text % {
            "state": host.get_state_display(),
            "seconds": self.silent_for.total_seconds(),
            "tags": ", ".join(sorted(demand.tags - words_of(host.tags))),
            "machine": demand.machine_type,
            "cpus": host.vcpus,
            "vcpus": demand.vcpus,
            "taken": self.vcpus_taken,
            "total": self.vcpus_total,
            "memory_taken": size_mib(self.memory_taken_mib),
            "memory_total": size_mib(max(0, self.memory_total_mib)),
            "memory": size_mib(demand.memory_mib + demand.overhead_mib(host.cluster)),
            "kept": size_mib(host.reserved_memory_mib),
            "free": self.gpus_free,
            "gpus": demand.gpus,
        }

    @property
    def silent(self) -> bool:
        """Whether the host does not answer at present."""
        return self.host.unreachable_since is not None

    @property
    def silent_for(self) -> timedelta:
        """How long the host has not answered."""
        since = self.host.unreachable_since
        return timedelta(0) if since is None else timezone.now() - since

    @property
    def is_unreachable(self) -> bool:
        """Whether it was never seen, or has been silent for longer than a restart takes."""
        return self.host.vcpus == 0 or (self.silent and self.silent_for > SILENCE_GRACE)

    def take(self, demand: Demand) -> None:
        """Count one more VM of the tenant."""
        self.vcpus_taken += demand.vcpus
        self.memory_taken_mib += demand.memory_mib + demand.overhead_mib(self.host.cluster)
        self.vms_of_tenant += 1
        self.vms += 1
        self.gpus_free -= demand.gpus
        for rule in demand.rules:
            rule.take(self.host.pk)

    def order(self, demand: Demand) -> tuple[bool, int, int, float, str]:
        """Return what orders the hosts that fit: the smallest comes first."""
        return (
            self.silent,
            sum(rule.penalty(self.host.pk) for rule in demand.rules),
            self.vms_of_tenant,
            self.memory_taken_mib / max(1, self.host.memory_mib),
            self.host.pk,
        )


# -- what is kept for failures -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Share:
    """One resource of a cluster: vCPUs, or MiB of memory.

    ``free`` on hosts that take VMs, of which ``kept`` for failures and ``owed`` to VMs whose hosts
    are out of service.
    """

    free: int
    kept: int
    owed: int

    @property
    def left(self) -> int:
        """What may still be sold; below 0 where failures have used the reserve."""
        return self.free - self.kept - self.owed


@dataclass(frozen=True, slots=True)
class Reserve:
    """What a cluster keeps so that the VMs of ``hosts`` of its hosts find room on the others."""

    hosts: int
    vcpus: Share
    memory_mib: Share

    def lack(self, vcpus: int, memory_mib: int) -> str:
        """Return for operators what is short for so much more; empty when it fits."""
        if not self.hosts:
            return ""
        short = [
            gettext(
                "%(resource)s: %(free)d free, %(kept)d kept for the failure of %(hosts)d hosts, "
                "%(owed)d owed to hosts out of service, %(more)d wanted"
            )
            % {
                "resource": name,
                "free": share.free,
                "kept": share.kept,
                "hosts": self.hosts,
                "owed": share.owed,
                "more": more,
            }
            for name, share, more in (
                (gettext("vCPU"), self.vcpus, vcpus),
                (gettext("MB of memory"), self.memory_mib, memory_mib),
            )
            if more > 0 and more > share.left
        ]
        return "; ".join(short)


def reserve_of(cluster: Cluster, of_cluster: Collection[Candidate]) -> Reserve:
    """Return what a cluster keeps for failures.

    Any ``reserve_hosts`` of its hosts may fail at once, and their load has to fit into what is free
    on the rest. That is so for all choices when it is for the hosts whose load and free capacity
    together are largest. Sums only: whether each VM finds a host is not looked at.
    """
    vcpus, memory = [], []
    owed_vcpus = owed_memory = 0
    for one in of_cluster:
        usable = one.host.state == HostState.AVAILABLE and not one.is_unreachable
        if one.host.state not in IN_SERVICE:
            owed_vcpus += one.vcpus_taken
            owed_memory += one.memory_taken_mib
            continue
        vcpus.append((max(0, one.vcpus_total - one.vcpus_taken) * usable, one.vcpus_taken))
        memory.append(
            (max(0, one.memory_total_mib - one.memory_taken_mib) * usable, one.memory_taken_mib)
        )
    return Reserve(
        cluster.reserve_hosts,
        _share(vcpus, cluster.reserve_hosts, owed_vcpus),
        _share(memory, cluster.reserve_hosts, owed_memory),
    )


def _lack(cluster: Cluster, of_cluster: list[Candidate], vcpus: int, memory_mib: int) -> str:
    """Return what the reserve is short of for so much more, by the settings as read with the hosts.

    ``memory_mib`` without the overhead of the vCPUs.
    """
    now = of_cluster[0].host.cluster if of_cluster else cluster
    more_mib = memory_mib + vcpus * now.vcpu_overhead_mib
    return reserve_of(now, of_cluster).lack(vcpus, more_mib)


def _lack_for(cluster: Cluster, of_cluster: list[Candidate], demand: Demand) -> str:
    """Return what the reserve is short of for a VM that holds nothing yet; empty when it fits."""
    now = of_cluster[0].host.cluster if of_cluster else cluster
    memory_mib = demand.memory_mib + now.vm_overhead_mib
    return _lack(now, of_cluster, demand.vcpus, memory_mib)


def _share(hosts: list[tuple[int, int]], reserve_hosts: int, owed: int) -> Share:
    largest = sorted((free + taken for free, taken in hosts), reverse=True)[:reserve_hosts]
    return Share(free=sum(free for free, _taken in hosts), kept=sum(largest), owed=owed)


# -- hosts with what is taken ------------------------------------------------------------------


def candidates(
    cluster: Cluster,
    tenant: Tenant | None,
    *,
    lock: bool = False,
    excluded: Collection[str] = (),
) -> list[Candidate]:
    """Return the hosts of a cluster with the capacity in use, in order of their ids.

    ``lock`` keeps every other placement on these hosts out until the transaction ends. Those that
    are ``excluded`` are there too, and take nothing.
    """
    with scopes_disabled():
        hosts = Host.objects.filter(cluster=cluster).select_related("cluster").order_by("id")
        if lock:
            hosts = hosts.select_for_update(of=("self",))
        taken = _with_load(list(hosts), tenant, excluded)
        if cluster.gpu_type:
            for row in (
                GpuDevice.objects.filter(
                    host__in=list(taken), gpu_type=cluster.gpu_type, vm=None, present=True
                )
                .order_by()
                .values("host")
                .annotate(free=Count("id"))
            ):
                taken[row["host"]].gpus_free = row["free"]
    return list(taken.values())


def loads(hosts: list[Host]) -> list[Candidate]:
    """Return hosts of any clusters with the capacity in use, as placement counts it.

    In two queries. The chips of their GPUs are not looked at.
    """
    with scopes_disabled():
        return list(_with_load(hosts, None, ()).values())


def _with_load(
    hosts: list[Host], tenant: Tenant | None, excluded: Collection[str]
) -> dict[str, Candidate]:
    taken = {host.pk: Candidate(host, 0, 0, 0, 0, excluded=host.pk in excluded) for host in hosts}
    # A VM on its way to a host takes capacity there as well as where it still runs. One that
    # failed or was destroyed has a host as long as nobody knows that it is off it.
    for place in ("host", "destination"):
        for row in (
            VM.objects.filter(**{f"{place}__in": hosts})
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
            of_it = candidate.host.cluster
            candidate.vcpus_taken += row["vcpus"]
            candidate.memory_taken_mib += (
                row["memory"]
                + row["vms"] * of_it.vm_overhead_mib
                + row["vcpus"] * of_it.vcpu_overhead_mib
            )
            candidate.vms_of_tenant += row["mine"]
            candidate.vms += row["vms"]
            if place == "destination":
                candidate.arriving += row["vms"]
    return taken


def tags_of(cluster: Cluster, vcpus: int, memory_mib: int) -> frozenset[str]:
    """Return the tags that a size of a cluster asks of its host; none of one that is gone."""
    spec = Spec.objects.filter(cluster=cluster, vcpus=vcpus, memory_mib=memory_mib).first()
    return frozenset() if spec is None else words_of(spec.required_tags)


def demand_for(spec: Spec, gpus: int = 0) -> Demand:
    """Return what a new VM of a size needs."""
    return Demand(spec.vcpus, spec.memory_mib, gpus, words_of(spec.required_tags))


def demand_of(vm: VM, *, vcpus: int | None = None, memory_mib: int | None = None) -> Demand:
    """Return what a VM needs, or would need with another size, with the rules of its groups.

    Read them after the hosts were locked.
    """
    vcpus, memory_mib = vcpus or vm.vcpus, memory_mib or vm.memory_mib
    return Demand(
        vcpus,
        memory_mib,
        vm.gpu_count,
        tags_of(vm.cluster, vcpus, memory_mib),
        rules_for(vm),
        vm.machine_type,
    )


def demands_off(host: Host, vms: Collection[VM]) -> dict[str, Demand]:
    """Return by id what VMs need that are all taken off a host, as if it were emptied already.

    Sizes and groups are read once for all of them.
    """
    sizes = Spec.objects.filter(cluster=host.cluster_id)
    tags = {
        (vcpus, memory_mib): words_of(required)
        for vcpus, memory_mib, required in sizes.values_list("vcpus", "memory_mib", "required_tags")
    }
    rules = rules_off(host, vms)
    return {
        vm.pk: Demand(
            vm.vcpus,
            vm.memory_mib,
            vm.gpu_count,
            tags.get((vm.vcpus, vm.memory_mib), frozenset()),
            rules[vm.pk],
            vm.machine_type,
        )
        for vm in vms
    }


# -- choosing ----------------------------------------------------------------------------------


def refuse(
    cluster: Cluster, of_cluster: list[Candidate], demand: Demand, lack: str = ""
) -> NoCapacity:
    """Return the error for the tenant; its detail says which condition failed on how many hosts.

    ``lack`` is what the reserve is short of, where that is why.
    """
    counts = Counter(candidate.refusal(demand) or "" for candidate in of_cluster)
    counts.pop("", None)
    said = "; ".join(f"{REASONS[key]}: {n} host{'s' * (n != 1)}" for key, n in counts.items())
    if lack:
        said = f"{said}; {REASONS['reserve']}: {lack}" if said else f"{REASONS['reserve']}: {lack}"
    size = f"{demand.vcpus} vCPU, {demand.memory_mib} MiB"
    if demand.gpus:
        size += f", {demand.gpus} {cluster.gpu_type}"
    # What a tenant can do nothing about, such as a group of the operators, is not spoken of.
    own = any(rule.group.tenant_id is not None for rule in demand.rules)
    # Hosts that take nothing now, whatever it is, say nothing of the machine type.
    if set(counts) - _AWAY == {"machine"}:
        words = gettext("No host offers the machine type %(machine)s.")
        remedy = gettext("Update the machine type of the VM while it is stopped.")
        if not _AWAY.isdisjoint(counts):
            words = gettext("No host that is available offers the machine type %(machine)s.")
            remedy = gettext(
                "Try again later, or update the machine type of the VM while it is stopped."
            )
        return NoCapacity(
            words % {"machine": demand.machine_type},
            code="machine_type_missing",
            remedy=remedy,
            detail=f"Hosts of {cluster.pk} for {size}: {said}.",
        )
    by_rule = own and not lack and any(key in counts for key in ("apart", "together"))
    remedy = gettext("Choose a smaller size or another model, or try again later.")
    if by_rule:
        remedy = gettext(
            "No host meets the rule of the placement group. Choose another group or none, or try "
            "again later."
        )
    return NoCapacity(
        gettext("This size is not available here right now."),
        field="placement_group" if by_rule else "spec",
        remedy=remedy,
        numbers={"vcpus": demand.vcpus, "memory_mib": demand.memory_mib},
        detail=f"Hosts of {cluster.pk} for {size}: {said or 'there are none'}.",
    )


def choose(
    cluster: Cluster,
    of_cluster: list[Candidate],
    demand: Demand,
    *,
    count: int = 1,
    adds: bool = False,
) -> list[Host]:
    """Choose a host for each of ``count`` like VMs among candidates; counts them there.

    ``adds`` says that the VMs hold no capacity of the cluster yet, so that its reserve has to stay
    free. Raises NoCapacity when not all of them find one.
    """
    chosen: list[Host] = []
    for _ in range(count):
        fitting = [one for one in of_cluster if one.refusal(demand) is None]
        lack = ""
        if adds:
            lack = _lack_for(cluster, of_cluster, demand)
        if not fitting or lack:
            raise refuse(cluster, of_cluster, demand, lack)
        best = min(fitting, key=lambda one: one.order(demand))
        best.take(demand)
        chosen.append(best.host)
    return chosen


def place(
    cluster: Cluster,
    tenant: Tenant,
    *,
    vcpus: int,
    memory_mib: int,
    gpus: int = 0,
    count: int = 1,
    group: PlacementGroup | None = None,
) -> list[Host]:
    """Choose a host for each of ``count`` new VMs and lock the hosts until the transaction ends.

    Raises NoCapacity when not all of them find one, or the reserve would be touched. The rule of
    the ``group`` comes first, then a tenant's VMs spread: the host with the fewest of them, then
    the one with the most memory left.
    """
    of_cluster = candidates(cluster, tenant, lock=True)
    demand = Demand(
        vcpus,
        memory_mib,
        gpus,
        tags_of(cluster, vcpus, memory_mib),
        () if group is None else (GroupRule.of(group),),
    )
    return choose(cluster, of_cluster, demand, count=count, adds=True)


def place_vm(
    vm: VM,
    *,
    vcpus: int | None = None,
    memory_mib: int | None = None,
    excluded: Collection[str] = (),
    spare: bool = False,
) -> Host:
    """Choose another host for a VM, perhaps with another size; lock the hosts of its cluster.

    One that holds capacity of a host already may go to any other; for what it did not hold, the
    reserve of the cluster has to stay free, unless ``spare`` lets it use that. Raises NoCapacity.
    """
    of_cluster = candidates(vm.cluster, vm.tenant, lock=True, excluded=excluded)
    demand = demand_of(vm, vcpus=vcpus, memory_mib=memory_mib)
    if vm.host_id is not None:
        lack = _growth_lack(vm, of_cluster, demand)
        if lack:
            raise refuse(vm.cluster, of_cluster, demand, lack)
    return choose(vm.cluster, of_cluster, demand, adds=vm.host_id is None and not spare)[0]


def place_on(host: Host, vm: VM) -> Host:
    """Return that host with the cluster's hosts locked. Raises NoCapacity if it cannot take it."""
    chosen = [one for one in candidates(vm.cluster, vm.tenant, lock=True) if one.host.pk == host.pk]
    demand = demand_of(vm)
    if any(one.refusal(demand) == "machine" for one in chosen):
        raise NoCapacity(
            gettext("This host does not offer the machine type %(machine)s.")
            % {"machine": demand.machine_type},
            code="machine_type_missing",
            field="host",
            remedy=gettext("Choose another host."),
            detail=refuse(vm.cluster, chosen, demand).detail,
        )
    return choose(vm.cluster, chosen, demand)[0]


def rule_against(vm: VM, host: Host) -> str:
    """Return for operators which required rule of its groups a VM breaks on a host; else empty.

    The hosts of its cluster stay locked until the transaction ends where it is in a group.
    """
    if vm.placement_group_id is None and vm.operators_group_id is None:
        return ""
    candidates(vm.cluster, None, lock=True)
    return rule_broken(vm, host)


def rule_broken(vm: VM, host: Host) -> str:
    """Return the same as it is at this moment; locks nothing."""
    if vm.placement_group_id is None and vm.operators_group_id is None:
        return ""
    broken = (one for one in rules_for(vm) if one.refusal(host.pk) is not None)
    return next((one.words(host.pk) for one in broken), "")


def why_not(cluster: Cluster, of_cluster: list[Candidate], demand: Demand) -> str | None:
    """Return why a size fits nowhere at present (for the greyed-out spec), or None."""
    lack = _lack_for(cluster, of_cluster, demand)
    if not lack and any(one.refusal(demand) is None for one in of_cluster):
        return None
    return refuse(cluster, of_cluster, demand, lack).message


def _growth_lack(vm: VM, of_cluster: list[Candidate], demand: Demand) -> str:
    """Return what the reserve is short of for what a VM would take more than now."""
    return _lack(vm.cluster, of_cluster, demand.vcpus - vm.vcpus, demand.memory_mib - vm.memory_mib)


def refusal_to_grow(vm: VM, vcpus: int, memory_mib: int) -> tuple[str, str] | None:
    """Return why a VM's own host cannot give it another size: a key of REASONS and the figures.

    None when it can. Locks the hosts of its cluster until the transaction ends.
    """
    of_cluster = candidates(vm.cluster, vm.tenant, lock=True)
    # Where it runs, it stays: the rules of its groups were looked at when it went there.
    demand = replace(demand_of(vm, vcpus=vcpus, memory_mib=memory_mib), rules=(), machine_type="")
    lack = _growth_lack(vm, of_cluster, demand)
    if lack:
        return "reserve", lack
    for one in of_cluster:
        if one.host.pk == vm.host_id:
            one.vcpus_taken -= vm.vcpus
            own = Demand(vm.vcpus, vm.memory_mib)
            one.memory_taken_mib -= vm.memory_mib + own.overhead_mib(one.host.cluster)
            # Its chips are its own already.
            one.gpus_free += vm.gpu_count
            key = one.refusal(demand)
            return None if key is None else (key, one.words(demand))
    return "state", REASONS["state"]


# -- for operators -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What placement says of one host; ``reason`` is empty where it would take the VM.

    ``order`` is its place among those that would, from 1.
    """

    candidate: Candidate
    reason: str
    order: int | None = None


@dataclass(frozen=True)
class Explanation:
    """What placement would do with a VM now: the hosts, best first, and the cluster's reserve."""

    verdicts: list[Verdict]
    reserve: Reserve
    lack: str
    refused: bool
    notes: list[str] = field(default_factory=list)


def explain(
    cluster: Cluster,
    tenant: Tenant | None,
    *,
    spec: Spec,
    gpus: int = 0,
    group: PlacementGroup | None = None,
) -> Explanation:
    """Say for each host of a cluster why it would or would not take a new VM; changes nothing."""
    of_cluster = candidates(cluster, tenant)
    with scopes_disabled():
        rules = () if group is None else (GroupRule.of(group),)
    demand = replace(demand_for(spec, gpus), rules=rules)
    reasons = {one.host.pk: one.words(demand) for one in of_cluster}
    fitting = [one for one in of_cluster if not reasons[one.host.pk]]
    fitting.sort(key=lambda one: one.order(demand))
    reserve = reserve_of(cluster, of_cluster)
    lack = _lack_for(cluster, of_cluster, demand)
    verdicts = [Verdict(one, "", number) for number, one in enumerate(fitting, start=1)]
    verdicts += [Verdict(one, reasons[one.host.pk]) for one in of_cluster if reasons[one.host.pk]]
    notes = []
    if reserve.hosts:
        notes.append(
            ngettext(
                "Room for the VMs of %(hosts)d host is kept free.",
                "Room for the VMs of %(hosts)d hosts is kept free.",
                reserve.hosts,
            )
            % {"hosts": reserve.hosts}
        )
    return Explanation(verdicts, reserve, lack, bool(lack) or not fitting, notes)
