"""Hosts in memory, for tests of speed, scale and failure. Keeps the port's contract.

Hosts live as long as the process and are found again by their URI (`fake:h1`), so that several
drivers, threads and a migration's two ends see the same domains. Guests behave plausibly: the
agent answers a moment after the start, a shutdown takes a moment. `FakeHost.faults` makes things
go wrong.
"""

import contextlib
import itertools
import string
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from compute.hypervisor.base import (
    MAX_CONSOLE_BYTES,
    MAX_SCREENSHOT_BYTES,
    MAX_VNC_PASSWORD_LENGTH,
    STARTING,
    AgentRefused,
    AgentUnavailable,
    Architecture,
    BalloonObservation,
    CommandResult,
    DiskAttachment,
    DiskLimits,
    DiskObservation,
    DomainNotFound,
    DomainNotRunning,
    DomainObservation,
    DomainSpec,
    GrowthHeadroom,
    GuestDisk,
    GuestFilesystem,
    GuestInterface,
    GuestRefused,
    GuestSystem,
    HostCapacity,
    HostCertificate,
    HostCounters,
    HostCpu,
    HostFull,
    HostMeasurement,
    HostRef,
    HostUnreachable,
    MachineTypes,
    MigrationProgress,
    NicObservation,
    NicSpec,
    PauseReason,
    PciDevice,
    PowerState,
    Refused,
    Screenshot,
    ShrinkRefused,
    StartUnfinished,
    VncEndpoint,
)
from compute.storage.base import GIB, DiskSource, FileSource, Merging, VolumeMissing
from compute.storage.fake import FakeVolume, find_path
from scloud.lib.lease import publishes

_MEMORY_STEP_MIB = 2
_FIRST_VNC_PORT = 5900


@dataclass(slots=True)
class HostFaults:
    """What shall go wrong. `fail_next` maps a method to the error of its next call.

    With a `disk_error` every guest pauses for that reason as soon as it runs; `growth_breaks` is
    raised by each growth between memory and vCPUs.
    """

    unreachable: bool = False
    slow_s: float = 0.0
    agent_missing: bool = False
    ignores_acpi: bool = False
    # Goes down when its agent is asked, and not by the power button.
    ignores_button: bool = False
    keeps_devices: bool = False
    migration_fails: bool = False
    disk_error: PauseReason | None = None
    growth_breaks: Exception | None = None
    fail_next: dict[str, Exception] = field(default_factory=dict)
    before: Callable[[str], None] | None = None


@dataclass(slots=True)
class FakeLoad:
    """How much a guest does in each second of its run: of each of its vCPUs, disks and NICs."""

    cpu_ratio: float = 0.05
    disk_bytes: int = 1_000_000
    disk_requests: int = 100
    nic_bytes: int = 1000
    nic_packets: int = 10
    memory_ratio: float = 0.5
    steal_ratio: float = 0.0


@dataclass(slots=True)
class FakeDomain:
    spec: DomainSpec
    running: DomainSpec | None = None
    power_state: PowerState = PowerState.STOPPED
    reason: str = ""
    pause: PauseReason | None = None
    agent_at: float = 0.0
    stops_at: float | None = None
    started_at: float = 0.0
    boots: int = 0
    starts: int = 0
    # Disks in which something is being merged.
    merges: set[str] = field(default_factory=set)
    # What hosts count per second of a run; tests set it otherwise.
    load: FakeLoad = field(default_factory=FakeLoad)
    vnc_port: int = 0
    vnc_password: str = ""
    vnc_valid_until: datetime = field(default_factory=lambda: datetime.fromtimestamp(0, UTC))
    frozen: bool = False
    passwords: dict[str, str] = field(default_factory=dict)
    links_down: set[str] = field(default_factory=set)


