"""A cluster goes through maintenance host by host, hosts are removed, and operators see it all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from alarms.queries import platform as figures
from compute.actions import maintenance as orders
from compute.fencing.fake import forget_fake_machines
from compute.hosts import placement
from compute.models import (
    VM,
    ClusterRoll,
    Departure,
    Drift,
    FenceDevice,
    Host,
    HostMaintenance,
    HostSighting,
    HostTest,
    HostTransition,
    Spec,
)
from compute.queries.maintenance import counts, forecast, progress, standing, waiting_by_host
from compute.states.hosts import HostState
from compute.states.maintenance import DepartureState, Way
from compute.sweeps import maintenance, reconcile
from compute.transitions import maintenance as transitions
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.box import Box, WorkerDied
from tests.compute.factories import make_vm
from tests.compute.hosts.test_failing_over import home, now
from tests.compute.hosts.test_maintenance import (
    SYSTEM,
    departures,
    emptied,
    enter,
    full,
    go_on,
    look,
    on_first,
    state,
)
from tests.compute.hosts.test_placement_groups import group_of
from tests.compute.hosts.yard import Yard, make_yard, watched


@pytest.fixture
def three(make_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    """Three hosts; no VM may ever run twice."""
    yard = make_yard(make_box(hosts=3))
    reconcile.reconcile_hosts()
    with watched(yard, monkeypatch):
        yield yard
    forget_fake_machines()


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@scloud.test", "a long secret 9"))
    return client


def begin(yard: Yard, way: str = Way.WAIT) -> ClusterRoll:
    cluster = yard.box.platform.cluster
    return orders.start_roll(actor=SYSTEM, cluster=cluster, way=way)


def states(yard: Yard) -> list[str]:
    return [str(host.state) for host in yard.hosts]


def fresh(roll: ClusterRoll) -> ClusterRoll:
    return ClusterRoll.objects.select_related("cluster").get(pk=roll.pk)


# -- clusters ------------------------------------------------------------------------------------


def test_a_cluster_is_gone_through_host_by_host(three: Yard) -> None:
    first, second, third = three.hosts
    vms = [three.box.vm(name=f"vm-{n}") for n in range(3)]
    roll = begin(three)
    go_on(three)
    assert states(three) == ["maintenance", "available", "available"]
    now_at = standing(fresh(roll))
    assert (now_at.done, now_at.current, now_at.left) == ([], first, [second, third])
    # It waits for an operator, however long.
    go_on(three)
    assert states(three) == ["maintenance", "available", "available"]
    for at in (1, 2):
        orders.continue_roll(actor=SYSTEM, roll=roll)
        assert states(three)[at - 1] == HostState.RETURNING
        go_on(three)
        assert states(three) == [
            HostState.MAINTENANCE if number == at else HostState.AVAILABLE for number in range(3)
        ]
    orders.continue_roll(actor=SYSTEM, roll=roll)
    go_on(three)
    assert states(three) == ["available"] * 3
    roll = fresh(roll)
    assert (roll.end, standing(roll).done) == ("finished", [first, second, third])
    assert {now(vm).status for vm in vms} == {"running"}
    assert all(three.copies(vm) == [home(vm).name] for vm in vms)
    assert HostMaintenance.objects.filter(roll=roll, end="left").count() == 3
    with pytest.raises(Conflict) as refused:
        orders.continue_roll(actor=SYSTEM, roll=roll)
    assert refused.value.code == "roll_ended"


def test_the_next_one_waits_until_the_last_is_in_service(three: Yard) -> None:
    first, second, _third = three.hosts
    roll = begin(three)
    look()
    assert state(first) == HostState.ENTERING_MAINTENANCE
    with pytest.raises(Conflict) as refused:
        orders.continue_roll(actor=SYSTEM, roll=roll)
    assert refused.value.code == "roll_busy"
    go_on(three)
    three.fall_silent(first)
    reconcile.reconcile_hosts()
    with pytest.raises(Conflict) as refused:
        orders.continue_roll(actor=SYSTEM, roll=roll)
    assert refused.value.code == "host_silent"
    assert not fresh(roll).going_on
    three.behind(first).faults.unreachable = False
    reconcile.reconcile_hosts()
    orders.continue_roll(actor=SYSTEM, roll=roll)
    maintenance.look_after_maintenance()
    assert (state(first), state(second)) == (HostState.RETURNING, HostState.AVAILABLE)
    assert "x86-h1 (Returning" in fresh(roll).note
    look()
    look()
    assert state(second) in ("entering_maintenance", "maintenance")
    assert fresh(roll).note == ""


def test_nobody_enters_while_a_host_is_silent_or_there_is_no_room(three: Yard) -> None:
    first, second, third = three.hosts
    _host, (vm,) = on_first(three)
    three.fall_silent(third)
    roll = begin(three)
    go_on(three)
    assert states(three)[:2] == ["available", "available"]
    assert fresh(roll).note == (
        "All hosts of the cluster have to be in service: x86-h3 (does not answer)."
    )
    three.behind(third).faults.unreachable = False
    full(three, second)
    full(three, third)
    go_on(three)
    assert states(three) == ["available"] * 3
    assert fresh(roll).note.startswith("The other hosts have no room for 1 VMs of x86-h1: vm-0.")
    with pytest.raises(Conflict) as refused:
        begin(three)
    assert refused.value.code == "roll_open"
    orders.stop_roll(actor=SYSTEM, roll=roll)
    Host.objects.update(memory_mib=65_536)
    for host in three.hosts:
        three.behind(host).memory_mib = 65_536
    go_on(three)
    assert (states(three), home(vm), fresh(roll).end) == (["available"] * 3, first, "stopped")
    with pytest.raises(Conflict):
        orders.stop_roll(actor=SYSTEM, roll=roll)


def test_a_host_that_waits_for_its_connection_test_takes_no_part(three: Yard) -> None:
    first, second, third = three.hosts
    three.fall_silent(third)
    Host.objects.filter(pk=third.pk).update(state=HostState.LOCKED)
    HostTest.objects.create(host=third, required=True)
    roll = begin(three)
    assert roll.hosts == [first.pk, second.pk]
    look()
    assert (fresh(roll).note, state(first)) == ("", HostState.ENTERING_MAINTENANCE)


def test_a_group_that_stays_together_leaves_a_host_together(three: Yard) -> None:
    group = group_of(three.box.actor, three.box.platform, "together")
    host, vms = on_first(three, 2, placement_group=group)
    assert [one.problem for one in forecast(host)] == ["", ""]
    roll = begin(three)
    maintenance.look_after_maintenance()
    assert (state(host), fresh(roll).note) == (HostState.ENTERING_MAINTENANCE, "")
    go_on(three)
    assert state(host) == HostState.MAINTENANCE
    assert {now(vm).status for vm in vms} == {"running"}
    assert len({home(vm) for vm in vms}) == 1


def test_the_second_vm_of_a_group_is_foreseen_where_the_first_one_goes(three: Yard) -> None:
    group = group_of(three.box.actor, three.box.platform, "together")
    host, vms = on_first(three, 2, placement_group=group)
    # Each of the others has room for one of them.
    row = now(vms[0])
    room = Host.objects.get(pk=host.pk).reserved_memory_mib + row.memory_mib * 3 // 2
    Host.objects.exclude(pk=host.pk).update(memory_mib=room)
    assert [one.homeless for one in forecast(host)] == [False, True]
    type(group).objects.filter(pk=group.pk).update(policy="spread")
    assert [one.homeless for one in forecast(host)] == [False, False]
    # One of the others has room for both, which may not share it.
    third = three.hosts[2]
    Host.objects.filter(pk=three.hosts[1].pk).update(memory_mib=room + row.memory_mib)
    Host.objects.filter(pk=third.pk).update(state=HostState.LOCKED)
    assert [one.homeless for one in forecast(host)] == [False, True]


def test_a_vm_whose_machine_type_no_other_host_offers_holds_its_host_back(three: Yard) -> None:
    first, (vm,) = on_first(three)
    third = three.hosts[2]
    newer = "pc-q35-9.2"
    VM.objects.filter(pk=vm.pk).update(machine_type=newer)
    three.behind(first).machines = {"x86_64": (vm.machine_type, newer)}
    reconcile.reconcile_hosts()
    roll = begin(three)
    look()
    assert states(three) == ["available"] * 3
    assert fresh(roll).note.startswith("The other hosts have no room for 1 VMs of x86-h1: vm-0.")
    host = three.hosts[0]
    (seen,) = forecast(host)
    assert seen.homeless
    assert "without the VM's machine type: 2 hosts" in seen.problem
    # With the last host upgraded there is a place for it.
    three.behind(third).machines = {"x86_64": (newer,)}
    reconcile.reconcile_hosts()
    (seen,) = forecast(host)
    assert (seen.homeless, seen.problem) == (False, "")


def test_a_forecast_asks_for_what_a_move_asks_for(three: Yard) -> None:
    host = three.hosts[0]
    made = make_vm(three.box.platform, three.box.actor, columns={"host": host})
    VM.objects.filter(pk=made.pk).update(machine_type="pc-q35-9.2")
    Spec.objects.filter(vcpus=made.vcpus, memory_mib=made.memory_mib).update(required_tags="nvme")
    vm = now(made)
    with scopes_disabled():
        assert placement.demands_off(host, [vm]) == {vm.pk: placement.demand_of(vm)}


def test_a_forecast_asks_no_more_for_many_vms_than_for_few(three: Yard) -> None:
    box = three.box
    host = Host.objects.select_related("cluster").get(pk=three.hosts[0].pk)

    def add(policy: str, names: str) -> None:
        group = group_of(box.actor, box.platform, policy, required=False)
        for name in names:
            vm = make_vm(box.platform, box.actor, name=name, columns={"host": host})
            VM.objects.filter(pk=vm.pk).update(placement_group=group)

    def queries() -> tuple[int, int]:
        with CaptureQueriesContext(connection) as asked:
            found = forecast(host)
        return len(found), len(asked)

    add("spread", "ab")
    vms, few = queries()
    assert (vms, few) == (2, 10)
    add("together", "cdefgh")
    assert queries() == (8, few)


def test_a_stopped_roll_leaves_its_host_and_an_aborted_host_has_its_turn_again(
    three: Yard,
) -> None:
    first, second, _third = three.hosts
    roll = begin(three)
    look()
    orders.abort_maintenance(actor=SYSTEM, host=Host.objects.get(pk=first.pk))
    go_on(three)
    assert states(three) == ["available"] * 3
    assert standing(fresh(roll)).left[0] == first
    orders.continue_roll(actor=SYSTEM, roll=roll)
    go_on(three)
    assert state(first) == HostState.MAINTENANCE
    orders.stop_roll(actor=SYSTEM, roll=roll)
    orders.leave_maintenance(actor=SYSTEM, host=Host.objects.get(pk=first.pk))
    go_on(three)
    assert states(three) == ["available"] * 3
    assert state(second) == HostState.AVAILABLE


def test_a_sweeper_that_dies_while_a_host_enters_lets_one_enter(
    three: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    roll = begin(three)

    def dies(*_args: object) -> None:
        raise WorkerDied("pause")

    with monkeypatch.context() as patch:
        patch.setattr(transitions, "pause_roll", dies)
        with pytest.raises(WorkerDied):
            maintenance.look_after_maintenance()
    assert states(three) == ["available"] * 3
    maintenance.look_after_maintenance()
    maintenance.look_after_maintenance()
    assert states(three) == ["entering_maintenance", "available", "available"]
    # A second sweeper that saw it before has nothing to do.
    ClusterRoll.objects.filter(pk=roll.pk).update(going_on=True)
    assert orders.advance_roll(actor=SYSTEM, roll=roll) == ""
    assert states(three) == ["entering_maintenance", "available", "available"]


def test_a_removed_host_is_passed_over_and_an_empty_cluster_refused(three: Yard) -> None:
    first, second, third = three.hosts
    roll = begin(three)
    go_on(three)
    orders.remove_host(actor=SYSTEM, host=Host.objects.get(pk=first.pk), typed=first.name)
    orders.continue_roll(actor=SYSTEM, roll=roll)
    three.box.platform.hosts.remove(first)
    go_on(three)
    now_at = standing(fresh(roll))
    assert (now_at.done, now_at.current, now_at.left) == ([], second, [third])
    orders.stop_roll(actor=SYSTEM, roll=roll)
    Host.objects.update(state=HostState.DOWN)
    with pytest.raises(Conflict) as refused:
        begin(three)
    assert refused.value.code == "roll_empty"
    with pytest.raises(InvalidInput):
        begin(three, "somehow")


# -- removal -------------------------------------------------------------------------------------


def remove(host: Host, typed: str | None = None) -> None:
    orders.remove_host(
        actor=SYSTEM,
        host=Host.objects.get(pk=host.pk),
        typed=host.name if typed is None else typed,
    )


def test_a_host_is_removed_out_of_maintenance_and_its_history_stays(yard: Yard) -> None:
    host, (vm,) = on_first(yard)
    with pytest.raises(Conflict) as refused:
        remove(host)
    assert refused.value.code == "host_state"
    enter(host)
    go_on(yard)
    with pytest.raises(InvalidInput) as typo:
        remove(host, "another")
    assert (typo.value.code, typo.value.field) == ("name_differs", "typed")
    # Something of a VM may come there yet.
    VM.objects.filter(pk=vm.pk).update(destination=host)
    with pytest.raises(Conflict) as refused:
        remove(host)
    assert refused.value.code == "host_in_use"
    assert refused.value.numbers == {"vms": 1, "gpus": 0, "jobs": 0}
    assert FenceDevice.objects.filter(host=host).exists()
    VM.objects.filter(pk=vm.pk).update(destination=None)
    Drift.objects.create(kind="unknown_domain", place=host.name, resource_id="x", detail="y")
    remove(host)
    assert not Host.objects.filter(pk=host.pk).exists()
    assert not FenceDevice.objects.filter(address=host.name).exists()
    assert not HostSighting.objects.filter(host_id=host.pk).exists()
    assert not Drift.objects.filter(place=host.name, repaired_at=None).exists()
    history = HostTransition.objects.filter(host_name=host.name).order_by("id")
    assert [row.new for row in history] == ["entering_maintenance", "maintenance"]
    assert str(history[0]).startswith(host.name)
    with scopes_disabled():
        done = Operation.objects.get(verb="platform.remove_host", succeeded=True)
    assert done.before is not None
    assert done.before["uri"] == host.uri
    assert (now(vm).status, yard.copies(vm)) == ("running", [home(vm).name])
    # It is added again under its old name.
    Host.objects.create(
        name=host.name, cluster=host.cluster, uri=host.uri, address=host.address, vcpus=1
    )


def test_a_host_that_is_known_to_be_off_is_removed_with_its_stopped_vms_elsewhere(
    yard: Yard,
) -> None:
    host, (off, on) = on_first(yard, 2, stopped=1)
    yard.fenced(host)
    Host.objects.filter(pk=host.pk).update(off_seen_at=None)
    with pytest.raises(Conflict) as refused:
        remove(host)
    assert refused.value.code == "host_state"
    yard.look()
    yard.box.run()
    assert home(on) != host
    remove(host)
    assert (now(off).status, now(off).host) == ("stopped", None)
    assert not Host.objects.filter(pk=host.pk).exists()


def test_a_host_stays_while_what_was_shut_down_for_it_waits(yard: Yard) -> None:
    host, (vm,) = on_first(yard)
    enter(host)
    go_on(yard)
    assert HostMaintenance.objects.get(host=host).emptied_at is not None
    since = timezone.now()
    VM.objects.filter(pk=vm.pk).update(status="stopped", host=None, failover_since=since)
    Departure.objects.filter(vm=vm).update(waits_since=since)
    with pytest.raises(Conflict) as refused:
        remove(host)
    assert (refused.value.code, refused.value.numbers) == ("host_in_use", {"vms": 1})
    # Once its owner has started it, nothing waits any more.
    VM.objects.filter(pk=vm.pk).update(failover_since=None)
    remove(host)
    assert not Host.objects.filter(pk=host.pk).exists()


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("vm.modify", {"before": {"host": ""}}),
        ("vm.start", {"left": ""}),
        ("vm.fail_over", {"left": ""}),
    ],
)
def test_a_host_stays_while_a_vm_may_come_back_to_it(
    yard: Yard, kind: str, payload: dict[str, Any]
) -> None:
    host, (vm,) = on_first(yard)
    enter(host)
    go_on(yard)
    named = json.loads(json.dumps(payload).replace('""', json.dumps(host.pk)))
    job = Job.objects.create(
        kind=kind,
        tenant=vm.tenant,
        title="x",
        target_kind="vm",
        target_id=vm.pk,
        payload=named,
        deadline=timezone.now() + timedelta(minutes=9),
    )
    with pytest.raises(Conflict) as refused:
        remove(host)
    assert (refused.value.code, refused.value.numbers) == (
        "host_in_use",
        {"vms": 0, "gpus": 0, "jobs": 1},
    )
    Job.objects.filter(pk=job.pk).update(status="cancelled")
    remove(host)


# -- the pages -----------------------------------------------------------------------------------


def test_an_operator_sees_what_would_happen_and_how_far_it_is(yard: Yard, operator: Client) -> None:
    host, vms = on_first(yard, 3, stopped=1)
    url = reverse("admin:compute_host_maintenance", args=[host.pk])
    assert (
        url in operator.get(reverse("admin:compute_host_change", args=[host.pk])).content.decode()
    )
    page = operator.get(url).content.decode()
    assert "It is off: its next start is on another host." in page
    assert page.count("It is moved while it runs.") == 2
    assert "Abort maintenance" not in page
    # Looking changes nothing, and neither does a choice that is none.
    operator.post(url, {"do": "enter", "way": "somehow"})
    assert state(host) == HostState.AVAILABLE
    operator.post(url, {"do": "enter", "way": "wait"})
    assert state(host) == HostState.ENTERING_MAINTENANCE
    look()
    page = operator.get(url).content.decode()
    assert "Ordered" in page
    assert "root@scloud.test" in page
    assert vms[1].name in page
    operator.post(url, {"do": "abort"})
    assert state(host) == HostState.AVAILABLE
    yard.box.run()
    operator.post(url, {"do": "enter", "way": "wait"})
    go_on(yard)
    assert state(host) == HostState.MAINTENANCE
    page = operator.get(url).content.decode()
    assert "Leave maintenance" in page
    yard.fall_silent(host)
    reconcile.reconcile_hosts()
    page = operator.post(url, {"do": "leave"}, follow=True).content.decode()
    assert "does not answer: libvirt" in page
    yard.behind(host).faults.unreachable = False
    reconcile.reconcile_hosts()
    operator.post(url, {"do": "leave"})
    assert state(host) == HostState.RETURNING
    with scopes_disabled():
        verbs = set(Operation.objects.filter(via="admin").values_list("verb", flat=True))
    assert {"platform.enter_maintenance", "platform.leave_maintenance"} <= verbs


def test_what_was_shut_down_is_waiting_until_it_is_started(yard: Yard, operator: Client) -> None:
    host, (off, vm) = on_first(yard, 2, stopped=1)
    there = next(one for one in yard.hosts if one.pk != host.pk)
    full(yard, there)
    order = enter(host, Way.SHUT_DOWN)
    go_on(yard)
    order.departures.update(changed_at=order.started_at - maintenance.PATIENCE)
    go_on(yard)
    assert (now(vm).status, now(vm).host) == ("stopped", None)
    waits, left = progress(order)
    assert (waits.vm, waits.state, waits.place) == (vm, DepartureState.WAITING, "")
    assert waits.reason.startswith("No host has room for it. It starts when there is.")
    assert (left.vm, left.state, left.reason) == (off, DepartureState.MOVED, "")
    assert counts(order) == {"waiting": 1, "moved": 1}
    url = reverse("admin:compute_host_maintenance", args=[host.pk])
    assert "No host has room for it." in operator.get(url).content.decode()
    page = operator.get(reverse("admin:compute_host_change", args=[host.pk])).content.decode()
    assert reverse("admin:compute_vm_change", args=[vm.pk]) in page
    page = operator.get(reverse("admin:compute_host_change", args=[there.pk])).content.decode()
    assert reverse("admin:compute_vm_change", args=[vm.pk]) not in page
    assert waiting_by_host() == {host.pk: 1}
    shown = {one.name: one.waiting for one in figures.figures(timezone.now(), ()).hosts}
    assert shown == {host.name: 1, there.name: 0}
    emptied(yard, there)
    go_on(yard)
    assert now(vm).status == "running"
    assert counts(order) == {"moved": 2}
    assert {one.state for one in progress(order)} == {DepartureState.MOVED}
    assert not waiting_by_host()


def test_an_operator_goes_through_a_cluster(three: Yard, operator: Client) -> None:
    first, second, _third = three.hosts
    _host, (vm,) = on_first(three)
    cluster = three.box.platform.cluster
    url = reverse("admin:compute_cluster_roll", args=[cluster.pk])
    change = reverse("admin:compute_cluster_change", args=[cluster.pk])
    assert url in operator.get(change).content.decode()
    Host.objects.exclude(pk=first.pk).update(memory_mib=1024)
    page = operator.get(url).content.decode()
    assert "No room elsewhere" in page
    assert f"{vm.name} (1C2G)" in page
    Host.objects.update(memory_mib=65_536)
    assert f"{vm.name} (1C2G)" not in operator.get(url).content.decode()
    operator.post(url, {"do": "start", "way": "wait"})
    go_on(three)
    page = operator.get(url).content.decode()
    assert "<b>Current</b>" in page
    assert page.index(first.name) < page.index(second.name)
    operator.post(url, {"do": "next"})
    go_on(three)
    assert states(three) == ["available", "maintenance", "available"]
    assert "Done" in operator.get(url).content.decode()
    operator.post(url, {"do": "stop"})
    assert "stopped" in operator.get(url).content.decode()
    page = operator.post(url, {"do": "next"}, follow=True).content.decode()
    assert "has ended" in page


def test_a_host_is_removed_by_its_typed_name_alone(yard: Yard, operator: Client) -> None:
    host, _vms = on_first(yard)
    url = reverse("admin:compute_host_remove", args=[host.pk])
    assert "disabled" in operator.get(url).content.decode()
    delete = reverse("admin:compute_host_delete", args=[host.pk])
    assert operator.post(delete, {"post": "yes"}).status_code == 403
    operator.post(url, {"typed": host.name})
    enter(host)
    go_on(yard)
    assert "This is not the name" in operator.post(url, {"typed": "x"}).content.decode()
    assert Host.objects.filter(pk=host.pk).exists()
    assert operator.post(url, {"typed": host.name}).status_code == 302
    assert not Host.objects.filter(pk=host.pk).exists()
    listed = operator.get(reverse("admin:compute_hosttransition_changelist")).content.decode()
    assert host.name in listed


def test_tenants_reach_none_of_the_pages(yard: Yard, client: Client) -> None:
    host = yard.hosts[0]
    assert yard.box.actor.user is not None
    client.force_login(yard.box.actor.user)
    for url in (
        reverse("admin:compute_host_maintenance", args=[host.pk]),
        reverse("admin:compute_host_remove", args=[host.pk]),
        reverse("admin:compute_cluster_roll", args=[host.cluster_id]),
    ):
        for answer in (client.get(url), client.post(url, {"do": "enter", "way": "wait"})):
            assert answer.status_code == 302
            assert "/login" in answer.headers["Location"]
    assert state(host) == HostState.AVAILABLE


def test_tenants_read_nothing_of_hosts(yard: Yard) -> None:
    host, (vm,) = on_first(yard)
    there = next(one for one in yard.hosts if one.pk != host.pk)
    full(yard, there)
    order = enter(host, Way.SHUT_DOWN)
    go_on(yard)
    rows = order.departures.all()
    rows.update(changed_at=order.started_at - maintenance.PATIENCE)
    go_on(yard)
    row = now(vm)
    assert departures(order)["vm-0"][0] == "moved"
    told = str(list(Operation.objects.filter(tenant=vm.tenant).values("before", "after")))
    for name in (host.name, there.name):
        assert name not in row.failure
        assert name not in told
