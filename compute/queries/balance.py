"""What the rows say of load balancing: who takes part, what prevents it, what it did."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Count, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Greatest
from django.utils import timezone
from django.utils.translation import gettext as _

from compute.hosts import balance, placement
from compute.hosts.admission import that_served
from compute.hosts.balance import Figures, Guest, Limits, Move, Node, Plan
from compute.models import VM, BalanceProposal, Cluster, Disk, VmMove
from compute.queries.maintenance import cannot_move
from compute.states.hosts import IN_SERVICE, HostState
from compute.states.vms import VmStatus, VmTask
from scloud.jobs.models import Job
from scloud.tenancy.scoping import scopes_disabled

#: What is older says nothing any more, as when the rows were waited for.
FRESH: Final = timedelta(minutes=2)
SHOWN: Final = 20
#: VMs of which something is on its way between hosts.
_MOVING: Final = Q(task__in=[VmTask.MIGRATING, VmTask.FAILING_OVER]) | Q(destination__isnull=False)
#: States of hosts that are being given up, or taken back.
_CHANGING: Final = (HostState.SUSPECT, HostState.ENTERING_MAINTENANCE, HostState.RETURNING)


def look(cluster: Cluster, figures: Figures, now: datetime | None = None) -> Plan:
    """Return what would be moved now, or why nothing; changes and locks nothing."""
    now = now or timezone.now()
    with scopes_disabled():
        words = obstacle(cluster, now)
        if words:
            return Plan(words)
        of_cluster = placement.candidates(cluster, None)
        hot = balance.hottest(Limits.of_cluster(cluster), figures.hosts)
        vms = _vms(VM.objects.filter(host__in=hot, cluster=cluster))
        return _plan(cluster, of_cluster, vms, figures, now)


def look_again(cluster: Cluster, move: Move, figures: Figures, now: datetime) -> Plan:
    """Return that move once more if it would be made now too, or why not.

    The hosts of the cluster stay locked until the transaction ends.
    """
    with scopes_disabled():
        if now - figures.at > FRESH:
            return Plan(_("The figures are too old."))
        of_cluster = placement.candidates(cluster, None, lock=True)
        words = obstacle(cluster, now)
        if words:
            return Plan(words)
        vms = _vms(VM.objects.filter(pk=move.vm, host=move.source, cluster=cluster))
        ends = frozenset({move.source, move.destination})
        return _plan(cluster, of_cluster, vms, figures, now, ends=ends)


def _vms(rows: QuerySet[VM]) -> list[VM]:
    return list(rows.select_related("tenant", "cluster", "host"))


def _plan(
    cluster: Cluster,
    of_cluster: Sequence[placement.Candidate],
    vms: Sequence[VM],
    figures: Figures,
    now: datetime,
    *,
    ends: Collection[str] | None = None,
) -> Plan:
    """Plan between all hosts of a cluster, or between ``ends``; its reserve is that of all."""
    limits = Limits.of_cluster(cluster)
    since = now - max(limits.host_rest, limits.vm_rest)
    hosts = _moved_hosts(cluster, since)
    moved = _moved_vms([vm.pk for vm in vms], since)
    busy = set(
        Disk.objects.filter(vm__in=[vm.pk for vm in vms])
        .exclude(task="")
        .values_list("vm", flat=True)
    )
    return balance.plan(
        limits,
        [
            _node(one, hosts.get(one.host.pk))
            for one in of_cluster
            if ends is None or one.host.pk in ends
        ],
        [_guest(vm, moved.get(vm.pk), vm.pk in busy) for vm in vms],
        figures,
        _Placing(of_cluster, vms),
        now,
    )


class _Placing:
    """What placement says of VMs on hosts; asks once for all that are alike and in no group.

    Groups are as the VM's row was read: the order asks placement itself, with the hosts locked.
    """

    def __init__(self, of_cluster: Sequence[placement.Candidate], vms: Sequence[VM]) -> None:
        self._hosts = {one.host.pk: one for one in of_cluster}
        self._vms = {vm.pk: vm for vm in vms}
        self._demands: dict[object, placement.Demand] = {}
        self._refused: dict[tuple[object, str], bool] = {}

    def __call__(self, vm: str, host: str) -> bool:
        """Whether a host takes a VM, without a preferred rule kept less than now."""
        row = self._vms[vm]
        like: object = vm
        if row.placement_group_id is None and row.operators_group_id is None:
            like = (row.vcpus, row.memory_mib, row.gpu_count, row.machine_type)
        if like not in self._demands:
            self._demands[like] = placement.demand_of(row)
        demand = self._demands[like]
        if (like, host) not in self._refused:
            self._refused[like, host] = self._hosts[host].refusal(demand) is not None
        here = row.host_id or ""
        if self._refused[like, host] or self._spends(here, host, demand):
            return False
        return all(rule.penalty(host) <= rule.penalty(here) for rule in demand.rules)

    def _spends(self, here: str, there: str, demand: placement.Demand) -> bool:
        """Whether a move takes of what is kept for failures.

        Between hosts in service it does not, but where the source has more than its own capacity.
        """
        source, place = self._hosts[here], self._hosts[there]
        cluster = source.host.cluster
        is_overfull = (
            source.vcpus_taken > source.vcpus_total
            or source.memory_taken_mib > source.memory_total_mib
        )
        if not cluster.reserve_hosts or not is_overfull:
            return False
        size_mib = demand.memory_mib + demand.overhead_mib(cluster)
        after = {
            **self._hosts,
            here: replace(
                source,
                vcpus_taken=source.vcpus_taken - demand.vcpus,
                memory_taken_mib=source.memory_taken_mib - size_mib,
            ),
            there: replace(
                place,
                vcpus_taken=place.vcpus_taken + demand.vcpus,
                memory_taken_mib=place.memory_taken_mib + size_mib,
            ),
        }
        now = placement.reserve_of(cluster, self._hosts.values())
        then = placement.reserve_of(cluster, after.values())
        return then.vcpus.left < now.vcpus.left or then.memory_mib.left < now.memory_mib.left


def _node(one: placement.Candidate, moved_at: datetime | None) -> Node:
    host, words = one.host, ""
    if host.state != HostState.AVAILABLE:
        words = _("It is: %(state)s.") % {"state": host.get_state_display()}
    elif one.silent or one.is_unreachable:
        words = _("It does not answer.")
    return Node(host.pk, host.name, host.vcpus, host.memory_mib, words, moved_at)


def _guest(vm: VM, moved_at: datetime | None, busy: bool) -> Guest:
    words = cannot_move(vm)
    if not words and (vm.task or busy):
        words = _("It is busy.")
    elif not words and vm.status != VmStatus.RUNNING:
        words = _("It does not run.")
    return Guest(vm.pk, vm.name, vm.host_id or "", vm.memory_mib, words, moved_at)


def obstacle(cluster: Cluster, now: datetime) -> str:
    """Return what keeps a whole cluster from moving VMs because of load now; else empty."""
    zone = cluster.balance_time_zone
    if not balance.is_open(now, cluster.balance_from, cluster.balance_until, zone):
        words = _("Moves are allowed from %(start)s until %(end)s (%(zone)s).")
        return words % {
            "start": f"{cluster.balance_from:%H:%M}",
            "end": f"{cluster.balance_until:%H:%M}",
            "zone": zone,
        }
    hosts = that_served(cluster).order_by("name")
    # One that is off, and whose VMs run elsewhere by now, keeps nobody from anything.
    given_up = Q(state__in=_CHANGING) | Q(
        state__in=[HostState.FENCED, HostState.DOWN], off_seen_at=None
    )
    changing = hosts.filter(given_up).first()
    if changing is not None:
        words = _("%(host)s is: %(state)s.")
        return words % {"host": changing.name, "state": changing.get_state_display()}
    if cluster.rolls.filter(ended_at=None, going_on=True).exists():
        return _("The next host of a rolling maintenance is about to enter it.")
    silent = hosts.filter(state__in=IN_SERVICE).exclude(unreachable_since=None).first()
    if silent is not None:
        return _("%(host)s does not answer.") % {"host": silent.name}
    vms = VM.objects.filter(cluster=cluster)
    # Where hosts are not failed over nothing starts them.
    if cluster.failover and vms.exclude(failover_since=None).exists():
        return _("VMs wait for their failover.")
    if vms.filter(_MOVING).exists():
        return _("A VM of the cluster is being moved.")
    return ""


# -- what was moved lately ---------------------------------------------------------------------


def _tried(since: datetime) -> QuerySet[Any]:
    """Return what load balancing ordered: an attempt that failed counts as a move, from its end.

    Each with ``tried_at``, when it ended; while it goes on, when it was ordered.
    """
    ended = Job.objects.filter(pk=OuterRef("job")).values("finished_at")[:1]
    # The later one; of a job that has not ended, or is forgotten, there is one only.
    rows: QuerySet[Any] = BalanceProposal.objects.annotate(
        tried_at=Greatest("last_at", Subquery(ended))
    )
    return rows.exclude(job="").filter(tried_at__gt=since)


def _latest(pairs: Collection[tuple[str, datetime]]) -> dict[str, datetime]:
    found: dict[str, datetime] = {}
    for pk, at in pairs:
        found[pk] = max(at, found.get(pk, at))
    return found


def _moved_hosts(cluster: Cluster, since: datetime) -> dict[str, datetime]:
    """Return when a VM last moved from or to each host of a cluster, whoever ordered it.

    One that started there after it was on no host has moved to it.
    """
    pairs: list[tuple[str, datetime]] = []
    for end in ("source", "destination"):
        moves = VmMove.objects.filter(**{f"{end}__cluster": cluster}, at__gt=since)
        pairs += moves.order_by().values_list(end).annotate(latest=Max("at"))
        tried = _tried(since).filter(cluster=cluster)
        pairs += tried.order_by().values_list(end, "tried_at")
    return _latest(pairs)


def _moved_vms(vms: Collection[str], since: datetime) -> dict[str, datetime]:
    """Return when each of some VMs last moved, whoever ordered it."""
    moves = VmMove.objects.filter(vm__in=vms, at__gt=since)
    tried = _tried(since).filter(vm__in=vms)
    return _latest(
        [
            *moves.order_by().values_list("vm").annotate(latest=Max("at")),
            *tried.order_by().values_list("vm", "tried_at"),
        ]
    )


def last_moves(cluster: Cluster) -> list[VmMove]:
    """Return the last moves of VMs from or to the hosts of a cluster, the newest first."""
    with scopes_disabled():
        rows = VmMove.objects.filter(
            Q(source__cluster=cluster) | Q(destination__cluster=cluster)
        ).select_related("vm", "source", "destination")
        return list(rows[:SHOWN])


def last_proposals(cluster: Cluster) -> list[BalanceProposal]:
    """Return what load balancing last proposed or ordered in a cluster, the newest first."""
    with scopes_disabled():
        rows = BalanceProposal.objects.filter(cluster=cluster)
        return list(rows.select_related("vm", "source", "destination")[:SHOWN])


def vms_by_host(cluster: Cluster) -> dict[str, int]:
    """Return how many VMs run on each host of a cluster."""
    with scopes_disabled():
        rows = VM.objects.filter(cluster=cluster, status=VmStatus.RUNNING).exclude(host=None)
        return dict(rows.order_by().values_list("host").annotate(number=Count("pk")))
