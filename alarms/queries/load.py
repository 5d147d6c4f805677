"""How much of hosts and VMs was in use over the last minutes, for load balancing.

Of the metrics store: the collector measures hosts and VMs, and where there is none the sweeper does
(``alarms/collecting/standin.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from statistics import median
from typing import Final

from django.conf import settings

from alarms import catalogue as c
from alarms.queries import clock, metrics
from alarms.store.base import MAX_RESOURCES, SeriesKey
from compute.hosts.balance import WINDOW, Figures, HostLoad, Limits, VmLoad, hottest
from compute.models import VM, Cluster, Host
from compute.states.vms import VmStatus
from scloud.tenancy.scoping import scopes_disabled

#: A minute, in which a host is measured at least once.
STEP_S: Final = 60
#: The part of the steps that has to have a value, and how many of the last ones one of them.
COVERED: Final = 0.7
LATEST: Final = 3

_MIB: Final = 1024 * 1024


def step_s() -> int:
    """Return the length of a step, in which a host is measured at least once."""
    return max(STEP_S, 2 * int(settings.SCLOUD_COLLECT_EVERY_S))


def figures_of(cluster: Cluster, now: datetime | None = None) -> Figures:
    """Return the loads of the hosts of a cluster, and of the VMs on those that are under load.

    Raises StoreError.
    """
    now = now or clock.now()
    with scopes_disabled():
        hosts = list(Host.objects.filter(cluster=cluster).order_by("pk"))
        loads = host_loads(hosts, now)
        if cluster.cpu_quota_percent is not None:
            # What waits because it has reached its limit waits on any host.
            loads = {pk: replace(load, steal=None) for pk, load in loads.items()}
        hot = hottest(Limits.of_cluster(cluster), loads)
        rows = VM.objects.filter(cluster=cluster, host__in=hot, status=VmStatus.RUNNING)
        vms = list(rows.order_by("pk"))
        used = vm_loads(vms, now)
        wanted = {
            vm.pk: wanted_of(used[vm.pk], loads[vm.host_id], vm.vcpus)
            for vm in vms
            if vm.pk in used and vm.host_id is not None
        }
        return Figures(now, loads, wanted)


def wanted_of(used: VmLoad, host: HostLoad, vcpus: int) -> VmLoad:
    """Return what a VM of so many vCPUs would use on a host that lets none of its VMs wait.

    Which of them wait is not measured: each has its part of it by what it used.
    """
    if not host.cpu:
        return used
    return replace(used, cpus=max(used.cpus, min(vcpus, used.cpus * host.wanted / host.cpu)))


def host_loads(hosts: Sequence[Host], now: datetime) -> dict[str, HostLoad]:
    """Return the load of each host that was measured until now, over WINDOW; see HostLoad.

    It is the median of the minutes, so that a spike shorter than half of the window does nothing.
    """
    cpu = _medians(hosts, c.HOST_CPU_USAGE, now)
    memory = _medians(hosts, c.HOST_MEMORY_USAGE, now)
    steal = _medians(hosts, c.HOST_CPU_STEAL, now)
    return {
        pk: HostLoad(cpu=cpu[pk], memory=memory[pk], steal=steal.get(pk))
        for pk in cpu
        if pk in memory
    }


def _medians(hosts: Sequence[Host], metric: c.Metric, now: datetime) -> dict[str, float]:
    found: dict[str, float] = {}
    for begin in range(0, len(hosts), MAX_RESOURCES):
        _query, lines = metrics.host_lines(
            hosts[begin : begin + MAX_RESOURCES],
            metric,
            start=now - WINDOW,
            end=now,
            step_s=step_s(),
        )
        for line in lines:
            known = [point for point in line.points if point is not None]
            fresh = any(point is not None for point in line.points[-LATEST:])
            if fresh and len(known) >= COVERED * len(line.points):
                found[line.resource] = median(known)
    return found


def vm_loads(vms: Sequence[VM], now: datetime) -> dict[str, VmLoad]:
    """Return what VMs used that were measured in both halves of WINDOW; see VmLoad."""
    names = (c.CPU_USAGE.name, c.MEMORY_RESIDENT.name)
    owners = {vm.pk: vm.tenant_id for vm in vms}
    middle = now - WINDOW / 2
    first = metrics.means(owners, names, start=now - WINDOW, end=middle)
    second = metrics.means(owners, names, start=middle, end=now)
    cpu, memory = SeriesKey(c.CPU_USAGE.name), SeriesKey(c.MEMORY_RESIDENT.name)
    found = {}
    for vm in vms:
        halves = [half.get(vm.pk, {}) for half in (first, second)]
        ratios = [half[cpu] for half in halves if cpu in half]
        if len(ratios) < len(halves):
            continue
        resident = [half[memory] / _MIB for half in halves if memory in half]
        found[vm.pk] = VmLoad(
            cpus=vm.vcpus * sum(ratios) / len(ratios),
            memory_mib=sum(resident) / len(resident) if resident else vm.memory_mib,
        )
    return found
