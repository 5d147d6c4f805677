"""Placement groups: who shares a host, whoever chooses it, and what tenants read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from compute.actions import placement as groups
from compute.actions.vms import lifecycle
from compute.actions.vms.migrate import migrate_vm
from compute.fencing.fake import forget_fake_machines
from compute.hypervisor.fake import fake_host
from compute.models import VM, Host, PlacementGroup
from compute.queries import placement as queries
from compute.states.hosts import HostState
from compute.states.vms import FailoverPriority, VmStatus
from compute.sweeps import failover
from compute.tasks.base import host_of
from compute.tasks.vms import lifecycle as starting
from scloud.audit.models import Event, Operation
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput, NoCapacity, NotFound, ScloudError
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.api.client import Program
from tests.compute.box import Box, WorkerDied, points_of
from tests.compute.factories import (
    PASSWORD,
    Platform,
    buy_vms,
    give_network,
    make_platform,
    make_vm,
    settle,
)
from tests.compute.hosts.test_gpu import fit
from tests.compute.hosts.test_maintenance import on_first
from tests.compute.hosts.yard import Yard, make_yard

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("scoped")]


def group_of(
    actor: Actor, platform: Platform, policy: str = "spread", *, required: bool = True
) -> PlacementGroup:
    return groups.create_placement_group(
        actor=actor, region=platform.region, name=policy, policy=policy, required=required
    )


def system(actor: Actor) -> Actor:
    return Actor.system(actor.tenant)


def now(vm: VM) -> VM:
    """The row as it is now."""
    found: VM = VM.objects.get(pk=vm.pk)
    return found


def hosts_of(vms: list[VM]) -> list[str]:
    with scopes_disabled():
        rows = VM.objects.filter(pk__in=[vm.pk for vm in vms])
        return [str(host) for host in rows.values_list("host", flat=True)]


@pytest.fixture
def three(region: Region) -> Platform:
    """A cluster of three hosts."""
    return make_platform(region, hosts=3)


# -- purchases ---------------------------------------------------------------------------------


def test_vms_of_a_spread_group_never_share_a_host(three: Platform, actor: Actor) -> None:
    group = group_of(actor, three)
    vms = buy_vms(three, actor, count=2, placement_group=group)
    vms += buy_vms(three, actor, placement_group=group)
    assert len(set(hosts_of(vms))) == 3
    with pytest.raises(NoCapacity) as refused:
        buy_vms(three, actor, placement_group=group)
    assert refused.value.field == "placement_group"
    assert "has a VM of the placement group already: 3 hosts" in refused.value.detail
    assert "host" not in refused.value.message
    assert VM.objects.count() == 3


def test_a_spread_that_is_preferred_shares_only_when_it_must(three: Platform, actor: Actor) -> None:
    # Others of the tenant are on the first choice: the group counts more than they do.
    group = group_of(actor, three, required=False)
    vms = buy_vms(three, actor, count=3, placement_group=group)
    assert len(set(hosts_of(vms))) == 3
    vms += buy_vms(three, actor, count=3, placement_group=group)
    assert sorted(hosts_of(vms).count(host.pk) for host in three.hosts) == [2, 2, 2]


@pytest.mark.parametrize("required", [True, False])
def test_vms_of_a_group_that_stays_together_share_one(
    three: Platform, actor: Actor, required: bool
) -> None:
    group = group_of(actor, three, "together", required=required)
    vms = buy_vms(three, actor, count=2, placement_group=group)
    vms += buy_vms(three, actor, placement_group=group)
    assert len(set(hosts_of(vms))) == 1


def test_what_does_not_fit_beside_its_group_is_refused_or_goes_elsewhere(
    three: Platform, actor: Actor
) -> None:
    tight = group_of(actor, three, "together")
    loose = group_of(actor, three, "together", required=False)
    large = three.specs[3]  # 8 vCPU, 16 GB; a host has 63 GB
    for group in (tight, loose):
        buy_vms(three, actor, spec=large, count=3, placement_group=group)
    with pytest.raises(NoCapacity):
        buy_vms(three, actor, spec=large, count=1, placement_group=tight)
    (other,) = buy_vms(three, actor, spec=large, placement_group=loose)
    with scopes_disabled():
        assert VM.objects.filter(placement_group=loose).values("host").distinct().count() == 2
    assert other.placement_group == loose


@pytest.mark.django_db(transaction=True)
def test_purchases_side_by_side_never_share_a_host(region: Region, actor: Actor) -> None:
    platform = make_platform(region, hosts=3)
    with scope(tenant=actor.tenant):
        group = group_of(actor, platform)
        buy_vms(platform, actor)  # money and a network
    refused: list[ScloudError] = []
    begin = threading.Barrier(6)

    def buy(number: int) -> None:
        try:
            begin.wait()
            buy_vms(platform, actor, name=f"s{number}", placement_group=group, cash="0")
        except ScloudError as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=buy, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(error) for error in refused] == [NoCapacity] * 3
    with scopes_disabled():
        hosts = list(VM.objects.filter(placement_group=group).values_list("host", flat=True))
    assert len(hosts) == len(set(hosts)) == 3


@pytest.mark.django_db(transaction=True)
def test_no_two_running_vms_join_side_by_side_on_one_host(region: Region, actor: Actor) -> None:
    platform = make_platform(region, hosts=1)
    with scope(tenant=actor.tenant):
        group = group_of(actor, platform)
        vms = [make_vm(platform, actor, name=f"v{number}") for number in range(3)]
    refused: list[ScloudError] = []
    begin = threading.Barrier(3)

    def join(vm: VM) -> None:
        try:
            begin.wait()
            groups.change_placement_group(actor=actor, vm=vm, group=group)
        except ScloudError as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=join, args=(vm,)) for vm in vms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [error.code for error in refused] == ["placement_rule"] * 2
    with scopes_disabled():
        assert VM.objects.filter(placement_group=group).count() == 1


# -- joining and leaving -----------------------------------------------------------------------


def test_a_running_vm_joins_where_it_fits_and_leaves(three: Platform, actor: Actor) -> None:
    group = group_of(actor, three)
    first, second = make_vm(three, actor, name="a"), make_vm(three, actor, name="b")
    settle(second, host=first.host)
    second.refresh_from_db()
    groups.change_placement_group(actor=actor, vm=first, group=group)
    with pytest.raises(Conflict) as refused:
        groups.change_placement_group(actor=actor, vm=second, group=group)
    assert refused.value.code == "placement_rule"
    assert "Shut the VM down" in str(refused.value.remedy)
    assert first.host is not None
    assert first.host.name not in refused.value.message + str(refused.value.remedy)
    second.refresh_from_db()
    assert second.placement_group is None
    groups.change_placement_group(actor=actor, vm=first, group=None)
    groups.change_placement_group(actor=actor, vm=second, group=group)
    with scopes_disabled():
        kinds = Event.objects.filter(resource_id=second.pk).values_list("kind", flat=True)
        assert list(kinds).count("vm.placement_group_changed") == 1
        logged = Operation.objects.filter(verb="compute.change_placement_group", succeeded=True)
        assert logged.latest("pk").after == {"placement_group": group.pk}


def test_a_group_that_stays_together_takes_a_running_vm_only_from_its_host(
    three: Platform, actor: Actor
) -> None:
    group = group_of(actor, three, "together")
    vms = [make_vm(three, actor, name=name) for name in "ab"]
    assert len(set(hosts_of(vms))) == 2
    groups.change_placement_group(actor=actor, vm=vms[0], group=group)
    with pytest.raises(Conflict, match="is not on a host that"):
        groups.change_placement_group(actor=actor, vm=vms[1], group=group)


def test_the_vms_of_a_busy_state_do_not_join(three: Platform, actor: Actor) -> None:
    group = group_of(actor, three)
    (vm,) = buy_vms(three, actor)
    with pytest.raises(Conflict):
        groups.change_placement_group(actor=actor, vm=vm, group=group)


def test_a_stopped_vm_goes_to_another_host_when_it_starts(box: Box) -> None:
    group = group_of(box.actor, box.platform)
    first, second = box.vm(name="a"), box.vm(name="b", stopped=True)
    # Both on one host, with the definition there, as an operator's move would leave it.
    migrate_vm(actor=system(box.actor), vm=first)
    box.run()
    first.refresh_from_db()
    assert first.host == second.host
    groups.change_placement_group(actor=box.actor, vm=first, group=group)
    groups.change_placement_group(actor=box.actor, vm=second, group=group)
    lifecycle.start_vm(actor=box.actor, vm=second)
    box.run()
    second.refresh_from_db()
    assert (second.status, second.failure) == ("running", "")
    assert second.host != first.host
    assert second.host is not None
    assert box.places(second) == [second.host.name]
    # Once it is right it starts where it is.
    lifecycle.power_off_vm(actor=box.actor, vm=second)
    box.run()
    home = second.host
    lifecycle.start_vm(actor=box.actor, vm=now(second))
    box.run()
    second.refresh_from_db()
    assert second.host == home


def _shared(box: Box) -> tuple[VM, VM]:
    """Two VMs of a required group on one host, of which the second is stopped."""
    group = group_of(box.actor, box.platform)
    first, second = box.vm(name="a"), box.vm(name="b", stopped=True)
    migrate_vm(actor=system(box.actor), vm=first)
    box.run()
    for vm in (first, second):
        groups.change_placement_group(actor=box.actor, vm=now(vm), group=group)
    return now(first), now(second)


@pytest.mark.parametrize("point", points_of("vm.start"))
def test_a_worker_that_dies_on_the_way_leaves_one_copy(box: Box, point: str) -> None:
    first, second = _shared(box)
    lifecycle.start_vm(actor=box.actor, vm=second)
    box.run_dying(point)
    second.refresh_from_db()
    assert (second.status, second.failure) == ("running", "")
    assert second.host != first.host
    assert len(box.places(second)) == 1


def test_a_vm_whose_former_host_is_silent_stays_there(box: Box) -> None:
    _first, second = _shared(box)
    before = second.host
    assert before is not None
    box.host_of(second).faults.unreachable = True
    lifecycle.start_vm(actor=box.actor, vm=second)
    box.run()
    second.refresh_from_db()
    assert (second.status, second.host) == ("stopped", before)
    box.host_of(second).faults.unreachable = False
    lifecycle.start_vm(actor=box.actor, vm=now(second))
    box.run()
    second.refresh_from_db()
    assert (second.status, second.failure) == ("running", "")
    assert second.host != before
    assert len(box.places(second)) == 1


def test_a_former_host_that_was_left_may_fall_silent(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    _first, second = _shared(box)
    before = second.host
    assert before is not None
    lifecycle.start_vm(actor=box.actor, vm=second)

    def dies(_vm: VM) -> None:
        raise WorkerDied("define")

    with monkeypatch.context() as patch:
        patch.setattr(starting, "define", dies)
        with pytest.raises(WorkerDied):
            box.run()
    assert box.places(second) == []
    fake_host(before.uri).faults.unreachable = True
    box.run()
    second.refresh_from_db()
    assert (second.status, second.failure) == ("running", "")
    assert second.host != before


def test_with_both_hosts_silent_it_stays_on_the_former_one(box: Box) -> None:
    _first, second = _shared(box)
    before = second.host
    assert before is not None
    for host in Host.objects.all():
        fake_host(host.uri).faults.unreachable = True
    lifecycle.start_vm(actor=box.actor, vm=second)
    assert now(second).host != before
    box.run()
    second.refresh_from_db()
    assert (second.status, second.task, second.host) == ("stopped", "", before)


def test_a_start_that_is_pushed_aside_leaves_the_vm_on_the_former_host(box: Box) -> None:
    _first, second = _shared(box)
    before = second.host
    assert before is not None
    # What was read before the start, as by a page that is open.
    read = now(second)
    start = lifecycle.start_vm(actor=box.actor, vm=second)
    assert now(second).host != before
    lifecycle.power_off_vm(actor=box.actor, vm=read)
    assert (now(second).host, now(second).task) == (before, "powering_off")
    box.run()
    second.refresh_from_db()
    assert (second.status, second.host) == ("stopped", before)
    start.refresh_from_db()
    assert start.status == "cancelled"
    # It was never defined on the other one, and leaves at its next start.
    assert len(box.places(second)) == 1
    lifecycle.start_vm(actor=box.actor, vm=now(second))
    box.run()
    assert (now(second).status, now(second).host != before) == ("running", True)
    assert len(box.places(second)) == 1


def test_what_runs_at_the_former_host_is_not_switched_off(box: Box) -> None:
    _first, second = _shared(box)
    before = second.host
    # Somebody starts it by hand, and no look at the host has told so yet.
    host_of(second).start(str(second.uuid))
    lifecycle.start_vm(actor=box.actor, vm=second)
    box.run()
    second.refresh_from_db()
    assert second.host == before
    assert len(box.places(second)) == 1
    assert box.domain(second).running is not None


# -- starts, migrations, failovers -------------------------------------------------------------


@pytest.mark.parametrize("state", [HostState.SUSPECT, HostState.RETURNING])
def test_nothing_starts_on_a_host_of_which_nothing_is_known(
    three: Platform, actor: Actor, state: HostState
) -> None:
    vm = make_vm(three, actor, VmStatus.STOPPED)
    Host.objects.filter(pk=vm.host_id).update(state=state)
    with pytest.raises(Conflict) as refused:
        lifecycle.start_vm(actor=actor, vm=VM.objects.get(pk=vm.pk))
    assert refused.value.code == "host_not_ready"
    assert Job.objects.filter(kind="vm.start").count() == 0


def test_a_vm_starts_on_its_locked_host(box: Box) -> None:
    vm = box.vm(stopped=True)
    before = vm.host
    Host.objects.update(state=HostState.LOCKED)
    lifecycle.start_vm(actor=box.actor, vm=VM.objects.get(pk=vm.pk))
    box.run()
    vm.refresh_from_db()
    assert (vm.status, vm.host) == ("running", before)


def test_a_migration_keeps_the_rules(three: Platform, actor: Actor) -> None:
    group = group_of(actor, three)
    vms = [settle(vm) for vm in buy_vms(three, actor, count=2, placement_group=group)]
    taken = set(hosts_of(vms))
    migrate_vm(actor=system(actor), vm=vms[0])
    vms[0].refresh_from_db()
    assert vms[0].destination_id not in taken
    settled = settle(vms[0], destination=None)
    with pytest.raises(NoCapacity) as refused:
        migrate_vm(actor=system(actor), vm=settled, host=vms[1].host)
    assert "has a VM of the placement group already" in refused.value.detail


def test_a_destination_counts_while_a_vm_is_on_its_way(three: Platform, actor: Actor) -> None:
    group = group_of(actor, three)
    vms = [settle(vm) for vm in buy_vms(three, actor, count=2, placement_group=group)]
    migrate_vm(actor=system(actor), vm=vms[0])
    with pytest.raises(NoCapacity):
        buy_vms(three, actor, placement_group=group)


def test_a_group_leaves_a_host_that_is_emptied_and_stays_together(
    three: Platform, actor: Actor
) -> None:
    group = group_of(actor, three, "together")
    vms = [settle(vm) for vm in buy_vms(three, actor, count=2, placement_group=group)]
    with pytest.raises(NoCapacity):
        migrate_vm(actor=system(actor), vm=vms[0])
    Host.objects.filter(pk=vms[0].host_id).update(state=HostState.ENTERING_MAINTENANCE)
    for vm in vms:
        migrate_vm(actor=system(actor), vm=VM.objects.get(pk=vm.pk))
    found = VM.objects.filter(placement_group=group).values_list("destination", flat=True)
    assert len(set(found)) == 1


def test_a_failover_keeps_the_rules_and_goes_by_priority(
    make_box: Callable[..., Box], yard: Yard, at_once: None
) -> None:
    box = yard.box
    group = group_of(box.actor, box.platform)
    vms = [box.vm(name=name, placement_group=group) for name in "ab"]
    late = box.vm(name="late")
    # The host that dies has a VM of the group, and the other one too: there is no room for it.
    dead = vms[0].host
    assert dead is not None
    if late.host != dead:
        migrate_vm(actor=system(box.actor), vm=late)
        box.run()
    yard.fenced(dead)
    failover.look_after_failures()
    box.run()
    waits, moved = VM.objects.get(pk=vms[0].pk), VM.objects.get(pk=late.pk)
    assert (waits.status, waits.failure_code) == ("stopped", failover.NO_ROOM)
    assert "has a VM of the placement group already" in waits.failure_detail
    assert (moved.status, moved.host_id) == ("running", vms[1].host_id)


def _waiting_beside(yard: Yard, **changes: Any) -> tuple[VM, VM]:
    """Two VMs of a required group on one host, of which one runs and one waits for its failover."""
    box = yard.box
    group = group_of(box.actor, box.platform)
    _host, vms = on_first(yard, 2, **changes)
    waits, runs = vms
    lifecycle.power_off_vm(actor=box.actor, vm=now(waits))
    box.run()
    VM.objects.filter(pk__in=[vm.pk for vm in vms]).update(placement_group=group)
    VM.objects.filter(pk=waits.pk).update(failover_since=timezone.now(), wanted_power="on")
    return now(waits), now(runs)


def test_a_failover_does_not_start_a_vm_at_home_against_its_rule(yard: Yard) -> None:
    waits, runs = _waiting_beside(yard)
    former = waits.host
    failover.look_after_failures()
    job = Job.objects.get(kind="vm.fail_over")
    assert former is not None
    assert job.payload == {"placed": True, "left": former.pk}
    yard.box.run()
    row = now(waits)
    assert (row.status, row.failure, row.failover_since) == ("running", "", None)
    assert row.host not in (None, former)
    assert now(runs).host == former
    assert yard.box.places(row) == [row.host.name if row.host else ""]


def test_a_failover_takes_nothing_from_a_vm_that_runs_at_home(yard: Yard) -> None:
    waits, _runs = _waiting_beside(yard)
    former = waits.host
    # Somebody starts it by hand, and no look at the host has told so yet.
    host_of(waits).start(str(waits.uuid))
    failover.look_after_failures()
    yard.box.run()
    row = now(waits)
    assert (row.host, row.task) == (former, "")
    assert yard.box.storage.shut_outs == []
    assert yard.copies(row) == [former.name if former else ""]


def test_a_failover_that_has_to_leave_home_waits_for_room(yard: Yard) -> None:
    waits, _runs = _waiting_beside(yard)
    Host.objects.exclude(pk=waits.host_id).update(state=HostState.LOCKED)
    failover.look_after_failures()
    row = now(waits)
    assert (row.task, row.failure_code) == ("", failover.NO_ROOM)
    assert "has a VM of the placement group already" in row.failure_detail


def test_a_vm_with_a_gpu_waits_at_home_until_its_rule_allows_that(
    make_box: Callable[..., Box],
) -> None:
    box = make_box(gpu_type="T4", vcpus=64, memory_mib=262_144)
    fit(box.platform, 2)
    yard = make_yard(box)
    spec = next(one for one in box.platform.specs if one.vcpus == 4)
    waits, _runs = _waiting_beside(yard, gpu_count=1, spec=spec, cash="1000000")
    failover.look_after_failures()
    row = now(waits)
    assert (row.task, row.failure_code) == ("", failover.WAITS)
    assert row.failure == "It starts again when its host may take it."
    assert "may be on one host" in row.failure_detail
    with pytest.raises(Conflict) as refused:
        lifecycle.fail_over_vm(actor=system(box.actor), vm=row)
    assert refused.value.code == "host_not_ready"
    VM.objects.filter(pk=row.pk).update(placement_group=None)
    failover.look_after_failures()
    box.run()
    assert (now(row).status, now(row).host) == ("running", row.host)
    forget_fake_machines()


def test_a_vm_of_high_priority_is_started_first(
    yard: Yard, superuser: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = yard.box
    vms = [box.vm(name=name) for name in ("old", "young", "last")]
    dead = vms[0].host
    assert dead is not None
    for vm in vms:
        vm.refresh_from_db()
        if vm.host != dead:
            migrate_vm(actor=system(box.actor), vm=vm)
            box.run()
    operator = Actor.administrator(superuser, None)
    for vm, priority in ((vms[1], FailoverPriority.HIGH), (vms[0], FailoverPriority.LOW)):
        groups.change_vm_placement(actor=operator, vm=vm, priority=priority, operators_group=None)
    yard.fenced(dead)
    begun: list[str] = []
    monkeypatch.setattr(
        failover, "fail_over_vm", lambda *, actor, vm, excluded: begun.append(vm.name)
    )
    failover.fail_over()
    assert begun == ["young", "last", "old"]


# -- the operators' groups ---------------------------------------------------------------------


def test_a_group_of_the_operators_counts_and_no_tenant_sees_it(
    three: Platform, actor: Actor, superuser: User, console: Client
) -> None:
    operator = Actor.administrator(superuser, None)
    with scopes_disabled():
        hidden = groups.create_operators_group(
            actor=operator, region=three.region, name="zz-hidden", policy="spread", required=True
        )
    vms = [make_vm(three, actor, name=name) for name in "ab"]
    for vm in vms:
        groups.change_vm_placement(
            actor=operator, vm=vm, priority=FailoverPriority.NORMAL, operators_group=hidden
        )
    taken = set(hosts_of(vms))
    migrate_vm(actor=system(actor), vm=vms[0])
    vms[0].refresh_from_db()
    assert vms[0].destination_id not in taken
    with pytest.raises(NotFound):
        groups.change_placement_group(actor=actor, vm=vms[1], group=hidden)
    for url in (
        reverse("placement-group-list"),
        reverse("vm-detail", args=[vms[1].pk]),
        reverse("vm-log", args=[vms[1].pk]),
        reverse("vm-change-placement-group", args=[vms[1].pk]),
    ):
        assert "zz-hidden" not in console.get(url, follow=True).content.decode(), url
    assert console.get(reverse("placement-group-detail", args=[hidden.pk])).status_code == 404
    with scopes_disabled(), pytest.raises(Conflict):
        groups.delete_operators_group(actor=operator, group=hidden)
    own = group_of(actor, three)
    with pytest.raises(InvalidInput) as refused:
        groups.change_vm_placement(
            actor=operator, vm=vms[1], priority=FailoverPriority.NORMAL, operators_group=own
        )
    assert refused.value.code == "group_of_a_tenant"


# -- bounds ------------------------------------------------------------------------------------


def test_groups_and_their_vms_are_bounded(
    three: Platform, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "GROUPS_PER_TENANT", 2)
    monkeypatch.setattr(groups, "VMS_PER_GROUP", 1)
    group = group_of(actor, three)
    group_of(actor, three)
    with pytest.raises(Conflict) as refused:
        group_of(actor, three)
    assert (refused.value.code, refused.value.numbers) == (
        "too_many_groups",
        {"limit": 2, "used": 2},
    )
    buy_vms(three, actor, placement_group=group)
    with pytest.raises(Conflict) as full:
        buy_vms(three, actor, placement_group=group)
    assert full.value.code == "group_full"
    vm = make_vm(three, actor, VmStatus.STOPPED, name="late")
    with pytest.raises(Conflict, match="at most 1 VMs"):
        groups.change_placement_group(actor=actor, vm=vm, group=group)


def test_a_group_with_vms_is_not_deleted(three: Platform, actor: Actor) -> None:
    group = group_of(actor, three)
    vm = make_vm(three, actor, placement_group=group)
    binned = settle(vm, VmStatus.BINNED)
    with pytest.raises(Conflict) as refused:
        groups.delete_placement_group(actor=actor, group=group)
    assert refused.value.code == "placement_group_in_use"
    settle(binned, VmStatus.DESTROYED)
    groups.delete_placement_group(actor=actor, group=group)
    assert not PlacementGroup.objects.exists()
    binned.refresh_from_db()
    assert binned.placement_group is None


def test_a_group_of_another_region_or_model_is_refused(three: Platform, actor: Actor) -> None:
    far = Region.objects.create(id="far", name="Far")
    other = groups.create_placement_group(actor=actor, region=far, name="far", policy="spread")
    with pytest.raises(InvalidInput) as refused:
        buy_vms(three, actor, placement_group=other)
    assert (refused.value.code, refused.value.field) == ("region_differs", "placement_group")
    together = group_of(actor, three, "together")
    buy_vms(three, actor, placement_group=together)
    second = make_platform(three.region, cluster_id="arm")
    with pytest.raises(Conflict) as differs:
        buy_vms(second, actor, placement_group=together, image=three.image,
                system_disk_type=three.disk_type)  # fmt: skip
    assert differs.value.code == "cluster_differs"


def test_wrong_policies_and_names_are_refused(three: Platform, actor: Actor) -> None:
    for name, policy, field in (("a", "scatter", "policy"), ("a b\x00", "spread", "name")):
        with pytest.raises(InvalidInput) as refused:
            groups.create_placement_group(
                actor=actor, region=three.region, name=name, policy=policy
            )
        assert refused.value.field == field
    assert not PlacementGroup.objects.exists()


# -- pages and API -----------------------------------------------------------------------------


def test_tenants_read_whether_the_rule_is_kept_and_no_host(
    three: Platform, actor: Actor, console: Client
) -> None:
    group = group_of(actor, three, required=False)
    vms = buy_vms(three, actor, count=2, placement_group=group)
    page = console.get(reverse("placement-group-detail", args=[group.pk])).content.decode()
    assert "On different hosts: yes" in page
    assert vms[0].name in page
    settle(vms[1], host=vms[0].host)
    shown = console.get(reverse("placement-group-list")).content.decode()
    assert "On different hosts: not yet" in shown
    for host in three.hosts:
        assert host.name not in page + shown
        assert host.pk not in page + shown
    assert queries.is_kept(queries.group_named(group.pk)) is False


def test_the_wizard_buys_into_a_group(three: Platform, actor: Actor, console: Client) -> None:
    group = group_of(actor, three)
    page = console.get(reverse("vm-create")).content.decode()
    assert f'<option value="{group.pk}"' in page


def test_the_api_makes_a_group_and_buys_into_it(
    three: Platform, actor: Actor, program: Program
) -> None:
    made = program.post(
        "/placement-groups", {"region": three.region.pk, "name": "databases", "policy": "spread"}
    )
    assert made.status == 201, made.body
    shown = made.body
    assert (shown["required"], shown["vm_count"], shown["kept"]) == (True, 0, None)
    vm = make_vm(three, actor)
    changed = program.post(f"/vms/{vm.pk}/change-placement-group", {"group": shown["id"]})
    assert changed.status == 200, changed.body
    assert changed.body["placement_group_id"] == shown["id"]
    assert actor.tenant is not None
    network = give_network(actor.tenant, three.region)
    assert network.subnet is not None
    order = {
        "region": three.region.pk,
        "cluster": three.cluster.pk,
        "image": three.image.pk,
        "vcpus": 1,
        "memory_mib": 2048,
        "system_disk_type": three.disk_type.pk,
        "system_disk_gib": 40,
        "subnet": network.subnet.pk,
        "password": PASSWORD,
        "placement_group": shown["id"],
        "count": 2,
    }
    quote = program.post("/vms/quote", order)
    assert quote.status == 200, quote.body
    bought = program.post("/vms", {**order, "quote_token": quote.body["token"]})
    assert bought.status == 201, bought.body
    again = program.get(f"/placement-groups/{shown['id']}").body
    assert (again["vm_count"], again["kept"]) == (3, True)
    refused = program.delete(f"/placement-groups/{shown['id']}")
    assert (refused.status, refused.body["code"]) == (409, "placement_group_in_use")
    unknown = program.post("/vms/quote", {**order, "placement_group": "pg-000000000"})
    assert (unknown.status, unknown.body["field"]) == (400, "placement_group")