@dataclass(slots=True)
class FakeHost:
    """One host's state. `guest_command` answers `run`; None gives a very small shell."""

    ref: HostRef
    vcpus: int = 64
    memory_mib: int = 262_144
    boot_s: float = 0.02
    shutdown_s: float = 0.02
    accounts: set[str] = field(default_factory=lambda: {"root", "ubuntu", "administrator"})
    pci: tuple[PciDevice, ...] = ()
    # Oldest first; the last one is the default.
    machines: dict[Architecture, tuple[str, ...]] = field(
        default_factory=lambda: {
            "x86_64": ("pc-q35-7.1", "pc-q35-7.2"),
            "aarch64": ("virt-7.1", "virt-7.2"),
        }
    )
    cpu: HostCpu = field(default_factory=lambda: HostCpu("qemu64", "AMD"))
    certificates: tuple[HostCertificate, ...] = ()
    accelerated: bool = False
    version: str = "0.0.0"
    arch: str = "x86_64"
    domains: dict[str, FakeDomain] = field(default_factory=dict)
    secrets: dict[str, bytes] = field(default_factory=dict)
    faults: HostFaults = field(default_factory=HostFaults)
    guest_command: Callable[[str, Sequence[str], bytes], CommandResult] | None = None
    guest_files: dict[str, bytes] = field(default_factory=dict)
    # What guests call their disks, where it is not by their targets.
    guest_disks: dict[str, tuple[GuestDisk, ...]] = field(default_factory=dict)
    # What guests wrote to their serial ports since they were started.
    console_logs: dict[str, bytes] = field(default_factory=dict)
    # What screens show: 8 by 4 pixels of one colour where nothing else is said.
    screens: dict[str, bytes] = field(default_factory=dict)


_hosts: dict[str, FakeHost] = {}
_lock = threading.RLock()
_ports = itertools.count(_FIRST_VNC_PORT)


def fake_host(uri: str) -> FakeHost:
    """The host of that URI, to prepare it or to look behind the port; made at first use."""
    with _lock:
        if uri not in _hosts:
            name = uri.removeprefix("fake:").strip("/")
            _hosts[uri] = FakeHost(HostRef(name, uri, "127.0.0.1"))
        return _hosts[uri]


def forget_fake_hosts() -> None:
    """Start over with no hosts."""
    with _lock:
        _hosts.clear()


def open_fake(ref: HostRef) -> "FakeHypervisor":
    host = fake_host(ref.uri)
    host.ref = ref
    return FakeHypervisor(host)


