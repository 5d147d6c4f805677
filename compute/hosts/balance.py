"""Load balancing: which VM of a cluster would be moved now because of load, and why, or why none.

:func:`plan` asks nothing and changes nothing: it is given what was measured, what the rows say, and
a function that knows what placement says of a VM on a host.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from compute.models import Cluster

#: Over which loads are taken; hosts and VMs rest at least so long after a move.
WINDOW: Final = timedelta(minutes=10)
#: The share of its host that a VM has to use: less is not worth a move.
LEAST: Final = 0.01
#: So many of the most pressed hosts are looked at in a round, and so many VMs of each are offered
#: to placement.
LOOKED_AT: Final = 50
OFFERED: Final = 20

#: Whether placement would have a VM, by id, on a host, by id.
Fits = Callable[[str, str], bool]


class Resource(StrEnum):
    """What a host is short of."""

    CPU = "cpu"
    MEMORY = "memory"


# -- what is measured --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostLoad:
    """How busy a host was over the window; shares of the host, 0 to 1.

    ``cpu`` is the CPU time that was used, ``steal`` what VMs wanted beyond that and did not get
    (None where it is not known), ``memory`` what is in use now and then, not what was sold.
    """

    cpu: float
    memory: float
    steal: float | None = None

    @property
    def wanted(self) -> float:
        """The CPU time that was used or waited for; above 1 on a host that is overloaded."""
        return self.cpu + (self.steal or 0.0)

    def of(self, resource: Resource) -> float:
        """Return the load of a resource."""
        return self.wanted if resource is Resource.CPU else self.memory


@dataclass(frozen=True, slots=True)
class VmLoad:
    """What a VM used of its host over the window: CPUs (1 is one of them all the time) and MiB.

    CPUs with what it waited for, so that it is what the VM uses on a host with room.
    """

    cpus: float
    memory_mib: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured until ``at``, by id. What has no fresh figures is missing."""

    at: datetime
    hosts: Mapping[str, HostLoad] = field(default_factory=dict)
    vms: Mapping[str, VmLoad] = field(default_factory=dict)


# -- what is set -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings of a cluster; shares 0 to 1."""

    cpu: float = 0.8
    memory: float = 0.9
    steal: float = 0.1
    gain: float = 0.15
    host_rest: timedelta = timedelta(minutes=15)
    vm_rest: timedelta = timedelta(hours=4)

    @classmethod
    def of_cluster(cls, cluster: Cluster) -> Limits:
        """Return what is set; no rest is shorter than the window of the figures."""
        return cls(
            cpu=cluster.balance_cpu_percent / 100,
            memory=cluster.balance_memory_percent / 100,
            steal=cluster.balance_steal_percent / 100,
            gain=cluster.balance_gain_percent / 100,
            host_rest=max(WINDOW, timedelta(minutes=cluster.balance_host_rest_min)),
            vm_rest=max(WINDOW, timedelta(minutes=cluster.balance_vm_rest_min)),
        )

    def of(self, resource: Resource) -> float:
        """Return the threshold of a resource."""
        return self.cpu if resource is Resource.CPU else self.memory

    def pressure(self, load: HostLoad) -> float:
        """Return how near a host is to the threshold that it is nearest to; 1 is at it."""
        return max(
            load.wanted / self.cpu, load.memory / self.memory, (load.steal or 0.0) / self.steal
        )

    def lacks(self, load: HostLoad) -> Resource:
        """Return which resource a host is short of most."""
        cpu = max(load.wanted / self.cpu, (load.steal or 0.0) / self.steal)
        return Resource.CPU if cpu >= load.memory / self.memory else Resource.MEMORY


def hottest(limits: Limits, loads: Mapping[str, HostLoad]) -> list[str]:
    """Return the ids of hosts that are under load, the most pressed first, at most LOOKED_AT."""
    found = [(limits.pressure(load), pk) for pk, load in loads.items()]
    hot = sorted((one for one in found if one[0] >= 1), key=lambda one: (-one[0], one[1]))
    return [pk for _pressure, pk in hot[:LOOKED_AT]]


def is_open(now: datetime, start: time | None, end: time | None, zone: str) -> bool:
    """Tell whether a moment is between two times of day in a zone; they may go over midnight."""
    if start is None or end is None:
        return True
    clock = now.astimezone(ZoneInfo(zone)).time().replace(tzinfo=None, fold=0)
    return start <= clock < end if start < end else clock >= start or clock < end


# -- what the rows say -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Node:
    """A host; ``obstacle`` is why it takes no part, beside rest and figures."""

    pk: str
    name: str
    cpus: int
    memory_mib: int
    obstacle: str = ""
    moved_at: datetime | None = None

    def capacity(self, resource: Resource) -> float:
        """Return CPUs or MiB."""
        return max(1, self.cpus if resource is Resource.CPU else self.memory_mib)


