"""From what a host says of domains to the numbers of a VM."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from alarms import catalogue as c
from alarms.catalogue import METRICS, Device, Kind
from alarms.readings.guest import Filesystem, GuestReading
from alarms.readings.samples import (
    Numbers,
    VmReading,
    address_numbers,
    host_numbers,
    is_measured,
    read_host,
    read_vm,
    vm_numbers,
)
from alarms.store.base import SeriesKey
from compute.hypervisor.base import (
    BalloonObservation,
    DiskObservation,
    DomainObservation,
    HostCounters,
    NicObservation,
    PauseReason,
    PowerState,
)

GIB = 2**30


def domain(seconds: float = 0.0, **changes: Any) -> DomainObservation:
    """A domain with 2 vCPUs that does the same in each second."""
    count = int(seconds)
    seen = DomainObservation(
        uuid="u",
        name="vm-1",
        power_state=PowerState.RUNNING,
        observed_at=datetime.now(UTC),
        vcpus=2,
        memory_mib=4096,
        cpu_time_ns=10**9 + int(seconds * 5e8),
        balloon=BalloonObservation(
            current_kib=4 * 2**20,
            rss_kib=2**20,
            available_kib=4 * 2**20,
            usable_kib=3 * 2**20,
            updated_at=1000 + count,
        ),
        disks=(
            DiskObservation(
                "disk-1",
                "vda",
                "/x",
                read_bytes=count * 100,
                read_requests=count,
                write_bytes=count * 200,
                write_requests=count * 2,
                counted=True,
            ),
            DiskObservation("seed", "sda", "/seed", read_bytes=count, counted=True),
        ),
        nics=(
            NicObservation(
                "52:54:00:00:00:01",
                "port-1",
                "vnet1",
                rx_bytes=count * 1000,
                rx_packets=count * 10,
                tx_bytes=count * 500,
                tx_packets=count * 5,
                counted=True,
            ),
        ),
        run="1",
    )
    return replace(seen, **changes)


def read(seen: DomainObservation, read_s: float, *, host: str = "host-1") -> VmReading:
    return read_vm(host, seen, disks={"disk-1"}, nics={"port-1": "nic-1"}, read_s=read_s)


def numbers(before: VmReading | None, after: VmReading) -> dict[str, float]:
    """The values by metric, of which each device has one here."""
    values, _totals = vm_numbers(before, after, None, agent=None)
    return {key.metric: value for key, value in values.items()}


def test_the_first_reading_has_no_rates() -> None:
    assert numbers(None, read(domain(), 0)) == {
        "vcpus": 2,
        "memory_total_bytes": 4 * GIB,
        "memory_resident_bytes": GIB,
        "memory_used_bytes": GIB,
        "memory_usage_ratio": 0.25,
    }


def test_the_second_reading_has_all() -> None:
    values, totals = vm_numbers(
        read(domain(0), 100), read(domain(30), 130), GuestReading(), agent=True
    )
    assert values == {
        SeriesKey("vcpus"): 2,
        SeriesKey("memory_total_bytes"): 4 * GIB,
        SeriesKey("memory_resident_bytes"): GIB,
        SeriesKey("memory_used_bytes"): GIB,
        SeriesKey("memory_usage_ratio"): 0.25,
        SeriesKey("guest_agent_up"): 1,
        SeriesKey("cpu_usage_ratio"): pytest.approx(0.25),
        SeriesKey("disk_read_bytes_per_second", "disk-1"): 100,
        SeriesKey("disk_written_bytes_per_second", "disk-1"): 200,
        SeriesKey("disk_reads_per_second", "disk-1"): 1,
        SeriesKey("disk_writes_per_second", "disk-1"): 2,
        SeriesKey("nic_receive_bytes_per_second", "nic-1"): 1000,
        SeriesKey("nic_transmit_bytes_per_second", "nic-1"): 500,
        SeriesKey("nic_receive_packets_per_second", "nic-1"): 10,
        SeriesKey("nic_transmit_packets_per_second", "nic-1"): 5,
        SeriesKey("nic_receive_drops_per_second", "nic-1"): 0,
        SeriesKey("nic_transmit_drops_per_second", "nic-1"): 0,
    }
    assert totals[SeriesKey("cpu_usage_ratio")] == pytest.approx(16)
    assert totals[SeriesKey("disk_read_bytes_per_second", "disk-1")] == 3000
    assert totals.keys() <= values.keys()


def test_every_number_is_in_the_catalogue_with_its_device() -> None:
    guest = GuestReading(GIB, GIB // 2, (1, 2, 3), 4, 5, (Filesystem("/", 10, 4, 6),))
    values, totals = vm_numbers(read(domain(0), 100), read(domain(30), 130), guest, agent=True)
    values |= address_numbers("nic-1", values)
    found = {key.metric for key in values}
    assert found == {
        name for name, metric in METRICS.items() if metric.subject is not c.Subject.HOST
    }
    for key in values:
        assert bool(key.device) == (METRICS[key.metric].device is not Device.NONE), key
    for key in totals:
        assert METRICS[key.metric].kind is Kind.COUNTER, key


def test_a_restart_and_a_migration_are_gaps() -> None:
    before = read(domain(1000), 100)
    for after in (read(domain(5, run="2"), 130), read(domain(1030), 130, host="host-2")):
        assert not {name for name in numbers(before, after) if "per_second" in name}
        assert "cpu_usage_ratio" not in numbers(before, after)


def test_a_hot_upgrade_is_no_peak() -> None:
    before, after = read(domain(0, vcpus=1), 100), read(domain(30, vcpus=4), 130)
    assert numbers(before, after)["cpu_usage_ratio"] == pytest.approx(0.125)


def test_without_the_number_of_cpus_there_is_no_cpu_usage() -> None:
    before, after = read(domain(0, vcpus=2), 100), read(domain(30, vcpus=0), 130)
    assert "cpu_usage_ratio" not in numbers(before, after)


def test_a_busy_host_makes_gaps_and_no_spikes() -> None:
    busy = tuple(replace(disk, read_bytes=0, counted=False) for disk in domain().disks)
    first, second, third = (
        read(domain(0), 100),
        read(domain(30, disks=busy, nics=(), cpu_time_ns=0), 130),
        read(domain(60), 160),
    )
    key = "disk_read_bytes_per_second"
    assert key not in numbers(first, second)
    assert "cpu_usage_ratio" not in numbers(first, second)
    assert key not in numbers(second, third)
    assert "nic_receive_bytes_per_second" not in numbers(second, third)


def test_what_no_row_knows_is_not_measured() -> None:
    reading = read_vm("host-1", domain(), disks=(), nics={}, read_s=0).reading
    assert {key.metric for key in reading.counters} == {"cpu_usage_ratio"}


def test_the_agents_memory_comes_before_the_balloons() -> None:
    guest = GuestReading(memory_total_bytes=1000, memory_available_bytes=100)
    values, _totals = vm_numbers(None, read(domain(), 0), guest, agent=True)
    assert values[SeriesKey("memory_used_bytes")] == 900
    assert values[SeriesKey("memory_usage_ratio")] == 0.9


@pytest.mark.parametrize(
    "balloon",
    [
        None,
        BalloonObservation(current_kib=100),
        BalloonObservation(current_kib=100, available_kib=0, usable_kib=0),
        BalloonObservation(current_kib=100, available_kib=100, usable_kib=50, updated_at=0),
    ],
)
def test_a_guest_without_a_balloon_driver_has_no_memory_of_its_own(
    balloon: BalloonObservation | None,
) -> None:
    assert "memory_used_bytes" not in numbers(None, read(domain(balloon=balloon), 0))


def test_memory_of_a_guest_that_hangs_is_a_gap() -> None:
    before, after = read(domain(0), 100), read(domain(30, balloon=domain(0).balloon), 130)
    assert "memory_used_bytes" in numbers(None, before)
    assert "memory_used_bytes" not in numbers(before, after)


@pytest.mark.parametrize(
    ("seen", "measured"),
    [
        (domain(), True),
        (domain(power_state=PowerState.PAUSED, pause=PauseReason.NO_SPACE), True),
        (domain(power_state=PowerState.PAUSED, pause=PauseReason.IN_TRANSIT), False),
        (domain(power_state=PowerState.STOPPED), False),
        (domain(power_state=PowerState.CRASHED), False),
    ],
)
def test_what_stands_still_for_a_move_or_is_off_is_not_measured(
    seen: DomainObservation, measured: bool
) -> None:
    assert is_measured(seen) is measured


def test_the_only_address_of_a_nic_has_its_traffic() -> None:
    values, _totals = vm_numbers(read(domain(0), 100), read(domain(30), 130), None, agent=None)
    assert address_numbers("nic-1", values) == {
        SeriesKey("external_ip_receive_bytes_per_second"): 1000,
        SeriesKey("external_ip_transmit_bytes_per_second"): 500,
        SeriesKey("external_ip_receive_packets_per_second"): 10,
        SeriesKey("external_ip_transmit_packets_per_second"): 5,
    }
    assert address_numbers("nic-2", values) == {}


# -- hosts -------------------------------------------------------------------------------------


def host(seconds: int, *, late_s: float = 0.0) -> tuple[HostCounters, Numbers]:
    """A host of 4 CPUs, of which one is busy and one waits for disks."""
    ns = seconds * 10**9
    counters = HostCounters(4, ns, ns, 2 * ns, 1000, 400)
    before = read_host("host-1", HostCounters(4, 0, 0, 0, 1000, 400), read_s=0)
    after = read_host("host-1", counters, read_s=seconds + late_s)
    return counters, host_numbers(before, after, counters, vms=3, silent=1)


@pytest.mark.parametrize("late_s", [0.0, 10.0])
def test_a_host(late_s: float) -> None:
    _counters, values = host(30, late_s=late_s)
    assert {key.metric: value for key, value in values.items()} == {
        "host_vms_running": 3,
        "host_guest_agents_silent": 1,
        "host_memory_total_bytes": 1000 * 1024,
        "host_memory_used_bytes": 600 * 1024,
        "host_memory_usage_ratio": 0.6,
        "host_cpu_usage_ratio": pytest.approx(0.25),
        "host_cpu_iowait_ratio": pytest.approx(0.25),
    }


def test_a_host_that_booted_has_no_cpu_usage_at_first() -> None:
    counters, _values = host(30)
    before = read_host("host-1", counters, read_s=0)
    after = read_host("host-1", HostCounters(4, 1, 1, 1, 0, 0), read_s=30)
    values = host_numbers(before, after, HostCounters(4, 1, 1, 1, 0, 0), vms=0, silent=0)
    assert {key.metric for key in values} == {"host_vms_running", "host_guest_agents_silent"}


def test_what_vms_waited_for_is_a_share_of_the_cpus_of_the_host() -> None:
    counters, _values = host(30)
    before = read_host("host-1", HostCounters(4, 0, 0, 0, 1000, 400), read_s=0)
    after = read_host("host-1", counters, read_s=30)
    for waited, share in ((0.8e9, 0.2), (0.0, 0.0), (9e9, 1.0)):
        values = host_numbers(before, after, counters, vms=3, silent=1, waited=waited)
        assert {key.metric: one for key, one in values.items()}["host_cpu_steal_ratio"] == (
            pytest.approx(share)
        )
    assert "host_cpu_steal_ratio" not in {key.metric for key in _values}


def test_a_wait_for_disks_that_the_host_takes_back_is_a_gap() -> None:
    before = read_host("host-1", HostCounters(4, 0, 500, 0, 1000, 400), read_s=0)
    counters = HostCounters(4, 10**9, 400, 10**9, 1000, 400)
    values = host_numbers(
        before, read_host("host-1", counters, read_s=30), counters, vms=0, silent=0
    )
    names = {key.metric for key in values}
    assert "host_cpu_usage_ratio" in names
    assert "host_cpu_iowait_ratio" not in names


def test_names_follow_the_conventions() -> None:
    exposed = [metric.exposed for metric in METRICS.values()]
    assert len(exposed) == len(set(exposed))
    for metric in METRICS.values():
        assert metric.exposed.startswith("scloud_")
        assert metric.exposed.endswith("_total") == (metric.kind is Kind.COUNTER)
        if metric.unit in (c.Unit.BYTES, c.Unit.RATIO, c.Unit.BYTES_PER_SECOND, c.Unit.PER_SECOND):
            assert metric.name.endswith(metric.unit.value), metric.name
