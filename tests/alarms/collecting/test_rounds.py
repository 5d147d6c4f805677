"""Rounds over hosts in memory: what is stored, whose it is, and what an outage costs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection

from alarms.collecting import rounds
from alarms.collecting.clock import Clock
from alarms.collecting.guests import Guests
from alarms.collecting.leases import Share, take_share
from alarms.collecting.rounds import Collecting
from alarms.models import HostCollection
from alarms.readings import samples
from alarms.store.base import PLATFORM, Latest, SeriesKey
from alarms.store.fake import FakeStore
from compute.hypervisor.base import CommandResult, PauseReason
from compute.hypervisor.fake import fake_host, pause
from compute.models import VM
from compute.tasks.drivers import hypervisor_of
from tests.compute.box import Box

GUEST = b"== loadavg\n0.50 0.40 0.30 1/2 3\n== df\n/dev/vda1 100 50 50 50% /\n"
CPU = SeriesKey("cpu_usage_ratio")
LOAD = SeriesKey("load1")


@dataclass
class Rounds:
    """A collector, its store, and time that tests let pass: on its clock and on the hosts."""

    box: Box
    store: FakeStore = field(default_factory=FakeStore)
    now: float = 1000.0
    collecting: Collecting = field(init=False)

    def __post_init__(self) -> None:
        clock = Clock(lambda: self.now)
        guests = Guests(threads=2, silent_threads=1, patience_s=5.0, clock=lambda: self.now)
        self.collecting = Collecting("a", self.store, clock, guests, host_patience_s=5.0)

    def round(self, *, seconds: float = 30.0) -> int:
        """One round, so many seconds after the last one."""
        self.now += seconds
        for host in self.box.platform.hosts:
            for domain in fake_host(host.uri).domains.values():
                domain.started_at -= seconds
        self.collecting.share()
        return self.collecting.round()

    def latest(self, resource: str, tenant: str) -> Latest | None:
        long_ago = datetime.now(UTC) - timedelta(days=10)
        return self.store.latest(tenant, [resource], since=long_ago).get(resource)

    def of(self, vm: VM) -> dict[SeriesKey, float]:
        """The newest values of a VM."""
        found = self.latest(vm.pk, vm.tenant_id)
        assert found is not None
        return dict(found.values)

    def samples_of(self, vm: VM) -> list[dict[SeriesKey, float]]:
        """The values of all samples of a VM, by time."""
        mine = [one for one in self.store.samples.values() if one.resource == vm.pk]
        return [dict(one.values) for one in sorted(mine, key=lambda one: one.at)]


def guest_command(uuid: str, argv: Sequence[str], stdin: bytes) -> CommandResult:
    return CommandResult(0, GUEST, b"")


@pytest.fixture
def going(box: Box, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rounds]:
    for host in box.platform.hosts:
        fake_host(host.uri).guest_command = guest_command
        fake_host(host.uri).boot_s = 0.0
    made, began = Rounds(box), datetime.now(UTC)

    def share_at_the_time_of_the_test(name: str) -> Share:
        return replace(take_share(name), now=began + timedelta(seconds=made.now))

    monkeypatch.setattr(rounds, "take_share", share_at_the_time_of_the_test)
    yield made
    made.collecting.close()


def test_a_vm_is_measured_from_its_second_round_on(going: Rounds) -> None:
    vm = going.box.vm()
    going.round()
    assert CPU not in going.of(vm)
    assert going.of(vm)[SeriesKey("memory_usage_ratio")] == pytest.approx(0.5)
    assert going.of(vm)[LOAD] == 0.5
    going.round()
    disk = going.box.system_disk(vm)
    values = going.of(vm)
    assert values[CPU] == pytest.approx(0.05, rel=0.2)
    assert values[SeriesKey("disk_read_bytes_per_second", disk.pk)] == pytest.approx(1e6, rel=0.2)
    assert values[SeriesKey("filesystem_usage_ratio", "/")] == 0.5
    assert values[SeriesKey("guest_agent_up")] == 1
    nics = [key for key in values if key.metric == "nic_receive_bytes_per_second"]
    assert {key.device.partition("-")[0] for key in nics} == {"nic"}
    found = going.latest(vm.pk, vm.tenant_id)
    assert found is not None
    assert found.totals[SeriesKey("disk_read_bytes_per_second", disk.pk)] > 30e6


def test_samples_are_their_tenants_and_hosts_the_platforms(going: Rounds) -> None:
    vm = going.box.vm()
    going.round()
    going.round()
    assert going.latest(vm.pk, "tenant-other") is None
    assert going.latest(vm.pk, PLATFORM) is None
    assert vm.host is not None
    host = going.latest(vm.host.pk, PLATFORM)
    assert host is not None
    assert host.values[SeriesKey("host_vms_running")] == 1
    assert SeriesKey("host_cpu_usage_ratio") in host.values
    assert going.latest(vm.host.pk, vm.tenant_id) is None


def test_a_restart_is_a_gap_and_no_spike(going: Rounds) -> None:
    vm = going.box.vm()
    for _ in range(3):
        going.round()
    domain = going.box.domain(vm)
    domain.starts += 1
    domain.started_at += 85
    for _ in range(3):
        going.round()
    rates = [one.get(CPU) for one in going.samples_of(vm)]
    assert [rate is None for rate in rates] == [True, False, False, True, False, False]
    assert all(rate == pytest.approx(0.05, rel=0.2) for rate in rates if rate is not None)


def test_a_migration_is_a_gap_and_no_spike(going: Rounds) -> None:
    vm = going.box.vm()
    for _ in range(2):
        going.round()
    source = vm.host
    there = next(host for host in going.box.platform.hosts if host != source)
    assert source is not None
    hypervisor_of(source).migrate(str(vm.uuid), hypervisor_of(there).ref, timeout_s=10)
    for _ in range(2):
        going.round()
    rates = [one.get(CPU) for one in going.samples_of(vm)]
    assert [rate is None for rate in rates] == [True, False, True, False]
    assert rates[3] == pytest.approx(0.05, rel=0.2)


def test_a_stopped_vm_has_gaps(going: Rounds) -> None:
    vm = going.box.vm()
    going.round()
    fake = going.box.host_of(vm)
    assert vm.host is not None
    hypervisor_of(vm.host).power_off(str(vm.uuid))
    assert fake.domains[str(vm.uuid)].running is None
    going.round()
    assert len(going.samples_of(vm)) == 1


def test_a_paused_vm_is_measured_and_its_guest_not_asked(going: Rounds) -> None:
    vm = going.box.vm()
    going.round()
    pause(going.box.domain(vm), PauseReason.NO_SPACE)
    going.round()
    first, second = going.samples_of(vm)
    assert LOAD in first
    assert CPU in second
    assert LOAD not in second


def test_a_domain_that_no_row_knows_is_nobodys(going: Rounds) -> None:
    vm = going.box.vm()
    VM.objects.filter(pk=vm.pk).update(host=None)
    going.round()
    assert going.samples_of(vm) == []


def test_a_silent_host_is_a_gap_of_its_own_vms(going: Rounds) -> None:
    vms = [going.box.vm() for _ in range(2)]
    assert vms[0].host != vms[1].host
    going.round()
    silent, speaking = vms
    going.box.host_of(silent).faults.unreachable = True
    going.round()
    assert len(going.samples_of(silent)) == 1
    assert len(going.samples_of(speaking)) == 2
    row = HostCollection.objects.get(host=silent.host)
    assert row.last_error == "The host does not answer."
    going.box.host_of(silent).faults.unreachable = False
    # Nothing is known of the time between: no average of it is drawn.
    going.round(seconds=200)
    going.round()
    assert [CPU in one for one in going.samples_of(silent)] == [False, False, True]
    assert HostCollection.objects.get(host=silent.host).last_error == ""


def test_an_error_of_ours_with_one_host_harms_that_host(
    going: Rounds, caplog: pytest.LogCaptureFixture
) -> None:
    vms = [going.box.vm() for _ in range(2)]
    going.box.host_of(vms[0]).faults.fail_next["measure"] = ZeroDivisionError()
    going.round()
    assert going.samples_of(vms[0]) == []
    assert len(going.samples_of(vms[1])) == 1
    row = HostCollection.objects.get(host=vms[0].host)
    assert row.last_error == "Internal error (ZeroDivisionError)."


def test_an_error_of_ours_with_one_answer_harms_that_host(
    going: Rounds, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    vms = [going.box.vm() for _ in range(2)]
    read_vm = samples.read_vm

    def break_one(host_id: str, *given: Any, **named: Any) -> Any:
        if host_id == vms[0].host_id:
            raise ZeroDivisionError
        return read_vm(host_id, *given, **named)

    monkeypatch.setattr(samples, "read_vm", break_one)
    going.round()
    assert going.samples_of(vms[0]) == []
    assert len(going.samples_of(vms[1])) == 1
    row = HostCollection.objects.get(host=vms[0].host)
    assert row.last_error == "Internal error (ZeroDivisionError)."


def test_a_deaf_agent_leaves_the_hypervisors_metrics(going: Rounds) -> None:
    vm = going.box.vm()
    going.box.host_of(vm).faults.agent_missing = True
    going.round()
    going.round()
    values = going.of(vm)
    assert CPU in values
    assert values[SeriesKey("memory_usage_ratio")] == pytest.approx(0.5)
    assert LOAD not in values
    assert values[SeriesKey("guest_agent_up")] == 0
    assert HostCollection.objects.get(host=vm.host).silent_agents == 1


# -- outages -----------------------------------------------------------------------------------


def test_samples_wait_for_a_store_that_is_away(going: Rounds) -> None:
    vm = going.box.vm()
    going.round()
    going.store.faults.away = True
    assert [going.round() for _ in range(2)] == [0, 0]
    going.store.faults.away = False
    going.round()
    assert [CPU in one for one in going.samples_of(vm)] == [False, True, True, True]
    times = sorted(one.at for one in going.store.samples.values() if one.resource == vm.pk)
    assert [(b - a).total_seconds() for a, b in itertools.pairwise(times)] == [
        pytest.approx(30, abs=2)
    ] * 3


def test_hosts_are_asked_while_the_database_is_away(
    going: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = going.box.vm()
    going.round()

    def away(name: str) -> None:
        raise OperationalError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(rounds, "take_share", away)
        patch.setattr(connection, "close", lambda: None)
        assert [going.round() for _ in range(2)] == [0, 0]
        assert len(going.samples_of(vm)) == 1
        assert len(going.collecting.buffer) > 0
    going.round()
    assert len(going.samples_of(vm)) == 4
    assert len(going.collecting.buffer) == 0


def test_the_lag_is_of_what_is_stored(going: Rounds) -> None:
    vm = going.box.vm()
    going.round()
    row = HostCollection.objects.get(host=vm.host)
    assert row.stored_at is not None
    assert row.vms == 1
    before = row.stored_at
    going.store.faults.away = True
    going.round()
    row.refresh_from_db()
    assert row.stored_at == before
    going.store.faults.away = False
    going.round()
    row.refresh_from_db()
    assert row.stored_at == pytest.approx(before + timedelta(seconds=60), abs=timedelta(seconds=3))


def test_a_jump_of_the_machines_clock_moves_no_sample(
    going: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = going.box.vm()
    going.round()
    # The wall's clock is asked for nothing: samples have the database's time.
    monkeypatch.setattr("time.time", lambda: 0.0)
    going.round()
    assert [CPU in one for one in going.samples_of(vm)] == [False, True]


def test_a_host_that_takes_long_is_waited_for_once(going: Rounds) -> None:
    vm = going.box.vm()
    going.round()
    fake = going.box.host_of(vm)
    going.collecting.host_patience_s = 0.05
    fake.faults.slow_s = 0.5
    going.round()
    assert len(going.samples_of(vm)) == 1
    assert HostCollection.objects.get(host=vm.host).last_error == "The host has not answered yet."
    fake.faults.slow_s = 0.0
    going.collecting.host_patience_s = 5.0
    # The late answer is of its own time.
    going.round()
    assert len(going.samples_of(vm)) == 2