class FakeHypervisor:
    """The port on a `FakeHost`."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host

    @property
    def ref(self) -> HostRef:
        return self.host.ref

    @contextlib.contextmanager
    def _call(self, name: str) -> Iterator[None]:
        """One call of the port: faults first, then alone."""
        faults = self.host.faults
        if faults.before is not None:
            faults.before(name)
        if faults.slow_s:
            time.sleep(faults.slow_s)
        if faults.unreachable:
            raise HostUnreachable("The host does not answer.")
        if (error := faults.fail_next.pop(name, None)) is not None:
            raise error
        with _lock:
            self._let_time_pass()
            yield

    def _let_time_pass(self) -> None:
        now = time.monotonic()
        for domain in self.host.domains.values():
            if self.host.faults.disk_error and domain.power_state is PowerState.RUNNING:
                pause(domain, self.host.faults.disk_error)
            if domain.stops_at is not None and now >= domain.stops_at:
                self._stop(domain, "shut down")

    def _stop(self, domain: FakeDomain, reason: str) -> None:
        for disk in _running(domain).disks:
            # A file that was removed while it was open takes nobody along.
            with contextlib.suppress(VolumeMissing):
                volume = _volume(disk)
                if volume is not None:
                    volume.users.discard(f"{self.host.ref.uri}/{domain.spec.uuid}")
        domain.running, domain.stops_at, domain.frozen = None, None, False
        domain.pause = None
        domain.power_state, domain.reason = PowerState.STOPPED, reason

    def _domain(self, uuid: str) -> FakeDomain:
        if uuid not in self.host.domains:
            raise DomainNotFound("The host does not know this domain.")
        domain = self.host.domains[uuid]
        if not domain.spec.owner:
            raise Refused("A domain with this UUID exists and is not ours.")
        return domain

    def _live(self, uuid: str) -> FakeDomain:
        domain = self._domain(uuid)
        if domain.running is None:
            raise DomainNotRunning("The domain is not running.")
        return domain

    def _agent(self, uuid: str) -> FakeDomain:
        domain = self._live(uuid)
        asleep = domain.power_state is PowerState.PAUSED or time.monotonic() < domain.agent_at
        if self.host.faults.agent_missing or asleep:
            raise AgentUnavailable("The guest agent does not answer.")
        return domain

    # -- the host ----------------------------------------------------------------------------

    def capacity(self) -> HostCapacity:
        with self._call("capacity"):
            return HostCapacity(
                hostname=self.host.ref.name,
                arch=self.host.arch,
                vcpus=self.host.vcpus,
                memory_mib=self.host.memory_mib,
                free_memory_mib=self.host.memory_mib - self._used_mib(),
                accelerated=self.host.accelerated,
                hypervisor_version=self.host.version,
                libvirt_version=self.host.version,
            )

    def _used_mib(self) -> int:
        running = (domain.running for domain in self.host.domains.values())
        return sum(spec.memory_mib for spec in running if spec is not None)

    def machine_types(self, arch: Architecture) -> MachineTypes:
        with self._call("machine_types"):
            names = self.host.machines.get(arch, ())
            return MachineTypes(names[-1] if names else "", names)

    def cpu(self) -> HostCpu:
        with self._call("cpu"):
            return self.host.cpu

    def certificates(self) -> tuple[HostCertificate, ...]:
        return self.host.certificates

    def pci_devices(self) -> tuple[PciDevice, ...]:
        with self._call("pci_devices"):
            return tuple(sorted(self.host.pci, key=lambda device: device.address))

    # -- definition and power ------------------------------------------------------------------

    @publishes
    def keep_secret(self, secret_uuid: str, value: bytes) -> None:
        with self._call("keep_secret"):
            self.host.secrets[secret_uuid] = value

    @publishes
    def define(self, spec: DomainSpec) -> None:
        with self._call("define"):
            others = self.host.domains.values()
            if any(d.spec.name == spec.name and d.spec.uuid != spec.uuid for d in others):
                raise Refused("The host has another domain of this name.")
            spec = replace(spec, machine_type=_machine(self.host, spec))
            if spec.uuid in self.host.domains:
                self._domain(spec.uuid).spec = spec
            else:
                self.host.domains[spec.uuid] = FakeDomain(spec)

    @publishes
    def undefine(self, uuid: str) -> None:
        with self._call("undefine"):
            if uuid in self.host.domains:
                domain = self._domain(uuid)
                if domain.running is not None:
                    self._stop(domain, "powered off")
                del self.host.domains[uuid]

    @publishes
    def start(self, uuid: str) -> None:
        with self._call("start"):
            domain = self._domain(uuid)
            if domain.reason == STARTING:
                raise StartUnfinished("The host has begun to start the domain and not ended it.")
            if domain.running is not None:
                _go_on(domain)
                return
            if self._used_mib() + domain.spec.memory_mib > self.host.memory_mib:
                raise HostFull("The host has no memory left.")
            self._open_disks(domain.spec)
            now = time.monotonic()
            domain.running, domain.power_state, domain.reason = domain.spec, PowerState.RUNNING, ""
            domain.started_at, domain.agent_at = now, now + self.host.boot_s
            domain.boots += 1
            domain.starts += 1
            domain.vnc_port = next(_ports)
            domain.vnc_valid_until = datetime.fromtimestamp(0, UTC)

    def _open_disks(self, spec: DomainSpec) -> None:
        """QEMU opens every disk at the start, or does not start."""
        try:
            if spec.seed is not None:
                find_path(spec.seed)
            volumes = [_volume(disk) for disk in spec.disks]
        except VolumeMissing as error:
            raise Refused(f"The host refused: {error.message}") from error
        user = f"{self.host.ref.uri}/{spec.uuid}"
        for volume in volumes:
            if volume is not None and volume.users - {user}:
                raise Refused("The host refused: the disk is in use by another domain.")
        for volume in volumes:
            if volume is not None:
                volume.users.add(user)

    @publishes
    def resume(self, uuid: str) -> None:
        with self._call("resume"):
            _go_on(self._live(uuid))

    @publishes
    def shutdown(self, uuid: str) -> None:
        with self._call("shutdown"):
            domain = self.host.domains.get(uuid)
            if domain is None or domain.running is None or domain.pause is not None:
                return
            booted = time.monotonic() >= domain.agent_at
            if booted and not self.host.faults.ignores_acpi and domain.stops_at is None:
                domain.stops_at = time.monotonic() + self.host.shutdown_s

    @publishes
    def reboot(self, uuid: str, *, noted: Callable[[], None] | None = None) -> None:
        with self._call("reboot"):
            domain = self._live(uuid)
            faults = self.host.faults
            ignored = faults.ignores_acpi or faults.ignores_button
            obeys = time.monotonic() >= domain.agent_at and not ignored
            if obeys:
                self._boot_again(domain)
        if obeys and noted is not None:
            noted()

    @publishes
    def reset(self, uuid: str) -> None:
        with self._call("reset"):
            self._boot_again(self._live(uuid))

    def runs_as(self, uuid: str, spec: DomainSpec) -> bool:
        with self._call("runs_as"):
            running = self._domain(uuid).running
            if running is None or _to_the_guest(running) != _to_the_guest(spec):
                return False
            letters = string.ascii_lowercase[: len(running.disks)]
            return [disk.target for disk in running.disks] == [f"vd{one}" for one in letters]

    def _boot_again(self, domain: FakeDomain) -> None:
        domain.agent_at = time.monotonic() + self.host.shutdown_s + self.host.boot_s
        domain.boots += 1
        domain.frozen = False

    @publishes
    def power_off(self, uuid: str) -> None:
        with self._call("power_off"):
            if uuid in self.host.domains:
                domain = self._domain(uuid)
                if domain.running is not None:
                    self._stop(domain, "powered off")

    def observe(self, uuid: str) -> DomainObservation:
        with self._call("observe"):
            if uuid not in self.host.domains:
                now = datetime.now(UTC)
                return DomainObservation(uuid, "", PowerState.ABSENT, observed_at=now)
            return _observation(self._domain(uuid))

    def observe_all(self) -> tuple[DomainObservation, ...]:
        with self._call("observe_all"):
            domains = list(self.host.domains.values())
            return tuple(_observation(domain) for domain in domains if domain.spec.owner)

    def measure(self) -> HostMeasurement:
        with self._call("measure"):
            now_ns = time.monotonic_ns()
            busy_ns = sum(_observation(domain).cpu_time_ns for domain in self.host.domains.values())
            counters = HostCounters(
                cpus=self.host.vcpus,
                busy_ns=busy_ns,
                iowait_ns=0,
                idle_ns=max(0, now_ns * self.host.vcpus - busy_ns),
                memory_kib=self.host.memory_mib * 1024,
                available_kib=(self.host.memory_mib - self._used_mib()) * 1024,
            )
            ours = [domain for domain in self.host.domains.values() if domain.spec.owner]
            found = tuple(_observation(domain) for domain in ours if domain.running is not None)
            return HostMeasurement(counters, found)

    # -- the guest agent -----------------------------------------------------------------------

    def agent_ready(self, uuid: str, *, timeout_s: float = 2.0) -> bool:
        with self._call("agent_ready"):
            try:
                self._agent(uuid)
            except (AgentUnavailable, DomainNotFound, DomainNotRunning):
                return False
            return True

    @publishes
    def set_password(
        self, uuid: str, account: str, password: str, *, encrypted: bool = False
    ) -> None:
        with self._call("set_password"):
            domain = self._agent(uuid)
            if account not in self.host.accounts:
                raise AgentRefused("The guest agent refused: there is no such account.")
            domain.passwords[account] = password

    def addresses(self, uuid: str) -> tuple[GuestInterface, ...]:
        with self._call("addresses"):
            nics = _running(self._agent(uuid)).nics
            loopback = GuestInterface("lo", "00:00:00:00:00:00", ("127.0.0.1/8", "::1/128"))
            named = (GuestInterface(f"eth{n}", nic.mac, ()) for n, nic in enumerate(nics))
            return (loopback, *named)

    def filesystems(self, uuid: str) -> tuple[GuestFilesystem, ...]:
        with self._call("filesystems"):
            disks = _running(self._agent(uuid)).disks
            root = next((disk for disk in disks if disk.boot), None)
            if root is None:
                return ()
            used = 2 * GIB
            return (GuestFilesystem("/", "vda1", "ext4", _size(root), used, (root.id,)),)

    def guest_disks(self, uuid: str) -> tuple[GuestDisk, ...]:
        with self._call("guest_disks"):
            disks = _running(self._agent(uuid)).disks
            if uuid in self.host.guest_disks:
                return self.host.guest_disks[uuid]
            return tuple(GuestDisk(disk.id, f"/dev/{disk.target}") for disk in disks)

    def system(self, uuid: str) -> GuestSystem:
        with self._call("system"):
            name = self._agent(uuid).spec.name
            return GuestSystem("Debian GNU/Linux 12", "12", "6.1.0-18-amd64", "x86_64", name)

    @publishes
    def freeze(self, uuid: str) -> int:
        with self._call("freeze"):
            domain = self._agent(uuid)
            if domain.frozen:
                raise AgentRefused("The guest agent refused: the file systems are frozen.")
            domain.frozen = True
            return 1

    def thaw(self, uuid: str) -> None:
        with self._call("thaw"):
            self._agent(uuid).frozen = False

    @publishes
    def run(
        self, uuid: str, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 30.0
    ) -> CommandResult:
        with self._call("run"):
            self._agent(uuid)
            if self.host.guest_command is not None:
                return self.host.guest_command(uuid, argv, stdin)
            match list(argv):
                case ["/bin/cat"]:
                    return CommandResult(0, stdin, b"")
                case ["/bin/cat", path] if path in self.host.guest_files:
                    return CommandResult(0, self.host.guest_files[path], b"")
                case ["/bin/echo", *words]:
                    return CommandResult(0, " ".join(words).encode() + b"\n", b"")
                case ["/bin/true"]:
                    return CommandResult(0, b"", b"")
                case ["/bin/false"]:
                    return CommandResult(1, b"", b"")
        raise AgentRefused("The guest agent refused: there is no such program.")

    def read_file(self, uuid: str, path: str, *, max_bytes: int = 65536) -> bytes:
        with self._call("read_file"):
            self._agent(uuid)
            if path not in self.host.guest_files:
                raise AgentRefused("The guest agent refused: no such file.")
            return self.host.guest_files[path][:max_bytes]

    # -- changes to a running or stopped domain --------------------------------------------------

    @publishes
    def attach_disk(self, uuid: str, disk: DiskAttachment) -> str:
        with self._call("attach_disk"):
            domain = self._domain(uuid)
            specs = [spec for spec in (domain.spec, domain.running) if spec is not None]
            present = [d for spec in specs for d in spec.disks if d.id == disk.id]
            used = {d.target for spec in specs for d in spec.disks}
            target = present[0].target if present else _free_target(disk.target, used)
            disk = replace(disk, target=target, boot=False)
            if domain.running is not None and all(d.id != disk.id for d in domain.running.disks):
                self._open_disks(replace(domain.running, disks=(disk,)))
                domain.running = _with_disk(domain.running, disk)
            domain.spec = _with_disk(domain.spec, disk)
            return target

    @publishes
    def detach_disk(self, uuid: str, disk_id: str, *, timeout_s: float = 15.0) -> None:
        with self._call("detach_disk"):
            domain = self._domain(uuid)
            live = domain.running
            gone = [d for d in live.disks if d.id == disk_id] if live is not None else []
            if live is not None and gone:
                if self.host.faults.keeps_devices:
                    raise GuestRefused("The guest has not released the disk in time.")
                domain.running = _without_disk(live, disk_id)
                volume = _volume(gone[0])
                if volume is not None:
                    volume.users.discard(f"{self.host.ref.uri}/{uuid}")
            domain.spec = _without_disk(domain.spec, disk_id)

    @publishes
    def resize_disk(self, uuid: str, disk_id: str, *, size_gib: int) -> None:
        with self._call("resize_disk"):
            volume = _volume(_disk(_running(self._live(uuid)), disk_id))
            if volume is None:
                return
            if size_gib * GIB < volume.size_bytes:
                raise ShrinkRefused("A disk can only grow.")
            volume.size_bytes = size_gib * GIB

    @publishes
    def set_disk_limits(self, uuid: str, disk_id: str, limits: DiskLimits) -> None:
        with self._call("set_disk_limits"):
            domain = self._domain(uuid)
            domain.spec = _with_limits(domain.spec, disk_id, limits)
            if domain.running is not None:
                domain.running = _with_limits(domain.running, disk_id, limits)

    @publishes
    def set_cpu_limits(self, uuid: str, *, shares: int, quota_percent: int | None) -> None:
        with self._call("set_cpu_limits"):
            domain = self._domain(uuid)
            domain.spec = _with_cpu_limits(domain.spec, shares, quota_percent)
            if domain.running is not None:
                domain.running = _with_cpu_limits(domain.running, shares, quota_percent)

    @publishes
    def attach_nic(self, uuid: str, nic: NicSpec) -> None:
        with self._call("attach_nic"):
            domain = self._domain(uuid)
            domain.spec = _with_nic(domain.spec, nic)
            if domain.running is not None:
                domain.running = _with_nic(domain.running, nic)

    @publishes
    def detach_nic(self, uuid: str, mac: str, *, timeout_s: float = 15.0) -> None:
        with self._call("detach_nic"):
            domain = self._domain(uuid)
            if domain.running is not None and any(n.mac == mac for n in domain.running.nics):
                if self.host.faults.keeps_devices:
                    raise GuestRefused("The guest has not released the network interface in time.")
                domain.running = _without_nic(domain.running, mac)
            domain.spec = _without_nic(domain.spec, mac)

    @publishes
    def set_nic_link(self, uuid: str, mac: str, *, up: bool) -> None:
        with self._call("set_nic_link"):
            domain = self._domain(uuid)
            if all(nic.mac != mac for nic in domain.spec.nics):
                raise Refused("The domain has no such device.")
            (domain.links_down.discard if up else domain.links_down.add)(mac)

    def growth_headroom(self, uuid: str) -> GrowthHeadroom:
        with self._call("growth_headroom"):
            spec = _running(self._live(uuid))
            return GrowthHeadroom(
                vcpus=spec.vcpus,
                max_vcpus=spec.max_vcpus,
                memory_mib=spec.memory_mib,
                max_memory_mib=spec.max_memory_mib,
                memory_step_mib=_MEMORY_STEP_MIB,
            )

    @publishes
    def hot_upgrade(self, uuid: str, *, vcpus: int, memory_mib: int) -> None:
        with self._call("hot_upgrade"):
            domain = self._live(uuid)
            spec = _running(domain)
            if vcpus < spec.vcpus or memory_mib < spec.memory_mib:
                raise ShrinkRefused("A running domain can only grow.")
            if vcpus > spec.max_vcpus or memory_mib > spec.max_memory_mib:
                raise Refused(
                    f"The domain can grow to {spec.max_vcpus} vCPUs and {spec.max_memory_mib} MiB."
                )
            if memory_mib % _MEMORY_STEP_MIB:
                raise Refused(f"Memory grows in steps of {_MEMORY_STEP_MIB} MiB.")
            domain.running = replace(spec, memory_mib=memory_mib)
            domain.spec = replace(domain.spec, memory_mib=memory_mib)
            if self.host.faults.growth_breaks is not None:
                raise self.host.faults.growth_breaks
            domain.running = replace(domain.running, vcpus=vcpus)
            domain.spec = replace(domain.spec, vcpus=vcpus)
            self._agent(uuid)

    # -- snapshots of disks of running domains ----------------------------------------------------

    @publishes
    def snapshot_disk(self, uuid: str, disk_id: str, name: str) -> None:
        with self._call("snapshot_disk"):
            volume = _volume(_disk(_running(self._live(uuid)), disk_id))
            if volume is not None:
                volume.take_snapshot(name)

    @publishes
    def delete_disk_snapshot(self, uuid: str, disk_id: str, name: str) -> None:
        with self._call("delete_disk_snapshot"):
            volume = _volume(_disk(_running(self._live(uuid)), disk_id))
            if volume is not None:
                volume.drop_snapshot(name)

    @publishes
    def change_disk(self, uuid: str, disk_id: str, source: DiskSource) -> None:
        with self._call("change_disk"):
            domain = self._live(uuid)
            _disk(_running(domain), disk_id)
            domain.running = _with_source(_running(domain), disk_id, source)
            domain.spec = _with_source(domain.spec, disk_id, source)

    @publishes
    def merge_disk(self, uuid: str, disk_id: str, merging: Merging) -> bool:
        with self._call("merge_disk"):
            disk = _disk(_running(self._live(uuid)), disk_id)
            if _volume(disk) is not find_path(merging.child):
                raise Refused("The domain has other files in its chain.")
            merges = self._live(uuid).merges
            merges.symmetric_difference_update({disk_id})
            return disk_id not in merges

    # -- migration and screen ----------------------------------------------------------------------

    @publishes
    def migrate(
        self,
        uuid: str,
        destination: HostRef,
        *,
        timeout_s: float = 600.0,
        on_progress: Callable[[MigrationProgress], None] | None = None,
    ) -> None:
        if on_progress is not None:
            on_progress(MigrationProgress(percent=0))
        with self._call("migrate"):
            if destination.uri == self.host.ref.uri:
                raise Refused("The domain is on that host already.")
            target = fake_host(destination.uri)
            here, there = self.host.domains.get(uuid), target.domains.get(uuid)
            if there is not None and there.running is not None:
                self.host.domains.pop(uuid, None)
                return
            if here is None:
                raise DomainNotFound("The host does not know this domain.")
            if here.running is None:
                raise DomainNotRunning("The domain is not running.")
            if here.running.pci_devices:
                raise Refused("A domain with host devices cannot move.")
            _machine(target, here.running)
            if target.faults.unreachable or self.host.faults.migration_fails:
                raise Refused("The host refused: the destination does not answer.")
            for disk in here.running.disks:
                volume = _volume(disk)
                if volume is not None:
                    volume.users.discard(f"{self.host.ref.uri}/{uuid}")
                    volume.users.add(f"{target.ref.uri}/{uuid}")
            here.vnc_port = next(_ports)
            here.vnc_valid_until = datetime.fromtimestamp(0, UTC)
            # Counted anew by another QEMU.
            here.started_at = time.monotonic()
            here.starts += 1
            target.domains[uuid] = self.host.domains.pop(uuid)

    def migration_progress(self, uuid: str) -> MigrationProgress | None:
        with self._call("migration_progress"):
            return None

    @publishes
    def abort_migration(self, uuid: str) -> None:
        with self._call("abort_migration"):
            return

    def vnc_endpoint(self, uuid: str) -> VncEndpoint:
        with self._call("vnc_endpoint"):
            return VncEndpoint(self.host.ref.address, self._live(uuid).vnc_port)

    @publishes
    def set_vnc_password(self, uuid: str, password: str, *, valid_until: datetime) -> None:
        if not 1 <= len(password) <= MAX_VNC_PASSWORD_LENGTH or not password.isascii():
            raise ValueError("A VNC password has 1 to 8 ASCII characters.")
        if valid_until.tzinfo is None:
            raise ValueError("The time must say its zone.")
        with self._call("set_vnc_password"):
            domain = self._live(uuid)
            domain.vnc_password, domain.vnc_valid_until = password, valid_until

    def screenshot(self, uuid: str, *, max_bytes: int = MAX_SCREENSHOT_BYTES) -> Screenshot:
        with self._call("screenshot"):
            self._live(uuid)
            content = self.host.screens.get(uuid, b"P6\n8 4\n255\n" + b"\x20\x40\x80" * 32)
            if len(content) > max_bytes:
                raise Refused("The host sent more than was asked for.")
            return Screenshot("image/x-portable-pixmap", content)

    def console_log(self, uuid: str, *, max_bytes: int = MAX_CONSOLE_BYTES) -> bytes:
        with self._call("console_log"):
            self._domain(uuid)
            return self.host.console_logs.get(uuid, b"")[-max_bytes:]


def pause(domain: FakeDomain, why: PauseReason) -> None:
    """Let a running domain be paused, as an operator or a full storage would."""
    _running(domain)
    domain.power_state, domain.pause, domain.stops_at = PowerState.PAUSED, why, None


def _machine(host: FakeHost, spec: DomainSpec) -> str:
    """The full name of a domain's machine type; raises `Refused` where the host has no such."""
    names = host.machines.get(spec.arch, ())
    if not names or (spec.machine_type and spec.machine_type not in names):
        raise Refused(f"The host has no machine type {spec.machine_type or 'for the guest'}.")
    return spec.machine_type or names[-1]