@dataclass(frozen=True, slots=True)
class Guest:
    """A VM on a host; ``obstacle`` is why it cannot be moved while it runs."""

    pk: str
    name: str
    host: str
    memory_mib: int
    obstacle: str = ""
    moved_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """One VM to another host, with the reason in numbers."""

    vm: str
    source: str
    destination: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """At most one move, and in words why it, or why none."""

    reason: str
    move: Move | None = None


# -- planning ----------------------------------------------------------------------------------


#: A host that may take a VM: its load, its capacity, and the host.
_Place = tuple[float, float, Node]


class _Left(StrEnum):
    """Why a VM of a host under load is left where it is."""

    CANNOT = "cannot"
    RESTS = "rests"
    UNMEASURED = "unmeasured"
    SMALL = "small"
    NO_HOST = "no_host"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class _Field:
    """The hosts that take part, and what bounds a move between them."""

    limits: Limits
    loads: Mapping[str, HostLoad]
    vms: Mapping[str, VmLoad]
    #: Those below all thresholds.
    free: Sequence[Node]
    now: datetime

    def rests(self, moved_at: datetime | None, rest: timedelta) -> bool:
        return moved_at is not None and self.now - moved_at < rest

    def after(self, node: Node, load: VmLoad, resource: Resource) -> float:
        """Return what a host would have with a VM more."""
        used = load.cpus if resource is Resource.CPU else load.memory_mib
        return self.loads[node.pk].of(resource) + used / node.capacity(resource)


def plan(
    limits: Limits,
    nodes: Sequence[Node],
    guests: Iterable[Guest],
    figures: Figures,
    fits: Fits,
    now: datetime,
) -> Plan:
    """Return the move that takes most off the most pressed host that can be helped, or why none.

    After it the destination is below every threshold, and below what the source has now by the
    gain: it is not a source then, so that nothing goes back by itself.
    """
    loads = {node.pk: figures.hosts[node.pk] for node in nodes if node.pk in figures.hosts}
    if not loads:
        return Plan(_("No host has fresh figures."))
    hot = _hot(limits, nodes, loads)
    if not hot:
        top = max(
            (node for node in nodes if node.pk in loads),
            key=lambda node: limits.pressure(loads[node.pk]),
        )
        words = _("No host is at a threshold. The one nearest to one is %(host)s: %(load)s.")
        return Plan(words % {"host": top.name, "load": words_of(limits, loads[top.pk])})
    free = [
        node
        for node in nodes
        if node.pk in loads
        and not node.obstacle
        and limits.pressure(loads[node.pk]) < 1
        and not (node.moved_at is not None and now - node.moved_at < limits.host_rest)
    ]
    ground = _Field(limits, loads, figures.vms, free, now)
    by_host: dict[str, list[Guest]] = {node.pk: [] for node in hot}
    for guest in guests:
        if guest.host in by_host:
            by_host[guest.host].append(guest)
    reasons = []
    for node in hot:
        move, words = _relieve(ground, node, by_host[node.pk], fits)
        if move is not None:
            return Plan(move.reason, move)
        reasons.append(words)
    more = len(reasons) - 1
    if more:
        words = ngettext(
            "%(reason)s Nor can %(more)d more host be helped.",
            "%(reason)s Nor can %(more)d more hosts be helped.",
            more,
        )
        return Plan(words % {"reason": reasons[0], "more": more})
    return Plan(reasons[0])


def _hot(limits: Limits, nodes: Sequence[Node], loads: Mapping[str, HostLoad]) -> list[Node]:
    by_pk = {node.pk: node for node in nodes}
    return [by_pk[pk] for pk in hottest(limits, loads)]


def _relieve(
    ground: _Field, node: Node, guests: Sequence[Guest], fits: Fits
) -> tuple[Move | None, str]:
    """Return a move off a host under load, or why there is none."""
    limits, load = ground.limits, ground.loads[node.pk]
    here = {"host": node.name, "load": words_of(limits, load)}
    if node.obstacle:
        words = _("%(host)s is under load (%(load)s), and takes no part: %(reason)s")
        return None, words % {**here, "reason": node.obstacle}
    if ground.rests(node.moved_at, limits.host_rest):
        words = _("%(host)s is under load (%(load)s), and rests after a move.")
        return None, words % here
    resource = limits.lacks(load)
    left: Counter[_Left] = Counter()
    wanted = []
    for guest in guests:
        why = _why_left(ground, node, guest, resource)
        if why is None:
            wanted.append(guest)
        else:
            left[why] += 1
    places: list[_Place] = [
        (ground.loads[one.pk].of(resource), one.capacity(resource), one) for one in ground.free
    ]
    places.sort(key=lambda one: (one[0], one[2].pk))
    wanted.sort(key=lambda guest: _rank(ground, node, guest, resource, places))
    for guest in wanted[:OFFERED]:
        place = _place(ground, node, guest, resource, places, fits)
        if place is not None:
            return _move(ground, node, place, guest, resource), ""
        left[_Left.NO_HOST] += 1
    left[_Left.LATER] += len(wanted[OFFERED:])
    return None, _none_of(here, left)


