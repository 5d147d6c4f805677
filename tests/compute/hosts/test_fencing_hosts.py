"""Suspect hosts are fenced: when, by what rule, and what counts as off."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alarms.queries import platform as figures
from alarms.rules.operators import Condition, Thresholds, findings
from compute.actions import fencing
from compute.actions.hosts import confirm_host_off, lock_host
from compute.fencing.base import Power
from compute.fencing.fake import forget_fake_machines
from compute.hosts.fencing import Situation, refusal
from compute.hosts.witnesses import FRESH, KNOWN, STALE, Sighting, Since, since_off
from compute.models import Cluster, FenceDevice, Host, HostSighting, HostTransition
from compute.queries.hosts import situation_of
from compute.states.hosts import HostMove, HostState, Witness
from compute.sweeps import failover, reconcile, witnesses
from compute.tasks import fencing as tasks
from compute.transitions.hosts import move
from scloud.audit.models import Operation
from scloud.jobs.models import ACTIVE, Job
from scloud.lib.errors import Conflict, InvalidInput
from scloud.recovery import freezing
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.box import Box, points_of
from tests.compute.hosts.yard import Yard, make_yard, unheard

SYSTEM = Actor.system(None)
NOW = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)


def fencings(**changes: Any) -> list[Job]:
    with scopes_disabled():
        return list(Job.objects.filter(kind="host.fence", **changes).order_by("created_at"))


def told(host: Host) -> dict[Condition, str]:
    """What operators are told of a host."""
    found = findings(figures.figures(timezone.now(), ()), Thresholds())
    return {one.condition: one.words for one in found if one.subject == host.name}


# -- the rules ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("situation", "words"),
    [
        (Situation(3, 1, True, True), ""),
        (Situation(2, 1, True, True), ""),
        (Situation(1, 1, True, True), "no other host in service"),
        (Situation(6, 2, True, True), ""),
        (Situation(6, 3, True, True), "3 of 6 hosts"),
        (Situation(3, 2, True, True), "at most 1 may be so"),
        (Situation(5, 2, True, True), "2 of 5 hosts"),
        (Situation(30, 1, False, True), "no other host of its region answers"),
        (Situation(30, 1, True, False), "no fence device"),
    ],
)
def test_at_most_a_third_is_fenced_at_a_time_and_nobody_by_one_who_hears_nothing(
    situation: Situation, words: str
) -> None:
    said = refusal(situation)
    assert words in said
    assert bool(words) == bool(said)


def seen(witness: Witness, asked_s: float, alive_s: float | None, observer: str = "a") -> Sighting:
    """Asked so many seconds after the host was confirmed off, and alive then, if ever."""
    return Sighting(
        witness,
        observer,
        NOW - timedelta(hours=1),
        NOW + timedelta(seconds=asked_s),
        None if alive_s is None else NOW + timedelta(seconds=alive_s),
    )


LIBVIRT, CHASSIS = Witness.LIBVIRT, Witness.CHASSIS


@pytest.mark.parametrize(
    ("sightings", "expected"),
    [
        ([seen(LIBVIRT, 1, -70)], Since.SILENT),
        ([seen(LIBVIRT, 1, None)], Since.SILENT),
        # Not asked since.
        ([seen(LIBVIRT, -1, -70)], Since.UNKNOWN),
        ([seen(LIBVIRT, 1, -70), seen(LIBVIRT, -1, -70, "b")], Since.UNKNOWN),
        ([seen(LIBVIRT, 1, -70), seen(CHASSIS, -1, -70)], Since.UNKNOWN),
        ([seen(LIBVIRT, 1, -70), seen(CHASSIS, 2, -70)], Since.SILENT),
        # libvirt has to be among them.
        ([seen(CHASSIS, 1, -70)], Since.UNKNOWN),
        ([], Since.UNKNOWN),
        # A sign that may be from before delays, one after that is none of before.
        ([seen(LIBVIRT, 4, 4)], Since.UNKNOWN),
        ([seen(LIBVIRT, 9, 4)], Since.UNKNOWN),
        ([seen(LIBVIRT, 16, 4)], Since.SILENT),
        ([seen(LIBVIRT, 16, 16)], Since.ALIVE),
        ([seen(LIBVIRT, 18, -70), seen(CHASSIS, 16, 16)], Since.ALIVE),
    ],
)
def test_what_is_heard_after_a_host_was_confirmed_off(
    sightings: list[Sighting], expected: Since
) -> None:
    now = NOW + timedelta(seconds=20)
    assert since_off(sightings, NOW, now) is expected
    assert since_off(reversed(sightings), NOW, now) is expected


def test_a_witness_that_nobody_asks_any_more_is_waited_for_until_it_is_forgotten() -> None:
    silent = [seen(LIBVIRT, 3600, -70), seen(CHASSIS, 1, -70)]
    libvirt = seen(LIBVIRT, KNOWN.total_seconds() + 2, -70)
    within, after = NOW + FRESH + STALE, NOW + KNOWN + timedelta(seconds=2)
    assert since_off([seen(LIBVIRT, 44, -70), silent[1]], NOW, within) is Since.UNKNOWN
    assert since_off([libvirt, silent[1]], NOW, after) is Since.SILENT


# -- fencing -----------------------------------------------------------------------------------


def test_a_suspect_host_is_switched_off_and_fenced_when_its_device_has_confirmed_it(
    yard: Yard,
) -> None:
    host, other = yard.hosts
    yard.suspect(host)
    failover.look_after_failures()
    (job,) = fencings(status__in=ACTIVE)
    assert job.target_kind == FenceDevice.KIND
    # One at a time, however often it is looked.
    failover.look_after_failures()
    assert len(fencings()) == 1
    host.refresh_from_db()
    assert host.state == HostState.SUSPECT
    yard.box.run()
    host.refresh_from_db()
    assert (host.state, host.is_off) == (HostState.FENCED, False)
    assert host.state_reason == "Its fence device confirmed that it is off."
    assert yard.plug(host).asked == [Power.OFF]
    # Off by its device is one thing; that nobody hears it any more is the other.
    yard.look()
    host.refresh_from_db()
    assert host.is_off
    assert Condition.HOST_OFF in told(host)
    assert Condition.HOST_NOT_OFF not in told(host)
    assert Condition.HOST_SILENT not in told(host)
    assert yard.plug(other).asked == []
    with scopes_disabled():
        verbs = set(Operation.objects.filter(succeeded=True).values_list("verb", flat=True))
    assert {"platform.fence_host", "platform.record_fencing"} <= verbs


def test_without_failover_nothing_is_fenced(yard: Yard) -> None:
    Cluster.objects.update(failover=False)
    host = yard.hosts[0]
    yard.suspect(host)
    yard.look(rounds=2)
    yard.box.run()
    host.refresh_from_db()
    assert (host.state, host.failover_note) == (HostState.SUSPECT, "")
    assert yard.plug(host).asked == []


def test_while_sweeps_are_frozen_nothing_is_fenced_not_even_what_was_queued(yard: Yard) -> None:
    host = yard.hosts[0]
    yard.suspect(host)
    failover.look_after_failures()
    freezing.freeze("tests")
    yard.box.run()
    yard.look(rounds=2)
    yard.box.run()
    assert [job.error_code for job in fencings()] == [tasks.NOT_DUE]
    assert yard.plug(host).asked == []


def test_a_host_that_gives_a_sign_of_life_before_it_is_switched_off_is_left_alone(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = yard.hosts[0]
    yard.suspect(host)
    failover.look_after_failures()
    yard.behind(host).faults.unreachable = False
    reconcile.reconcile_hosts()
    yard.box.run()
    assert [job.error_code for job in fencings()] == [tasks.NOT_DUE]
    # And in the very last moment, after the job has looked.
    yard.suspect(host)
    fence_of = tasks.fence_of

    def cleared(device: FenceDevice) -> Any:
        move(Host.objects.get(pk=host.pk), HostMove.CLEAR)
        return fence_of(device)

    monkeypatch.setattr(tasks, "fence_of", cleared)
    failover.look_after_failures()
    yard.box.run()
    assert [job.error_code for job in fencings()] == [tasks.NOT_DUE] * 2
    host.refresh_from_db()
    assert (host.state, host.failover_note) == (HostState.AVAILABLE, "")
    assert yard.plug(host).asked == []


def test_one_that_was_cleared_while_its_device_switched_it_off_is_fenced_all_the_same(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = yard.hosts[0]
    yard.suspect(host)
    failover.look_after_failures()
    record = tasks.record_fencing

    def cleared(**values: Any) -> None:
        move(Host.objects.get(pk=host.pk), HostMove.CLEAR)
        record(**values)

    monkeypatch.setattr(tasks, "record_fencing", cleared)
    yard.box.run()
    host.refresh_from_db()
    assert host.state == HostState.FENCED


@pytest.mark.parametrize("point", points_of("host.fence"))
def test_a_fencing_survives_its_worker(yard: Yard, point: str) -> None:
    host = yard.hosts[0]
    yard.suspect(host)
    failover.look_after_failures()
    yard.box.run_dying(point)
    host.refresh_from_db()
    assert host.state == HostState.FENCED
    # A host that is off already counts: it is not asked for twice.
    assert yard.plug(host).asked == [Power.OFF]


def test_a_device_that_does_not_answer_fences_nothing_and_is_asked_again(yard: Yard) -> None:
    host = yard.hosts[0]
    plug = yard.plug(host)
    plug.unreachable = True
    yard.suspect(host)
    yard.look()
    yard.box.run()
    host.refresh_from_db()
    assert host.state == HostState.SUSPECT
    assert "The fence device does not answer." in host.failover_note
    assert told(host)[Condition.HOST_NOT_OFF].endswith(host.failover_note)
    # Not at once again.
    yard.look()
    assert len(fencings()) == 1
    assert not fencings(status__in=ACTIVE)
    with scopes_disabled():
        Job.objects.filter(kind="host.fence").update(
            created_at=timezone.now() - timedelta(seconds=31)
        )
    Host.objects.filter(pk=host.pk).update(state_since=timezone.now() - timedelta(minutes=5))
    plug.unreachable = False
    yard.look()
    yard.box.run()
    yard.look()
    host.refresh_from_db()
    assert (host.is_off, host.failover_note) == (True, "")


@pytest.mark.parametrize("wrong", ["ignores", "returns", "password"])
def test_what_is_not_confirmed_is_not_off(
    yard: Yard, wrong: str, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    monkeypatch.setattr(tasks.FenceHost, "limit_s", 0.4)
    vm = yard.box.vm()
    assert vm.host is not None
    host = vm.host
    plug = yard.plug(host)
    if wrong == "password":
        plug.password = "another"
    else:
        setattr(plug, wrong, True)
    yard.suspect(host)
    for _ in range(3):
        yard.look()
        yard.box.run()
    host.refresh_from_db()
    assert host.state == HostState.SUSPECT
    assert host.failover_note.startswith("It was not fenced: ")
    vm.refresh_from_db()
    assert (vm.status, vm.host, vm.epoch) == ("running", host, 0)


def test_where_most_hosts_are_silent_at_once_none_is_fenced(
    make_box: Callable[..., Box],
) -> None:
    box = make_box(hosts=3)
    yard = make_yard(box)
    first, second, _third = yard.hosts
    yard.suspect(first, second)
    yard.look(rounds=2)
    box.run()
    for host in (first, second):
        host.refresh_from_db()
        assert host.state == HostState.SUSPECT
        assert "2 of 3 hosts of the cluster" in host.failover_note
        assert Condition.HOST_NOT_OFF in told(host)
    # One that comes back makes room for the other.
    yard.behind(first).faults.unreachable = False
    yard.look()
    box.run()
    second.refresh_from_db()
    assert second.state == HostState.FENCED
    # And while it is fenced, no other is.
    yard.suspect(first)
    yard.look(rounds=2)
    box.run()
    first.refresh_from_db()
    assert first.state == HostState.SUSPECT
    forget_fake_machines()


def test_a_third_that_was_reached_after_it_was_queued_keeps_a_host_on(
    make_box: Callable[..., Box],
) -> None:
    box = make_box(hosts=3)
    yard = make_yard(box)
    first, second, _third = yard.hosts
    yard.suspect(first)
    failover.look_after_failures()
    Host.objects.filter(pk=second.pk).update(state=HostState.SUSPECT)
    box.run()
    assert [job.error_code for job in fencings()] == [tasks.NOT_DUE]
    assert yard.plug(first).asked == []
    forget_fake_machines()


def test_one_who_hears_no_host_fences_none(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    host, other = yard.hosts
    yard.suspect(host)
    with monkeypatch.context() as patch:
        patch.setattr(failover, "observer", lambda: "elsewhere")
        failover.look_after_failures()
    host.refresh_from_db()
    assert "no other host of its region answers this machine" in host.failover_note
    unheard(other)
    failover.look_after_failures()
    assert fencings() == []
    reconcile.reconcile_hosts()
    failover.look_after_failures()
    assert len(fencings()) == 1
    host.refresh_from_db()
    assert host.failover_note == ""


def test_hosts_of_another_region_tell_nothing_of_the_way_to_this_one(yard: Yard) -> None:
    host, other = yard.hosts
    abroad = Region.objects.create(id="abroad", name="Abroad")
    elsewhere = Cluster.objects.create(id="elsewhere", region=abroad, alias="Elsewhere")
    far = Host.objects.create(
        name="far", cluster=elsewhere, uri="fake:///far", address="192.0.2.77"
    )
    yard.suspect(host)
    unheard(other)
    witnesses.note(Witness.LIBVIRT, {far.pk: True})
    failover.look_after_failures()
    assert fencings() == []
    host.refresh_from_db()
    assert "no other host of its region answers this machine" in host.failover_note


def test_hosts_that_fall_silent_one_after_the_other_are_not_fenced(
    make_box: Callable[..., Box],
) -> None:
    box = make_box(hosts=3)
    yard = make_yard(box)
    first, second, third = yard.hosts
    yard.suspect(first)
    # Not silent for long enough to be suspect, but it does not answer any more.
    yard.fall_silent(second)
    yard.look()
    second.refresh_from_db()
    assert second.state == HostState.AVAILABLE
    assert fencings() == []
    first.refresh_from_db()
    assert "2 of 3 hosts of the cluster are suspect, fenced or do not" in first.failover_note
    # What operators have taken out of service, or know to be off, may be silent.
    for state in (HostState.MAINTENANCE, HostState.DOWN):
        Host.objects.filter(pk=second.pk).update(state=state, state_since=timezone.now())
        assert not refusal(situation_of(first, others_alive=True))
    # The last one that is not in maintenance is left alone as well.
    Host.objects.filter(pk__in=[second.pk, third.pk]).update(state=HostState.MAINTENANCE)
    yard.look()
    first.refresh_from_db()
    assert "its cluster has no other host in service" in first.failover_note
    assert fencings() == []
    forget_fake_machines()


# -- by hand -----------------------------------------------------------------------------------


def test_a_host_without_device_is_confirmed_by_its_typed_name_alone(yard: Yard) -> None:
    host = yard.hosts[0]
    FenceDevice.objects.filter(host=host).delete()
    yard.suspect(host)
    yard.look()
    host.refresh_from_db()
    assert "no fence device" in host.failover_note
    with pytest.raises(InvalidInput):
        confirm_host_off(actor=SYSTEM, host=host, typed="another")
    confirm_host_off(actor=SYSTEM, host=host, typed=host.name)
    host.refresh_from_db()
    assert (host.state, host.failover_note, host.is_off) == (HostState.DOWN, "", False)
    yard.look()
    host.refresh_from_db()
    assert host.is_off


def test_the_word_of_an_operator_is_not_taken_for_a_host_that_answers(yard: Yard) -> None:
    host = yard.hosts[0]
    yard.suspect(host)
    witnesses.note(Witness.HEARTBEAT, {host.pk: True})
    with pytest.raises(Conflict) as refused:
        confirm_host_off(actor=SYSTEM, host=host, typed=host.name)
    assert refused.value.code == "host_alive"
    with pytest.raises(Conflict) as refused:
        confirm_host_off(actor=SYSTEM, host=yard.hosts[1], typed=yard.hosts[1].name)
    assert refused.value.code == "host_state"


def test_a_device_that_lies_starts_nothing_anywhere_until_somebody_has_looked(
    yard: Yard, at_once: None
) -> None:
    vm = yard.box.vm()
    assert vm.host is not None
    host = vm.host
    yard.plug(host).lies = True
    yard.suspect(host)
    yard.look()
    yard.box.run()
    host.refresh_from_db()
    assert host.state == HostState.FENCED
    # It was cut off, and is heard again; so late that it cannot be from before.
    yard.behind(host).faults.unreachable = False
    Host.objects.filter(pk=host.pk).update(
        state_since=timezone.now() - STALE - timedelta(seconds=1)
    )
    yard.look(rounds=3)
    yard.box.run()
    host.refresh_from_db()
    assert (host.state, host.is_off) == (HostState.FENCED, False)
    assert "libvirt answered at" in host.failover_note
    assert Condition.HOST_NOT_OFF in told(host)
    vm.refresh_from_db()
    assert (vm.status, vm.host, vm.failover_since) == ("running", host, None)
    assert yard.copies(vm) == [host.name]
    # It falls silent again: that it spoke is not forgotten.
    yard.fall_silent(host)
    yard.look(rounds=3)
    host.refresh_from_db()
    assert not host.is_off
    # Somebody pulls the plug, and says so.
    yard.plug(host).lies = False
    yard.plug(host).now()
    confirm_host_off(actor=SYSTEM, host=host, typed=host.name)
    yard.look(rounds=2)
    yard.box.run()
    vm.refresh_from_db()
    (there,) = (one for one in yard.hosts if one != host)
    assert (vm.status, vm.host) == ("running", there)
    assert yard.copies(vm) == [there.name]


def test_witnesses_that_cannot_be_asked_are_waited_for_and_told_of(yard: Yard) -> None:
    vm = yard.box.vm()
    assert vm.host is not None
    host = vm.host
    yard.suspect(host)
    # Its heartbeats were read, and then their storage went away.
    HostSighting.objects.create(
        host=host,
        witness=Witness.HEARTBEAT,
        observer=witnesses.observer(),
        watching_since=timezone.now() - timedelta(hours=1),
        asked_at=timezone.now() - timedelta(seconds=5),
        alive_at=timezone.now() - timedelta(seconds=90),
    )
    yard.look()
    yard.box.run()
    yard.look(rounds=2)
    host.refresh_from_db()
    assert (host.state, host.is_off, host.failover_note) == (HostState.FENCED, False, "")
    Host.objects.filter(pk=host.pk).update(state_since=timezone.now() - timedelta(seconds=61))
    HostSighting.objects.filter(witness=Witness.HEARTBEAT).update(
        asked_at=timezone.now() - timedelta(seconds=62)
    )
    yard.look()
    host.refresh_from_db()
    assert "Not all of its witnesses could be asked" in host.failover_note
    vm.refresh_from_db()
    assert vm.status == "running"
    HostSighting.objects.filter(witness=Witness.HEARTBEAT).update(asked_at=timezone.now())
    yard.look()
    host.refresh_from_db()
    assert host.is_off


def test_a_job_of_the_device_is_waited_for(yard: Yard) -> None:
    host = yard.hosts[0]
    yard.suspect(host)
    device = FenceDevice.objects.get(host=host)
    fencing.test_fence_device(actor=SYSTEM, device=device)
    failover.look_after_failures()
    assert fencings() == []
    yard.box.run()
    failover.look_after_failures()
    assert len(fencings()) == 1


# -- in the administration ----------------------------------------------------------------------


@pytest.fixture
def operator(db: None) -> Client:
    """A browser in which a platform administrator is signed in."""
    client = Client()
    client.force_login(User.objects.create_superuser("root@scloud.test", "a long secret 9"))
    return client


def test_an_operator_fences_a_host_by_its_typed_name(yard: Yard, operator: Client) -> None:
    vm = yard.box.vm()
    assert vm.host is not None
    host = vm.host
    url = reverse("admin:compute_host_fence", args=[host.pk])
    assert "1 VM runs on the host." in operator.get(url).content.decode()
    wrong = operator.post(url, {"typed": "another"}).content.decode()
    assert "not the name of the host" in wrong
    assert fencings() == []
    said = operator.post(url, {"typed": host.name}, follow=True).content.decode()
    assert "is being fenced" in said
    yard.box.run()
    host.refresh_from_db()
    assert host.state == HostState.FENCED
    assert operator.get(reverse("admin:compute_host_fence", args=["host-x"])).status_code == 404
    with pytest.raises(Conflict):
        fencing.fence_host(actor=SYSTEM, host=host, typed=host.name)


def test_the_page_of_a_host_shows_what_is_known_and_who_waits(yard: Yard, operator: Client) -> None:
    vm = yard.box.vm()
    assert vm.host is not None
    host = vm.host
    other = next(one for one in yard.hosts if one.pk != host.pk)
    lock_host(actor=SYSTEM, host=other)
    FenceDevice.objects.filter(host=host).delete()
    yard.suspect(host)
    yard.look()
    page = reverse("admin:compute_host_change", args=[host.pk])
    assert "no fence device" in operator.get(page).content.decode()
    confirm = reverse("admin:compute_host_confirm_off", args=[host.pk])
    assert confirm in operator.get(page).content.decode()
    operator.post(confirm, {"typed": host.name})
    # Heard in the last moments or not, what counts comes after it.
    yard.look(rounds=2)
    shown = operator.get(page).content.decode()
    assert "Down (confirmed off by an operator)" in shown
    assert "No host has room for it." in shown
    assert vm.name in shown
    listed = operator.get(
        reverse("admin:compute_vm_changelist"), {"failover_since__isempty": "0"}
    ).content.decode()
    assert vm.name in listed
    press = reverse("admin:compute_host_do", args=[host.pk, "return"])
    operator.post(press)
    host.refresh_from_db()
    assert host.state == HostState.RETURNING
    assert HostTransition.objects.filter(host=host, new=HostState.RETURNING).exists()
    again = operator.post(press, follow=True).content.decode()
    assert "is Returning" in again
