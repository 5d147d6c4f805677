"""What libvirt's answers say, as the port's observations. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

import libvirt

from compute.hypervisor.base import (
    STARTING,
    BalloonObservation,
    DiskObservation,
    DomainObservation,
    HostCounters,
    HostCpu,
    MachineTypes,
    NicObservation,
    PauseReason,
    PciAddress,
    PciDevice,
    PowerState,
    VncEndpoint,
)
from compute.hypervisor.libvirt.elements import OWNER_TAG

Stats = Mapping[str, Any]

_POWER = {
    libvirt.VIR_DOMAIN_NOSTATE: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.STOPPED,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.PAUSED,
}

# Not a paused guest: there is none yet, and after an interrupted start there is none to come.
_STARTING_UP = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP)

_REASONS = {
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR): "disk error",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION): "migrating",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED): "migration failed",
    _STARTING_UP: STARTING,
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_CRASHED): "guest crashed",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_SHUTTING_DOWN): "shutting down",
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER): "paused by an administrator",
    (libvirt.VIR_DOMAIN_SHUTDOWN, libvirt.VIR_DOMAIN_SHUTDOWN_USER): "shutting down",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN): "shut down",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED): "powered off",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED): "crashed",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_MIGRATED): "migrated",
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_FAILED): "failed to start",
}


def power_state(state: int, reason: int) -> PowerState:
    """The port's word for a libvirt state; a QEMU that died counts as crashed."""
    if (state, reason) == (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED):
        return PowerState.CRASHED
    if is_starting_up(state, reason):
        return PowerState.STOPPED
    return _POWER.get(state, PowerState.RUNNING)


_PAUSES = {
    libvirt.VIR_DOMAIN_PAUSED_USER: PauseReason.BY_HAND,
    libvirt.VIR_DOMAIN_PAUSED_MIGRATION: PauseReason.IN_TRANSIT,
    libvirt.VIR_DOMAIN_PAUSED_SAVE: PauseReason.IN_TRANSIT,
    libvirt.VIR_DOMAIN_PAUSED_DUMP: PauseReason.IN_TRANSIT,
    libvirt.VIR_DOMAIN_PAUSED_IOERROR: PauseReason.IO_ERROR,
    libvirt.VIR_DOMAIN_PAUSED_WATCHDOG: PauseReason.WATCHDOG,
    libvirt.VIR_DOMAIN_PAUSED_SHUTTING_DOWN: PauseReason.IN_TRANSIT,
    libvirt.VIR_DOMAIN_PAUSED_SNAPSHOT: PauseReason.IN_TRANSIT,
    libvirt.VIR_DOMAIN_PAUSED_CRASHED: PauseReason.GUEST_CRASHED,
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY: PauseReason.IN_TRANSIT,
    libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED: PauseReason.MIGRATION_FAILED,
}


def pause_reason(state: int, reason: int) -> PauseReason | None:
    """Why a paused domain is paused; None for others.

    libvirt has one reason for all errors of disks; which it was, the disks themselves tell.
    """
    if power_state(state, reason) is not PowerState.PAUSED:
        return None
    if state == libvirt.VIR_DOMAIN_PMSUSPENDED:
        return PauseReason.GUEST_SUSPENDED
    return _PAUSES.get(reason, PauseReason.OTHER)


def is_starting_up(state: int, reason: int) -> bool:
    """Whether the host has begun to start the domain and not ended it."""
    return (state, reason) == _STARTING_UP


def power_reason(state: int, reason: int) -> str:
    """Why, in words; empty where there is nothing to say."""
    return _REASONS.get((state, reason), "")


# -- the domain's XML ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DomainXml:
    """A domain's XML with the questions that the driver asks of it."""

    root: ElementTree.Element

    @classmethod
    def parse(cls, text: str) -> "DomainXml":
        return cls(ElementTree.fromstring(text))  # noqa: S314  written by libvirtd, not by people

    @property
    def owner(self) -> str:
        """The owner tag; empty for foreign domains."""
        tag = self.root.find(f"metadata/{OWNER_TAG}")
        return "" if tag is None else tag.get("owner", "")

    @property
    def machine_type(self) -> str:
        """The full name of its machine type: libvirt writes it where a definition has an alias."""
        kind = self.root.find("os/type")
        return "" if kind is None else kind.get("machine", "")

    @property
    def seed_digest(self) -> str:
        """What stands for the content of the seed that it was defined with."""
        tag = self.root.find(f"metadata/{OWNER_TAG}")
        return "" if tag is None else tag.get("seed", "")

    def disks(self) -> list[ElementTree.Element]:
        return self.root.findall("devices/disk")

    def disk(self, disk_id: str) -> ElementTree.Element | None:
        return next((d for d in self.disks() if d.findtext("serial") == disk_id), None)

    def targets(self) -> set[str]:
        return {target_of(disk) for disk in self.disks()}

    def nic(self, mac: str) -> ElementTree.Element | None:
        for nic in self.root.findall("devices/interface"):
            address = nic.find("mac")
            if address is not None and address.get("address", "").lower() == mac.lower():
                return nic
        return None

    def virtio_memory(self) -> ElementTree.Element | None:
        return self.root.find("devices/memory[@model='virtio-mem']")

    def memory_kib(self) -> tuple[int, int, int]:
        """Fixed memory, what is given of the growing part, and the growing part's size; in KiB."""
        device = self.virtio_memory()
        total = memory_kib(self.root.find("memory"))
        if device is None:
            return total, 0, 0
        size = memory_kib(device.find("target/size"))
        return total - size, memory_kib(device.find("target/requested")), size

    def graphics(self) -> ElementTree.Element | None:
        """The VNC server's element."""
        return self.root.find("devices/graphics[@type='vnc']")

    def vnc_endpoint(self) -> VncEndpoint | None:
        """Where the screen listens, if it does."""
        graphics = self.graphics()
        if graphics is None:
            return None
        port = int(graphics.get("port", "-1"))
        address = graphics.get("listen", "")
        return VncEndpoint(address, port) if port > 0 and address else None

    def pci_devices(self) -> tuple[PciAddress, ...]:
        """Host devices passed through."""
        found = self.root.findall("devices/hostdev[@type='pci']/source/address")
        return tuple(_pci_address(address) for address in found)


