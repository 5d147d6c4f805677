"""What is measured: names, units, and which part of a resource a number is of.

Names are kept for ever: they are in the store, in alarm rules and in what Prometheus scrapes. They
follow its conventions (https://prometheus.io/docs/practices/naming/): base units, the unit last. A
counter is stored as its rate, under the name of the rate, and exposed as the total that it counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class Subject(StrEnum):
    """What a metric is of: the kind of a resource, or a host of the platform."""

    VM = "vm"
    EXTERNAL_IP = "external_ip"
    HOST = "host"


class Unit(StrEnum):
    """What the number counts; a ratio is 0 to 1 and shown as per cent."""

    RATIO = "ratio"
    BYTES = "bytes"
    BYTES_PER_SECOND = "bytes_per_second"
    PER_SECOND = "per_second"
    COUNT = "count"


class Kind(StrEnum):
    """Whether a number is what it is at the moment, or the rate of something that is counted."""

    GAUGE = "gauge"
    COUNTER = "counter"


class Device(StrEnum):
    """Which parts of a resource have a number each."""

    NONE = ""
    DISK = "disk"
    NIC = "nic"
    FILESYSTEM = "filesystem"


class Source(StrEnum):
    """Who knows it: what the guest says is missing where no agent answers."""

    HYPERVISOR = "hypervisor"
    GUEST = "guest"


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that is measured. `exposed` is its name for Prometheus."""

    name: str
    subject: Subject
    label: Promise
    unit: Unit
    exposed: str
    kind: Kind = Kind.GAUGE
    device: Device = Device.NONE
    source: Source = Source.HYPERVISOR


def _disk(name: str, label: Promise, unit: Unit, exposed: str) -> Metric:
    return Metric(name, Subject.VM, label, unit, exposed, Kind.COUNTER, Device.DISK)


def _nic(name: str, label: Promise, unit: Unit, exposed: str) -> Metric:
    return Metric(name, Subject.VM, label, unit, exposed, Kind.COUNTER, Device.NIC)


def _guest(name: str, label: Promise, unit: Unit, device: Device = Device.NONE) -> Metric:
    return Metric(
        name, Subject.VM, label, unit, f"scloud_vm_{name}", Kind.GAUGE, device, Source.GUEST
    )


def _address(name: str, label: Promise, unit: Unit, exposed: str) -> Metric:
    return Metric(name, Subject.EXTERNAL_IP, label, unit, exposed, Kind.COUNTER)


def _host(name: str, label: Promise, unit: Unit) -> Metric:
    return Metric(name, Subject.HOST, label, unit, f"scloud_{name}")


CPU_USAGE: Final = Metric(
    "cpu_usage_ratio",
    Subject.VM,
    _("CPU usage"),
    Unit.RATIO,
    "scloud_vm_cpu_seconds_total",
    Kind.COUNTER,
)
VCPUS: Final = Metric("vcpus", Subject.VM, _("Virtual CPUs"), Unit.COUNT, "scloud_vm_vcpus")
MEMORY_TOTAL: Final = Metric(
    "memory_total_bytes", Subject.VM, _("Memory"), Unit.BYTES, "scloud_vm_memory_total_bytes"
)
MEMORY_RESIDENT: Final = Metric(
    "memory_resident_bytes",
    Subject.VM,
    _("Memory taken from the host"),
    Unit.BYTES,
    "scloud_vm_memory_resident_bytes",
)
MEMORY_USED: Final = _guest("memory_used_bytes", _("Memory used"), Unit.BYTES)
MEMORY_USAGE: Final = _guest("memory_usage_ratio", _("Memory usage"), Unit.RATIO)
FILESYSTEM_SIZE: Final = _guest(
    "filesystem_size_bytes", _("Size of a file system"), Unit.BYTES, Device.FILESYSTEM
)
FILESYSTEM_USED: Final = _guest(
    "filesystem_used_bytes", _("Space used"), Unit.BYTES, Device.FILESYSTEM
)
FILESYSTEM_USAGE: Final = _guest(
    "filesystem_usage_ratio", _("Space usage"), Unit.RATIO, Device.FILESYSTEM
)
LOAD_1: Final = _guest("load1", _("Load, 1 min"), Unit.COUNT)
LOAD_5: Final = _guest("load5", _("Load, 5 min"), Unit.COUNT)
LOAD_15: Final = _guest("load15", _("Load, 15 min"), Unit.COUNT)
TCP_CONNECTIONS: Final = _guest("tcp_connections", _("TCP connections"), Unit.COUNT)
PROCESSES_BLOCKED: Final = _guest("processes_blocked", _("Blocked processes"), Unit.COUNT)
AGENT_UP: Final = Metric(
    "guest_agent_up", Subject.VM, _("Guest agent answers"), Unit.COUNT, "scloud_vm_guest_agent_up"
)

