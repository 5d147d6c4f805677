"""Hosts that come back: compared, cleared of what runs elsewhere by now, and only then used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from compute.actions.hosts import lock_host, return_host
from compute.actions.vms import lifecycle
from compute.fencing.fake import forget_fake_machines
from compute.hosts import placement
from compute.hosts.witnesses import STALE
from compute.hypervisor.base import Refused
from compute.hypervisor.fake import FakeDomain, FakeHypervisor
from compute.models import VM, Cluster, Drift, Host, HostTransition
from compute.states.hosts import HostState
from compute.sweeps import failover, reconcile
from compute.sweeps.hosts import HostAnswer
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict
from scloud.recovery import freezing
from scloud.tenancy.actor import Actor
from tests.compute.box import Box, WorkerDied, points_of
from tests.compute.hosts.test_failing_over import all_over, home, now, other_than
from tests.compute.hosts.test_states import time_passes
from tests.compute.hosts.yard import Yard, make_yard

SYSTEM = Actor.system(None)


def state(host: Host) -> str:
    host.refresh_from_db()
    return host.state


def run_there(yard: Yard, vm: VM, host: Host) -> None:
    """Let the domain that lies on a host run, as if somebody had started it by hand."""
    domain = yard.behind(host).domains[str(vm.uuid)]
    # Past the lock on its disks, which would keep it from starting.
    domain.running, domain.power_state = domain.spec, domain.power_state.RUNNING


def test_a_host_that_returns_is_cleared_of_what_runs_elsewhere_before_it_is_used(
    yard: Yard,
) -> None:
    vm = yard.box.vm(name="moves")
    host, there = home(vm), other_than(yard, home(vm))
    lock_host(actor=SYSTEM, host=there)
    stays = yard.box.vm(name="stays", stopped=True)
    assert home(stays) == host
    Host.objects.filter(pk=there.pk).update(state=HostState.AVAILABLE)
    yard.fenced(host)
    all_over(yard)
    assert yard.copies(vm) == [there.name]
    yard.power_on(host)
    assert str(vm.uuid) in yard.behind(host).domains
    yard.look()
    assert state(host) == HostState.RETURNING
    assert yard.box.actor.tenant is not None
    of_cluster = placement.candidates(host.cluster, yard.box.actor.tenant)
    (taken,) = (one for one in of_cluster if one.host.pk == host.pk)
    assert taken.refusal(placement.Demand(1, 1024)) == "state"
    yard.look()
    assert str(vm.uuid) not in yard.behind(host).domains
    assert str(stays.uuid) in yard.behind(host).domains
    # A round that finds nothing more ends it.
    yard.look()
    assert state(host) == HostState.AVAILABLE
    assert host.off_seen_at is None
    assert yard.copies(vm) == [there.name]
    assert not Drift.objects.filter(repaired_at=None).exists()
    history = HostTransition.objects.filter(host=host).order_by("id").values_list("new", flat=True)
    assert list(history) == ["suspect", "fenced", "returning", "available"]
    lifecycle.start_vm(actor=yard.box.actor, vm=now(stays))
    yard.box.run()
    assert home(stays) == host
    yard.box.assert_nothing_orphaned()


def test_one_that_was_locked_is_locked_again(yard: Yard) -> None:
    host = yard.hosts[0]
    lock_host(actor=SYSTEM, host=host)
    yard.fenced(host)
    yard.power_on(host)
    yard.look(rounds=3)
    assert state(host) == HostState.LOCKED


@pytest.mark.parametrize("point", points_of("vm.fail_over"))
def test_a_host_that_returns_in_the_middle_of_a_failover_keeps_no_copy(
    yard: Yard, point: str
) -> None:
    vm = yard.box.vm()
    host, there = home(vm), other_than(yard, home(vm))
    yard.fenced(host)
    failover.look_after_failures()
    with yard.box.dying_at(point), pytest.raises(WorkerDied):
        yard.box.run()
    yard.power_on(host)
    yard.look(rounds=2)
    # Though the VM is still in flight.
    assert now(vm).task == "failing_over"
    assert str(vm.uuid) not in yard.behind(host).domains
    all_over(yard)
    assert state(host) == HostState.AVAILABLE
    assert (now(vm).status, now(vm).host) == ("running", there)
    assert yard.copies(vm) == [there.name]
    yard.box.assert_nothing_orphaned()


def test_a_copy_that_was_started_there_is_destroyed_and_nothing_else(yard: Yard) -> None:
    vm = yard.box.vm()
    host, there = home(vm), other_than(yard, home(vm))
    yard.fenced(host)
    all_over(yard)
    yard.power_on(host)
    run_there(yard, vm, host)
    behind = yard.behind(host)
    spec = behind.domains[str(vm.uuid)].spec
    stranger = "11111111-2222-3333-4444-555555555555"
    behind.domains[stranger] = FakeDomain(replace(spec, uuid=stranger, name="stranger"))
    # No row knows it: it is reported, and keeps nobody from being used.
    yard.look(rounds=2)
    assert yard.copies(vm) == [there.name]
    yard.look()
    assert state(host) == HostState.AVAILABLE
    assert stranger in behind.domains
    assert now(vm).host == there
    assert not Drift.objects.filter(kind="second_domain", repaired_at=None).exists()


def test_what_cannot_be_taken_off_keeps_the_host_from_being_used(yard: Yard) -> None:
    vm = yard.box.vm()
    host = home(vm)
    yard.fenced(host)
    all_over(yard)
    yard.power_on(host)
    for _ in range(3):
        yard.behind(host).faults.fail_next["undefine"] = Refused("The host refused.")
        yard.look()
    freezing.freeze("tests")
    yard.look(rounds=3)
    assert state(host) == HostState.RETURNING
    assert str(vm.uuid) in yard.behind(host).domains
    # Operators see what is left there.
    (found,) = Drift.objects.filter(repaired_at=None)
    assert (found.kind, found.place) == ("leftover_domain", host.name)


def test_a_host_whose_comparison_fails_holds_up_no_other(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = yard.box.vm()
    host, there = home(vm), other_than(yard, home(vm))
    yard.fenced(host)
    all_over(yard)
    assert home(vm) == there
    yard.power_on(host)
    # Else it would be gone before the host is compared.
    run_there(yard, vm, host)
    yard.look()
    assert state(host) == HostState.RETURNING
    FakeHypervisor(yard.behind(there))._stop(yard.box.domain(vm), "shut down")

    def fails(*_args: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(reconcile, "remove_leftover", fails)
        reconcile.reconcile_hosts()
    assert now(vm).status == "stopped"
    # What could not be compared is not taken for what should be there.
    assert state(host) == HostState.RETURNING
    assert home(vm) == there
    assert str(vm.uuid) in yard.behind(host).domains
    all_over(yard)
    assert state(host) == HostState.AVAILABLE


def test_what_was_said_before_it_returned_is_no_comparison(yard: Yard) -> None:
    host = yard.hosts[0]
    yard.fenced(host)
    early = Host.objects.get(pk=host.pk)
    yard.power_on(host)
    yard.look()
    host.refresh_from_db()
    answer = HostAnswer(early)
    assert reconcile.compare_returning(answer, host) == (answer, [])
    assert state(host) == HostState.RETURNING


def test_a_vm_that_found_no_room_starts_at_home_when_its_host_returns(yard: Yard) -> None:
    vm = yard.box.vm()
    host, there = home(vm), other_than(yard, home(vm))
    Host.objects.filter(pk=there.pk).update(state=HostState.LOCKED)
    yard.fenced(host)
    all_over(yard)
    assert now(vm).failure_code == failover.NO_ROOM
    yard.power_on(host)
    yard.look()
    row = now(vm)
    assert (state(host), row.status, row.failure_code) == ("returning", "stopped", failover.WAITS)
    all_over(yard)
    row = now(vm)
    assert (state(host), row.status, row.host, row.epoch) == ("available", "running", host, 0)
    assert yard.copies(vm) == [host.name]


@pytest.mark.parametrize("defined", [True, False])
def test_what_stopped_with_a_host_that_was_on_again_too_early_starts_when_it_is_back(
    yard: Yard, defined: bool
) -> None:
    vm = yard.box.vm()
    host = home(vm)
    lock_host(actor=SYSTEM, host=other_than(yard, host))
    off = yard.box.vm(name="off", stopped=True)
    assert home(off) == host
    yard.suspect(host)
    failover.look_after_failures()
    yard.box.run()
    assert state(host) == HostState.FENCED
    # Switched on again before its witnesses had been asked.
    Host.objects.filter(pk=host.pk).update(
        state_since=timezone.now() - STALE - timedelta(seconds=1)
    )
    yard.power_on(host)
    if not defined:
        FakeHypervisor(yard.behind(host)).undefine(str(vm.uuid))
    yard.look()
    row = now(vm)
    assert not home(vm).is_off
    assert (row.status, row.wanted_power) == ("stopped", "on")
    assert (row.failure_code, row.failover_since is None) == (failover.WAITS, False)
    assert yard.copies(vm) == []
    return_host(actor=SYSTEM, host=home(vm))
    all_over(yard)
    row = now(vm)
    assert (state(host), row.status, row.host) == ("available", "running", host)
    assert yard.copies(vm) == [host.name]
    assert now(off).status == "stopped"


@pytest.mark.parametrize("on", [True, False])
def test_without_failover_nobody_waits_for_it_once_the_host_is_back(yard: Yard, on: bool) -> None:
    vm = yard.box.vm()
    host = home(vm)
    lock_host(actor=SYSTEM, host=other_than(yard, host))
    yard.fenced(host)
    Cluster.objects.update(failover=on)
    yard.look()
    assert now(vm).failover_since is not None
    yard.power_on(host)
    all_over(yard)
    assert state(host) == HostState.AVAILABLE
    # Turned on a month later, it starts nothing that its owner has not started since.
    Cluster.objects.update(failover=True)
    all_over(yard)
    row = now(vm)
    assert (row.status, row.failover_since) == ("running" if on else "stopped", None)
    assert yard.copies(vm) == ([host.name] if on else [])
    # Nor does the next failure of its host.
    if not on:
        yard.fenced(host)
        assert now(vm).failover_since is None


def test_one_that_falls_silent_while_it_returns_was_still_not_compared(yard: Yard) -> None:
    vm = yard.box.vm()
    host = home(vm)
    yard.fenced(host)
    all_over(yard)
    yard.power_on(host)
    yard.look()
    assert state(host) == HostState.RETURNING
    yard.fall_silent(host)
    time_passes(61)
    reconcile.reconcile_hosts()
    assert state(host) == HostState.SUSPECT
    yard.behind(host).faults.unreachable = False
    reconcile.reconcile_hosts()
    assert state(host) == HostState.RETURNING
    yard.look(rounds=2)
    assert state(host) == HostState.AVAILABLE
    assert str(vm.uuid) not in yard.behind(host).domains


def test_one_that_dies_again_while_it_returns_is_fenced_again(yard: Yard, at_once: None) -> None:
    vm = yard.box.vm()
    host, there = home(vm), other_than(yard, home(vm))
    Host.objects.filter(pk=there.pk).update(state=HostState.LOCKED)
    yard.fenced(host)
    failover.look_after_failures()
    yard.power_on(host)
    yard.look()
    assert state(host) == HostState.RETURNING
    yard.suspect(host)
    Host.objects.filter(pk=there.pk).update(state=HostState.AVAILABLE)
    all_over(yard)
    assert state(host) == HostState.FENCED
    assert (now(vm).status, now(vm).host) == ("running", there)


def test_an_operator_takes_a_host_back_whose_device_lied(yard: Yard) -> None:
    vm = yard.box.vm()
    host = home(vm)
    yard.plug(host).lies = True
    yard.suspect(host)
    failover.look_after_failures()
    yard.box.run()
    assert state(host) == HostState.FENCED
    yard.behind(host).faults.unreachable = False
    return_host(actor=SYSTEM, host=host)
    yard.look(rounds=2)
    # It ran all the time.
    assert state(host) == HostState.AVAILABLE
    assert (now(vm).status, now(vm).host, yard.copies(vm)) == ("running", host, [host.name])
    assert not Job.objects.filter(kind="vm.fail_over").exists()
    with pytest.raises(Conflict):
        return_host(actor=SYSTEM, host=host)


def test_a_row_follows_no_copy_on_a_host_that_was_given_up(
    make_box: Callable[..., Box],
) -> None:
    box = make_box(hosts=3)
    yard = make_yard(box)
    vm = box.vm()
    host = home(vm)
    yard.fenced(host)
    all_over(yard)
    there = home(vm)
    assert there != host
    # Nobody knows how it came there, and its host lost its own copy.
    FakeHypervisor(yard.behind(there)).undefine(str(vm.uuid))
    yard.behind(host).faults.unreachable = False
    run_there(yard, vm, host)
    reconcile.reconcile_hosts()
    assert home(vm) == there
    forget_fake_machines()
