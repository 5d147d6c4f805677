"""The hypervisor port on libvirt: host, definition, power and observation.

What concerns devices, the agent, migration and the screen is in the modules beside this one.
"""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import libvirt

from compute.hypervisor.base import (
    MAX_CONSOLE_BYTES,
    MAX_SCREENSHOT_BYTES,
    Architecture,
    CommandResult,
    DiskAttachment,
    DiskLimits,
    DomainObservation,
    DomainSpec,
    GrowthHeadroom,
    GuestDisk,
    GuestFilesystem,
    GuestInterface,
    GuestSystem,
    HostCapacity,
    HostCertificate,
    HostCpu,
    HostMeasurement,
    HostRef,
    HypervisorError,
    MachineTypes,
    MigrationProgress,
    NicSpec,
    OperationTimeout,
    PauseReason,
    PciDevice,
    PowerState,
    Screenshot,
    StartUnfinished,
    VncEndpoint,
)
from compute.hypervisor.libvirt import (
    agent,
    certificates,
    console,
    devices,
    growth,
    migration,
    overlays,
    reboot,
    screen,
    secrets,
    snapshots,
)
from compute.hypervisor.libvirt.build import build_domain, random_vnc_password
from compute.hypervisor.libvirt.host import Host, xml_of
from compute.hypervisor.libvirt.parse import (
    DomainXml,
    host_counters,
    host_cpu,
    is_starting_up,
    observation,
    pci_device,
)
from compute.storage.base import DiskSource, Merging
from scloud.lib.lease import publishes

START_TIMEOUT_S = 60.0
START_SETTLES_S = 15.0
"""How long a start that is under way, or that libvirt looks after when it comes back, may take."""
POWER_OFF_TIMEOUT_S = 60.0
ASK_TIMEOUT_S = 3.0
"""How long a request to the guest may keep the caller; it goes on in the background."""

DISK_ERRORS_TIMEOUT_S = 3.0
XML_FRESH_S = 60.0
"""How long a domain's XML is believed where the statistics show no change."""

_STATS = (
    libvirt.VIR_DOMAIN_STATS_STATE
    | libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_VCPU
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
    | libvirt.VIR_DOMAIN_STATS_BLOCK
)

# Of what runs; a domain busy with a long operation tells its state alone.
_MEASURED = (
    libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
    | libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE
)

_UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)

_SIZE = ("vcpu.current", "balloon.current")

Stats = dict[str, Any]