DISK_READ: Final = _disk(
    "disk_read_bytes_per_second",
    _("Disk read"),
    Unit.BYTES_PER_SECOND,
    "scloud_vm_disk_read_bytes_total",
)
DISK_WRITTEN: Final = _disk(
    "disk_written_bytes_per_second",
    _("Disk write"),
    Unit.BYTES_PER_SECOND,
    "scloud_vm_disk_written_bytes_total",
)
DISK_READS: Final = _disk(
    "disk_reads_per_second",
    _("Disk read operations"),
    Unit.PER_SECOND,
    "scloud_vm_disk_reads_completed_total",
)
DISK_WRITES: Final = _disk(
    "disk_writes_per_second",
    _("Disk write operations"),
    Unit.PER_SECOND,
    "scloud_vm_disk_writes_completed_total",
)
NIC_RECEIVED: Final = _nic(
    "nic_receive_bytes_per_second",
    _("NIC inbound bandwidth"),
    Unit.BYTES_PER_SECOND,
    "scloud_vm_network_receive_bytes_total",
)
NIC_SENT: Final = _nic(
    "nic_transmit_bytes_per_second",
    _("NIC outbound bandwidth"),
    Unit.BYTES_PER_SECOND,
    "scloud_vm_network_transmit_bytes_total",
)
NIC_PACKETS_RECEIVED: Final = _nic(
    "nic_receive_packets_per_second",
    _("NIC inbound packets"),
    Unit.PER_SECOND,
    "scloud_vm_network_receive_packets_total",
)
NIC_PACKETS_SENT: Final = _nic(
    "nic_transmit_packets_per_second",
    _("NIC outbound packets"),
    Unit.PER_SECOND,
    "scloud_vm_network_transmit_packets_total",
)
NIC_DROPS_RECEIVED: Final = _nic(
    "nic_receive_drops_per_second",
    _("NIC inbound packets dropped"),
    Unit.PER_SECOND,
    "scloud_vm_network_receive_drop_total",
)
NIC_DROPS_SENT: Final = _nic(
    "nic_transmit_drops_per_second",
    _("NIC outbound packets dropped"),
    Unit.PER_SECOND,
    "scloud_vm_network_transmit_drop_total",
)

ADDRESS_RECEIVED: Final = _address(
    "external_ip_receive_bytes_per_second",
    _("External IP inbound bandwidth"),
    Unit.BYTES_PER_SECOND,
    "scloud_external_ip_receive_bytes_total",
)
ADDRESS_SENT: Final = _address(
    "external_ip_transmit_bytes_per_second",
    _("External IP outbound bandwidth"),
    Unit.BYTES_PER_SECOND,
    "scloud_external_ip_transmit_bytes_total",
)
ADDRESS_PACKETS_RECEIVED: Final = _address(
    "external_ip_receive_packets_per_second",
    _("External IP inbound packets"),
    Unit.PER_SECOND,
    "scloud_external_ip_receive_packets_total",
)
ADDRESS_PACKETS_SENT: Final = _address(
    "external_ip_transmit_packets_per_second",
    _("External IP outbound packets"),
    Unit.PER_SECOND,
    "scloud_external_ip_transmit_packets_total",
)

HOST_CPU_USAGE: Final = _host("host_cpu_usage_ratio", _("Host CPU usage"), Unit.RATIO)
HOST_CPU_IOWAIT: Final = _host("host_cpu_iowait_ratio", _("Host CPU waiting for disks"), Unit.RATIO)
HOST_CPU_STEAL: Final = _host("host_cpu_steal_ratio", _("CPU time that VMs waited for"), Unit.RATIO)
HOST_MEMORY_TOTAL: Final = _host("host_memory_total_bytes", _("Host memory"), Unit.BYTES)
HOST_MEMORY_USED: Final = _host("host_memory_used_bytes", _("Host memory used"), Unit.BYTES)
HOST_MEMORY_USAGE: Final = _host("host_memory_usage_ratio", _("Host memory usage"), Unit.RATIO)
HOST_VMS: Final = _host("host_vms_running", _("Running VMs"), Unit.COUNT)
HOST_DEAF_AGENTS: Final = _host(
    "host_guest_agents_silent", _("Guest agents that do not answer"), Unit.COUNT
)

METRICS: Final[Mapping[str, Metric]] = {
    metric.name: metric for metric in list(globals().values()) if isinstance(metric, Metric)
}
