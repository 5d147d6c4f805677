"""VMs whose host is off run elsewhere: never twice, nothing lost, in words that tenants read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.models import LedgerEntry, Order, QuotaClaim
from compute.actions import disks, snapshots
from compute.actions.vms import changes, lifecycle
from compute.actions.vms.migrate import migrate_vm
from compute.fencing.fake import forget_fake_machines
from compute.hypervisor.base import PowerState, Refused
from compute.hypervisor.fake import FakeHypervisor
from compute.models import VM, Cluster, Host
from compute.states.hosts import HostState
from compute.states.vms import VmStatus, WantedPower
from compute.sweeps import failover, reconcile
from compute.tasks.base import define, host_of, placed
from compute.transitions.hosts import note_off
from compute.transitions.vms import lose, note_wait, observe
from scloud.audit.models import Event, Operation
from scloud.jobs.models import ACTIVE, Job
from scloud.lib.errors import Conflict, ScloudError
from scloud.recovery import freezing
from scloud.recovery.models import SweepFreeze
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import in_scope_of, scopes_disabled
from tests.compute.box import Box, WorkerDied, points_of
from tests.compute.disks.test_tasks import ready
from tests.compute.factories import buy_vms
from tests.compute.hosts.yard import Yard, cut, make_yard, watched


def now(vm: VM) -> VM:
    """The row as it is now."""
    found: VM = VM.objects.select_related("host", "destination").get(pk=vm.pk)
    return found


def home(vm: VM) -> Host:
    """The host that the row names."""
    host = now(vm).host
    assert host is not None
    return Host.objects.select_related("cluster").get(pk=host.pk)


def other_than(yard: Yard, host: Host) -> Host:
    return next(one for one in yard.hosts if one.pk != host.pk)


def all_over(yard: Yard) -> None:
    """Let the sweeps and workers go on until nothing changes any more."""
    for _ in range(4):
        yard.look()
        yard.box.run()


def kinds(vm: VM) -> list[str]:
    """The events of a VM, the oldest first."""
    with scopes_disabled():
        rows = Event.objects.filter(resource_id=vm.pk).order_by("pk")
        return list(rows.values_list("kind", flat=True))


def books() -> tuple[int, int, list[tuple[Any, ...]]]:
    """What the tenant has paid and holds."""
    with scopes_disabled():
        claims = QuotaClaim.objects.order_by("resource_id", "pk")
        return (
            Order.objects.count(),
            LedgerEntry.objects.count(),
            list(claims.values_list("resource_id", "amount")),
        )


def test_a_vm_runs_on_another_host_after_its_own_was_fenced(yard: Yard) -> None:
    vm = yard.box.vm()
    host, there = home(vm), other_than(yard, home(vm))
    before = books()
    yard.suspect(host)
    yard.look()
    assert now(vm).status == "running"  # nothing is known yet
    yard.box.run()
    yard.look()
    row = now(vm)
    # The tenant sees what is being done to it.
    assert (row.task, row.host, row.epoch) == ("failing_over", there, 1)
    assert yard.copies(vm) == []
    yard.box.run()
    row = now(vm)
    assert (row.status, row.task, row.failure, row.failover_since) == ("running", "", "", None)
    assert yard.copies(vm) == [there.name]
    assert kinds(vm)[-3:] == ["vm.host_failed", "vm.failing_over", "vm.failed_over"]
    assert books() == before
    # The cluster is told that the dead host is not to be waited for; not of the one that runs now.
    volumes = {disk.pk for disk in row.disks.all()}
    assert set(yard.box.storage.shut_outs) == volumes
    assert len(yard.box.storage.shut_outs) == len(volumes)
    # Once, however often it is looked.
    all_over(yard)
    assert yard.box.domain(vm).starts == 1
    assert Job.objects.filter(kind="vm.fail_over").count() == 1


def test_tenants_read_nothing_of_hosts(yard: Yard, client: Client) -> None:
    vm = yard.box.vm()
    host, there = home(vm), other_than(yard, home(vm))
    Host.objects.filter(pk=there.pk).update(state=HostState.LOCKED)
    yard.fenced(host)
    failover.look_after_failures()
    row = now(vm)
    assert row.failure == "No host has room for it. It starts when there is."
    assert "not available for new VMs" in row.failure_detail
    assert yard.box.actor.user is not None
    client.force_login(yard.box.actor.user)
    page = client.get(reverse("vm-detail", args=[vm.pk]), follow=True).content.decode()
    assert "No host has room for it." in page
    Host.objects.filter(pk=there.pk).update(state=HostState.AVAILABLE)
    all_over(yard)
    assert now(vm).status == "running"
    line = client.get(reverse("vm-detail", args=[vm.pk]), {"tab": "timeline"}, follow=True)
    with scopes_disabled():
        events = str(list(Event.objects.filter(resource_id=vm.pk).values("kind", "data")))
        rows = Operation.objects.filter(verb="platform.fail_over_vm").values("before", "after")
        operations = str(list(rows))
    for text in (page, line.content.decode(), events, operations):
        assert host.name not in text
        assert there.name not in text


@pytest.mark.parametrize("point", points_of("vm.fail_over"))
def test_a_failover_survives_its_worker(yard: Yard, point: str) -> None:
    vm = yard.box.vm()
    there = other_than(yard, home(vm))
    yard.fenced(home(vm))
    failover.look_after_failures()
    yard.box.run_dying(point)
    assert (now(vm).status, now(vm).host) == ("running", there)
    assert yard.copies(vm) == [there.name]


@pytest.mark.parametrize("point", points_of("vm.fail_over"))
def test_a_failover_that_is_given_up_is_begun_again(yard: Yard, point: str, at_once: None) -> None:
    vm = yard.box.vm()
    yard.fenced(home(vm))
    failover.look_after_failures()
    yard.box.give_up_at(point)
    row = now(vm)
    assert (row.task, len(yard.copies(vm)) <= 1) == ("", True)
    all_over(yard)
    row = now(vm)
    assert (row.status, row.failover_since) == ("running", None)
    assert len(yard.copies(vm)) == 1


@pytest.mark.parametrize("at", ["lost", "watched"])
def test_a_sweeper_that_dies_leaves_the_next_one_to_go_on(
    yard: Yard, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = yard.box.vm()
    yard.suspect(home(vm))
    failover.look_after_failures()
    yard.box.run()
    reconcile.reconcile_hosts()

    def dies(*_args: object) -> None:
        raise WorkerDied(at)

    with monkeypatch.context() as patch:
        patch.setattr(failover, "lose" if at == "lost" else "fail_over", dies)
        with pytest.raises(WorkerDied):
            failover.look_after_failures()
    all_over(yard)
    assert now(vm).status == "running"
    assert len(yard.copies(vm)) == 1


def test_a_refused_start_is_tried_again_elsewhere_or_there(yard: Yard, at_once: None) -> None:
    vm = yard.box.vm()
    there = other_than(yard, home(vm))
    yard.fenced(home(vm))
    failover.look_after_failures()
    yard.behind(there).faults.fail_next["start"] = Refused("The host refused: no disk.")
    yard.box.run()
    row = now(vm)
    assert (row.status, row.host, row.failure_code) == ("stopped", None, "host_refused")
    assert row.failover_since is not None
    all_over(yard)
    assert (now(vm).status, now(vm).host) == ("running", there)


def test_after_a_failure_it_is_tried_more_and_more_rarely(yard: Yard) -> None:
    vm = yard.box.vm()
    there = other_than(yard, home(vm))
    yard.fenced(home(vm))
    failover.look_after_failures()
    yard.behind(there).faults.fail_next["start"] = Refused("The host refused: no disk.")
    yard.box.run()
    all_over(yard)
    assert Job.objects.filter(kind="vm.fail_over").count() == 1
    # The tenant need not wait for it.
    lifecycle.start_vm(actor=yard.box.actor, vm=now(vm))
    yard.box.run()
    row = now(vm)
    assert (row.status, row.host, row.failover_since) == ("running", there, None)


def test_what_finds_no_room_waits_and_goes_when_there_is(yard: Yard, at_once: None) -> None:
    first, second = yard.box.vm(name="first"), yard.box.vm(name="second")
    host, there = home(first), home(second)
    assert host != there
    Host.objects.filter(pk=there.pk).update(memory_mib=1024 + second.memory_mib + 1024)
    yard.behind(there).memory_mib = 1024 + second.memory_mib + 1024
    all_over(yard)
    yard.fenced(host)
    all_over(yard)
    row = now(first)
    assert (row.status, row.task, row.failure_code) == ("stopped", "", failover.NO_ROOM)
    assert not Job.objects.filter(kind="vm.fail_over").exists()
    with scopes_disabled():
        # Nobody's log fills with what could not be tried.
        assert not Operation.objects.filter(verb="platform.fail_over_vm").exists()
    lifecycle.delete_vm(actor=yard.box.actor, vm=second)
    all_over(yard)
    assert (now(first).status, now(first).host) == ("running", there)


def test_only_so_many_start_on_a_host_at_once_the_oldest_first(yard: Yard) -> None:
    Cluster.objects.update(failover_per_host=1)
    there = yard.hosts[1]
    Host.objects.filter(pk=there.pk).update(state=HostState.LOCKED)
    older, newer = yard.box.vm(name="older"), yard.box.vm(name="newer")
    Host.objects.filter(pk=there.pk).update(state=HostState.AVAILABLE)
    yard.fenced(home(older))
    failover.look_after_failures()
    assert now(older).task == "failing_over"
    row = now(newer)
    assert (row.task, row.failure_code) == ("", failover.WAITS)
    assert row.failure == "It starts again when others have started."
    failover.look_after_failures()
    assert now(newer).task == ""
    yard.box.run()
    failover.look_after_failures()
    assert now(newer).task == "failing_over"
    yard.box.run()
    assert {now(vm).status for vm in (older, newer)} == {"running"}


def test_without_failover_vms_are_stopped_and_their_owner_starts_them_elsewhere(
    yard: Yard,
) -> None:
    vm = yard.box.vm()
    there = other_than(yard, home(vm))
    yard.fenced(home(vm))
    Cluster.objects.update(failover=False)
    all_over(yard)
    row = now(vm)
    assert (row.status, row.failure) == ("stopped", "Its host failed.")
    lifecycle.start_vm(actor=yard.box.actor, vm=row)
    yard.box.run()
    assert (now(vm).status, now(vm).host, now(vm).failover_since) == ("running", there, None)


def test_a_stopped_vm_stays_stopped_and_starts_elsewhere_when_it_is_started(yard: Yard) -> None:
    vm = yard.box.vm(stopped=True)
    host, there = home(vm), other_than(yard, home(vm))
    yard.fenced(host)
    all_over(yard)
    row = now(vm)
    assert (row.status, row.host, row.failover_since, row.failure) == ("stopped", host, None, "")
    lifecycle.start_vm(actor=yard.box.actor, vm=row)
    yard.box.run()
    assert (now(vm).status, now(vm).host) == ("running", there)


def test_an_owner_may_switch_a_waiting_vm_off_or_delete_it(yard: Yard) -> None:
    off, gone = yard.box.vm(name="off"), yard.box.vm(name="gone")
    Host.objects.update(state=HostState.LOCKED)
    for host in (home(off), home(gone)):
        Host.objects.filter(pk=host.pk).update(state=HostState.AVAILABLE)
    Host.objects.filter(pk=home(gone).pk).update(state=HostState.LOCKED)
    yard.fenced(home(off))
    all_over(yard)
    lifecycle.power_off_vm(actor=yard.box.actor, vm=now(off))
    yard.box.run()
    row = now(off)
    assert (row.status, row.failover_since, row.wanted_power) == ("stopped", None, "off")
    with pytest.raises(Conflict):
        lifecycle.power_off_vm(actor=yard.box.actor, vm=row)
    lifecycle.delete_vm(actor=yard.box.actor, vm=row)
    yard.box.run()
    row = now(off)
    assert (row.status, row.host) == ("binned", None)


def test_what_a_restored_database_says_to_be_off_starts_nowhere_before_it_was_seen_anew(
    yard: Yard,
) -> None:
    vm = yard.box.vm(stopped=True)
    host, there = home(vm), other_than(yard, home(vm))
    yard.fenced(host)
    freezing.freeze("tests")
    failover.look_after_failures()
    assert not home(vm).is_off
    # That was so in another time: by now it is on, and somebody has started the VM.
    yard.power_on(host)
    FakeHypervisor(yard.behind(host)).start(str(vm.uuid))
    lifecycle.start_vm(actor=yard.box.actor, vm=now(vm))
    yard.box.run()
    assert (now(vm).host, yard.copies(vm)) == (host, [host.name])
    # And where it is off all the same, its witnesses say so when the freeze is over.
    cut(yard.behind(host))
    yard.fall_silent(host)
    failover.look_after_failures()
    assert not home(vm).is_off
    SweepFreeze.objects.update(released_at=timezone.now())
    reconcile.reconcile_hosts()
    failover.watch_off(timezone.now())
    assert home(vm).is_off
    assert yard.copies(vm) == []
    all_over(yard)
    assert yard.copies(vm) == [there.name]


def test_an_owner_who_switches_a_vm_off_is_not_overtaken_by_a_round_that_had_begun(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = yard.box.vm()
    yard.fenced(home(vm))

    def meanwhile(**values: Any) -> Job:
        lifecycle.power_off_vm(actor=yard.box.actor, vm=now(vm))
        yard.box.run()
        return lifecycle.fail_over_vm(**values)

    with monkeypatch.context() as patch:
        patch.setattr(failover, "fail_over_vm", meanwhile)
        assert failover.fail_over() == 0
    all_over(yard)
    row = now(vm)
    assert (row.status, row.failover_since, row.wanted_power) == ("stopped", None, "off")
    assert yard.copies(vm) == []
    assert not Job.objects.filter(kind="vm.fail_over").exists()


@pytest.mark.parametrize("verb", ["start_vm", "fail_over_vm"])
def test_a_host_that_was_chosen_for_a_row_that_has_changed_is_not_written(
    yard: Yard, verb: str
) -> None:
    vm = yard.box.vm(stopped=True)
    there = other_than(yard, home(vm))
    VM.objects.filter(pk=vm.pk).update(failover_since=timezone.now())
    stale = VM.objects.select_related("tenant", "host", "cluster").get(pk=vm.pk)
    # It went elsewhere, and is stopped as before.
    VM.objects.filter(pk=vm.pk).update(host=there)
    begins: dict[str, Callable[..., Job]] = {
        "start_vm": lifecycle.start_vm,
        "fail_over_vm": lifecycle.fail_over_vm,
    }
    begin = begins[verb]
    actor = yard.box.actor if verb == "start_vm" else Actor.system(vm.tenant)
    with pytest.raises(Conflict) as refused:
        begin(actor=actor, vm=stale)
    assert refused.value.code == "vm_state"
    assert "was modified by another request" in refused.value.message
    row = now(vm)
    assert (row.host, row.task) == (there, "")
    begin(actor=actor, vm=VM.objects.select_related("tenant", "host", "cluster").get(pk=vm.pk))
    assert now(vm).host == there


# -- what is wanted ------------------------------------------------------------------------------


def test_what_is_wanted_is_what_was_ordered_last(yard: Yard) -> None:
    vm = yard.box.vm()
    on, off = WantedPower.ON, WantedPower.OFF
    assert now(vm).wanted_power == on
    lifecycle.shut_down_vm(actor=yard.box.actor, vm=vm)
    assert now(vm).wanted_power == off
    yard.box.run()
    assert (now(vm).status, now(vm).wanted_power) == ("stopped", off)
    lifecycle.start_vm(actor=yard.box.actor, vm=now(vm))
    assert now(vm).wanted_power == on
    yard.box.run()
    # A guest that ignores it goes on to run, and is wanted to.
    yard.behind(home(vm)).faults.ignores_acpi = True
    lifecycle.shut_down_vm(actor=yard.box.actor, vm=now(vm))
    Job.objects.filter(status__in=ACTIVE).update(max_attempts=0)
    yard.box.run()
    assert (now(vm).status, now(vm).wanted_power) == ("running", on)
    # One that shut itself down stays off, one that an operator started stays on.
    for power, wanted in ((PowerState.STOPPED, off), (PowerState.RUNNING, on)):
        row = now(vm)
        assert observe(row, power.value, revision=row.revision)
        assert now(vm).wanted_power == wanted
    row = now(vm)
    observe(row, PowerState.ABSENT.value, revision=row.revision)
    assert (now(vm).status, now(vm).wanted_power) == ("stopped", on)


@pytest.mark.parametrize("order", [lifecycle.shut_down_vm, lifecycle.power_off_vm])
def test_an_order_that_a_silent_host_did_not_hear_is_the_last_one_until_it_is_heard(
    yard: Yard, order: Callable[..., Job]
) -> None:
    vm = yard.box.vm()
    host = home(vm)
    yard.fall_silent(host)
    order(actor=yard.box.actor, vm=now(vm))
    yard.box.run()
    row = now(vm)
    assert (row.status, row.failure_code, row.wanted_power) == (
        "running",
        "host_unreachable",
        "off",
    )
    # It ran all the time, and goes on to: if its host fails next year, it is started elsewhere.
    yard.behind(host).faults.unreachable = False
    reconcile.reconcile_hosts()
    assert (now(vm).status, now(vm).wanted_power) == ("running", "on")


@pytest.mark.parametrize(("status", "wants"), [("running", True), ("stopped", False)])
def test_rows_of_earlier_releases_are_understood_by_their_status(status: str, wants: bool) -> None:
    assert VM(status=status).wants_power is wants
    assert VM(status=status, wanted_power="off").wants_power is False
    assert VM(status=status, wanted_power="on").wants_power is True


def test_what_an_earlier_release_began_is_wanted_as_it_was_ordered(yard: Yard) -> None:
    vm = yard.box.vm()
    host = home(vm)
    lifecycle.shut_down_vm(actor=yard.box.actor, vm=now(vm))
    # Its web process writes nothing of what is wanted.
    VM.objects.filter(pk=vm.pk).update(wanted_power="on")
    yard.box.run()
    assert (now(vm).status, now(vm).wanted_power) == ("stopped", "off")
    yard.fenced(host)
    all_over(yard)
    assert (now(vm).status, now(vm).failover_since) == ("stopped", None)
    assert yard.copies(vm) == []


@pytest.mark.parametrize("left", ["", "off"])
def test_what_runs_is_wanted_to_whatever_an_earlier_release_left_in_its_row(
    yard: Yard, left: str
) -> None:
    vm = yard.box.vm()
    VM.objects.filter(pk=vm.pk).update(wanted_power=left)
    reconcile.reconcile_hosts()
    assert now(vm).wanted_power == "on"


def test_a_vm_of_an_earlier_release_whose_host_dies_while_it_is_in_flight_is_started_again(
    yard: Yard, at_once: None
) -> None:
    vm = yard.box.vm()
    host, there = home(vm), other_than(yard, home(vm))
    VM.objects.filter(pk=vm.pk).update(wanted_power="")
    begin_upgrade(yard, now(vm))
    assert now(vm).wanted_power == "on"
    yard.fenced(host)
    all_over(yard)
    assert (now(vm).status, now(vm).host) == ("running", there)
    # One that is stopped goes on to be so.
    off = yard.box.vm(name="off", stopped=True)
    VM.objects.filter(pk=off.pk).update(wanted_power="")
    lifecycle.delete_vm(actor=yard.box.actor, vm=now(off))
    assert now(off).wanted_power == ""


def test_a_guest_that_shut_itself_down_is_not_started_by_a_failover(yard: Yard) -> None:
    vm = yard.box.vm()
    host = home(vm)
    FakeHypervisor(yard.behind(host))._stop(yard.box.domain(vm), "shut down")
    yard.look()
    assert now(vm).status == "stopped"
    yard.fenced(host)
    all_over(yard)
    row = now(vm)
    assert (row.status, row.failover_since) == ("stopped", None)
    assert yard.copies(vm) == []


# -- the epoch -----------------------------------------------------------------------------------


def test_what_was_begun_before_a_vm_moved_neither_defines_nor_starts_it(yard: Yard) -> None:
    stale = yard.box.vm()
    host, there = home(stale), other_than(yard, home(stale))
    VM.objects.filter(pk=stale.pk).update(host=there)
    VM.objects.filter(pk=stale.pk).update(host=host)
    assert now(stale).epoch == 2
    starts = yard.box.domain(stale).starts
    stale = VM.objects.select_related("tenant", "host").get(pk=stale.pk)
    stale.epoch = 0
    with pytest.raises(ScloudError) as refused:
        define(stale)
    assert refused.value.code == "vm_moved"
    with pytest.raises(ScloudError) as refused, placed(stale):
        host_of(stale).start(str(stale.uuid))
    assert refused.value.code == "vm_moved"
    assert yard.box.domain(stale).starts == starts


def test_nobody_else_can_set_the_epoch(yard: Yard) -> None:
    vm = yard.box.vm()
    VM.objects.filter(pk=vm.pk).update(epoch=7, name="another")
    assert now(vm).epoch == 0
    VM.objects.filter(pk=vm.pk).update(host=None)
    assert now(vm).epoch == 1


# -- what was in flight ----------------------------------------------------------------------------


def begin_snapshot(yard: Yard, vm: VM) -> None:
    disk = yard.box.system_disk(vm)
    snapshots.create_snapshot(actor=yard.box.actor, disk=disk, name="kept")


def begin_upgrade(yard: Yard, vm: VM) -> None:
    spec = yard.box.platform.specs[1]
    quote = changes.quote_size(actor=yard.box.actor, vm=vm, spec=spec)
    changes.hot_upgrade_vm(actor=yard.box.actor, vm=vm, spec=spec, quote_token=quote.token)


#: What is begun, the host that dies, where the VM ends.
IN_FLIGHT: dict[str, tuple[Callable[[Yard, VM], object], str]] = {
    "restart": (lambda yard, vm: lifecycle.restart_vm(actor=yard.box.actor, vm=vm), "running"),
    "shut down": (lambda yard, vm: lifecycle.shut_down_vm(actor=yard.box.actor, vm=vm), "stopped"),
    "power off": (lambda yard, vm: lifecycle.power_off_vm(actor=yard.box.actor, vm=vm), "stopped"),
    "delete": (lambda yard, vm: lifecycle.delete_vm(actor=yard.box.actor, vm=vm), "binned"),
    "snapshot": (begin_snapshot, "running"),
    "upgrade": (begin_upgrade, "running"),
    "migrate": (
        lambda yard, vm: migrate_vm(actor=Actor.system(vm.tenant), vm=vm, host=yard.hosts[1]),
        "running",
    ),
    "attach": (
        lambda yard, vm: disks.attach_disk(actor=yard.box.actor, vm=vm, disk=ready(yard.box)),
        "running",
    ),
}


@pytest.mark.parametrize("worked", ["when it is off", "while it is silent"])
@pytest.mark.parametrize("what", IN_FLIGHT)
def test_what_was_in_flight_ends_and_the_vm_with_it(
    yard: Yard, what: str, worked: str, at_once: None
) -> None:
    begin, ends = IN_FLIGHT[what]
    Host.objects.filter(pk=yard.hosts[1].pk).update(state=HostState.LOCKED)
    vm = yard.box.vm()
    Host.objects.filter(pk=yard.hosts[1].pk).update(state=HostState.AVAILABLE)
    host, there = yard.hosts
    assert home(vm) == host
    begin(yard, now(vm))
    if worked == "when it is off":
        yard.fenced(host)
    else:
        yard.suspect(host)
        yard.box.run()
        if what in ("shut down", "power off", "delete"):
            # It came to nothing, and the tenant was told so.
            assert (now(vm).status, now(vm).failure_code) == ("running", "host_unreachable")
        if what == "delete":
            # A VM goes on to be wanted that was not ordered to be off.
            ends = "running"
    all_over(yard)
    row = now(vm)
    assert (row.status, row.task, row.destination) == (ends, "", None), row.failure
    assert row.failover_since is None
    assert yard.copies(vm) == ([there.name] if ends == "running" else [])
    assert not Job.objects.filter(status__in=ACTIVE).exists()


@pytest.mark.parametrize("worked", ["when it is off", "while it is silent"])
def test_a_lost_start_is_made_good_elsewhere(yard: Yard, worked: str, at_once: None) -> None:
    vm = yard.box.vm(stopped=True)
    host, there = home(vm), other_than(yard, home(vm))
    lifecycle.start_vm(actor=yard.box.actor, vm=vm)
    if worked == "when it is off":
        yard.fenced(host)
    else:
        yard.suspect(host)
        yard.box.run()
        assert (now(vm).status, now(vm).failure_code) == ("stopped", "host_unreachable")
    all_over(yard)
    assert (now(vm).status, now(vm).host) == ("running", there)
    assert yard.copies(vm) == [there.name]


def test_a_creation_on_a_host_that_dies_costs_nothing_and_leaves_nothing(yard: Yard) -> None:
    (vm,) = buy_vms(yard.box.platform, yard.box.actor)
    host = home(vm)
    yard.suspect(host)
    yard.box.run()
    row = now(vm)
    assert (row.status, row.host) == (VmStatus.FAILED, host)
    assert sum(order.total_minor for order in Order.objects.all()) == 0
    all_over(yard)
    # Its host is off: what was held for it in case that it runs is free again.
    assert now(vm).host is None
    assert yard.box.storage.list_volumes() == ()
    assert not QuotaClaim.objects.filter(resource_id=vm.pk).exists()


@pytest.mark.parametrize("dies", ["source", "destination"])
@pytest.mark.parametrize("moved", [True, False])
def test_a_host_that_dies_after_an_unclear_migration_takes_the_vm_along_if_it_was_there(
    yard: Yard, dies: str, moved: bool, at_once: None
) -> None:
    vm = yard.box.vm()
    source, destination = home(vm), other_than(yard, home(vm))
    migrate_vm(actor=Actor.system(vm.tenant), vm=now(vm), host=destination)
    uuid, here, there = str(vm.uuid), yard.behind(source), yard.behind(destination)
    if moved:
        driver = FakeHypervisor(here)
        driver.migrate(uuid, there.ref)
    else:
        here.faults.migration_fails = True
    dead = source if dies == "source" else destination
    alive = destination if dies == "source" else source
    yard.fall_silent(dead)
    yard.box.run()
    row = now(vm)
    assert (row.status, row.task, row.host, row.destination) == (
        "running",
        "",
        source,
        destination,
    )
    ran_on = destination if moved else source
    yard.suspect(dead)
    all_over(yard)
    row = now(vm)
    assert (row.status, row.host, row.destination) == ("running", alive, None)
    assert yard.copies(vm) == [alive.name]
    failed_over = Job.objects.filter(kind="vm.fail_over", target_id=vm.pk).exists()
    assert failed_over == (ran_on == dead)


def test_nothing_is_started_while_a_migration_may_have_taken_it_elsewhere(
    make_box: Callable[..., Box],
) -> None:
    box = make_box(hosts=3)
    yard = make_yard(box)
    vm = box.vm(stopped=True)
    host = home(vm)
    silent = other_than(yard, host)
    yard.fenced(host)
    yard.fall_silent(silent)
    VM.objects.filter(pk=vm.pk).update(
        destination=silent, wanted_power="on", failover_since=timezone.now()
    )
    with pytest.raises(Conflict) as refused:
        lifecycle.start_vm(actor=box.actor, vm=now(vm))
    assert refused.value.code == "host_not_ready"
    all_over(yard)
    assert not Job.objects.filter(kind="vm.fail_over").exists()
    # It answers, and the VM is not there.
    yard.behind(silent).faults.unreachable = False
    all_over(yard)
    assert now(vm).status == "running"
    forget_fake_machines()


def test_a_disk_that_is_busy_is_waited_for(yard: Yard) -> None:
    vm = yard.box.vm()
    yard.fenced(home(vm))
    disk = yard.box.system_disk(vm)
    type(disk).objects.filter(pk=disk.pk).update(
        task="snapshotting", task_deadline=timezone.now() + timedelta(hours=1)
    )
    failover.look_after_failures()
    assert now(vm).failure == "It starts again when the operation on its disk has ended."
    type(disk).objects.filter(pk=disk.pk).update(task="", task_deadline=None)
    all_over(yard)
    assert now(vm).status == "running"


def test_a_second_host_that_dies_while_a_vm_starts_there_is_fenced_before_it_goes_on(
    make_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    box = make_box(hosts=6)
    yard = make_yard(box)
    with watched(yard, monkeypatch):
        vm = box.vm()
        yard.fenced(home(vm))
        failover.look_after_failures()
        second = home(vm)
        behind = yard.behind(second)

        def before(name: str) -> None:
            if name == "observe" and str(vm.uuid) in behind.domains:
                domain = behind.domains[str(vm.uuid)]
                behind.faults.unreachable |= domain.running is not None

        behind.faults.before = before
        box.run()
        behind.faults.before = None
        row = now(vm)
        # It may run there.
        assert (row.status, row.host) == ("stopped", second)
        yard.look(rounds=2)
        row = now(vm)
        assert (row.task, row.host) == ("", second)
        assert yard.copies(vm) == [second.name]
        yard.suspect(second)
        all_over(yard)
        row = now(vm)
        assert (row.status, row.host not in (None, second)) == ("running", True)
        assert len(yard.copies(vm)) == 1
    forget_fake_machines()


def test_what_has_changed_since_it_was_read_is_not_written_over(yard: Yard) -> None:
    vm = yard.box.vm()
    host = home(vm)
    yard.fenced(host)
    off = Host.objects.get(pk=host.pk)
    seen = off.off_seen_at
    # Another sweeper was first.
    assert note_off(off, timezone.now()) is False
    assert Host.objects.get(pk=host.pk).off_seen_at == seen
    stale = now(vm)
    VM.objects.filter(pk=vm.pk).update(status=VmStatus.BINNED, failover_since=None)
    told = Event.objects.filter(resource_id=vm.pk).count()
    with in_scope_of(vm.tenant):
        assert lose(stale) is False
        # It waits for nothing by now.
        note_wait(stale, "failover_waits", "It waits.", "")
    row = now(vm)
    assert (row.status, row.failover_since) == (VmStatus.BINNED, None)
    assert row.failure != "It waits."
    assert stale.failure != "It waits."
    assert Event.objects.filter(resource_id=vm.pk).count() == told
