"""Load balancing of clusters: from what was measured to one ordered move, and never to two."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alarms import catalogue as c
from alarms.queries import load, metrics
from alarms.queries.engine import metrics_store
from alarms.store.base import PLATFORM, Sample, SeriesKey
from alarms.store.fake import FakeStore
from alarms.sweeps import balancing
from compute.actions import balance as actions
from compute.actions.balance import balance_cluster
from compute.actions.hosts import lock_host
from compute.actions.vms.lifecycle import delete_vm, fail_over_vm, restore_vm
from compute.actions.vms.migrate import migrate_vm
from compute.actions.vms.vacate import evacuate_vm
from compute.hosts.balance import Figures, HostLoad, Move, VmLoad
from compute.models import (
    VM,
    BalanceProposal,
    Cluster,
    Disk,
    Host,
    HostTest,
    PlacementGroup,
    Spec,
    VmMove,
)
from compute.queries import balance as queries
from compute.states.balance import BalanceMode
from compute.states.hosts import HostState
from compute.states.maintenance import Way
from compute.states.vms import PauseReason
from compute.sweeps import balance as sweeps
from scloud.audit.models import Event, Operation
from scloud.jobs.models import ACTIVE, Job
from scloud.recovery import freezing
from scloud.recovery.models import SweepFreeze
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.compute.box import Box, WorkerDied, points_of
from tests.compute.factories import make_platform, make_vm
from tests.compute.hosts.test_failing_over import home, now
from tests.compute.hosts.test_maintenance import enter

SYSTEM = Actor.system(None)
MIB = 1024 * 1024


@dataclass
class Loads:
    """A box of three hosts, and a store with what was measured of them over the last minutes."""

    box: Box
    store: FakeStore = field(default_factory=FakeStore)

    def host(self, host: Host, cpu: float, *, memory: float = 0.3, **more: Any) -> None:
        """Say how busy a host was."""
        values = {c.HOST_CPU_USAGE: cpu, c.HOST_MEMORY_USAGE: memory}
        if "steal" in more:
            values[c.HOST_CPU_STEAL] = more.pop("steal")
        self._write(PLATFORM, host.pk, values, **more)

    def vm(self, vm: VM, cpu: float, *, resident_mib: int = 1024, **more: Any) -> None:
        """Say how busy a VM was."""
        values = {c.CPU_USAGE: cpu, c.MEMORY_RESIDENT: float(resident_mib * MIB)}
        self._write(vm.tenant_id, vm.pk, values, **more)

    def _write(
        self,
        tenant: str,
        pk: str,
        values: dict[c.Metric, float],
        *,
        minutes: float = 12,
        until_min: float = 0,
    ) -> None:
        at = datetime.now(UTC) - timedelta(minutes=until_min)
        keys = {SeriesKey(metric.name): value for metric, value in values.items()}
        self.store.write(
            [
                Sample(tenant, pk, at - timedelta(seconds=30 * number), keys)
                for number in range(int(minutes * 2))
            ]
        )

    @property
    def cluster(self) -> Cluster:
        found: Cluster = Cluster.objects.get(pk=self.box.platform.cluster.pk)
        return found

    def set(self, **columns: object) -> None:
        Cluster.objects.filter(pk=self.box.platform.cluster.pk).update(**columns)

    def reason(self) -> str:
        """What the page says of now."""
        cluster = self.cluster
        return queries.look(cluster, load.figures_of(cluster)).reason

    @property
    def moving(self) -> list[str]:
        """VMs that are on their way."""
        return list(VM.objects.filter(task="migrating").values_list("pk", flat=True))


@pytest.fixture
def loads(make_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch) -> Loads:
    """Three hosts that nobody uses, in a cluster with load balancing."""
    made = Loads(make_box(hosts=3))
    monkeypatch.setattr(metrics, "metrics_store", lambda: made.store)
    made.set(balance_mode=BalanceMode.ON)
    return made


@pytest.fixture
def hot(loads: Loads) -> tuple[Loads, VM, VM]:
    """A host at 90 % with a busy and an idle VM; the others at 10 %."""
    first, *others = loads.box.platform.hosts
    Host.objects.filter(pk__in=[one.pk for one in others]).update(state=HostState.LOCKED)
    busy = loads.box.vm(name="busy", spec=loads.box.platform.specs[2])
    idle = loads.box.vm(name="idle")
    Host.objects.update(state=HostState.AVAILABLE)
    assert home(busy) == home(idle) == first
    loads.host(first, 0.9)
    for one in others:
        loads.host(one, 0.1)
    # Of 4 vCPUs, on a host of 16.
    loads.vm(busy, 0.8)
    loads.vm(idle, 0.05)
    return loads, busy, idle


# -- on ------------------------------------------------------------------------------------------


def test_a_vm_moves_off_a_host_under_load_and_everybody_reads_why(
    hot: tuple[Loads, VM, VM],
) -> None:
    loads, busy, idle = hot
    source = home(busy)
    balancing.balance()
    row = now(busy)
    assert (row.task, now(idle).task) == ("migrating", "")
    assert row.destination is not None
    loads.box.run()
    assert now(busy).host == row.destination != source
    assert now(busy).failure == ""
    reason = (
        f"Load on {source.name}: CPU 90 % of 80 %, memory 30 % of 90 %. busy uses 20 % of its "
        f"CPUs: {source.name} goes from 90 % to 70 %, {row.destination.name} from 10 % to 30 %."
    )
    with scopes_disabled():
        operation = Operation.objects.filter(verb="platform.migrate_vm").get()
        events = Event.objects.filter(resource_id=busy.pk).order_by("pk")
        kinds = list(events.values_list("kind", flat=True))
    assert (operation.via, operation.succeeded) == ("system", True)
    assert operation.detail == f"From {source.name} to {row.destination.name}. {reason}"
    assert kinds[-3:] == ["vm.migrating", "vm.relieved", "vm.migrated"]
    made = BalanceProposal.objects.get()
    job = Job.objects.get(kind="vm.migrate")
    assert (made.job, made.reason, made.vm, made.source) == (job.pk, reason, busy, source)
    (move,) = VmMove.objects.all()
    assert (move.vm, move.source, move.destination) == (busy, source, row.destination)
    # The tenant reads that it moved, and nothing of hosts.
    said = str(list(events.values_list("data", flat=True))) + str(operation.resources)
    for host in loads.box.platform.hosts:
        assert host.name not in said
    loads.box.assert_nothing_orphaned()


def test_one_move_at_a_time_and_then_everybody_rests(hot: tuple[Loads, VM, VM]) -> None:
    loads, busy, _idle = hot
    balancing.balance()
    assert loads.moving == [busy.pk]
    assert loads.reason() == "A VM of the cluster is being moved."
    balancing.balance()
    assert Job.objects.filter(kind="vm.migrate").count() == 1
    loads.box.run()
    # The figures are of the time before.
    balancing.balance()
    assert Job.objects.filter(kind="vm.migrate").count() == 1
    assert "rests after a move" in loads.reason()


def test_the_page_of_the_vm_says_it_in_words(hot: tuple[Loads, VM, VM], client: Client) -> None:
    loads, busy, _idle = hot
    balancing.balance()
    loads.box.run()
    assert loads.box.actor.user is not None
    client.force_login(loads.box.actor.user)
    text = client.get(reverse("vm-events", args=[busy.pk])).content.decode()
    assert "Its host is under load: it moves to another one" in text
    assert "x86-h" not in text


# -- off, dry run, frozen, closed ----------------------------------------------------------------


def test_off_does_nothing_and_writes_nothing(hot: tuple[Loads, VM, VM]) -> None:
    loads, *_vms = hot
    loads.set(balance_mode=BalanceMode.OFF)
    balancing.balance()
    assert (loads.moving, BalanceProposal.objects.count()) == ([], 0)


def test_a_dry_run_proposes_and_orders_nothing(hot: tuple[Loads, VM, VM]) -> None:
    loads, busy, _idle = hot
    loads.set(balance_mode=BalanceMode.DRY_RUN)
    with scopes_disabled():
        before = Operation.objects.count(), Event.objects.count()
    for _ in range(3):
        balancing.balance()
    made = BalanceProposal.objects.get()
    assert (made.vm, made.job, made.times) == (busy, "", 3)
    assert made.last_at > made.at
    assert "busy uses 20 % of its CPUs" in made.reason
    assert loads.moving == []
    assert not Job.objects.filter(status__in=ACTIVE).exists()
    with scopes_disabled():
        assert (Operation.objects.count(), Event.objects.count()) == before
    # Turned on, it is ordered: what was proposed is no move that one rests after.
    loads.set(balance_mode=BalanceMode.ON)
    balancing.balance()
    assert loads.moving == [busy.pk]
    assert BalanceProposal.objects.count() == 2


def test_nothing_moves_while_the_sweeps_are_frozen(hot: tuple[Loads, VM, VM]) -> None:
    loads, busy, _idle = hot
    freezing.freeze("tests")
    balancing.balance()
    # Nor when they are frozen between plan and order.
    figures = load.figures_of(loads.cluster)
    move = queries.look(loads.cluster, figures).move
    assert move is not None
    assert balance_cluster(actor=SYSTEM, cluster=loads.cluster, move=move, figures=figures) is None
    assert loads.moving == []
    SweepFreeze.objects.update(released_at=timezone.now())
    balancing.balance()
    assert loads.moving == [busy.pk]


def test_outside_of_its_times_a_cluster_moves_nothing(hot: tuple[Loads, VM, VM]) -> None:
    loads, busy, _idle = hot
    hour = datetime.now(UTC).hour
    other = time((hour + 6) % 24), time((hour + 8) % 24)
    loads.set(balance_from=other[0], balance_until=other[1])
    balancing.balance()
    assert loads.moving == []
    assert loads.reason() == (
        f"Moves are allowed from {other[0]:%H:%M} until {other[1]:%H:%M} (UTC)."
    )
    loads.set(balance_from=time((hour + 23) % 24), balance_until=time((hour + 2) % 24))
    balancing.balance()
    assert loads.moving == [busy.pk]


# -- figures -------------------------------------------------------------------------------------


def test_hosts_without_fresh_figures_take_no_part(loads: Loads) -> None:
    first, second, third = loads.box.platform.hosts
    at = datetime.now(UTC)
    loads.host(first, 0.9, until_min=4)
    # A collector that has just begun: two minutes say nothing.
    loads.host(second, 0.9, minutes=2)
    loads.host(third, 0.5, steal=0.02)
    with scopes_disabled():
        found = load.host_loads([first, second, third], at)
    assert list(found) == [third.pk]
    seen = found[third.pk]
    assert (seen.cpu, seen.memory, seen.steal) == pytest.approx((0.5, 0.3, 0.02))


def test_a_spike_is_no_load(loads: Loads) -> None:
    first, *_others = loads.box.platform.hosts
    loads.host(first, 0.4, until_min=4)
    loads.host(first, 1.0, minutes=4)
    with scopes_disabled():
        found = load.host_loads([first], datetime.now(UTC))
    assert found[first.pk].cpu == pytest.approx(0.4)


def test_a_vm_that_was_measured_in_one_half_only_is_not_moved(hot: tuple[Loads, VM, VM]) -> None:
    loads, busy, idle = hot
    loads.store.samples = {
        key: one
        for key, one in loads.store.samples.items()
        if one.resource != busy.pk or one.at > datetime.now(UTC) - timedelta(minutes=4)
    }
    with scopes_disabled():
        found = load.vm_loads([busy, idle], datetime.now(UTC))
    assert list(found) == [idle.pk]
    assert (found[idle.pk].cpus, found[idle.pk].memory_mib) == pytest.approx((0.05, 1024.0))
    assert "not measured for long enough: 1" in loads.reason()


def test_steal_does_not_count_where_vcpus_have_a_limit(loads: Loads) -> None:
    first, *_others = loads.box.platform.hosts
    loads.host(first, 0.5, steal=0.4)
    assert load.figures_of(loads.cluster).hosts[first.pk].steal == pytest.approx(0.4)
    loads.set(cpu_quota_percent=50)
    assert load.figures_of(loads.cluster).hosts[first.pk].steal is None


def test_what_vms_waited_for_goes_along_with_them(hot: tuple[Loads, VM, VM]) -> None:
    """Two VMs of 8 vCPUs spin on 8 CPUs: each would take all of another host."""
    loads, busy, idle = hot
    first, *others = loads.box.platform.hosts
    Host.objects.update(vcpus=8)
    VM.objects.filter(pk__in=[busy.pk, idle.pk]).update(vcpus=8)
    loads.store.samples.clear()
    loads.host(first, 1.0, steal=1.0)
    for one in others:
        loads.host(one, 0.1, steal=0.0)
    for vm in (busy, idle):
        loads.vm(vm, 0.5)
    figures = load.figures_of(loads.cluster)
    assert [used.cpus for used in figures.vms.values()] == pytest.approx([8.0, 8.0])
    found = queries.look(loads.cluster, figures)
    assert found.move is None
    assert "no other host takes it and stays below the thresholds: 2" in found.reason
    # What waits for its limit waits on any host.
    loads.set(cpu_quota_percent=50)
    figures = load.figures_of(loads.cluster)
    assert [used.cpus for used in figures.vms.values()] == pytest.approx([4.0, 4.0])


@pytest.mark.parametrize(
    ("cpu", "steal", "cpus"),
    [
        (0.5, None, 2.0),
        (0.5, 0.25, 3.0),
        # No VM wants more than its vCPUs.
        (0.5, 2.0, 4.0),
        (0.0, 0.5, 2.0),
    ],
)
def test_a_vm_wants_its_part_of_what_its_host_lacks(
    cpu: float, steal: float | None, cpus: float
) -> None:
    found = load.wanted_of(VmLoad(2.0, 1024), HostLoad(cpu, 0.3, steal), 4)
    assert (found.cpus, found.memory_mib) == (cpus, 1024)


def test_postgres_says_the_same(hot: tuple[Loads, VM, VM], monkeypatch: pytest.MonkeyPatch) -> None:
    loads, *_vms = hot
    at = datetime.now(UTC)
    found = load.figures_of(loads.cluster, at)
    metrics_store().write(list(loads.store.samples.values()))
    monkeypatch.setattr(metrics, "metrics_store", metrics_store)
    again = load.figures_of(loads.cluster, at)
    assert len(again.hosts) == 3
    assert len(again.vms) == 2
    for pk, one in found.hosts.items():
        host = again.hosts[pk]
        assert (host.cpu, host.memory) == pytest.approx((one.cpu, one.memory))
    for pk, used in found.vms.items():
        vm = again.vms[pk]
        assert (vm.cpus, vm.memory_mib) == pytest.approx((used.cpus, used.memory_mib))


def test_without_the_store_nothing_moves(hot: tuple[Loads, VM, VM]) -> None:
    loads, busy, _idle = hot
    loads.store.faults.away = True
    balancing.balance()
    assert loads.moving == []
    loads.store.faults.away = False
    balancing.balance()
    assert loads.moving == [busy.pk]


def test_old_figures_order_nothing(hot: tuple[Loads, VM, VM]) -> None:
    loads, *_vms = hot
    figures = load.figures_of(loads.cluster)
    move = queries.look(loads.cluster, figures).move
    assert move is not None
    late = timezone.now() + timedelta(minutes=3)
    made = balance_cluster(
        actor=SYSTEM, cluster=loads.cluster, move=move, figures=figures, now=late
    )
    assert (made, loads.moving) == (None, [])


# -- what keeps a cluster, a host or a VM from it ------------------------------------------------


def _suspect(loads: Loads) -> None:
    Host.objects.filter(pk=loads.box.platform.hosts[2].pk).update(state=HostState.SUSPECT)


def _silent(loads: Loads) -> None:
    rows = Host.objects.filter(pk=loads.box.platform.hosts[2].pk)
    rows.update(unreachable_since=timezone.now())


def _fenced(loads: Loads) -> None:
    rows = Host.objects.filter(pk=loads.box.platform.hosts[2].pk)
    rows.update(state=HostState.FENCED, off_seen_at=None)


def _maintenance(loads: Loads) -> None:
    enter(loads.box.platform.hosts[2])


def _waiting(loads: Loads) -> None:
    loads.set(failover=True)
    VM.objects.filter(name="idle").update(failover_since=timezone.now(), status="stopped")


def _moving(loads: Loads) -> None:
    vm = VM.objects.get(name="idle")
    migrate_vm(actor=Actor.system(vm.tenant), vm=vm)


def _rolling(loads: Loads) -> None:
    loads.cluster.rolls.create(way="wait", by="x")


@pytest.mark.parametrize(
    ("happen", "words"),
    [
        (_suspect, "x86-h3 is: Suspect"),
        (_silent, "x86-h3 does not answer."),
        (_fenced, "x86-h3 is: Fenced"),
        (_maintenance, "x86-h3 is: Entering maintenance"),
        (_waiting, "VMs wait for their failover."),
        (_moving, "A VM of the cluster is being moved."),
        (_rolling, "The next host of a rolling maintenance is about to enter it."),
    ],
)
def test_while_something_happens_in_a_cluster_nothing_moves_because_of_load(
    hot: tuple[Loads, VM, VM], happen: Callable[[Loads], None], words: str
) -> None:
    loads, busy, _idle = hot
    figures = load.figures_of(loads.cluster)
    move = queries.look(loads.cluster, figures).move
    assert move is not None
    happen(loads)
    assert loads.reason().startswith(words)
    balancing.balance()
    # Nor when it happens between plan and order.
    assert balance_cluster(actor=SYSTEM, cluster=loads.cluster, move=move, figures=figures) is None
    assert now(busy).task == ""


def test_a_host_that_is_off_and_empty_keeps_nobody_from_anything(
    hot: tuple[Loads, VM, VM],
) -> None:
    loads, busy, _idle = hot
    rows = Host.objects.filter(pk=loads.box.platform.hosts[2].pk)
    rows.update(
        state=HostState.FENCED, off_seen_at=timezone.now(), unreachable_since=timezone.now()
    )
    balancing.balance()
    assert loads.moving == [busy.pk]


def test_a_host_that_waits_for_its_connection_test_keeps_nobody_from_anything(
    hot: tuple[Loads, VM, VM],
) -> None:
    loads, busy, _idle = hot
    added = Host.objects.create(
        id="x86-h9",
        cluster=loads.cluster,
        name="x86-h9",
        uri="fake:x86-h9",
        address="192.0.2.9",
        state=HostState.LOCKED,
        unreachable_since=timezone.now(),
    )
    test = HostTest.objects.create(host=added, required=True, admitted_at=timezone.now())
    assert loads.reason() == "x86-h9 does not answer."
    test.admitted_at = None
    test.save()
    balancing.balance()
    assert loads.moving == [busy.pk]


def test_locked_hosts_are_neither_source_nor_destination(hot: tuple[Loads, VM, VM]) -> None:
    loads, busy, _idle = hot
    first, second, third = loads.box.platform.hosts
    lock_host(actor=SYSTEM, host=Host.objects.get(pk=first.pk))
    assert "takes no part" in loads.reason()
    Host.objects.filter(pk=first.pk).update(state=HostState.AVAILABLE)
    Host.objects.filter(pk=second.pk).update(state=HostState.LOCKED)
    balancing.balance()
    assert now(busy).destination == third


def _gpu(vm: VM) -> None:
    VM.objects.filter(pk=vm.pk).update(gpu_count=1)


def _paused(vm: VM) -> None:
    VM.objects.filter(pk=vm.pk).update(pause_reason=PauseReason.BY_HAND, paused_at=timezone.now())


def _busy(vm: VM) -> None:
    VM.objects.filter(pk=vm.pk).update(
        task="restarting", task_job="x", task_deadline=timezone.now()
    )


def _disk(vm: VM) -> None:
    Disk.objects.filter(vm=vm).update(task="expanding", task_deadline=timezone.now())


@pytest.mark.parametrize("happen", [_gpu, _paused, _busy, _disk])
def test_what_cannot_be_moved_while_it_runs_is_left(
    hot: tuple[Loads, VM, VM], happen: Callable[[VM], None]
) -> None:
    loads, busy, _idle = hot
    happen(busy)
    assert "cannot be moved now: 1" in loads.reason()
    balancing.balance()
    assert loads.moving == []


def test_moves_by_others_are_rested_after_too(hot: tuple[Loads, VM, VM]) -> None:
    loads, busy, idle = hot
    first, second, third = loads.box.platform.hosts
    migrate_vm(actor=Actor.system(idle.tenant), vm=idle, host=Host.objects.get(pk=second.pk))
    loads.box.run()
    assert VmMove.objects.count() == 1
    assert f"{first.name} is under load" in loads.reason()
    assert "rests after a move" in loads.reason()
    VmMove.objects.update(at=timezone.now() - timedelta(minutes=16))
    balancing.balance()
    assert loads.moving == [busy.pk]
    loads.box.run()
    # The hosts have rested, the VMs not yet.
    VmMove.objects.update(at=timezone.now() - timedelta(minutes=16))
    BalanceProposal.objects.all().delete()
    for one in (first, second, third):
        loads.store.samples = {
            key: sample for key, sample in loads.store.samples.items() if sample.resource != one.pk
        }
        loads.host(one, 0.9 if one == home(busy) else 0.1)
    assert "moved lately: " in loads.reason()


def test_a_move_that_failed_is_not_repeated_at_once(hot: tuple[Loads, VM, VM]) -> None:
    loads, busy, _idle = hot
    loads.box.host_of(busy).faults.migration_fails = True
    balancing.balance()
    loads.box.run()
    assert now(busy).failure_code == "host_refused"
    assert not VmMove.objects.exists()
    for _ in range(3):
        balancing.balance()
    assert Job.objects.filter(kind="vm.migrate").count() == 1
    assert "rests after a move" in loads.reason()


def test_after_a_failed_attempt_the_rest_begins_at_its_end(hot: tuple[Loads, VM, VM]) -> None:
    loads, busy, _idle = hot
    loads.box.host_of(busy).faults.migration_fails = True
    balancing.balance()
    loads.box.run()
    loads.box.host_of(busy).faults.migration_fails = False
    # It took hours, as that of a large VM does.
    long_ago = timezone.now() - timedelta(hours=5)
    BalanceProposal.objects.update(at=long_ago, last_at=long_ago)
    assert "rests after a move" in loads.reason()
    jobs = Job.objects.filter(kind="vm.migrate")
    jobs.update(finished_at=timezone.now() - timedelta(minutes=16))
    assert "moved lately: 1" in loads.reason()
    jobs.update(finished_at=long_ago)
    balancing.balance()
    assert loads.moving == [busy.pk]


def test_a_vm_that_was_shut_down_for_maintenance_and_starts_elsewhere_has_moved(
    hot: tuple[Loads, VM, VM], operator: Client
) -> None:
    loads, _busy, idle = hot
    first, *_others = loads.box.platform.hosts
    order, system = enter(first, Way.SHUT_DOWN), Actor.system(idle.tenant)
    evacuate_vm(actor=system, vm=now(idle), maintenance=order, reason="test")
    loads.box.run()
    assert (now(idle).host, VmMove.objects.count()) == (None, 0)
    fail_over_vm(actor=system, vm=now(idle))
    loads.box.run()
    there = home(idle)
    (move,) = VmMove.objects.all()
    assert (move.vm, move.source, move.destination) == (idle, None, there)
    Host.objects.update(state=HostState.AVAILABLE)
    loads.store.samples = {
        key: one
        for key, one in loads.store.samples.items()
        if one.resource not in (first.pk, there.pk)
    }
    loads.host(first, 0.1)
    loads.host(there, 0.9)
    assert loads.reason().startswith(f"{there.name} is under load")
    assert "rests after a move" in loads.reason()
    VmMove.objects.update(at=timezone.now() - timedelta(minutes=16))
    assert "moved lately: 1" in loads.reason()
    url = reverse("admin:alarms_cluster_load", args=[loads.cluster.pk])
    assert reverse("admin:compute_vm_change", args=[idle.pk]) in operator.get(url).content.decode()


def test_what_is_restored_and_stays_stopped_has_not_moved(loads: Loads) -> None:
    vm = loads.box.vm(stopped=True)
    delete_vm(actor=loads.box.actor, vm=vm)
    loads.box.run()
    restore_vm(actor=loads.box.actor, vm=now(vm))
    loads.box.run()
    assert now(vm).status == "stopped"
    assert now(vm).host is not None
    assert not VmMove.objects.exists()


def test_the_second_look_keeps_the_reserve_of_the_whole_cluster(
    hot: tuple[Loads, VM, VM],
) -> None:
    loads, busy, idle = hot
    first, second, third = loads.box.platform.hosts
    size_mib = now(busy).memory_mib
    VM.objects.filter(pk=idle.pk).update(memory_mib=4 * size_mib)
    loads.set(reserve_hosts=1)
    # More was sold of the first than it has; the second has room for the one that is busy, and the
    # third is what is kept.
    for host, memory_mib in ((first, 1024), (second, 2 * size_mib), (third, 16 * size_mib)):
        Host.objects.filter(pk=host.pk).update(memory_mib=host.reserved_memory_mib + memory_mib)
    figures = load.figures_of(loads.cluster)
    found = queries.look(loads.cluster, figures)
    assert found.move is None
    assert "no other host takes it" in found.reason
    move = Move(busy.pk, first.pk, second.pk, "planned before")
    assert balance_cluster(actor=SYSTEM, cluster=loads.cluster, move=move, figures=figures) is None
    assert loads.moving == []
    # Without a reserve it is made.
    loads.set(reserve_hosts=0)
    assert balance_cluster(actor=SYSTEM, cluster=loads.cluster, move=move, figures=figures)
    assert loads.moving == [busy.pk]


def test_groups_tags_and_preferences_are_placements_own(hot: tuple[Loads, VM, VM]) -> None:
    loads, busy, _idle = hot
    _first, second, third = loads.box.platform.hosts
    group = PlacementGroup.objects.create(
        region=loads.box.platform.region, name="apart", policy="spread", required=True
    )
    other = make_vm(loads.box.platform, loads.box.actor, name="other")
    VM.objects.filter(pk=other.pk).update(host=second, operators_group=group)
    VM.objects.filter(pk=busy.pk).update(operators_group=group)
    # That it may have been elsewhere before is none of this test.
    VmMove.objects.all().delete()
    # One that is only preferred is not kept less than now either.
    for required in (True, False):
        PlacementGroup.objects.update(required=required)
        figures = load.figures_of(loads.cluster)
        found = queries.look(loads.cluster, figures)
        assert found.move is not None, found.reason
        assert (found.move.vm, found.move.destination) == (busy.pk, third.pk)
    Spec.objects.filter(vcpus=busy.vcpus).update(required_tags="nvme")
    assert "no other host takes it" in loads.reason()
    Host.objects.filter(pk=second.pk).update(tags="nvme")
    assert "no other host takes it" in loads.reason()
    Host.objects.filter(pk=third.pk).update(tags="nvme")
    balancing.balance()
    assert now(busy).destination == third


def test_vms_of_one_size_are_moved_by_their_own_machine_types(hot: tuple[Loads, VM, VM]) -> None:
    loads, busy, idle = hot
    first, *others = loads.box.platform.hosts
    older, newer = "pc-q35-7.1", "pc-q35-7.2"
    Host.objects.filter(pk__in=[one.pk for one in others]).update(machine_types=older)
    size = {"vcpus": now(busy).vcpus, "memory_mib": now(busy).memory_mib}
    VM.objects.filter(pk=idle.pk).update(machine_type=older, **size)
    VM.objects.filter(pk=busy.pk).update(machine_type=newer)
    found = queries.look(loads.cluster, load.figures_of(loads.cluster))
    assert found.move is not None, found.reason
    assert (found.move.vm, found.move.source) == (idle.pk, first.pk)
    balancing.balance()
    assert loads.moving == [idle.pk]


# -- twice, and dying ----------------------------------------------------------------------------


def test_the_same_plan_twice_is_ordered_once(hot: tuple[Loads, VM, VM]) -> None:
    loads, busy, _idle = hot
    figures = load.figures_of(loads.cluster)
    move = queries.look(loads.cluster, figures).move
    assert move is not None
    made = [
        balance_cluster(actor=SYSTEM, cluster=loads.cluster, move=move, figures=figures)
        for _ in range(2)
    ]
    assert [one is not None for one in made] == [True, False]
    assert loads.moving == [busy.pk]


@pytest.mark.parametrize("at", ["migrate_vm", "_write", "look_again"])
def test_a_sweeper_that_dies_leaves_nothing_or_one_move(
    hot: tuple[Loads, VM, VM], at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads, busy, _idle = hot
    real = getattr(actions, at)

    def dies(*args: Any, **named: Any) -> None:
        real(*args, **named)
        raise WorkerDied(at)

    with monkeypatch.context() as patch:
        patch.setattr(actions, at, dies)
        with pytest.raises(WorkerDied):
            balancing.balance()
    assert (loads.moving, BalanceProposal.objects.count()) == ([], 0)
    assert not Job.objects.filter(status__in=ACTIVE).exists()
    balancing.balance()
    balancing.balance()
    assert loads.moving == [busy.pk]
    loads.box.run()
    assert Job.objects.filter(kind="vm.migrate").count() == 1
    loads.box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("vm.migrate"))
def test_a_worker_that_dies_moves_it_once(hot: tuple[Loads, VM, VM], point: str) -> None:
    loads, busy, _idle = hot
    balancing.balance()
    there = now(busy).destination
    with loads.box.dying_at(point):
        with pytest.raises(WorkerDied):
            loads.box.run()
        balancing.balance()
        loads.box.run()
    balancing.balance()
    assert now(busy).host == there
    assert Job.objects.filter(kind="vm.migrate").count() == 1
    assert VmMove.objects.count() == 1
    loads.box.assert_nothing_orphaned()


@pytest.mark.django_db(transaction=True)
def test_two_sweepers_at_once_order_one_move(region: Region, actor: Actor) -> None:
    platform = make_platform(region, hosts=3)
    Cluster.objects.update(balance_mode=BalanceMode.ON)
    with scope(tenant=actor.tenant):
        vm = make_vm(platform, actor, name="busy", spec=platform.specs[2])
    with scopes_disabled():
        source = VM.objects.get(pk=vm.pk).host_id
    assert source is not None
    hosts = {one.pk: HostLoad(0.9 if one.pk == source else 0.1, 0.3) for one in platform.hosts}
    figures = Figures(timezone.now(), hosts, {vm.pk: VmLoad(3.2, 1024)})
    move = queries.look(Cluster.objects.get(), figures).move
    assert move is not None
    gate = threading.Barrier(4, timeout=60)
    made: list[BalanceProposal | None] = []

    def sweep() -> None:
        try:
            cluster = Cluster.objects.get()
            gate.wait()
            made.append(balance_cluster(actor=SYSTEM, cluster=cluster, move=move, figures=figures))
        finally:
            connection.close()

    threads = [threading.Thread(target=sweep) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert [one is not None for one in made].count(True) == 1
    assert len(made) == 4
    with scopes_disabled():
        assert Job.objects.filter(kind="vm.migrate").count() == 1
    assert BalanceProposal.objects.count() == 1


def test_the_trouble_of_one_cluster_is_its_own(
    hot: tuple[Loads, VM, VM], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads, busy, _idle = hot
    broken = Cluster.objects.create(
        id="arm", region=loads.box.platform.region, alias="ARM", balance_mode=BalanceMode.ON
    )
    real = load.figures_of

    def figures(cluster: Cluster) -> Figures:
        if cluster == broken:
            raise RuntimeError("broken")
        return real(cluster)

    monkeypatch.setattr(balancing, "figures_of", figures)
    balancing.balance()
    assert loads.moving == [busy.pk]


# -- what is kept ---------------------------------------------------------------------------------


def test_old_moves_and_proposals_are_forgotten(
    hot: tuple[Loads, VM, VM], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads, busy, _idle = hot
    first, second, _third = loads.box.platform.hosts
    long_ago, today = timezone.now() - timedelta(days=31), timezone.now()
    for at in (long_ago, today):
        VmMove.objects.create(vm=busy, source=first, destination=second, at=at)
    for at in (long_ago, *[today - timedelta(minutes=n) for n in range(4)]):
        BalanceProposal.objects.create(
            cluster=loads.cluster, vm=busy, source=first, destination=second, reason="x", last_at=at
        )
    monkeypatch.setattr(sweeps, "MOST", 3)
    assert sweeps.forget_old() == 3
    assert [row.at for row in VmMove.objects.all()] == [today]
    left = list(BalanceProposal.objects.values_list("last_at", flat=True))
    assert left == [today - timedelta(minutes=n) for n in range(3)]


# -- administration -------------------------------------------------------------------------------


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ops@scloud.test", "correct horse 9"))
    return client


def test_an_operator_sees_load_plan_proposals_and_moves(
    hot: tuple[Loads, VM, VM], operator: Client
) -> None:
    loads, busy, _idle = hot
    loads.set(balance_mode=BalanceMode.DRY_RUN)
    cluster = loads.cluster
    url = reverse("admin:alarms_cluster_load", args=[cluster.pk])
    assert (
        url
        in operator.get(reverse("admin:compute_cluster_change", args=[cluster.pk])).content.decode()
    )
    page = operator.get(url).content.decode()
    assert "<b>112</b>" in page
    assert "busy uses 20 % of its CPUs" in page
    assert "Dry run (proposals only)" in page
    assert loads.moving == []
    for _ in range(2):
        balancing.balance()
    page = operator.get(url).content.decode()
    assert "No (dry run), proposed 2 times" in page
    listed = operator.get(reverse("admin:compute_balanceproposal_changelist")).content.decode()
    assert "busy uses 20 % of its CPUs" in listed
    loads.set(balance_mode=BalanceMode.ON)
    balancing.balance()
    loads.box.run()
    page = operator.get(url).content.decode()
    assert page.count(reverse("admin:compute_vm_change", args=[busy.pk])) == 3
    loads.store.samples.clear()
    assert "No fresh figures: it takes no part." in operator.get(url).content.decode()
    loads.store.faults.away = True
    assert "The metrics store does not answer" in operator.get(url).content.decode()
    assert operator.get(reverse("admin:alarms_cluster_load", args=["none"])).status_code == 404


def test_who_may_not_see_clusters_sees_no_load(loads: Loads, client: Client) -> None:
    url = reverse("admin:alarms_cluster_load", args=[loads.cluster.pk])
    for role, status in (("finance", 403), ("support", 200), ("operations", 200)):
        browser = Client()
        browser.force_login(
            User.objects.create_user(
                f"{role}@platform.test", "a long secret 9", is_staff=True, staff_role=role
            )
        )
        assert browser.get(url).status_code == status, role
    assert loads.box.actor.user is not None
    client.force_login(loads.box.actor.user)
    assert "/login" in client.get(url).headers["Location"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"balance_time_zone": "Nowhere"}, "Unknown time zone."),
        ({"balance_from": "22:00"}, "Enter both times, or neither."),
        (
            {"balance_from": "22:00", "balance_until": "22:00"},
            "The times are equal: no move would be allowed.",
        ),
        (
            {"balance_gain_percent": "60", "balance_memory_percent": "50"},
            "It has to be below the thresholds of CPU and memory: 50 %.",
        ),
        ({"balance_host_rest_min": "9"}, "greater than or equal to 10"),
    ],
)
def test_the_form_of_a_cluster_says_what_is_wrong(
    loads: Loads, operator: Client, changes: dict[str, str], words: str
) -> None:
    url = reverse("admin:compute_cluster_change", args=[loads.cluster.pk])
    shown = operator.get(url)
    form = shown.context["adminform"].form
    values = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    # As a browser does: without what is empty or not ticked.
    sent = {name: one for name, one in values.items() if one is not None and one is not False}
    sent |= {"specs-TOTAL_FORMS": "0", "specs-INITIAL_FORMS": "0", "tenants": []}
    answer = operator.post(url, sent | changes)
    assert answer.status_code == 200
    assert words in answer.content.decode()
    good = {"balance_from": "22:00", "balance_until": "05:00", "balance_mode": "dry_run"}
    assert operator.post(url, sent | good | {"balance_time_zone": "Asia/Tokyo"}).status_code == 302
    cluster = loads.cluster
    assert (cluster.balance_mode, cluster.balance_time_zone) == ("dry_run", "Asia/Tokyo")
