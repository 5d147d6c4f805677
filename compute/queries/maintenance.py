"""What maintenance would do and has done: dry runs, progress, and who may be next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Case, CharField, Count, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.utils.translation import gettext as _

from compute.hosts import placement
from compute.hosts.admission import that_served
from compute.hosts.witnesses import FRESH, Sighting
from compute.models import VM, ClusterRoll, Departure, Host, HostMaintenance
from compute.rules.refusals import vm_refusal
from compute.states.hosts import IN_SERVICE, Witness
from compute.states.maintenance import DepartureState, MaintenanceEnd
from compute.states.vms import VmStatus
from compute.verbs.vms import VMS
from scloud.jobs.models import ACTIVE, Job
from scloud.tenancy.scoping import scopes_disabled

#: So many VMs of a host are shown one by one.
SHOWN: Final = 500
#: Where a VM stands of which nothing runs, and nothing is about to.
_AT_REST: Final = (
    VmStatus.STOPPED,
    VmStatus.EXPIRED,
    VmStatus.FAILED,
    VmStatus.BINNED,
    VmStatus.DESTROYED,
)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would become of a VM whose host enters maintenance now.

    ``problem`` says why it would not simply be moved; ``homeless`` that no host has room for it.
    """

    vm: VM
    words: str
    problem: str = ""
    homeless: bool = False


def forecast(host: Host) -> list[Forecast]:
    """Return what would become of each VM of a host, the largest first.

    They are placed one after the other on the other hosts of the cluster as these are now; a
    stopped one takes no room until it starts. Their groups leave the host with them: the first of
    one that stays together goes anywhere, and the others follow it. The number of queries does not
    depend on that of the VMs.
    """
    with scopes_disabled():
        rows = VM.objects.filter(host=host).select_related("tenant", "cluster", "host")
        vms = sorted(rows, key=lambda vm: (-vm.memory_mib, -vm.vcpus, vm.pk))
        others = [one for one in placement.candidates(host.cluster, None) if one.host.pk != host.pk]
        demands = placement.demands_off(host, vms)
        return [_forecast(vm, others, demands[vm.pk]) for vm in vms]


def _forecast(vm: VM, others: Sequence[placement.Candidate], demand: placement.Demand) -> Forecast:
    if not vm.task and vm.status in _AT_REST:
        return Forecast(vm, _("It is off: its next start is on another host."))
    fitting = [one for one in others if one.refusal(demand) is None]
    if not fitting:
        refused = placement.refuse(vm.cluster, list(others), demand)
        words = _("No other host has room for it.")
        return Forecast(vm, words, problem=f"{words} {refused.detail}", homeless=True)
    best = min(fitting, key=lambda one: one.order(demand))
    best.take(demand)
    cannot = cannot_move(vm)
    if cannot:
        return Forecast(vm, cannot, problem=cannot)
    return Forecast(vm, _("It is moved while it runs."))


def cannot_move(vm: VM) -> str:
    """Return why a VM cannot be moved while it runs, whatever is waited for; empty if it can."""
    if vm.gpu_count:
        return _("It has a GPU, so it cannot be moved while it runs.")
    if vm.is_paused:
        return _("It is paused. Resume it, or power it off.")
    if vm.task or vm.status != VmStatus.RUNNING:
        return ""
    return vm_refusal(vm, "migrate_vm") or ""


@dataclass(frozen=True, slots=True)
class Progress:
    """A VM that leaves, or has left, its host, for operators.

    ``state`` is how far it is and ``reason`` why, ``label`` how the VM stands.
    """

    departure: Departure
    vm: VM
    state: DepartureState
    reason: str
    label: str
    place: str


def progress(maintenance: HostMaintenance) -> list[Progress]:
    """Return how far the VMs of a maintenance are: those that have not left first.

    One that was shut down for it and has left waits until it is started.
    """
    with scopes_disabled():
        rows = (
            _as_shown(maintenance)
            .annotate(over=Case(When(shown=DepartureState.MOVED, then=Value(1)), default=Value(0)))
            .select_related("vm__host", "vm__tenant")
            .order_by("over", "shown", "vm__name", "pk")[:SHOWN]
        )
        found = []
        for row in rows:
            vm = row.vm
            still_waits = row.state != row.shown
            found.append(
                Progress(
                    row,
                    vm,
                    DepartureState(row.shown),
                    f"{vm.failure} {vm.failure_detail}".strip() if still_waits else row.note,
                    VMS.label(vm.standing, vm.task),
                    vm.host.name if vm.host is not None else "",
                )
            )
        return found


def counts(maintenance: HostMaintenance) -> dict[str, int]:
    """Return how many VMs of a maintenance are how far."""
    rows = _as_shown(maintenance).order_by().values("shown").annotate(vms=Count("pk"))
    return {row["shown"]: row["vms"] for row in rows}