class LibvirtHypervisor:
    """One host through its libvirt daemon. Safe to share between threads."""

    def __init__(self, ref: HostRef) -> None:
        self._host = Host(ref)
        self._reboots = reboot.Reboots(self._host)
        self._xml_cache: dict[str, tuple[tuple[str, ...], float, DomainXml]] = {}

    @property
    def ref(self) -> HostRef:
        return self._host.ref

    # -- the host ----------------------------------------------------------------------------

    def capacity(self) -> HostCapacity:
        traits = self._host.traits()

        def work(conn: libvirt.virConnect) -> HostCapacity:
            arch, _, cpus = conn.getInfo()[:3]
            # Not getInfo's memory, which adds up NUMA nodes that may know only a part of it.
            memory = conn.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS)
            free_kib = memory.get("free", 0) + memory.get("cached", 0) + memory.get("buffers", 0)
            return HostCapacity(
                hostname=conn.getHostname(),
                arch=arch,
                vcpus=cpus,
                memory_mib=memory["total"] // 1024,
                free_memory_mib=free_kib // 1024,
                accelerated=traits.accelerated,
                hypervisor_version=_version(conn.getVersion()),
                libvirt_version=_version(conn.getLibVersion()),
            )

        return self._host.call(work)

    def machine_types(self, arch: Architecture) -> MachineTypes:
        return self._host.machine_types(arch)

    def cpu(self) -> HostCpu:
        return host_cpu(self._host.call(lambda conn: conn.getCapabilities(), timeout_s=30.0))

    def certificates(self) -> tuple[HostCertificate, ...]:
        return certificates.of(self.ref.uri)

    def pci_devices(self) -> tuple[PciDevice, ...]:
        def work(conn: libvirt.virConnect) -> list[str]:
            flags = libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV
            texts = []
            for device in conn.listAllDevices(flags):
                with contextlib.suppress(libvirt.libvirtError):  # gone since it was listed
                    texts.append(device.XMLDesc(0))
            return texts

        found = [pci_device(text) for text in self._host.call(work)]
        return tuple(sorted((d for d in found if d is not None), key=lambda d: d.address))

    @publishes
    def keep_secret(self, secret_uuid: str, value: bytes) -> None:
        secrets.keep(self._host, secret_uuid, value)

    # -- definition and power ------------------------------------------------------------------

    @publishes
    def define(self, spec: DomainSpec) -> None:
        domain = build_domain(spec, self._host.traits(), vnc_password=random_vnc_password())
        text = domain.to_xml()

        def work(conn: libvirt.virConnect) -> None:
            self._host.find(conn, spec.uuid)
            conn.defineXMLFlags(text, 0)

        self._host.call(work)

    @publishes
    def undefine(self, uuid: str) -> None:
        self.power_off(uuid)

        def work(conn: libvirt.virConnect) -> None:
            domain = self._host.find(conn, uuid)
            if domain is not None and domain.isPersistent():
                domain.undefineFlags(_UNDEFINE)

        self._host.call(work)
        self._xml_cache.pop(uuid, None)

    @publishes
    def start(self, uuid: str) -> None:
        def work(domain: libvirt.virDomain) -> None:
            state = _settled_state(domain)
            if state == libvirt.VIR_DOMAIN_PAUSED:
                domain.resume()
            elif state == libvirt.VIR_DOMAIN_PMSUSPENDED:
                domain.pMWakeup(0)
            elif state == libvirt.VIR_DOMAIN_CRASHED and domain.isActive():
                domain.destroy()
                domain.create()
            elif not domain.isActive():
                domain.create()

        self._host.with_domain(uuid, work, timeout_s=START_TIMEOUT_S)

    @publishes
    def resume(self, uuid: str) -> None:
        def work(domain: libvirt.virDomain) -> None:
            state, reason = domain.state()
            if is_starting_up(state, reason):
                raise StartUnfinished("The host has begun to start the domain and not ended it.")
            if state == libvirt.VIR_DOMAIN_PAUSED:
                domain.resume()
            elif state == libvirt.VIR_DOMAIN_PMSUSPENDED:
                domain.pMWakeup(0)

        self._host.with_domain(uuid, work, running=True)

    @publishes
    def shutdown(self, uuid: str) -> None:
        self._ask(
            uuid,
            lambda domain: domain.shutdownFlags(
                libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT | libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN
            ),
        )

    @publishes
    def reboot(self, uuid: str, *, noted: Callable[[], None] | None = None) -> None:
        self._host.with_domain(uuid, lambda domain: None, running=True)
        if noted is not None:
            self._reboots.tell(uuid, noted)
        # By the button alone, as the port says: a caller whose guest ignores it asks the agent
        # to shut it down.
        self._ask(uuid, lambda domain: domain.reboot(libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN))

    def runs_as(self, uuid: str, spec: DomainSpec) -> bool:
        wanted = build_domain(spec, self._host.traits(), vnc_password="")

        def work(domain: libvirt.virDomain) -> bool:
            return domain.isActive() == 1 and reboot.is_same(
                xml_of(domain), DomainXml(wanted.to_element())
            )

        return self._host.with_domain(uuid, work)

    def _ask(self, uuid: str, request: Callable[[libvirt.virDomain], object]) -> None:
        """Ask the guest for something without waiting for it.

        libvirt's call ends only when the guest has done it (or the agent gave up and ACPI was
        tried), so it is left alone in its thread after a moment.
        """

        def work(conn: libvirt.virConnect) -> None:
            domain = self._host.find(conn, uuid)
            if domain is not None and domain.isActive():
                domain.agentSetResponseTimeout(agent.AGENT_TIMEOUT_S, 0)
                try:
                    request(domain)
                except libvirt.libvirtError:
                    if domain.isActive():
                        raise

        with contextlib.suppress(OperationTimeout):
            self._host.call(work, timeout_s=ASK_TIMEOUT_S, giving_up_breaks=False)

    @publishes
    def reset(self, uuid: str) -> None:
        self._host.with_domain(uuid, lambda domain: domain.reset(0), running=True)

    @publishes
    def power_off(self, uuid: str) -> None:
        def work(conn: libvirt.virConnect) -> None:
            domain = self._host.find(conn, uuid)
            if domain is None or not domain.isActive():
                return
            try:
                domain.destroyFlags(0)
            except libvirt.libvirtError:
                if self._host.find(conn, uuid) is not None and domain.isActive():
                    raise

        self._host.call(work, timeout_s=POWER_OFF_TIMEOUT_S)

    def observe(self, uuid: str) -> DomainObservation:
        def work(conn: libvirt.virConnect) -> DomainObservation:
            domain = self._host.find(conn, uuid)
            if domain is not None:
                # One domain is asked anew for its size; see `observe_all`.
                self._xml_cache.pop(uuid, None)
                state, reason = domain.state()
                if is_starting_up(state, reason):
                    # It would answer about the rest only when it has started, or never.
                    stats = {"state.state": state, "state.reason": reason}
                    return self._observation(domain, stats)
                records = conn.domainListGetStats([domain], _STATS, 0)
                if records:
                    return self._observation(*records[0])
            return DomainObservation(
                uuid=uuid, name="", power_state=PowerState.ABSENT, observed_at=datetime.now(UTC)
            )

        return self._with_disk_errors((self._host.call(work),))[0]

    def observe_all(self) -> tuple[DomainObservation, ...]:
        def work(conn: libvirt.virConnect) -> tuple[DomainObservation, ...]:
            # NOWAIT: a domain busy with a long operation gives its state without the rest
            # instead of holding up all others.
            records = conn.getAllDomainStats(
                _STATS, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
            )
            found = self._observations(records)
            known = {seen.uuid for seen in found}
            for uuid in [uuid for uuid in self._xml_cache if uuid not in known]:
                self._xml_cache.pop(uuid, None)
            return tuple(seen for seen in found if seen.owner)

        return self._with_disk_errors(self._host.call(work))

    def measure(self) -> HostMeasurement:
        def work(conn: libvirt.virConnect) -> HostMeasurement:
            records = conn.getAllDomainStats(_STATS, _MEASURED)
            counters = host_counters(
                conn.getInfo()[2],
                conn.getCPUStats(libvirt.VIR_NODE_CPU_STATS_ALL_CPUS),
                conn.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS),
            )
            found = self._observations(records)
            return HostMeasurement(counters, tuple(seen for seen in found if seen.owner))

        return self._host.call(work)

    def _observations(
        self, records: Sequence[tuple[libvirt.virDomain, Stats]]
    ) -> list[DomainObservation]:
        found = []
        for domain, stats in records:
            with contextlib.suppress(libvirt.libvirtError):  # gone since it was listed
                found.append(self._observation(domain, stats))
        return found

    def _with_disk_errors(
        self, seen: tuple[DomainObservation, ...]
    ) -> tuple[DomainObservation, ...]:
        """The observations, with a full storage told apart from other errors of disks.

        Asked only of domains that such an error has paused. Where that cannot be told in time it
        stays an error of a disk.
        """
        failed = [one.uuid for one in seen if one.pause is PauseReason.IO_ERROR]
        if not failed:
            return seen
        full: set[str] = set()

        def work(conn: libvirt.virConnect) -> None:
            for uuid in failed:
                with contextlib.suppress(libvirt.libvirtError):  # gone or busy since
                    errors = conn.lookupByUUIDString(uuid).diskErrors(0)
                    if libvirt.VIR_DOMAIN_DISK_ERROR_NO_SPACE in errors.values():
                        full.add(uuid)

        with contextlib.suppress(HypervisorError):
            self._host.call(work, timeout_s=DISK_ERRORS_TIMEOUT_S, giving_up_breaks=False)
        return tuple(
            dataclasses.replace(one, pause=PauseReason.NO_SPACE) if one.uuid in full else one
            for one in seen
        )

    def _observation(self, domain: libvirt.virDomain, stats: Stats) -> DomainObservation:
        uuid = domain.UUIDString()
        return observation(
            uuid,
            domain.name(),
            self._xml(uuid, domain, stats),
            stats,
            persistent=bool(domain.isPersistent()),
            moment=datetime.now(UTC),
            run=_run(domain),
        )

    def _xml(self, uuid: str, domain: libvirt.virDomain, stats: Stats) -> DomainXml:
        """The domain's XML, asked again when the statistics show other devices or another size.

        And once a minute: memory that a guest does not take shows in no statistics.
        Bulk statistics know targets and taps but no serials and MAC addresses.
        """
        devices_seen = tuple(
            f"{key}={value}"
            for key, value in stats.items()
            if key.endswith((".name", ".path")) or key in _SIZE
        )
        key = (str(domain.ID()), *devices_seen)
        now = time.monotonic()
        cached = self._xml_cache.get(uuid)
        if cached is None or cached[0] != key or now > cached[1]:
            cached = (key, now + XML_FRESH_S, xml_of(domain))
            self._xml_cache[uuid] = cached
        return cached[2]

    # -- the guest agent -----------------------------------------------------------------------

    def agent_ready(self, uuid: str, *, timeout_s: float = 2.0) -> bool:
        return agent.ready(self._host, uuid, timeout_s=timeout_s)

    @publishes
    def set_password(
        self, uuid: str, account: str, password: str, *, encrypted: bool = False
    ) -> None:
        agent.set_password(self._host, uuid, account, password, encrypted=encrypted)

    def addresses(self, uuid: str) -> tuple[GuestInterface, ...]:
        return agent.addresses(self._host, uuid)

    def filesystems(self, uuid: str) -> tuple[GuestFilesystem, ...]:
        return agent.filesystems(self._host, uuid)

    def guest_disks(self, uuid: str) -> tuple[GuestDisk, ...]:
        return agent.disks(self._host, uuid)

    def system(self, uuid: str) -> GuestSystem:
        return agent.system(self._host, uuid)

    @publishes
    def freeze(self, uuid: str) -> int:
        return agent.freeze(self._host, uuid)

    def thaw(self, uuid: str) -> None:
        agent.thaw(self._host, uuid)

    @publishes
    def run(
        self, uuid: str, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 30.0
    ) -> CommandResult:
        return agent.run(self._host, uuid, argv, stdin=stdin, timeout_s=timeout_s)

    def read_file(self, uuid: str, path: str, *, max_bytes: int = 65536) -> bytes:
        return agent.read_file(self._host, uuid, path, max_bytes=max_bytes)

    # -- changes to a running or stopped domain --------------------------------------------------

    @publishes
    def attach_disk(self, uuid: str, disk: DiskAttachment) -> str:
        return devices.attach_disk(self._host, uuid, disk)

    @publishes
    def detach_disk(self, uuid: str, disk_id: str, *, timeout_s: float = 15.0) -> None:
        devices.detach_disk(self._host, uuid, disk_id, timeout_s=timeout_s)

    @publishes
    def resize_disk(self, uuid: str, disk_id: str, *, size_gib: int) -> None:
        devices.resize_disk(self._host, uuid, disk_id, size_gib=size_gib)

    @publishes
    def set_disk_limits(self, uuid: str, disk_id: str, limits: DiskLimits) -> None:
        devices.set_disk_limits(self._host, uuid, disk_id, limits)

    @publishes
    def set_cpu_limits(self, uuid: str, *, shares: int, quota_percent: int | None) -> None:
        growth.set_cpu_limits(self._host, uuid, shares=shares, quota_percent=quota_percent)

    @publishes
    def attach_nic(self, uuid: str, nic: NicSpec) -> None:
        devices.attach_nic(self._host, uuid, nic)

    @publishes
    def detach_nic(self, uuid: str, mac: str, *, timeout_s: float = 15.0) -> None:
        devices.detach_nic(self._host, uuid, mac, timeout_s=timeout_s)

    @publishes
    def set_nic_link(self, uuid: str, mac: str, *, up: bool) -> None:
        devices.set_nic_link(self._host, uuid, mac, up=up)

    def growth_headroom(self, uuid: str) -> GrowthHeadroom:
        return growth.headroom(self._host, uuid)

    @publishes
    def hot_upgrade(self, uuid: str, *, vcpus: int, memory_mib: int) -> None:
        growth.hot_upgrade(self._host, uuid, vcpus=vcpus, memory_mib=memory_mib)

    # -- snapshots, migration, screen --------------------------------------------------------------

    @publishes
    def snapshot_disk(self, uuid: str, disk_id: str, name: str) -> None:
        snapshots.create(self._host, uuid, disk_id, name)

    @publishes
    def delete_disk_snapshot(self, uuid: str, disk_id: str, name: str) -> None:
        snapshots.delete(self._host, uuid, disk_id, name)

    @publishes
    def change_disk(self, uuid: str, disk_id: str, source: DiskSource) -> None:
        overlays.change(self._host, uuid, disk_id, source)

    @publishes
    def merge_disk(self, uuid: str, disk_id: str, merging: Merging) -> bool:
        return overlays.merge(self._host, uuid, disk_id, merging)

    @publishes
    def migrate(
        self,
        uuid: str,
        destination: HostRef,
        *,
        timeout_s: float = 600.0,
        on_progress: Callable[[MigrationProgress], None] | None = None,
    ) -> None:
        migration.migrate(
            self._host, uuid, destination, timeout_s=timeout_s, on_progress=on_progress
        )

    def migration_progress(self, uuid: str) -> MigrationProgress | None:
        return migration.progress(self._host, uuid)

    @publishes
    def abort_migration(self, uuid: str) -> None:
        migration.abort(self._host, uuid)

    def vnc_endpoint(self, uuid: str) -> VncEndpoint:
        return screen.endpoint(self._host, uuid)

    @publishes
    def set_vnc_password(self, uuid: str, password: str, *, valid_until: datetime) -> None:
        screen.set_password(self._host, uuid, password, valid_until)

    def screenshot(self, uuid: str, *, max_bytes: int = MAX_SCREENSHOT_BYTES) -> Screenshot:
        return screen.screenshot(self._host, uuid, max_bytes=max_bytes)

    def console_log(self, uuid: str, *, max_bytes: int = MAX_CONSOLE_BYTES) -> bytes:
        return console.log_of(self._host, uuid, max_bytes=max_bytes)


def _settled_state(domain: libvirt.virDomain) -> int:
    """The state once no start is under way any more; raises `StartUnfinished`.

    Looked at and not asked to go on: that would wait half a minute for a lock that nobody may hold.
    """
    end = time.monotonic() + START_SETTLES_S
    while True:
        state, reason = domain.state()
        if not is_starting_up(state, reason):
            return int(state)
        if time.monotonic() > end:
            raise StartUnfinished("The host has begun to start the domain and not ended it.")
        time.sleep(0.2)


def _run(domain: libvirt.virDomain) -> str:
    """libvirt's number of the running domain, which each start counts up; empty when stopped."""
    number = domain.ID()
    return "" if number < 0 else str(number)


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


_drivers: dict[HostRef, LibvirtHypervisor] = {}
_drivers_lock = threading.Lock()


def open_libvirt(ref: HostRef) -> LibvirtHypervisor:
    """This process's driver for the host; what it learnt of the host is kept."""
    with _drivers_lock:
        return _drivers.setdefault(ref, LibvirtHypervisor(ref))
