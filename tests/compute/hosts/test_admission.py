"""Hosts that were added and were never in service: what they do to others, and when they serve."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from compute.actions import hosts as actions
from compute.hypervisor import fake
from compute.hypervisor.base import PauseReason as Pause
from compute.hypervisor.fake import fake_host, pause
from compute.models import Drift, FenceDevice, Host, HostSighting, HostTest
from compute.states.hosts import HostState, Witness
from compute.sweeps import failover, reconcile, witnesses
from compute.tasks.host_tests import record_host_test
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.hosts.test_failing_over import home, now
from tests.compute.hosts.test_maintenance import on_first
from tests.compute.hosts.test_states import time_passes
from tests.compute.hosts.yard import Yard

SYSTEM = Actor.system(None)
GOOD = {"code": "reachable", "level": "ok", "words": "libvirt answers.", "remedy": ""}


def added(yard: Yard, uri: str = "fake:new") -> Host:
    """A host that waits for its connection test."""
    host = Host.objects.create(
        name="new",
        cluster=yard.hosts[0].cluster,
        uri=uri,
        address="192.0.2.77",
        state=HostState.LOCKED,
        state_since=timezone.now(),
    )
    HostTest.objects.create(host=host, required=True)
    return host


def state(host: Host) -> str:
    return str(Host.objects.get(pk=host.pk).state)


def fencings() -> int:
    with scopes_disabled():
        return int(Job.objects.filter(kind="host.fence").count())


def passes(host: Host) -> HostTest:
    """Let its test end without any trouble."""
    row = Host.objects.get(pk=host.pk)
    result = {
        "uri": row.uri, "address": str(row.address), "cluster": row.cluster_id, "findings": [GOOD]
    }  # fmt: skip
    record_host_test(actor=SYSTEM, host=row, result=result)
    return HostTest.objects.get(host=host)


# -- its silence, and what it says ---------------------------------------------------------------


def test_a_host_that_is_being_installed_is_not_suspect_and_not_switched_off(yard: Yard) -> None:
    new = added(yard)
    FenceDevice.objects.create(host=new, agent="fake", address="new", user="operator")
    reconcile.reconcile_hosts()
    fake_host(new.uri).faults.unreachable = True
    time_passes(3600)
    yard.look(rounds=2)
    assert state(new) == HostState.LOCKED
    # One that is so already, in whatever way, is left alone, and is cleared when it is heard.
    Host.objects.filter(pk=new.pk).update(state=HostState.SUSPECT)
    yard.look(rounds=2)
    assert state(new) == HostState.SUSPECT
    assert fencings() == 0
    # Another one is.
    HostTest.objects.update(admitted_at=timezone.now())
    yard.look()
    assert fencings() == 1


def test_it_is_cleared_by_a_sign_of_life_as_any_other(yard: Yard) -> None:
    new = added(yard)
    Host.objects.filter(pk=new.pk).update(state=HostState.SUSPECT)
    reconcile.reconcile_hosts()
    assert state(new) != HostState.SUSPECT


def test_who_hears_only_a_host_that_was_added_fences_none(yard: Yard) -> None:
    host, other = yard.hosts
    new, at = added(yard), timezone.now()
    HostSighting.objects.create(
        host=new,
        witness=Witness.LIBVIRT,
        observer=witnesses.observer(),
        watching_since=at - timedelta(hours=1),
        asked_at=at,
        alive_at=at,
    )
    assert not failover._hears_others(host, at)
    HostTest.objects.update(admitted_at=at)
    assert failover._hears_others(host, at)
    assert other.pk != new.pk


def test_nothing_is_taken_off_another_host_by_its_address(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    _host, (off, still) = on_first(yard, 2, stopped=1)
    pause(yard.box.domain(still), Pause.NO_SPACE)
    # The URI that was entered leads to a host in service.
    uri = f"{home(off).uri}/"
    monkeypatch.setitem(fake._hosts, uri, fake_host(home(off).uri))
    new = added(yard, uri)
    yard.look(rounds=2)
    assert yard.box.places(off) == yard.box.places(still) == [home(off).name]
    assert yard.copies(still) == [home(off).name]
    assert (now(off).status, now(still).status) == ("stopped", "running")
    rows = Drift.objects.filter(place=new.name, kind="leftover_domain", repaired_at=None)
    assert rows.count() == 2
    assert all(row.detail.endswith("not removed: the host was never in service") for row in rows)


# -- when it serves ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "standing", [HostState.SUSPECT, HostState.MAINTENANCE, HostState.FENCED, HostState.RETURNING]
)
def test_it_is_in_service_at_once_or_not_at_all(yard: Yard, standing: HostState) -> None:
    new = added(yard)
    Host.objects.filter(pk=new.pk).update(state=standing)
    test = passes(new)
    assert (state(new), test.admitted_at) == (standing, None)
    assert test.tested_at is not None
    seen = test.tested_at.isoformat()
    with pytest.raises(Conflict, match="has to be locked to be put into service") as refused:
        actions.accept_host(actor=SYSTEM, host=new, seen=seen)
    assert refused.value.code == "host_not_acceptable"
    # When it is back an operator decides, or the next test.
    Host.objects.filter(pk=new.pk).update(state=HostState.LOCKED)
    actions.accept_host(actor=SYSTEM, host=new, seen=seen)
    test.refresh_from_db()
    assert (state(new), test.admitted_at is None) == (HostState.AVAILABLE, False)


def test_one_that_is_back_is_put_into_service_by_its_next_test(yard: Yard) -> None:
    new = added(yard)
    Host.objects.filter(pk=new.pk).update(state=HostState.MAINTENANCE)
    passes(new)
    Host.objects.filter(pk=new.pk).update(state=HostState.LOCKED)
    assert passes(new).admitted_at is not None
    assert state(new) == HostState.AVAILABLE


def test_one_that_is_available_already_stays_so(yard: Yard) -> None:
    """As when an earlier release unlocked it, which knows of no test."""
    new = added(yard)
    Host.objects.filter(pk=new.pk).update(state=HostState.AVAILABLE)
    test = passes(new)
    assert (state(new), test.admitted_at is None) == (HostState.AVAILABLE, False)