def _go_on(domain: FakeDomain) -> None:
    if domain.pause in (PauseReason.MIGRATION_FAILED, PauseReason.GUEST_CRASHED):
        raise Refused("The host refused: there is nothing to go on with.")
    domain.power_state, domain.reason, domain.pause = PowerState.RUNNING, "", None


def _running(domain: FakeDomain) -> DomainSpec:
    if domain.running is None:
        raise DomainNotRunning("The domain is not running.")
    return domain.running


def _to_the_guest(spec: DomainSpec) -> DomainSpec:
    """The spec without what makes no difference to a guest that boots again."""
    disks = sorted(
        (replace(disk, boot=False) for disk in spec.disks), key=lambda disk: (disk.target, disk.id)
    )
    nics = sorted(spec.nics, key=lambda nic: nic.mac)
    return replace(
        spec,
        title="",
        cpu_shares=0,
        cpu_quota_percent=None,
        # The machine around it can wait for the next start.
        machine_type="",
        windows=False,
        watchdog=False,
        # Its digest stands for it.
        seed=None,
        disks=tuple(disks),
        nics=tuple(nics),
    )


def _volume(disk: DiskAttachment) -> FakeVolume | None:
    return find_path(disk.source)


def _size(disk: DiskAttachment) -> int:
    try:
        volume = _volume(disk)
    except VolumeMissing:
        return 0
    return 40 * GIB if volume is None else volume.size_bytes