def _as_shown(maintenance: HostMaintenance) -> QuerySet[Any]:
    """Return the VMs of a maintenance with how far they are as ``shown``."""
    waits = When(
        state=DepartureState.MOVED,
        waits_since=F("vm__failover_since"),
        then=Value(DepartureState.WAITING),
    )
    shown = Case(waits, default=F("state"), output_field=CharField())
    rows: QuerySet[Any] = maintenance.departures.annotate(shown=shown)
    return rows


def waiting_of(host: Host) -> QuerySet[VM]:
    """Return the VMs of a host that wait to be started again; needs a scope.

    Those that were shut down for its maintenance are on none by now.
    """
    left = Departure.objects.filter(
        maintenance__host=host, vm=OuterRef("pk"), waits_since=OuterRef("failover_since")
    )
    rows: QuerySet[VM] = VM.objects.exclude(failover_since=None)
    return rows.filter(Q(host=host) | Q(Exists(left), host=None))


def waiting_by_host() -> Counter[str]:
    """Return by id of a host how many VMs :meth:`waiting_of` returns, in two queries."""
    with scopes_disabled():
        there = VM.objects.exclude(Q(failover_since=None) | Q(host=None))
        left = Departure.objects.filter(waits_since=F("vm__failover_since"), vm__host=None)
        return Counter(there.values_list("host_id", flat=True)) + Counter(
            left.values_list("maintenance__host_id", flat=True)
        )


def jobs_that_may_return_to(host: Host) -> QuerySet[Job]:
    """Return the active jobs at whose end a VM may belong to a host again that its row left.

    A VM that gets another size on another host is taken off this one at the end, one that starts
    elsewhere while it does, or is started again after a failure.
    """
    return Job.objects.filter(
        Q(kind="vm.modify", payload__before__host=host.pk)
        | Q(kind__in=("vm.start", "vm.fail_over"), payload__left=host.pk),
        status__in=ACTIVE,
    )


def vms_on(host: Host) -> list[VM]:
    """Return all VMs of which something is on a host, or may come there."""
    with scopes_disabled():
        return list(VM.objects.filter(Q(host=host) | Q(destination=host)))


def silent_witnesses(sightings: Iterable[Sighting], now: datetime) -> list[Witness]:
    """Return which witnesses of a host that are asked at present do not answer.

    libvirt is among them when nobody asks it.
    """
    asked: set[Witness] = {Witness.LIBVIRT}
    answer: set[Witness] = set()
    for one in sightings:
        if now - one.asked_at > FRESH:
            continue
        asked.add(one.witness)
        if one.answers:
            answer.add(one.witness)
    return sorted(asked - answer)


# -- clusters, host by host --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a roll stands: its hosts by what has become of them.

    ``maintenance`` is the one that is going on; its host is the one of ``current``.
    """

    done: list[Host]
    current: Host | None
    left: list[Host]
    maintenance: HostMaintenance | None


def standing(roll: ClusterRoll) -> Standing:
    """Return what is done, current and left. Hosts that were removed meanwhile are left out."""
    hosts = {
        host.pk: host
        for host in Host.objects.filter(pk__in=roll.hosts, cluster=roll.cluster_id).select_related(
            "cluster"
        )
    }
    rows = list(roll.maintenances.all())
    left_it = {row.host_id for row in rows if row.end == MaintenanceEnd.LEFT}
    going_on = next((row for row in rows if row.ended_at is None), None)
    current = None if going_on is None else hosts.get(going_on.host_id)
    done: list[Host] = []
    left: list[Host] = []
    for pk in roll.hosts:
        if pk not in hosts or hosts[pk] == current:
            continue
        (done if pk in left_it else left).append(hosts[pk])
    return Standing(done, current, left, going_on)


def unhealthy(cluster_id: str) -> list[Host]:
    """Return the hosts of a cluster that are not in service any more, or do not answer."""
    rows = that_served(cluster_id).order_by("name")
    return [
        host
        for host in rows
        if host.state not in IN_SERVICE or host.unreachable_since is not None or host.vcpus == 0
    ]


def obstacle(host: Host) -> str:
    """Return why a host cannot be the next of its cluster; empty when it can."""
    bad = unhealthy(host.cluster_id)
    if bad:
        names = ", ".join(
            _("%(name)s (%(state)s)")
            % {
                "name": one.name,
                "state": _("does not answer")
                if one.unreachable_since is not None
                else one.get_state_display(),
            }
            for one in bad
        )
        return _("All hosts of the cluster have to be in service: %(hosts)s.") % {"hosts": names}
    homeless = [one.vm.name for one in forecast(host) if one.homeless]
    if homeless:
        shown = ", ".join(homeless[:5])
        return _("The other hosts have no room for %(number)d VMs of %(host)s: %(names)s.") % {
            "number": len(homeless),
            "host": host.name,
            "names": shown,
        }
    return ""