def target_of(disk: ElementTree.Element) -> str:
    target = disk.find("target")
    return "" if target is None else target.get("dev", "")


def alias_of(device: ElementTree.Element) -> str:
    """Name under which QEMU knows the device of a running domain."""
    alias = device.find("alias")
    return "" if alias is None else alias.get("name", "")


def source_path(disk: ElementTree.Element) -> str:
    """File path, or pool/image of a network disk."""
    source = disk.find("source")
    if source is None:
        return ""
    return source.get("file") or source.get("name") or ""


def pci_address_of(device: ElementTree.Element) -> PciAddress:
    """Place of a device on the guest's buses; all zero while it has none."""
    address = device.find("address[@type='pci']")
    return PciAddress(0, 0, 0, 0) if address is None else _pci_address(address)


def _pci_address(element: ElementTree.Element) -> PciAddress:
    return PciAddress(
        *(int(element.get(part, "0"), 16) for part in ("domain", "bus", "slot", "function"))
    )


def memory_kib(element: ElementTree.Element | None) -> int:
    if element is None or element.text is None:
        return 0
    factor = {"b": 1 / 1024, "bytes": 1 / 1024, "KiB": 1, "MiB": 1024, "GiB": 1024**2}
    return int(int(element.text) * factor[element.get("unit", "KiB")])


# -- statistics ------------------------------------------------------------------------------------


def observation(
    uuid: str,
    name: str,
    xml: DomainXml,
    stats: Stats,
    *,
    persistent: bool,
    moment: datetime,
    run: str = "",
) -> DomainObservation:
    """One domain's observation from its XML and one record of bulk statistics."""
    state, reason = int(stats["state.state"]), int(stats["state.reason"])
    fixed, given, _size = xml.memory_kib()
    return DomainObservation(
        uuid=uuid,
        name=name,
        power_state=power_state(state, reason),
        reason=power_reason(state, reason),
        pause=pause_reason(state, reason),
        observed_at=moment,
        persistent=persistent,
        owner=xml.owner,
        vcpus=int(stats.get("vcpu.current", 0)),
        memory_mib=(fixed + given) // 1024,
        cpu_time_ns=int(stats.get("cpu.time", 0)) if _is_active(state) else 0,
        cpu_delay_ns=_delay_ns(stats) if _is_active(state) else None,
        balloon=_balloon(stats),
        disks=_disks(xml, stats),
        nics=_nics(xml, stats),
        pci_devices=xml.pci_devices(),
        run=run,
        machine_type=xml.machine_type,
    )


def host_counters(cpus: int, times: Mapping[str, int], memory: Mapping[str, int]) -> HostCounters:
    """The host's counters from libvirt's CPU times in ns and memory statistics in KiB."""
    iowait = times.get("iowait", 0)
    total = memory["total"]
    available = memory.get("free", 0) + memory.get("cached", 0) + memory.get("buffers", 0)
    return HostCounters(
        cpus=cpus,
        busy_ns=times.get("user", 0) + times.get("kernel", 0),
        iowait_ns=iowait,
        idle_ns=times.get("idle", 0),
        memory_kib=total,
        # libvirt does not tell how much of the cache is shared memory, which cannot be given away.
        available_kib=min(total, available),
    )


def host_cpu(text: str) -> HostCpu:
    """The host's CPU from libvirt's capabilities."""
    cpu = ElementTree.fromstring(text).find("host/cpu")  # noqa: S314  written by libvirtd
    if cpu is None:
        return HostCpu("")
    names = (one.get("name", "") for one in cpu.findall("feature"))
    return HostCpu(
        model=cpu.findtext("model", ""),
        vendor=cpu.findtext("vendor", ""),
        features=frozenset(name for name in names if name),
    )


