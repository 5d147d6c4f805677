"""From what a host says of itself and of its domains to samples."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from alarms import catalogue as c
from alarms.catalogue import Metric
from alarms.readings.guest import GuestReading
from alarms.readings.rates import Counter, Reading, busy_ratio, elapsed_s, rates
from alarms.store.base import SeriesKey
from compute.hypervisor.base import (
    DiskObservation,
    DomainObservation,
    HostCounters,
    NicObservation,
    PauseReason,
    PowerState,
)

Numbers = dict[SeriesKey, float]

_KIB: Final = 1024
_MIB: Final = 1024 * 1024


@lru_cache(maxsize=200_000)
def key_of(metric: str, device: str = "") -> SeriesKey:
    """The key; one object for all samples, of which many are kept at a time."""
    return SeriesKey(metric, device)


#: How long the vCPUs of a domain have waited for a CPU of the host.
_DELAY: Final = key_of("delay")


@dataclass(frozen=True, slots=True)
class VmReading:
    """One domain of a host, as it was seen; `balloon_at` is when its guest last told its memory."""

    reading: Reading
    seen: DomainObservation
    balloon_at: int | None


def is_measured(seen: DomainObservation) -> bool:
    """Whether a domain is a running VM, and not one that is on its way here or off."""
    if seen.power_state is PowerState.PAUSED:
        return seen.pause is not PauseReason.IN_TRANSIT
    return seen.power_state is PowerState.RUNNING


# -- VMs ---------------------------------------------------------------------------------------


def read_vm(
    host_id: str,
    seen: DomainObservation,
    *,
    disks: Collection[str],
    nics: Mapping[str, str],
    read_s: float,
    doubt_s: float = 0.0,
) -> VmReading:
    """What was counted of a domain.

    `disks` are the ids of the VM's disks and `nics` the ids of its NICs by the UUIDs of their
    ports; what else a domain has, such as its seed, is not measured.
    """
    counters: dict[SeriesKey, Counter] = {}
    if seen.cpu_time_ns:
        counters[key_of(c.CPU_USAGE.name)] = Counter(seen.cpu_time_ns)
    for disk in seen.disks:
        if disk.counted and disk.id in disks:
            for metric, value in _of_disk(disk):
                counters[key_of(metric.name, disk.id)] = Counter(value, disk.target)
    for nic in seen.nics:
        if nic.counted and nic.port_uuid in nics:
            for metric, value in _of_nic(nic):
                counters[key_of(metric.name, nics[nic.port_uuid])] = Counter(value, nic.device)
    if seen.cpu_delay_ns is not None:
        counters[_DELAY] = Counter(seen.cpu_delay_ns)
    run = f"{host_id}/{seen.run}" if seen.run else ""
    balloon_at = None if seen.balloon is None else seen.balloon.updated_at
    return VmReading(Reading(read_s, run, counters, seen.vcpus, doubt_s), seen, balloon_at)


def _of_disk(disk: DiskObservation) -> Iterator[tuple[Metric, int]]:
    yield c.DISK_READ, disk.read_bytes
    yield c.DISK_WRITTEN, disk.write_bytes
    yield c.DISK_READS, disk.read_requests
    yield c.DISK_WRITES, disk.write_requests


def _of_nic(nic: NicObservation) -> Iterator[tuple[Metric, int]]:
    yield c.NIC_RECEIVED, nic.rx_bytes
    yield c.NIC_SENT, nic.tx_bytes
    yield c.NIC_PACKETS_RECEIVED, nic.rx_packets
    yield c.NIC_PACKETS_SENT, nic.tx_packets
    yield c.NIC_DROPS_RECEIVED, nic.rx_drops
    yield c.NIC_DROPS_SENT, nic.tx_drops


def waited_ns(before: VmReading | None, after: VmReading) -> float | None:
    """Return how many ns of a second the vCPUs of a VM waited for a CPU; None where unknown."""
    return rates(None if before is None else before.reading, after.reading).get(_DELAY)


def vm_numbers(
    before: VmReading | None, after: VmReading, guest: GuestReading | None, *, agent: bool | None
) -> tuple[Numbers, Numbers]:
    """Return the values of a VM and the totals behind them.

    `guest` is what its agent said in this round, `agent` whether it answered; None when it was not
    asked.
    """
    seen = after.seen
    values: Numbers = {}
    if seen.vcpus:
        values[key_of(c.VCPUS.name)] = seen.vcpus
    if seen.memory_mib:
        values[key_of(c.MEMORY_TOTAL.name)] = seen.memory_mib * _MIB
    if seen.balloon is not None and seen.balloon.rss_kib is not None:
        values[key_of(c.MEMORY_RESIDENT.name)] = seen.balloon.rss_kib * _KIB
    if agent is not None:
        values[key_of(c.AGENT_UP.name)] = float(agent)
    found = rates(None if before is None else before.reading, after.reading)
    # Of its host, see `waited_ns`.
    found.pop(_DELAY, None)
    cpu = key_of(c.CPU_USAGE.name)
    if before is not None and cpu in found:
        busy = busy_ratio(found.pop(cpu), before.reading, after.reading)
        if busy is not None:
            found[cpu] = busy
    totals: Numbers = {key: after.reading.counters[key].value for key in found}
    if cpu in totals:
        totals[cpu] /= 1e9
    values |= found
    values |= _memory(before, after, guest)
    if guest is not None:
        values |= _guest(guest)
    return values, totals


def _memory(before: VmReading | None, after: VmReading, guest: GuestReading | None) -> Numbers:
    """What the guest uses, by its agent or else by its balloon."""
    total: int | None = None
    available: int | None = None
    if guest is not None:
        total, available = guest.memory_total_bytes, guest.memory_available_bytes
    if total is None or available is None:
        balloon = after.seen.balloon
        if balloon is None or not balloon.available_kib or balloon.usable_kib is None:
            return {}
        if after.balloon_at == 0 or _is_stale(before, after):
            return {}
        total, available = balloon.available_kib * _KIB, balloon.usable_kib * _KIB
    used = max(0, total - available)
    return {
        key_of(c.MEMORY_USED.name): used,
        key_of(c.MEMORY_USAGE.name): used / total,
    }


def _is_stale(before: VmReading | None, after: VmReading) -> bool:
    """Whether the balloon has said nothing since the last reading: its guest hangs."""
    if before is None or after.balloon_at is None:
        return False
    same_run = elapsed_s(before.reading, after.reading) is not None
    return same_run and before.balloon_at == after.balloon_at


def _guest(guest: GuestReading) -> Numbers:
    values: Numbers = {}
    if guest.load is not None:
        for metric, value in zip((c.LOAD_1, c.LOAD_5, c.LOAD_15), guest.load, strict=True):
            values[key_of(metric.name)] = value
    if guest.tcp_connections is not None:
        values[key_of(c.TCP_CONNECTIONS.name)] = guest.tcp_connections
    if guest.processes_blocked is not None:
        values[key_of(c.PROCESSES_BLOCKED.name)] = guest.processes_blocked
    for one in guest.filesystems:
        values[key_of(c.FILESYSTEM_SIZE.name, one.mount_point)] = one.size_bytes
        values[key_of(c.FILESYSTEM_USED.name, one.mount_point)] = one.used_bytes
        values[key_of(c.FILESYSTEM_USAGE.name, one.mount_point)] = one.usage_ratio
    return values


# -- external IPs ------------------------------------------------------------------------------

_OF_ADDRESSES: Final = {
    c.NIC_RECEIVED.name: c.ADDRESS_RECEIVED.name,
    c.NIC_SENT.name: c.ADDRESS_SENT.name,
    c.NIC_PACKETS_RECEIVED.name: c.ADDRESS_PACKETS_RECEIVED.name,
    c.NIC_PACKETS_SENT.name: c.ADDRESS_PACKETS_SENT.name,
}


def address_numbers(nic_id: str, numbers: Mapping[SeriesKey, float]) -> Numbers:
    """The traffic of the only address of a NIC: what the NIC itself has."""
    return {
        key_of(_OF_ADDRESSES[key.metric]): value
        for key, value in numbers.items()
        if key.device == nic_id and key.metric in _OF_ADDRESSES
    }


# -- hosts -------------------------------------------------------------------------------------

_BUSY: Final = key_of("busy")
_IOWAIT: Final = key_of("iowait")
_ALL: Final = key_of("all")


def read_host(
    host_id: str, counters: HostCounters, *, read_s: float, doubt_s: float = 0.0
) -> Reading:
    """What was counted of a host."""
    everything = counters.busy_ns + counters.iowait_ns + counters.idle_ns
    return Reading(
        read_s,
        host_id,
        {
            _BUSY: Counter(counters.busy_ns),
            _IOWAIT: Counter(counters.iowait_ns),
            _ALL: Counter(everything),
        },
        counters.cpus,
        doubt_s,
    )


def host_numbers(
    before: Reading | None,
    after: Reading,
    counters: HostCounters,
    *,
    vms: int,
    silent: int,
    waited: float | None = None,
) -> Numbers:
    """The values of a host with so many running VMs, of which so many agents are silent.

    ``waited`` is how many ns of a second their vCPUs together waited for a CPU.
    """
    values: Numbers = {
        key_of(c.HOST_VMS.name): vms,
        key_of(c.HOST_DEAF_AGENTS.name): silent,
    }
    if counters.memory_kib:
        used = max(0, counters.memory_kib - counters.available_kib)
        values[key_of(c.HOST_MEMORY_TOTAL.name)] = counters.memory_kib * _KIB
        values[key_of(c.HOST_MEMORY_USED.name)] = used * _KIB
        values[key_of(c.HOST_MEMORY_USAGE.name)] = used / counters.memory_kib
    found = rates(before, after)
    # Of the CPUs' own time, so that a host that answers late is not taken for a busy one.
    if _BUSY in found and found.get(_ALL, 0) > 0:
        values[key_of(c.HOST_CPU_USAGE.name)] = min(1.0, found[_BUSY] / found[_ALL])
        # Linux takes some of it back at times: that is a gap.
        if _IOWAIT in found:
            values[key_of(c.HOST_CPU_IOWAIT.name)] = min(1.0, found[_IOWAIT] / found[_ALL])
    if waited is not None and counters.cpus:
        values[key_of(c.HOST_CPU_STEAL.name)] = min(1.0, waited / 1e9 / counters.cpus)
    return values
