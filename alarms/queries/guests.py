"""What operators see of all VMs: the busiest, and those whose guest agent does not answer.

For the platform alone: within a scope of a tenant the store is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from alarms import catalogue as c
from alarms.catalogue import Metric
from alarms.queries import metrics
from alarms.store.base import FIVE_MINUTES_S, SeriesKey, floor
from compute.models import VM
from compute.states.vms import VmStatus
from scloud.tenancy.scoping import scopes_disabled

#: Running VMs that are looked at, by the age of their rows; the store is asked for 1000 at a time.
MOST_VMS: Final = 10_000
#: VMs of each table.
MOST_BUSY: Final = 10
MOST_SILENT: Final = 100
#: What is measured now is the mean of so long.
RECENTLY: Final = timedelta(minutes=10)
#: Within which it is looked for the last answer of an agent.
WINDOWS: Final = (
    timedelta(hours=1),
    timedelta(hours=6),
    timedelta(days=1),
    timedelta(days=7),
    timedelta(days=30),
)

Means = Mapping[str, Mapping[SeriesKey, float]]

#: By what VMs are compared: the metrics whose lines are added up.
LOADS: Final[Mapping[str, tuple[Metric, ...]]] = {
    "cpu": (c.CPU_USAGE,),
    "memory": (c.MEMORY_USAGE,),
    "disk": (c.DISK_READ, c.DISK_WRITTEN),
    "network": (c.NIC_RECEIVED, c.NIC_SENT),
}


@dataclass(frozen=True, slots=True)
class Busy:
    """A VM and its load: a share, or bytes per second of all its devices."""

    vm: VM
    value: float


@dataclass(frozen=True, slots=True)
class Silent:
    """A VM whose agent has not answered for longer than ``longer_than``, and then ``up_to``.

    ``up_to`` is None where it has not been heard for as long as is looked back.
    """

    vm: VM
    longer_than: timedelta
    up_to: timedelta | None


@dataclass(frozen=True, slots=True)
class Guests:
    """``vms`` were looked at, ``is_all`` says whether there are no more; ``silent_total`` counts
    all of them, ``silent`` has those that were silent for longest.
    """

    vms: int
    is_all: bool
    busiest: Mapping[str, Sequence[Busy]]
    silent: Sequence[Silent]
    silent_total: int


def guests(now: datetime) -> Guests:
    """Return the busiest VMs and those with silent agents. Raises StoreError."""
    with scopes_disabled():
        rows = list(
            VM.objects.filter(status=VmStatus.RUNNING)
            .select_related("tenant", "host")
            .only("name", "status", "tenant__name", "host__name")
            .order_by("created_at", "pk")[: MOST_VMS + 1]
        )
        looked = {vm.pk: vm for vm in rows[:MOST_VMS]}
        names = {metric.name for of_load in LOADS.values() for metric in of_load}
        found = _means(looked, {*names, c.AGENT_UP.name}, now, RECENTLY)
        up = SeriesKey(c.AGENT_UP.name)
        deaf = {pk: looked[pk] for pk, lines in found.items() if lines.get(up) == 0}
        silent = _silent(deaf, now)
    return Guests(
        vms=len(looked),
        is_all=len(rows) <= MOST_VMS,
        busiest={name: _busiest(looked, found, of_load) for name, of_load in LOADS.items()},
        silent=silent[:MOST_SILENT],
        silent_total=len(silent),
    )


def _busiest(vms: Mapping[str, VM], found: Means, of_load: Sequence[Metric]) -> list[Busy]:
    names = {metric.name for metric in of_load}
    loads = {
        pk: sum(value for key, value in lines.items() if key.metric in names)
        for pk, lines in found.items()
    }
    first = sorted(loads.items(), key=lambda one: (-one[1], one[0]))[:MOST_BUSY]
    return [Busy(vms[pk], load) for pk, load in first if load > 0]


def _silent(deaf: Mapping[str, VM], now: datetime) -> list[Silent]:
    """Return since when each is silent, those first that are for longest.

    The store is asked once for each window: for those that did not answer within the one before.
    """
    left, longer_than = dict(deaf), timedelta()
    found: list[Silent] = []
    for window in WINDOWS:
        if not left:
            break
        heard = _means(left, {c.AGENT_UP.name}, now, window)
        within = [pk for pk in left if any(value > 0 for value in heard.get(pk, {}).values())]
        found += [Silent(left.pop(pk), longer_than, window) for pk in within]
        longer_than = window
    found += [Silent(vm, longer_than, None) for vm in left.values()]
    return sorted(found, key=lambda one: (one.up_to is not None, -one.longer_than, one.vm.name))


def _means(vms: Mapping[str, VM], names: set[str], now: datetime, length: timedelta) -> Means:
    # Whole steps of five minutes are answered from what was rolled up.
    end = floor(now, FIVE_MINUTES_S) + timedelta(seconds=FIVE_MINUTES_S)
    owners = {pk: vm.tenant_id for pk, vm in vms.items()}
    return metrics.means(owners, names, start=end - length, end=end)