def _is_active(state: int) -> bool:
    """Of a stopped domain libvirt tells the CPU time of whatever group it finds instead."""
    return state not in (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED)


def _delay_ns(stats: Stats) -> int | None:
    """How long all vCPUs have waited for a CPU; libvirt tells it since 7.2."""
    found = [
        int(value)
        for key, value in stats.items()
        if key.startswith("vcpu.") and key.endswith(".delay")
    ]
    return sum(found) if found else None


def _balloon(stats: Stats) -> BalloonObservation | None:
    if "balloon.current" not in stats:
        return None
    return BalloonObservation(
        current_kib=stats["balloon.current"],
        rss_kib=stats.get("balloon.rss"),
        available_kib=stats.get("balloon.available"),
        usable_kib=stats.get("balloon.usable"),
        unused_kib=stats.get("balloon.unused"),
        updated_at=stats.get("balloon.last-update"),
    )


def _numbered(stats: Stats, group: str) -> list[dict[str, Any]]:
    """The records `group.0.*`, `group.1.*`... as dicts."""
    records = []
    for number in range(int(stats.get(f"{group}.count", 0))):
        prefix = f"{group}.{number}."
        records.append(
            {key.removeprefix(prefix): stats[key] for key in stats if key.startswith(prefix)}
        )
    return records


def _disks(xml: DomainXml, stats: Stats) -> tuple[DiskObservation, ...]:
    records = {record.get("name"): record for record in _numbered(stats, "block")}
    disks = []
    for disk in xml.disks():
        target = target_of(disk)
        record = records.get(target, {})
        disks.append(
            DiskObservation(
                id=disk.findtext("serial") or "",
                target=target,
                path=source_path(disk),
                capacity_bytes=record.get("capacity", 0),
                allocation_bytes=record.get("physical", 0),
                read_bytes=record.get("rd.bytes", 0),
                read_requests=record.get("rd.reqs", 0),
                write_bytes=record.get("wr.bytes", 0),
                write_requests=record.get("wr.reqs", 0),
                counted="rd.bytes" in record,
            )
        )
    return tuple(disks)


def _nics(xml: DomainXml, stats: Stats) -> tuple[NicObservation, ...]:
    records = {record.get("name"): record for record in _numbered(stats, "net")}
    nics = []
    for nic in xml.root.findall("devices/interface"):
        mac = nic.find("mac")
        port = nic.find("virtualport/parameters")
        device = nic.find("target")
        name = "" if device is None else device.get("dev", "")
        record = records.get(name, {}) if name else {}
        nics.append(
            NicObservation(
                mac="" if mac is None else mac.get("address", ""),
                port_uuid="" if port is None else port.get("interfaceid", ""),
                device=name,
                rx_bytes=record.get("rx.bytes", 0),
                rx_packets=record.get("rx.pkts", 0),
                rx_drops=record.get("rx.drop", 0),
                tx_bytes=record.get("tx.bytes", 0),
                tx_packets=record.get("tx.pkts", 0),
                tx_drops=record.get("tx.drop", 0),
                counted="rx.bytes" in record,
            )
        )
    return tuple(nics)


# -- capabilities --------------------------------------------------------------------------------


def machine_types(text: str, arch: str, *, alias: str, family: str) -> MachineTypes:
    """The machine types of one family in a host's capabilities; `alias` names the default."""
    root = ElementTree.fromstring(text)  # noqa: S314  written by libvirtd, not by people
    default, names = "", set()
    # Below the architecture, and below its domain types where they differ.
    for machine in root.iterfind(f"guest/arch[@name='{arch}']//machine"):
        name = machine.text or ""
        full = machine.get("canonical", name)
        if name == alias:
            default = full
        if full.startswith(family):
            names.add(full)
    return MachineTypes(default, tuple(sorted(names)))


# -- node devices --------------------------------------------------------------------------------


def pci_device(text: str) -> PciDevice | None:
    """A node device's XML as a PCI function; None for other kinds of devices."""
    root = ElementTree.fromstring(text)  # noqa: S314  written by libvirtd, not by people
    capability = root.find("capability[@type='pci']")
    if capability is None:
        return None
    vendor, product = capability.find("vendor"), capability.find("product")
    group, numa = capability.find("iommuGroup"), capability.find("numa")
    numbers = (capability.findtext(part, "0") for part in ("domain", "bus", "slot", "function"))
    return PciDevice(
        address=PciAddress(*(int(number, 0) for number in numbers)),
        vendor_id=_identifier(vendor),
        product_id=_identifier(product),
        vendor="" if vendor is None else vendor.text or "",
        product="" if product is None else product.text or "",
        class_code=capability.findtext("class", "").removeprefix("0x"),
        driver=root.findtext("driver/name", ""),
        iommu_group=None if group is None else int(group.get("number", "0")),
        numa_node=None if numa is None else int(numa.get("node", "0")),
    )


def _identifier(element: ElementTree.Element | None) -> str:
    return "" if element is None else element.get("id", "").removeprefix("0x")