def _disk(spec: DomainSpec, disk_id: str) -> DiskAttachment:
    for disk in spec.disks:
        if disk.id == disk_id:
            return disk
    raise Refused("The domain has no such device.")


def _free_target(wanted: str, used: set[str]) -> str:
    candidates = [wanted, *(f"vd{letter}" for letter in "abcdefghijklmnopqrstuvwxy")]
    return next(candidate for candidate in candidates if candidate not in used)


def _with_source(spec: DomainSpec, disk_id: str, source: DiskSource) -> DomainSpec:
    disks = (replace(one, source=source) if one.id == disk_id else one for one in spec.disks)
    return replace(spec, disks=tuple(disks))


def _with_disk(spec: DomainSpec, disk: DiskAttachment) -> DomainSpec:
    if any(present.id == disk.id for present in spec.disks):
        return _with_limits(spec, disk.id, disk.limits)
    return replace(spec, disks=(*spec.disks, disk))


def _without_disk(spec: DomainSpec, disk_id: str) -> DomainSpec:
    return replace(spec, disks=tuple(disk for disk in spec.disks if disk.id != disk_id))


def _with_limits(spec: DomainSpec, disk_id: str, limits: DiskLimits) -> DomainSpec:
    _disk(spec, disk_id)
    changed = (replace(d, limits=limits) if d.id == disk_id else d for d in spec.disks)
    return replace(spec, disks=tuple(changed))


