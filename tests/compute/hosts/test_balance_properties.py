"""Whatever a cluster looks like: no planned move breaks what placement keeps, or goes back."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compute.hosts import placement
from compute.hosts.balance import WINDOW, Figures, HostLoad, Limits, VmLoad, plan
from compute.hosts.groups import GroupRule
from compute.hosts.placement import Candidate, Demand
from compute.models import VM, Cluster, Host, PlacementGroup
from compute.queries.balance import _guest, _node, _Placing
from compute.states.hosts import HostState
from tests.budget import WHOLE

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
STATES = [*[HostState.AVAILABLE] * 5, HostState.LOCKED, HostState.MAINTENANCE]
OLD, NEW = "pc-q35-7.1", "pc-q35-7.2"
POLICIES = [("spread", True), ("spread", False), ("together", True), ("together", False)]


@dataclass
class World:
    """A cluster in memory, with what was measured of it."""

    cluster: Cluster
    hosts: list[Candidate]
    vms: list[VM]
    demands: dict[str, Demand]
    figures: Figures
    moved: dict[str, datetime]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    cluster = Cluster(id="c", alias="c", reserve_hosts=draw(st.integers(0, 2)))
    cluster.cpu_overcommit = Decimal(draw(st.sampled_from(["1.0", "4.0"])))
    cluster.vm_overhead_mib, cluster.vcpu_overhead_mib = 64, 4
    share = st.floats(0, 1, allow_nan=False)
    hosts = []
    for number in range(draw(st.integers(1, 6))):
        host = Host(
            id=f"h{number}",
            name=f"h{number}",
            cluster=cluster,
            vcpus=draw(st.sampled_from([0, 8, 16])),
            memory_mib=32_768,
            state=draw(st.sampled_from(STATES)),
            tags=draw(st.sampled_from(["", "nvme"])),
            machine_types=draw(st.sampled_from(["", OLD, f"{OLD} {NEW}"])),
            unreachable_since=draw(st.sampled_from([None, None, None, NOW])),
        )
        hosts.append(Candidate(host, 0, 0, 0, 0))
    groups = [
        PlacementGroup(id=f"g{n}", name=f"g{n}", policy=policy, required=required)
        for n, (policy, required) in enumerate(POLICIES)
    ]
    vms, member_of, demands = [], {}, {}
    for number in range(draw(st.integers(0, 14))):
        candidate = draw(st.sampled_from(hosts))
        vm = VM(
            id=f"v{number}",
            name=f"v{number}",
            cluster=cluster,
            host=candidate.host,
            vcpus=draw(st.sampled_from([1, 2, 4])),
            memory_mib=draw(st.sampled_from([1024, 8192])),
            gpu_count=draw(st.sampled_from([0, 0, 0, 1])),
            status=draw(st.sampled_from(["running", "running", "running", "stopped"])),
            task=draw(st.sampled_from(["", "", "", "restarting"])),
            machine_type=draw(st.sampled_from(["", OLD, NEW])),
        )
        member_of[vm.pk] = draw(st.sampled_from([None, None, *groups]))
        vm.placement_group = member_of[vm.pk]
        vms.append(vm)
        candidate.take(Demand(vm.vcpus, vm.memory_mib))
    # As in the catalogue: what is asked of a host is asked by the size.
    tags_of = {
        (vcpus, memory): draw(st.sampled_from(["", "", "nvme"]))
        for vcpus in (1, 2, 4)
        for memory in (1024, 8192)
    }
    for vm in vms:
        group, tags = member_of[vm.pk], tags_of[vm.vcpus, vm.memory_mib]
        others = Counter(
            one.host_id or "" for one in vms if one is not vm and member_of[one.pk] is group
        )
        rules = () if group is None else (GroupRule(group, others, Counter(others)),)
        demands[vm.pk] = Demand(
            vm.vcpus,
            vm.memory_mib,
            vm.gpu_count,
            placement.words_of(tags),
            rules,
            vm.machine_type,
        )
    loads = {
        one.host.pk: HostLoad(draw(share), draw(share), draw(st.one_of(st.none(), share)))
        for one in hosts
        if draw(st.integers(0, 5))
    }
    used = {
        vm.pk: VmLoad(draw(st.floats(0, 8)), draw(st.floats(0, 8192)))
        for vm in vms
        if draw(st.integers(0, 5))
    }
    moved = {
        pk: NOW - timedelta(minutes=draw(st.integers(1, 400)))
        for pk in [*(one.host.pk for one in hosts), *(vm.pk for vm in vms)]
        if not draw(st.integers(0, 4))
    }
    return World(cluster, hosts, vms, demands, Figures(NOW, loads, used), moved)


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> dict[str, Demand]:
    """Demands that are not read from the database."""
    known: dict[str, Demand] = {}
    monkeypatch.setattr(placement, "demand_of", lambda vm: known[vm.pk])
    return known


@settings(
    max_examples=2000 if WHOLE else 300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(worlds())
def test_no_plan_breaks_placement_groups_reserve_or_rest(
    in_memory: dict[str, Demand], world: World
) -> None:
    in_memory.clear()
    in_memory.update(world.demands)
    limits = Limits.of_cluster(world.cluster)
    before = placement.reserve_of(world.cluster, world.hosts)

    def planned(figures: Figures, moved: dict[str, datetime], now: datetime) -> Any:
        return plan(
            limits,
            [_node(one, moved.get(one.host.pk)) for one in world.hosts],
            [_guest(vm, moved.get(vm.pk), busy=False) for vm in world.vms],
            figures,
            _Placing(world.hosts, world.vms),
            now,
        ).move

    move = planned(world.figures, world.moved, NOW)
    if move is None:
        return
    hosts = {one.host.pk: one for one in world.hosts}
    vm = next(one for one in world.vms if one.pk == move.vm)
    source, there = hosts[move.source], hosts[move.destination]
    demand = world.demands[vm.pk]
    # Placement, asked independently of what the planner asked.
    assert source is not there
    assert vm.host_id == source.host.pk
    assert there.refusal(demand) is None
    for rule in demand.rules:
        assert rule.refusal(there.host.pk) is None
        assert rule.penalty(there.host.pk) <= rule.penalty(source.host.pk)
    assert (vm.status, vm.task, vm.gpu_count) == ("running", "", 0)
    for one in (source, there):
        assert one.host.state == HostState.AVAILABLE
        assert one.host.unreachable_since is None
        at = world.moved.get(one.host.pk)
        assert at is None or NOW - at >= limits.host_rest >= WINDOW
    at = world.moved.get(vm.pk)
    assert at is None or NOW - at >= limits.vm_rest
    # The loads, added up anew.
    used, loads = world.figures.vms[vm.pk], world.figures.hosts
    assert limits.pressure(loads[source.host.pk]) >= 1
    cpu = loads[there.host.pk].wanted + used.cpus / there.host.vcpus
    memory = loads[there.host.pk].memory + used.memory_mib / there.host.memory_mib
    assert cpu < limits.cpu
    assert memory < limits.memory
    # With the same load it does not go back, even when nobody rests any more.
    vm.host = there.host
    then = dict(loads)
    then[there.host.pk] = HostLoad(cpu, memory, None)
    again = planned(Figures(NOW, then, world.figures.vms), {}, NOW)
    assert again is None or again.vm != vm.pk
    # The reserve is what it was, so that what was sold stays safe.
    if not world.cluster.reserve_hosts:
        return
    source.vcpus_taken -= vm.vcpus
    source.memory_taken_mib -= vm.memory_mib + demand.overhead_mib(world.cluster)
    there.take(demand)
    after = placement.reserve_of(world.cluster, world.hosts)
    assert after.vcpus.left >= before.vcpus.left
    assert after.memory_mib.left >= before.memory_mib.left
