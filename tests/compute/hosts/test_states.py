"""Hosts become suspect when nobody sees them alive, and operators are told what became of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alarms.queries import platform as figures
from compute.actions.hosts import lock_host
from compute.hosts import placement
from compute.hypervisor.fake import fake_host
from compute.models import Host, HostSighting, HostTest, HostTransition
from compute.states.hosts import HostMove, HostState, Witness
from compute.sweeps import reconcile, witnesses
from compute.transitions.hosts import move
from network.fabric.base import FabricUnreachable
from network.fabric.fake import World
from scloud.lib.errors import Conflict
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from tests.compute.box import Box


def time_passes(seconds: float) -> None:
    """Everything that was seen was seen so much earlier, without a break until just now."""
    by = timedelta(seconds=seconds)
    for row in HostSighting.objects.all():
        row.watching_since -= by
        row.alive_at = row.alive_at and row.alive_at - by
        row.save()


def test_a_host_is_suspect_until_it_gives_a_sign_of_life(
    make_box: Callable[..., Box], monkeypatch: pytest.MonkeyPatch
) -> None:
    box = make_box()
    assert box.actor.tenant is not None
    host, other = box.platform.hosts
    lock_host(actor=Actor.system(None), host=host)
    reconcile.reconcile_hosts()
    row = HostSighting.objects.get(host=host, witness=Witness.LIBVIRT)
    assert row.alive_at == row.asked_at >= row.watching_since

    fake_host(host.uri).faults.unreachable = True
    time_passes(50)
    reconcile.reconcile_hosts()
    host.refresh_from_db()
    assert host.state == HostState.LOCKED  # not for long enough
    time_passes(11)
    # What another machine hears counts as much.
    with monkeypatch.context() as patch:
        patch.setattr(witnesses, "observer", lambda: "elsewhere")
        witnesses.note(Witness.CHASSIS, {host.pk: True})
    reconcile.reconcile_hosts()
    host.refresh_from_db()
    assert host.state == HostState.LOCKED
    time_passes(61)
    reconcile.reconcile_hosts()
    host.refresh_from_db()
    other.refresh_from_db()
    assert (host.state, other.state) == (HostState.SUSPECT, HostState.AVAILABLE)
    assert "libvirt since" in host.state_reason
    assert "OVN chassis since" in host.state_reason
    assert host.state_since is not None

    # It takes no VMs; operators are told, once.
    of_cluster = placement.candidates(host.cluster, box.actor.tenant)
    (taken,) = (one for one in of_cluster if one.host.pk == host.pk)
    assert taken.refusal(placement.Demand(1, 1024)) == "state"
    (shown,) = (one for one in figures.figures(timezone.now(), ()).hosts if one.name == host.name)
    assert (shown.suspect_since, shown.reason) == (host.state_since, host.state_reason)
    reconcile.reconcile_hosts()
    assert HostTransition.objects.filter(new=HostState.SUSPECT).count() == 1

    fake_host(host.uri).faults.unreachable = False
    reconcile.reconcile_hosts()
    host.refresh_from_db()
    assert host.state == HostState.LOCKED  # as it was before
    history = HostTransition.objects.filter(host=host).order_by("id")
    assert [(one.old, one.new, one.by) for one in history] == [
        ("available", "locked", "SCloud"),
        ("locked", "suspect", "SCloud"),
        ("suspect", "locked", "SCloud"),
    ]


def test_what_chassis_answer_is_noted_of_hosts_by_their_names(
    box: Box, fabric: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, other = box.platform.hosts
    Region.objects.filter(pk=host.cluster.region_id).update(ovn_sb="tcp:192.0.2.1:6642")
    reconcile.reconcile_hosts()  # by libvirt a host's own name is known
    monkeypatch.setattr(witnesses, "ANSWER_S", 0)
    witnesses._asked.clear()
    fabric.chassis = {host.name: 0, other.name: 0, "a stranger": 0}
    fabric.deaf = {other.name}

    def seen() -> dict[str, bool]:
        rows = HostSighting.objects.filter(witness=Witness.CHASSIS)
        return {row.host_id: row.alive_at == row.asked_at for row in rows}

    witnesses.ask_chassis()
    assert seen() == {}  # nobody had the time to answer
    witnesses.ask_chassis()
    assert seen() == {host.pk: True, other.pk: False}
    # One that is late with its answer is alive.
    fabric.deaf.add(host.name)
    fabric.chassis[other.name] = 1
    witnesses.ask_chassis()
    assert seen() == {host.pk: True, other.pk: True}
    witnesses.ask_chassis()
    assert seen() == {host.pk: False, other.pk: False}
    # A fabric that does not answer says nothing, and the next answer needs a new question.
    fabric.failure = FabricUnreachable("away")
    before = list(HostSighting.objects.order_by("pk").values())
    witnesses.ask_chassis()
    fabric.failure = None
    fabric.deaf.clear()
    witnesses.ask_chassis()
    assert list(HostSighting.objects.order_by("pk").values()) == before
    # What is deregistered is no witness any more.
    del fabric.chassis[other.name]
    witnesses.ask_chassis()
    assert seen() == {host.pk: True}


def test_a_host_that_was_added_takes_no_witness_from_another(
    box: Box, fabric: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, other = box.platform.hosts
    Region.objects.filter(pk=host.cluster.region_id).update(ovn_sb="tcp:192.0.2.1:6642")
    monkeypatch.setattr(witnesses, "ANSWER_S", 0)
    reconcile.reconcile_hosts()
    # Its URI leads to a host in service, or to a copy of it: it calls itself the same.
    added = Host.objects.create(
        name="twin",
        cluster=host.cluster,
        uri="fake:twin",
        address="192.0.2.77",
        state="locked",
        hostname=Host.objects.get(pk=host.pk).hostname,
    )
    HostTest.objects.create(host=added, required=True)
    witnesses._asked.clear()
    witnesses._beats.clear()
    fabric.chassis = {host.name: 0, other.name: 0}

    def seen() -> set[tuple[str, str]]:
        rows = HostSighting.objects.exclude(witness=Witness.LIBVIRT)
        return {(row.witness, row.host_id) for row in rows if row.alive_at == row.asked_at}

    def look() -> None:
        for number in ("1", "2"):
            witnesses.ask_chassis()
            box.storage.beats |= {host.name: number}
            witnesses.look_at_heartbeats()

    look()
    assert seen() == {
        ("chassis", host.pk), ("chassis", other.pk), ("heartbeat", host.pk)
    }  # fmt: skip
    # In service it would be one of two.
    HostTest.objects.update(admitted_at=timezone.now())
    look()
    assert seen() == {("chassis", other.pk)}


def test_heartbeats_that_change_are_signs_of_life(box: Box) -> None:
    host, other = box.platform.hosts
    reconcile.reconcile_hosts()
    witnesses._beats.clear()
    beats = box.storage.beats

    def seen() -> dict[str, bool]:
        rows = HostSighting.objects.filter(witness=Witness.HEARTBEAT)
        return {row.host_id: row.alive_at == row.asked_at for row in rows}

    beats |= {host.name: "1", "a stranger": "1"}
    witnesses.look_at_heartbeats()
    assert seen() == {}  # what stands there may be old
    beats[host.name] = "2"
    witnesses.look_at_heartbeats()
    assert seen() == {host.pk: True}
    beats[other.name] = "1"
    witnesses.look_at_heartbeats()
    assert seen() == {host.pk: False}
    # A pool that does not answer says nothing, and what follows is compared with nothing.
    box.storage.faults.unavailable = True
    witnesses.look_at_heartbeats()
    box.storage.faults.unavailable = False
    beats[other.name] = "2"
    witnesses.look_at_heartbeats()
    assert seen() == {host.pk: False}
    # One that is taken away is no witness any more, and no death.
    del beats[host.name]
    beats[other.name] = "3"
    witnesses.look_at_heartbeats()
    assert seen() == {other.pk: True}


def test_maintenance_a_recent_start_and_a_pause_lead_nowhere(
    make_box: Callable[..., Box],
) -> None:
    box = make_box()
    first, second = box.platform.hosts
    Host.objects.filter(pk=first.pk).update(state=HostState.MAINTENANCE)
    for host in box.platform.hosts:
        fake_host(host.uri).faults.unreachable = True
    reconcile.reconcile_hosts()
    # Nobody asked meanwhile: that nothing was heard tells nothing.
    HostSighting.objects.filter(host=second).update(
        watching_since=timezone.now() - timedelta(seconds=900),
        asked_at=timezone.now() - timedelta(seconds=31),
    )
    HostSighting.objects.filter(host=first).update(
        watching_since=timezone.now() - timedelta(seconds=900)
    )
    reconcile.reconcile_hosts()
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, second.state) == (HostState.MAINTENANCE, HostState.AVAILABLE)


def test_of_two_moves_from_one_state_one_is_made(make_box: Callable[..., Box]) -> None:
    host = make_box().platform.hosts[0]
    mine, theirs = Host.objects.get(pk=host.pk), Host.objects.get(pk=host.pk)
    move(mine, HostMove.SUSPECT, reason="silent")
    with pytest.raises(Conflict):
        move(theirs, HostMove.LOCK)
    assert theirs.state == HostState.SUSPECT  # what it is now is told
    # A state that was left and entered again is another one.
    stale = Host.objects.get(pk=host.pk)
    move(mine, HostMove.CLEAR)
    move(mine, HostMove.SUSPECT)
    with pytest.raises(Conflict):
        move(stale, HostMove.CLEAR)
    assert HostTransition.objects.filter(host=host).count() == 3


def test_the_administration_shows_state_witnesses_and_history(
    make_box: Callable[..., Box],
) -> None:
    host = make_box().platform.hosts[0]
    reconcile.reconcile_hosts()
    move(host, HostMove.SUSPECT, reason="No sign of <life>.")
    operator = Client()
    operator.force_login(User.objects.create_superuser("root@scloud.test", "a long secret 9"))
    listed = operator.get(reverse("admin:compute_host_changelist")).content.decode()
    assert "Suspect (no sign of life)" in listed
    page = operator.get(reverse("admin:compute_host_change", args=[host.pk])).content.decode()
    assert "No sign of &lt;life&gt;." in page
    assert f"libvirt: asked by {witnesses.observer()}" in page
    rows = operator.get(
        reverse("admin:compute_hosttransition_changelist"), {"host__id__exact": host.pk}
    ).content.decode()
    assert "No sign of &lt;life&gt;." in rows


def test_what_is_old_is_forgotten_unless_the_present_state_rests_on_it(
    make_box: Callable[..., Box],
) -> None:
    first, second = make_box().platform.hosts
    reconcile.reconcile_hosts()
    move(first, HostMove.LOCK)
    move(second, HostMove.SUSPECT)
    long_ago = timezone.now() - witnesses.KEEP_TRANSITIONS - timedelta(hours=1)
    HostTransition.objects.update(at=long_ago)
    HostSighting.objects.filter(host=first).update(asked_at=long_ago)
    assert witnesses.forget_old() == 2
    assert HostTransition.objects.get().host == second
    assert HostSighting.objects.get().host == second