def _why_left(ground: _Field, node: Node, guest: Guest, resource: Resource) -> _Left | None:
    if guest.obstacle:
        return _Left.CANNOT
    if ground.rests(guest.moved_at, ground.limits.vm_rest):
        return _Left.RESTS
    load = ground.vms.get(guest.pk)
    if load is None:
        return _Left.UNMEASURED
    used = load.cpus if resource is Resource.CPU else load.memory_mib
    return _Left.SMALL if used / node.capacity(resource) < LEAST else None


def _rank(
    ground: _Field, node: Node, guest: Guest, resource: Resource, places: Sequence[_Place]
) -> tuple[float, int, str]:
    """Order VMs: by the higher load of both hosts afterwards, then those with little memory."""
    load = ground.vms[guest.pk]
    used = load.cpus if resource is Resource.CPU else load.memory_mib
    worst = ground.loads[node.pk].of(resource) - used / node.capacity(resource)
    if places:
        worst = max(worst, ground.after(places[0][2], load, resource))
    return round(worst, 2), guest.memory_mib, guest.pk


def _place(
    ground: _Field,
    node: Node,
    guest: Guest,
    resource: Resource,
    places: Sequence[_Place],
    fits: Fits,
) -> Node | None:
    """Return the host with the least load that may take a VM, or None."""
    limits, load = ground.limits, ground.vms[guest.pk]
    used = load.cpus if resource is Resource.CPU else load.memory_mib
    highest = ground.loads[node.pk].of(resource) - limits.gain
    for there, capacity, place in places:
        if there > highest:
            break
        # Placement before the rest of the sums: of a VM that it refuses everywhere it is quicker.
        if there + used / capacity > highest or not fits(guest.pk, place.pk):
            continue
        if all(ground.after(place, load, one) < limits.of(one) for one in Resource):
            return place
    return None


def _move(ground: _Field, node: Node, place: Node, guest: Guest, resource: Resource) -> Move:
    load = ground.vms[guest.pk]
    used = load.cpus if resource is Resource.CPU else load.memory_mib
    before = ground.loads[node.pk].of(resource)
    words = {
        Resource.CPU: _(
            "Load on %(source)s: %(load)s. %(vm)s uses %(used)d %% of its CPUs: %(source)s goes "
            "from %(before)d %% to %(after)d %%, %(destination)s from %(there)d %% to %(then)d %%."
        ),
        Resource.MEMORY: _(
            "Load on %(source)s: %(load)s. %(vm)s uses %(used)d %% of its memory: %(source)s goes "
            "from %(before)d %% to %(after)d %%, %(destination)s from %(there)d %% to %(then)d %%."
        ),
    }[resource]
    share = used / node.capacity(resource)
    reason = words % {
        "source": node.name,
        "destination": place.name,
        "vm": guest.name,
        "load": words_of(ground.limits, ground.loads[node.pk]),
        "used": round(share * 100),
        "before": round(before * 100),
        "after": round((before - share) * 100),
        "there": round(ground.loads[place.pk].of(resource) * 100),
        "then": round(ground.after(place, load, resource) * 100),
    }
    return Move(guest.pk, node.pk, place.pk, reason)


def _none_of(here: Mapping[str, str], left: Counter[_Left]) -> str:
    """Say why none of the VMs of a host under load is moved."""
    texts = {
        _Left.CANNOT: _("cannot be moved now: %(number)d"),
        _Left.RESTS: _("moved lately: %(number)d"),
        _Left.UNMEASURED: _("not measured for long enough: %(number)d"),
        _Left.SMALL: _("use less than 1 %% of the host: %(number)d"),
        _Left.NO_HOST: _("no other host takes it and stays below the thresholds: %(number)d"),
        _Left.LATER: _("not looked at: %(number)d"),
    }
    said = [texts[why] % {"number": left[why]} for why in _Left if left[why]]
    if not said:
        return _("%(host)s is under load (%(load)s), and no VM runs on it.") % here
    words = _("%(host)s is under load (%(load)s). None of its VMs is moved: %(reasons)s.")
    return words % {**here, "reasons": ", ".join(said)}


def words_of(limits: Limits, load: HostLoad) -> str:
    """Return a load with its thresholds, for operators."""
    text = _("CPU %(cpu)d %% of %(most)d %%, memory %(memory)d %% of %(most_memory)d %%")
    if load.steal is not None:
        text = _(
            "CPU %(cpu)d %% of %(most)d %%, steal %(steal)d %% of %(most_steal)d %%, memory "
            "%(memory)d %% of %(most_memory)d %%"
        )
    return text % {
        "cpu": round(load.wanted * 100),
        "most": round(limits.cpu * 100),
        "steal": round((load.steal or 0.0) * 100),
        "most_steal": round(limits.steal * 100),
        "memory": round(load.memory * 100),
        "most_memory": round(limits.memory * 100),
    }
