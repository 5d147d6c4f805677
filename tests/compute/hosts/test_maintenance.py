"""Hosts enter maintenance: their VMs leave them, nothing is lost, and nothing lands there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from alarms.queries import platform as figures
from alarms.rules.operators import Thresholds, findings
from compute.actions import maintenance as orders
from compute.actions.hosts import lock_host
from compute.actions.vms import changes, lifecycle
from compute.actions.vms.migrate import migrate_vm
from compute.actions.vms.vacate import evacuate_vm, rehome_vm
from compute.fencing.fake import forget_fake_machines
from compute.hosts import capacity
from compute.hypervisor.fake import FakeHypervisor
from compute.models import (
    VM,
    Cluster,
    Departure,
    Disk,
    GpuDevice,
    Host,
    HostMaintenance,
    HostTransition,
)
from compute.queries.maintenance import forecast
from compute.states.hosts import HostMove, HostState
from compute.states.maintenance import Way
from compute.sweeps import failover, maintenance, reconcile
from compute.sweeps.hosts import ask_host
from compute.tasks.vms import lifecycle as stopping
from compute.tasks.vms.vacate import EvacuateVm
from compute.transitions import hosts as moves
from compute.transitions import maintenance as transitions
from compute.transitions.hosts import move
from compute.transitions.vms import forget_waiting, observe
from scloud.audit.models import Operation
from scloud.jobs.handlers import Context
from scloud.jobs.models import ACTIVE, Job
from scloud.lib.errors import Conflict, InvalidInput, ScloudError
from scloud.recovery import freezing
from scloud.recovery.models import SweepFreeze
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.box import Box, WorkerDied, points_of
from tests.compute.factories import buy_vms, make_platform
from tests.compute.hosts.test_failing_over import books, home, kinds, now, other_than
from tests.compute.hosts.test_gpu import fit, with_gpus
from tests.compute.hosts.test_states import time_passes
from tests.compute.hosts.yard import Yard, make_yard, watched
from tests.compute.vms.test_paused import stand_still

SYSTEM = Actor.system(None)


def state(host: Host) -> str:
    return str(Host.objects.get(pk=host.pk).state)


def enter(host: Host, way: str = Way.WAIT) -> HostMaintenance:
    """Order it, as an operator."""
    host = Host.objects.get(pk=host.pk)
    orders.enter_maintenance(actor=SYSTEM, host=host, way=way)
    return HostMaintenance.objects.get(host=host, ended_at=None)


def on_first(
    yard: Yard, number: int = 1, *, stopped: int = 0, **changes: Any
) -> tuple[Host, list[VM]]:
    """Buy VMs that are all on the first host; the others are then in service again."""
    first, *others = yard.hosts
    rows = Host.objects.filter(pk__in=[one.pk for one in others])
    rows.update(state=HostState.LOCKED)
    vms = [yard.box.vm(name=f"vm-{n}", stopped=n < stopped, **changes) for n in range(number)]
    rows.update(state=HostState.AVAILABLE)
    assert {home(vm) for vm in vms} == {first}
    reconcile.reconcile_hosts()
    return first, vms


def look() -> None:
    """Let the sweeps have their turn."""
    reconcile.reconcile_hosts()
    maintenance.look_after_maintenance()
    failover.look_after_failures()


def go_on(yard: Yard, rounds: int = 5) -> None:
    """Let the sweeps and workers go on until nothing changes any more."""
    for _ in range(rounds):
        look()
        yard.box.run()


def departures(order: HostMaintenance) -> dict[str, tuple[str, str]]:
    """How far each VM is, and why, by its name."""
    rows = Departure.objects.filter(maintenance=order).select_related("vm")
    return {row.vm.name: (row.state, row.note) for row in rows}


# -- what leaves ---------------------------------------------------------------------------------


def test_running_vms_move_and_stopped_ones_start_elsewhere_next(yard: Yard) -> None:
    host, vms = on_first(yard, 3, stopped=1)
    there, before = other_than(yard, host), books()
    order = enter(host)
    go_on(yard)
    assert state(host) == HostState.MAINTENANCE
    off, *running = vms
    assert [(now(vm).status, now(vm).host, yard.copies(vm)) for vm in running] == [
        ("running", there, [there.name])
    ] * 2
    assert (now(off).status, now(off).host, yard.box.places(off)) == ("stopped", None, [])
    assert kinds(running[0])[-2:] == ["vm.migrating", "vm.migrated"]
    assert kinds(off)[-2:] == ["vm.migrating", "vm.rehomed"]
    assert set(departures(order).values()) == {("moved", "")}
    assert books() == before
    # Each once.
    assert Job.objects.filter(kind__in=["vm.migrate", "vm.rehome"]).count() == 3
    lifecycle.start_vm(actor=yard.box.actor, vm=now(off))
    yard.box.run()
    assert (now(off).status, now(off).host) == ("running", there)
    yard.box.assert_nothing_orphaned()


def test_so_many_move_at_once_as_the_cluster_allows(yard: Yard) -> None:
    host, vms = on_first(yard, 4)
    order = enter(host)
    look()
    assert sorted(now(vm).task for vm in vms) == ["", "", "migrating", "migrating"]
    assert sorted(departures(order).values()) == [
        ("moving", ""), ("moving", ""),
        ("waiting", "Others go first."), ("waiting", "Others go first."),
    ]  # fmt: skip
    look()
    assert sum(now(vm).task == "migrating" for vm in vms) == 2
    go_on(yard)
    assert state(host) == HostState.MAINTENANCE


def test_on_a_destination_no_more_arrive_at_once_either(make_box: Callable[..., Box]) -> None:
    yard = make_yard(make_box(hosts=3))
    first, second, third = yard.hosts
    host, vms = on_first(yard, 3)
    Host.objects.filter(pk=third.pk).update(state=HostState.LOCKED)
    Cluster.objects.update(moves_per_host=1)
    elsewhere = yard.box.vm(name="elsewhere")
    assert home(elsewhere) in (first, second)
    VM.objects.filter(pk=elsewhere.pk).update(host=third)
    # One is on its way there already.
    VM.objects.filter(pk=elsewhere.pk).update(
        task="migrating", task_job="x", task_deadline=timezone.now(), destination=second
    )
    order = enter(host)
    maintenance.look_after_maintenance()
    assert {now(vm).task for vm in vms} == {""}
    assert departures(order)["vm-0"] == ("waiting", "Others go first.")
    VM.objects.filter(pk=elsewhere.pk).update(
        task="", task_job="", task_deadline=None, destination=None
    )
    maintenance.look_after_maintenance()
    assert sum(now(vm).task == "migrating" for vm in vms) == 1
    forget_fake_machines()


def test_nothing_new_lands_on_a_host_that_enters_or_is_in_maintenance(yard: Yard) -> None:
    host, (off, _running) = on_first(yard, 2, stopped=1)
    there = other_than(yard, host)
    enter(host)
    # Of one that is stopped something may be there until the host has said otherwise.
    with pytest.raises(Conflict) as refused:
        lifecycle.start_vm(actor=yard.box.actor, vm=now(off))
    assert refused.value.code == "host_not_ready"
    assert host.name not in refused.value.message
    assert [home(vm) for vm in buy_vms(yard.box.platform, yard.box.actor, count=3)] == [there] * 3
    with pytest.raises(Exception, match="not available here"):
        migrate_vm(actor=SYSTEM, vm=yard.box.vm(name="third"), host=host)
    go_on(yard)
    assert state(host) == HostState.MAINTENANCE
    assert home(yard.box.vm(name="fourth")) == there
    lifecycle.start_vm(actor=yard.box.actor, vm=now(off))
    assert home(off) == there


def test_a_vm_that_is_being_created_there_moves_when_it_runs(yard: Yard) -> None:
    host, there = yard.hosts
    Host.objects.filter(pk=there.pk).update(state=HostState.LOCKED)
    (vm,) = buy_vms(yard.box.platform, yard.box.actor)
    Host.objects.filter(pk=there.pk).update(state=HostState.AVAILABLE)
    order = enter(host)
    look()
    assert departures(order)[vm.name][0] == "waiting"
    assert state(host) == HostState.ENTERING_MAINTENANCE
    go_on(yard)
    assert (now(vm).status, now(vm).host, state(host)) == ("running", there, "maintenance")


def test_a_vm_that_gets_another_size_elsewhere_is_off_the_host_first(yard: Yard) -> None:
    host, (vm,) = on_first(yard, stopped=1)
    enter(host)
    spec = next(one for one in yard.box.platform.specs if one.vcpus == 2)
    quote = changes.quote_size(actor=yard.box.actor, vm=now(vm), spec=spec)
    changes.modify_vm(actor=yard.box.actor, vm=now(vm), spec=spec, quote_token=quote.token)
    assert home(vm) == other_than(yard, host)
    look()
    assert state(host) == HostState.ENTERING_MAINTENANCE
    go_on(yard)
    assert (yard.box.places(vm), state(host)) == (
        [other_than(yard, host).name], HostState.MAINTENANCE
    )  # fmt: skip


def test_what_comes_back_to_a_host_in_maintenance_leaves_it_again(yard: Yard) -> None:
    host, (vm,) = on_first(yard, stopped=1)
    enter(host)
    go_on(yard)
    VM.objects.filter(pk=vm.pk).update(host=host)
    go_on(yard)
    assert (now(vm).host, state(host)) == (None, HostState.MAINTENANCE)


def test_a_busy_disk_is_waited_for(yard: Yard) -> None:
    host, (vm,) = on_first(yard)
    order = enter(host)
    disk = yard.box.system_disk(vm)
    Disk.objects.filter(pk=disk.pk).update(
        task="snapshotting", task_deadline=timezone.now() + timedelta(hours=1)
    )
    look()
    assert departures(order)["vm-0"] == (
        "waiting", "An operation on one of its disks has to end first."
    )  # fmt: skip
    Disk.objects.filter(pk=disk.pk).update(task="", task_deadline=None)
    go_on(yard)
    assert state(host) == HostState.MAINTENANCE


# -- what cannot be moved while it runs ----------------------------------------------------------


@pytest.fixture
def with_chips(make_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    """Two hosts with two chips each; no VM may ever run twice."""
    box = make_box(gpu_type="T4", vcpus=64, memory_mib=262_144)
    fit(box.platform, 2)
    yard = make_yard(box)
    with watched(yard, monkeypatch):
        yield yard
    forget_fake_machines()


def test_a_vm_with_a_gpu_is_listed_and_left_running(with_chips: Yard) -> None:
    vm = with_gpus(with_chips.box, 1)
    host = home(vm)
    (seen,) = forecast(host)
    assert (seen.vm, seen.homeless) == (vm, False)
    assert seen.problem == "It has a GPU, so it cannot be moved while it runs."
    order = enter(host, Way.WAIT)
    go_on(with_chips)
    assert (now(vm).status, now(vm).host) == ("running", host)
    assert departures(order)[vm.name] == (
        "cannot", "It has a GPU, so it cannot be moved while it runs."
    )  # fmt: skip
    assert state(host) == HostState.ENTERING_MAINTENANCE
    # Its owner stops it: then it goes.
    lifecycle.shut_down_vm(actor=with_chips.box.actor, vm=now(vm))
    go_on(with_chips)
    assert state(host) == HostState.MAINTENANCE
    assert not GpuDevice.objects.filter(vm=vm).exists()
    assert now(vm).host is None
    actor, row = with_chips.box.actor, now(vm)
    spec = next(one for one in with_chips.box.platform.specs if one.vcpus == 8)
    token = changes.quote_size(actor=actor, vm=row, spec=spec).token
    changes.modify_vm(actor=actor, vm=row, spec=spec, quote_token=token)
    with_chips.box.run()
    # With another size it has a host and a chip again.
    assert (now(vm).vcpus, home(vm)) == (8, other_than(with_chips, host))
    assert {chip.host for chip in GpuDevice.objects.filter(vm=vm)} == {home(vm)}
    lifecycle.start_vm(actor=with_chips.box.actor, vm=now(vm))
    with_chips.box.run()
    assert home(vm) == other_than(with_chips, host)
    assert len(with_chips.box.domain(vm).spec.pci_devices) == 1


def test_a_vm_with_a_gpu_is_shut_down_and_starts_on_a_chip_elsewhere(with_chips: Yard) -> None:
    Cluster.objects.update(failover=False)
    vm = with_gpus(with_chips.box, 1)
    host, before = home(vm), books()
    order = enter(host, Way.SHUT_DOWN)
    go_on(with_chips)
    row = now(vm)
    assert (row.status, row.host) == ("running", other_than(with_chips, host))
    assert (row.failover_since, row.failure) == (None, "")
    assert with_chips.copies(vm) == [other_than(with_chips, host).name]
    assert kinds(vm)[-4:] == [
        "vm.stopping", "vm.evacuated", "vm.failing_over", "vm.failed_over"
    ]  # fmt: skip
    assert len(with_chips.box.domain(vm).spec.pci_devices) == 1
    assert {chip.host for chip in GpuDevice.objects.filter(vm=vm)} == {row.host}
    assert departures(order)[vm.name] == ("moved", "")
    assert (state(host), books()) == (HostState.MAINTENANCE, before)
    # A failure of its host in a cluster without failover starts nothing, now as before.
    assert not Departure.objects.filter(waits_since=now(vm).failover_since).exists()


def test_a_vm_with_a_gpu_aborts_the_maintenance_where_that_was_chosen(with_chips: Yard) -> None:
    vm = with_gpus(with_chips.box, 1)
    host = home(vm)
    lock_host(actor=SYSTEM, host=host)
    order = enter(host, Way.ABORT)
    look()
    order.refresh_from_db()
    assert (state(host), order.end) == (HostState.LOCKED, "aborted")
    assert vm.name in Host.objects.get(pk=host.pk).state_reason
    assert "GPU" in order.note
    assert (now(vm).status, now(vm).task, now(vm).host) == ("running", "", host)


def full(yard: Yard, host: Host) -> None:
    """Leave no room on a host."""
    Host.objects.filter(pk=host.pk).update(memory_mib=1024)
    yard.behind(host).memory_mib = 1024


def emptied(yard: Yard, host: Host) -> None:
    """Let there be room again."""
    Host.objects.filter(pk=host.pk).update(memory_mib=65_536)
    yard.behind(host).memory_mib = 65_536


def test_in_a_full_cluster_a_vm_stays_until_there_is_room(yard: Yard) -> None:
    host, (vm,) = on_first(yard)
    there = other_than(yard, host)
    full(yard, there)
    (seen,) = forecast(host)
    assert seen.homeless
    order = enter(host, Way.WAIT)
    go_on(yard)
    kind, words = departures(order)["vm-0"]
    assert (kind, words.startswith("No other host has room for it.")) == ("cannot", True)
    assert "too little memory left: 1 host" in words
    assert now(vm).status == "running"
    # Nothing was tried of which it was known that it would be refused.
    with scopes_disabled():
        assert not Operation.objects.filter(verb="platform.migrate_vm").exists()
    emptied(yard, there)
    go_on(yard)
    assert (home(vm), state(host)) == (there, HostState.MAINTENANCE)


def test_what_has_no_room_is_shut_down_after_a_while_and_starts_when_there_is(yard: Yard) -> None:
    host, (vm,) = on_first(yard)
    there = other_than(yard, host)
    full(yard, there)
    order = enter(host, Way.SHUT_DOWN)
    go_on(yard)
    # Another host may be silent for a moment.
    assert (now(vm).status, now(vm).task) == ("running", "")
    Departure.objects.update(changed_at=timezone.now() - maintenance.PATIENCE)
    go_on(yard)
    row = now(vm)
    assert (row.status, row.host, state(host)) == ("stopped", None, HostState.MAINTENANCE)
    assert row.failure == "No host has room for it. It starts when there is."
    assert departures(order)["vm-0"] == ("moved", "")
    emptied(yard, there)
    go_on(yard)
    assert (now(vm).status, home(vm)) == ("running", there)


def test_a_paused_vm_waits_for_an_operator(yard: Yard) -> None:
    host, (vm,) = on_first(yard)
    stand_still(yard.box, vm)
    order = enter(host, Way.SHUT_DOWN)
    maintenance.look_after_maintenance()
    assert departures(order)["vm-0"] == (
        "cannot", "It is paused. Resume it, or power it off."
    )  # fmt: skip
    assert (now(vm).task, state(host)) == ("", HostState.ENTERING_MAINTENANCE)


def test_moves_that_fail_are_tried_again_and_then_dealt_with_as_chosen(
    yard: Yard, at_once: None
) -> None:
    host, (vm,) = on_first(yard)
    order = enter(host, Way.SHUT_DOWN)
    yard.behind(host).faults.migration_fails = True
    go_on(yard, rounds=3)
    assert (now(vm).status, home(vm)) == ("running", host)
    assert Job.objects.filter(kind="vm.migrate", status="failed").count() == 3
    go_on(yard, rounds=3)
    assert Job.objects.filter(kind="vm.migrate").count() == 3
    assert (now(vm).status, home(vm)) == ("running", other_than(yard, host))
    assert (departures(order)["vm-0"], state(host)) == (("moved", ""), HostState.MAINTENANCE)


def test_a_move_that_failed_says_so_until_it_is_tried_again(yard: Yard) -> None:
    host, (vm,) = on_first(yard)
    order = enter(host)
    yard.behind(host).faults.migration_fails = True
    go_on(yard, rounds=3)
    assert Job.objects.filter(kind="vm.migrate").count() == 1
    kind, words = departures(order)["vm-0"]
    assert kind == "waiting"
    assert words.startswith("It failed, and is tried again: ")
    assert now(vm).status == "running"


def test_a_guest_that_does_not_shut_down_goes_on_and_its_owner_may_power_it_off(
    with_chips: Yard,
) -> None:
    vm = with_gpus(with_chips.box, 1)
    host = home(vm)
    order = enter(host, Way.SHUT_DOWN)
    look()
    assert now(vm).task == "stopping"
    lifecycle.power_off_vm(actor=with_chips.box.actor, vm=now(vm))
    go_on(with_chips)
    row = now(vm)
    # What its owner ordered last holds.
    assert (row.status, row.wanted_power, row.failover_since) == ("stopped", "off", None)
    assert (row.host, state(host)) == (None, HostState.MAINTENANCE)
    assert departures(order)[vm.name] == ("moved", "")


# -- whoever dies --------------------------------------------------------------------------------


@pytest.mark.parametrize("point", points_of("vm.rehome"))
def test_a_stopped_vm_leaves_whatever_its_worker_does(yard: Yard, point: str) -> None:
    host, (vm,) = on_first(yard, stopped=1)
    enter(host)
    look()
    yard.box.run_dying(point)
    go_on(yard)
    assert (now(vm).status, now(vm).host, yard.box.places(vm)) == ("stopped", None, [])
    assert state(host) == HostState.MAINTENANCE


@pytest.mark.parametrize("ends", ["taken up", "given up"])
@pytest.mark.parametrize("point", points_of("vm.evacuate"))
def test_what_is_shut_down_for_it_runs_again_whatever_its_worker_does(
    with_chips: Yard, point: str, ends: str, at_once: None
) -> None:
    Cluster.objects.update(failover=False)
    vm = with_gpus(with_chips.box, 1)
    host = home(vm)
    enter(host, Way.SHUT_DOWN)
    look()
    if ends == "taken up":
        with_chips.box.run_dying(point)
    else:
        with_chips.box.give_up_at(point)
        # Its guest is off by our order, not by its owner's.
        assert now(vm).wants_power
    go_on(with_chips)
    row = now(vm)
    assert (row.status, row.host) == ("running", other_than(with_chips, host)), row.failure
    assert (len(with_chips.copies(vm)), state(host)) == (1, HostState.MAINTENANCE)


def silent_after(yard: Yard, host: Host, call: str) -> None:
    """Let a host answer nobody any more once it was called so; its guests go on."""
    behind = yard.behind(host)
    called: list[str] = []

    def before(name: str) -> None:
        if called:
            behind.faults.unreachable = True
        elif name == call:
            called.append(name)

    behind.faults.before = before


def heard_again(yard: Yard, host: Host) -> None:
    behind = yard.behind(host)
    behind.faults.before, behind.faults.unreachable = None, False


def test_a_guest_that_was_asked_to_go_off_runs_again_though_its_host_fell_silent(
    with_chips: Yard, at_once: None
) -> None:
    Cluster.objects.update(failover=False)
    vm = with_gpus(with_chips.box, 1)
    host = home(vm)
    enter(host, Way.SHUT_DOWN)
    look()
    silent_after(with_chips, host, "shutdown")
    with_chips.box.run()
    row = now(vm)
    # Nobody knows whether it is off.
    assert (row.status, row.task, row.host) == ("running", "", host)
    assert row.failure_code == "host_unreachable"
    time.sleep(0.05)
    heard_again(with_chips, host)
    reconcile.reconcile_hosts()
    assert (now(vm).status, now(vm).wants_power) == ("stopped", True)
    go_on(with_chips)
    row = now(vm)
    assert (row.status, row.host) == ("running", other_than(with_chips, host)), row.failure
    assert len(with_chips.copies(vm)) == 1


def test_a_guest_that_goes_on_to_run_waits_for_no_start(with_chips: Yard, at_once: None) -> None:
    Cluster.objects.update(failover=False)
    vm = with_gpus(with_chips.box, 1)
    host = home(vm)
    with_chips.behind(host).faults.ignores_acpi = True
    order = enter(host, Way.SHUT_DOWN)
    look()
    silent_after(with_chips, host, "shutdown")
    with_chips.box.run()
    assert now(vm).failover_since is not None
    orders.abort_maintenance(actor=SYSTEM, host=Host.objects.get(pk=host.pk))
    heard_again(with_chips, host)
    reconcile.reconcile_hosts()
    row = now(vm)
    assert (row.status, row.failover_since, row.wanted_power) == ("running", None, "on")
    # Its owner's guest goes off later: it stays so.
    long_ago()
    goes_off(with_chips, vm)
    go_on(with_chips)
    order.refresh_from_db()
    assert (now(vm).status, now(vm).wanted_power, order.end) == ("stopped", "off", "aborted")


def goes_off(yard: Yard, vm: VM) -> None:
    """Let its guest shut down."""
    FakeHypervisor(yard.behind(home(vm)))._stop(yard.box.domain(vm), "shut down")


def long_ago() -> None:
    """Let a while pass since guests were asked to shut down."""
    rows = Departure.objects.exclude(asked_at=None)
    rows.update(asked_at=F("asked_at") - transitions.LATE)


@pytest.fixture
def asked(with_chips: Yard, monkeypatch: pytest.MonkeyPatch) -> tuple[VM, HostMaintenance]:
    """A VM whose guest was asked to shut down for maintenance, and went on to run so far."""
    Cluster.objects.update(failover=False)
    monkeypatch.setattr(stopping, "SHUTDOWN_LIMIT_S", 0.0)
    vm = with_gpus(with_chips.box, 1)
    with_chips.behind(home(vm)).faults.ignores_acpi = True
    order = enter(home(vm), Way.SHUT_DOWN)
    look()
    with_chips.box.run()
    row = now(vm)
    assert (row.status, row.task, row.failure_code) == ("running", "", "shutdown_ignored")
    assert (row.wanted_power, row.failover_since) == ("on", None)
    return row, order


@pytest.mark.parametrize("passes", [False, True])
def test_a_guest_that_goes_off_late_for_maintenance_is_started_again(
    with_chips: Yard, asked: tuple[VM, HostMaintenance], passes: bool
) -> None:
    vm, order = asked
    host, before = home(vm), books()
    if passes:
        # As long as its host enters maintenance it is asked again: nothing else is waited for.
        long_ago()
    goes_off(with_chips, vm)
    reconcile.reconcile_hosts()
    row = now(vm)
    assert (row.status, row.wanted_power, row.failure_code) == ("stopped", "on", "host_maintenance")
    assert kinds(vm)[-1] == "vm.evacuated"
    go_on(with_chips)
    row = now(vm)
    assert (row.status, home(vm)) == ("running", other_than(with_chips, host)), row.failure
    assert (row.failover_since, len(with_chips.copies(vm))) == (None, 1)
    assert (state(host), departures(order)[vm.name]) == (HostState.MAINTENANCE, ("moved", ""))
    assert books() == before
    # What its owner does inside it from now on is its own doing.
    goes_off(with_chips, vm)
    go_on(with_chips)
    assert (now(vm).status, now(vm).wanted_power) == ("stopped", "off")


@pytest.mark.parametrize("order", [lifecycle.shut_down_vm, lifecycle.restart_vm])
def test_what_its_owner_orders_after_it_was_asked_is_the_last_word(
    with_chips: Yard, asked: tuple[VM, HostMaintenance], order: Callable[..., Job]
) -> None:
    vm, _order = asked
    order(actor=with_chips.box.actor, vm=vm)
    Job.objects.filter(status__in=ACTIVE).update(max_attempts=0)
    with_chips.box.run()
    assert now(vm).status == "running"
    goes_off(with_chips, vm)
    go_on(with_chips)
    assert (now(vm).status, now(vm).wanted_power, now(vm).host) == ("stopped", "off", None)


def test_a_job_that_lands_after_its_owners_order_does_not_ask(
    with_chips: Yard, asked: tuple[VM, HostMaintenance], at_once: None
) -> None:
    vm, order = asked
    look()
    (late,) = Job.objects.filter(kind="vm.evacuate", status__in=ACTIVE)
    lifecycle.power_off_vm(actor=with_chips.box.actor, vm=now(vm))
    assert not order.departures.exclude(asked_at=None).exists()
    late.result["guest_asked"] = True
    error = ScloudError("It came too late.", code="too_late")
    EvacuateVm().on_failure(
        Context(late, still_mine=lambda: True, report=lambda _fraction, _words: None), error
    )
    assert not order.departures.exclude(asked_at=None).exists()


@pytest.mark.parametrize("soon", [True, False])
def test_a_guest_that_goes_off_after_an_abort_is_started_if_it_was_asked_just_before(
    with_chips: Yard, asked: tuple[VM, HostMaintenance], soon: bool
) -> None:
    vm, _order = asked
    host = home(vm)
    orders.abort_maintenance(actor=SYSTEM, host=Host.objects.get(pk=host.pk))
    if not soon:
        long_ago()
    goes_off(with_chips, vm)
    go_on(with_chips)
    assert now(vm).status == ("running" if soon else "stopped")
    assert now(vm).wanted_power == ("on" if soon else "off")


def test_a_guest_that_goes_off_late_while_it_is_moved_is_started_again(
    with_chips: Yard, asked: tuple[VM, HostMaintenance]
) -> None:
    vm, _order = asked
    host = home(vm)
    # It would be moved: a chip cannot be.
    VM.objects.filter(pk=vm.pk).update(gpu_count=0)
    migrate_vm(actor=SYSTEM, vm=now(vm))
    goes_off(with_chips, vm)
    with_chips.box.run()
    row = now(vm)
    assert (row.status, row.wanted_power, row.failure_code) == ("stopped", "on", "host_maintenance")
    VM.objects.filter(pk=vm.pk).update(gpu_count=1)
    go_on(with_chips)
    assert (now(vm).status, home(vm)) == ("running", other_than(with_chips, host))


def test_what_was_shut_down_for_it_is_not_forgotten_when_its_host_returns(yard: Yard) -> None:
    host, (vm, other) = on_first(yard, 2, stopped=2)
    order, since = enter(host), timezone.now()
    VM.objects.filter(pk__in=[vm.pk, other.pk]).update(failover_since=since)
    Departure.objects.create(maintenance=order, vm=vm, state="cannot", waits_since=since)
    assert forget_waiting(host) == 1
    assert (now(vm).failover_since, now(other).failover_since) == (since, None)


def test_a_sweeper_that_dies_after_it_began_to_shut_a_vm_down_leaves_it_to_be_started(
    with_chips: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    Cluster.objects.update(failover=False)
    vm = with_gpus(with_chips.box, 1)
    host = home(vm)
    order = enter(host, Way.SHUT_DOWN)

    def dies(**values: Any) -> None:
        evacuate_vm(**values)
        raise WorkerDied("evacuate")

    with monkeypatch.context() as patch:
        patch.setattr(maintenance, "evacuate_vm", dies)
        with pytest.raises(WorkerDied):
            look()
    assert departures(order)[vm.name] == (
        "moving", "It has a GPU, so it cannot be moved while it runs."
    )  # fmt: skip
    # Its job ends before another sweeper has a look.
    with_chips.box.run()
    go_on(with_chips)
    assert (now(vm).status, home(vm)) == ("running", other_than(with_chips, host))


def test_what_an_earlier_release_began_to_shut_down_is_started_too(with_chips: Yard) -> None:
    Cluster.objects.update(failover=False)
    vm = with_gpus(with_chips.box, 1)
    host = home(vm)
    order = enter(host, Way.SHUT_DOWN)
    look()
    # Its sweeper died before it wrote the row.
    order.departures.all().delete()
    with_chips.box.run()
    go_on(with_chips)
    assert (now(vm).status, home(vm)) == ("running", other_than(with_chips, host))


@pytest.mark.parametrize("at", ["depart", "note_gone", "emptied"])
def test_a_sweeper_that_dies_leaves_the_next_one_to_go_on(
    yard: Yard, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, vms = on_first(yard, 2, stopped=1)
    enter(host)

    def dies(*_args: object, **_named: object) -> None:
        raise WorkerDied(at)

    with monkeypatch.context() as patch:
        patch.setattr(transitions, at, dies)
        with pytest.raises(WorkerDied):
            go_on(yard)
    go_on(yard)
    assert state(host) == HostState.MAINTENANCE
    assert [now(vm).host for vm in vms] == [None, other_than(yard, host)]
    assert Job.objects.filter(kind__in=["vm.migrate", "vm.rehome"]).count() == 2


def test_nothing_happens_while_the_sweeps_are_frozen(yard: Yard) -> None:
    host, (vm,) = on_first(yard)
    enter(host)
    freezing.freeze("tests")
    go_on(yard)
    assert (now(vm).host, state(host)) == (host, HostState.ENTERING_MAINTENANCE)
    SweepFreeze.objects.update(released_at=timezone.now())
    go_on(yard)
    assert state(host) == HostState.MAINTENANCE


# -- silence -------------------------------------------------------------------------------------


def test_a_host_that_is_silent_for_a_while_goes_on_entering(yard: Yard) -> None:
    host, (vm,) = on_first(yard)
    order = enter(host)
    yard.fall_silent(host)
    look()
    order.refresh_from_db()
    assert (order.note, now(vm).task) == ("The host does not answer.", "")
    time_passes(61)
    reconcile.reconcile_hosts()
    assert state(host) == HostState.SUSPECT
    yard.behind(host).faults.unreachable = False
    reconcile.reconcile_hosts()
    assert state(host) == HostState.ENTERING_MAINTENANCE
    go_on(yard)
    assert (home(vm), state(host)) == (other_than(yard, host), HostState.MAINTENANCE)


def test_a_host_that_dies_while_it_enters_is_failed_over_and_then_in_maintenance(
    yard: Yard, at_once: None
) -> None:
    host, vms = on_first(yard, 3, stopped=1)
    there = other_than(yard, host)
    order = enter(host)
    # One is on its way.
    Cluster.objects.update(moves_per_host=1)
    maintenance.look_after_maintenance()
    yard.suspect(host)
    failover.look_after_failures()
    go_on(yard)
    order.refresh_from_db()
    assert (state(host), order.ended_at) == (HostState.FENCED, None)
    assert [now(vm).status for vm in vms] == ["stopped", "running", "running"]
    assert [yard.copies(vm) for vm in vms] == [[], [there.name], [there.name]]
    yard.power_on(host)
    go_on(yard)
    assert state(host) == HostState.MAINTENANCE
    assert yard.box.places(vms[1]) == [there.name]
    states = HostTransition.objects.filter(host=host).order_by("id").values_list("new", flat=True)
    assert list(states) == [
        "entering_maintenance", "suspect", "fenced", "returning", "entering_maintenance",
        "maintenance",
    ]  # fmt: skip


def test_an_aborted_one_that_was_off_comes_back_to_service(yard: Yard) -> None:
    host, _vms = on_first(yard)
    enter(host)
    yard.fenced(host)
    orders.abort_maintenance(actor=SYSTEM, host=Host.objects.get(pk=host.pk))
    assert state(host) == HostState.FENCED
    yard.power_on(host)
    go_on(yard)
    assert state(host) == HostState.AVAILABLE


def test_in_maintenance_silence_means_nothing_until_it_is_left(yard: Yard) -> None:
    host, _vms = on_first(yard)
    lock_host(actor=SYSTEM, host=host)
    order = enter(host)
    go_on(yard)
    yard.fall_silent(host)
    reconcile.reconcile_hosts()
    time_passes(900)
    go_on(yard)
    assert state(host) == HostState.MAINTENANCE
    assert not Job.objects.filter(kind="host.fence").exists()
    seen = figures.figures(timezone.now() + timedelta(hours=1), ())
    assert host.name not in [one.subject for one in findings(seen, Thresholds())]
    assert capacity.front()["silent_hosts"] == 0
    with pytest.raises(Conflict) as refused:
        orders.leave_maintenance(actor=SYSTEM, host=Host.objects.get(pk=host.pk))
    assert refused.value.code == "host_silent"
    assert "libvirt" in refused.value.message
    yard.behind(host).faults.unreachable = False
    reconcile.reconcile_hosts()
    orders.leave_maintenance(actor=SYSTEM, host=Host.objects.get(pk=host.pk))
    assert state(host) == HostState.RETURNING
    reconcile.reconcile_hosts()
    assert state(host) == HostState.LOCKED  # as it was before
    order.refresh_from_db()
    assert order.end == "left"


def test_what_belongs_elsewhere_is_taken_off_before_the_host_is_used(yard: Yard) -> None:
    host, (vm,) = on_first(yard)
    enter(host)
    go_on(yard)
    # An operator started it there by hand meanwhile; the lock of its disk is not looked at here.
    uuid, there = str(vm.uuid), yard.behind(other_than(yard, host))
    yard.behind(host).domains[uuid] = there.domains[uuid]
    orders.leave_maintenance(actor=SYSTEM, host=Host.objects.get(pk=host.pk))
    reconcile.reconcile_hosts()
    assert (state(host), yard.box.places(vm)) == (
        HostState.RETURNING, [other_than(yard, host).name]
    )  # fmt: skip
    reconcile.reconcile_hosts()
    assert state(host) == HostState.AVAILABLE


# -- ending it -----------------------------------------------------------------------------------


def test_an_aborted_maintenance_lets_moves_end_and_the_host_be_used(yard: Yard) -> None:
    host, vms = on_first(yard, 3)
    order = enter(host)
    look()
    orders.abort_maintenance(actor=SYSTEM, host=Host.objects.get(pk=host.pk))
    assert state(host) == HostState.AVAILABLE
    go_on(yard)
    order.refresh_from_db()
    assert (order.end, state(host)) == ("aborted", HostState.AVAILABLE)
    assert sorted(home(vm).name for vm in vms) == ["x86-h1", "x86-h2", "x86-h2"]
    assert {now(vm).status for vm in vms} == {"running"}
    with pytest.raises(Conflict) as refused:
        orders.abort_maintenance(actor=SYSTEM, host=Host.objects.get(pk=host.pk))
    assert refused.value.code == "host_state"
    # It may enter again.
    enter(host)
    go_on(yard)
    assert state(host) == HostState.MAINTENANCE
    with pytest.raises(Conflict):
        orders.abort_maintenance(actor=SYSTEM, host=Host.objects.get(pk=host.pk))
    assert state(host) == HostState.MAINTENANCE


def test_what_runs_there_and_no_row_names_keeps_it_from_being_in_maintenance(yard: Yard) -> None:
    host, (vm,) = on_first(yard)
    stranger = yard.box.vm(name="stranger")
    domain = yard.box.domain(stranger)
    strange = "6b1c5f0e-1111-4222-8333-94a5b6c7d8e9"
    spec = replace(domain.spec, uuid=strange, name="by-hand", disks=())
    yard.behind(host).domains[strange] = replace(domain, spec=spec, running=spec)
    order = enter(host)
    go_on(yard)
    order.refresh_from_db()
    assert state(host) == HostState.ENTERING_MAINTENANCE
    assert "runs what no VM's row names" in order.note
    assert now(vm).host != host
    del yard.behind(host).domains[strange]
    go_on(yard)
    assert state(host) == HostState.MAINTENANCE


def test_what_was_asked_before_it_entered_does_not_say_that_it_is_empty(yard: Yard) -> None:
    host = yard.hosts[0]
    answers = [ask_host(Host.objects.select_related("cluster").get(pk=host.pk), {})]
    enter(host)
    maintenance.finish_entering(answers)
    assert state(host) == HostState.ENTERING_MAINTENANCE
    stale = Host.objects.get(pk=host.pk)
    Host.objects.filter(pk=host.pk).update(state_since=timezone.now())
    maintenance.finish_entering([type(answers[0])(stale, answers[0].capacity)])
    assert state(host) == HostState.ENTERING_MAINTENANCE
    reconcile.reconcile_hosts()
    assert state(host) == HostState.MAINTENANCE


def test_a_host_that_an_earlier_release_took_back_is_in_no_maintenance(yard: Yard) -> None:
    host, (vm,) = on_first(yard)
    order = enter(host)
    Host.objects.filter(pk=host.pk).update(state=HostState.AVAILABLE)
    go_on(yard)
    order.refresh_from_db()
    assert (order.end, now(vm).host, state(host)) == ("aborted", host, HostState.AVAILABLE)


def test_an_order_that_came_first_is_not_aborted_twice(yard: Yard) -> None:
    host = yard.hosts[0]
    order = enter(host)
    read = Host.objects.get(pk=host.pk)
    HostMaintenance.objects.filter(pk=order.pk).update(ended_at=timezone.now(), end="aborted")
    with pytest.raises(Conflict) as refused:
        transitions.abort(order, read, actor=SYSTEM, reason="Too late.")
    assert (refused.value.code, state(host)) == ("host_state", HostState.ENTERING_MAINTENANCE)
    order.refresh_from_db()
    assert order.note == ""


def test_a_host_that_no_order_keeps_in_maintenance_leaves_it(yard: Yard) -> None:
    host = yard.hosts[0]
    order = enter(host)
    go_on(yard)
    # Of a process of an earlier release, which knows no orders.
    HostMaintenance.objects.filter(pk=order.pk).delete()
    orders.leave_maintenance(actor=SYSTEM, host=Host.objects.get(pk=host.pk))
    assert state(host) == HostState.RETURNING
    go_on(yard)
    assert state(host) == HostState.AVAILABLE


@pytest.mark.django_db(transaction=True)
def test_no_host_enters_without_an_order_when_it_is_heard_beside_an_abort(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = make_platform(region).hosts[0]
    order = transitions.begin(host, actor=SYSTEM, way=Way.WAIT)
    move(host, HostMove.SUSPECT)
    last_of, read, ended = moves._last_of, threading.Event(), threading.Event()
    refused: list[str] = []

    def slowly(*given: Any) -> HostState:
        found = last_of(*given)
        read.set()
        # The other one has a second to come in between.
        ended.wait(1)
        return found

    def abort() -> None:
        try:
            assert read.wait(20)
            here = Host.objects.get(pk=host.pk)
            transitions.abort(order, here, actor=SYSTEM, reason="It takes too long.")
        except Conflict as error:
            refused.append(error.code)
        finally:
            ended.set()
            connection.close()

    monkeypatch.setattr(moves, "_last_of", slowly)
    thread = threading.Thread(target=abort)
    thread.start()
    move(host, HostMove.CLEAR)
    thread.join()
    entering = state(host) == HostState.ENTERING_MAINTENANCE
    assert entering == HostMaintenance.objects.filter(host=host, ended_at=None).exists()
    # The sign of life came first, and who aborts it then reads so.
    assert (entering, refused) == (True, ["host_state"])


def test_a_host_that_enters_by_nobodys_order_is_used_again(yard: Yard) -> None:
    host, other = yard.hosts
    lock_host(actor=SYSTEM, host=host)
    order = enter(host)
    kept = enter(other)
    # Of a process of an earlier release.
    HostMaintenance.objects.filter(pk=order.pk).update(ended_at=timezone.now(), end="aborted")
    maintenance.look_after_maintenance()
    assert (state(host), state(other)) == (HostState.LOCKED, HostState.ENTERING_MAINTENANCE)
    assert Host.objects.get(pk=host.pk).state_reason == "No maintenance of it is ordered."
    kept.refresh_from_db()
    assert kept.ended_at is None


def test_vms_are_taken_off_no_host_that_stays_in_service(yard: Yard) -> None:
    host, (off, on) = on_first(yard, 2, stopped=1)
    order = enter(host)
    orders.abort_maintenance(actor=SYSTEM, host=Host.objects.get(pk=host.pk))
    with pytest.raises(Conflict) as refused:
        rehome_vm(actor=Actor.system(off.tenant), vm=now(off))
    assert refused.value.code == "host_state"
    with pytest.raises(Conflict) as refused:
        evacuate_vm(actor=Actor.system(on.tenant), vm=now(on), maintenance=order)
    assert refused.value.code == "host_state"
    assert not Job.objects.filter(status__in=ACTIVE).exists()


def test_orders_are_refused_in_words(yard: Yard) -> None:
    host = yard.hosts[0]
    with pytest.raises(InvalidInput) as unknown:
        enter(host, "somehow")
    assert (unknown.value.code, unknown.value.field) == ("way_unknown", "way")
    with pytest.raises(Conflict) as refused:
        orders.leave_maintenance(actor=SYSTEM, host=host)
    assert refused.value.code == "host_state"
    enter(host)
    with pytest.raises(Conflict):
        enter(host)
    assert HostMaintenance.objects.count() == 1


def test_old_maintenances_are_forgotten(yard: Yard) -> None:
    host, _vms = on_first(yard)
    order = enter(host)
    orders.abort_maintenance(actor=SYSTEM, host=Host.objects.get(pk=host.pk))
    assert maintenance.forget_old() == 0
    assert HostMaintenance.objects.exists()
    long_ago = timezone.now() - maintenance.KEEP - timedelta(hours=1)
    HostMaintenance.objects.filter(pk=order.pk).update(ended_at=long_ago)
    maintenance.forget_old()
    assert not HostMaintenance.objects.exists()


def test_a_stopped_vm_has_no_reason_to_be_paused(with_chips: Yard) -> None:
    """What an earlier process left of it goes with the next look; what it waits for stays."""
    vm = with_gpus(with_chips.box, 1)
    waits = timezone.now()
    VM.objects.filter(pk=vm.pk).update(
        status="stopped", pause_reason="no_space", failover_since=waits, wanted_power="on"
    )
    row = now(vm)
    assert observe(row, "stopped", revision=row.revision)
    row = now(vm)
    assert (row.status, row.pause_reason, row.failover_since) == ("stopped", "", waits)


def test_what_is_noted_of_a_maintenance_that_is_gone_is_written_nowhere(with_chips: Yard) -> None:
    vm = with_gpus(with_chips.box, 1)
    transitions.note_asked(0, now(vm))
    assert not Departure.objects.filter(vm=vm).exists()