def _with_cpu_limits(spec: DomainSpec, shares: int, quota_percent: int | None) -> DomainSpec:
    return replace(spec, cpu_shares=shares, cpu_quota_percent=quota_percent)


def _with_nic(spec: DomainSpec, nic: NicSpec) -> DomainSpec:
    return replace(_without_nic(spec, nic.mac), nics=(*_without_nic(spec, nic.mac).nics, nic))


def _without_nic(spec: DomainSpec, mac: str) -> DomainSpec:
    return replace(spec, nics=tuple(nic for nic in spec.nics if nic.mac != mac))


def _observation(domain: FakeDomain) -> DomainObservation:
    spec = domain.running or domain.spec
    uptime_s = time.monotonic() - domain.started_at if domain.running else 0.0
    memory_kib = spec.memory_mib * 1024
    load = domain.load
    return DomainObservation(
        uuid=spec.uuid,
        name=spec.name,
        power_state=domain.power_state,
        reason=domain.reason,
        pause=domain.pause,
        observed_at=datetime.now(UTC),
        owner=spec.owner,
        vcpus=spec.vcpus,
        memory_mib=spec.memory_mib,
        cpu_time_ns=int(uptime_s * spec.vcpus * load.cpu_ratio * 1_000_000_000),
        cpu_delay_ns=int(uptime_s * spec.vcpus * load.steal_ratio * 1_000_000_000),
        balloon=BalloonObservation(
            current_kib=memory_kib,
            available_kib=memory_kib,
            usable_kib=int(memory_kib * (1 - load.memory_ratio)),
        ),
        disks=tuple(
            DiskObservation(
                id=disk.id,
                target=disk.target,
                path=disk.source.path if isinstance(disk.source, FileSource) else "",
                capacity_bytes=_size(disk),
                read_bytes=int(uptime_s * load.disk_bytes),
                read_requests=int(uptime_s * load.disk_requests),
                write_bytes=int(uptime_s * load.disk_bytes / 2),
                write_requests=int(uptime_s * load.disk_requests / 2),
                counted=domain.running is not None,
            )
            for disk in spec.disks
        ),
        nics=tuple(
            NicObservation(
                nic.mac,
                nic.port_uuid,
                rx_bytes=int(uptime_s * load.nic_bytes),
                rx_packets=int(uptime_s * load.nic_packets),
                tx_bytes=int(uptime_s * load.nic_bytes / 2),
                tx_packets=int(uptime_s * load.nic_packets / 2),
                counted=domain.running is not None,
            )
            for nic in spec.nics
        ),
        pci_devices=spec.pci_devices,
        run=str(domain.starts) if domain.running is not None else "",
        machine_type=spec.machine_type,
    )
