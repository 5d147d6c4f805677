"""The hypervisor port: what SCloud asks of one host.

Contract of every method of `Hypervisor`:

* **Ensure, do not do.** A method brings about the state that its name says and looks before it
  acts. Called again with the same arguments, after a success or after a crash at any point, it
  ends in the same state. Starting what runs, stopping what is stopped, detaching what is not
  attached and removing what is missing all succeed.
* **Bounded in time.** A call that gets no answer within its bound raises `OperationTimeout`
  (or `HostUnreachable` if the host cannot be talked to at all). The caller must then assume that
  the host may or may not have acted, and look again with `observe`.
* **Absence is a fact, silence is not.** `observe` says `PowerState.ABSENT` only when the host
  answered and does not know the domain. A host that does not answer raises `HostUnreachable`.
* **Errors** are `HypervisorError`s with a stable `code`, a `message` for operators and
  `retryable`. The message may name paths and URIs; tenants see a text chosen by the code. Unless a
  method says otherwise, a failed call leaves the domain as it was.
* **Only our own domains.** Every domain carries an owner tag. Domains without it are never
  changed and are left out of `observe_all`.

No method waits for a guest to finish what it was asked (boot, shut down): the caller observes.
Times are seconds (`_s`), memory is MiB, memory counters of guests are KiB where said.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Literal, Protocol, runtime_checkable

from compute.storage.base import DiskSource, Merging

Architecture = Literal["x86_64", "aarch64"]

MAX_VNC_PASSWORD_LENGTH = 8
"""The RFB protocol's own limit; the rest would be ignored."""

MAX_CONSOLE_BYTES = 128 * 1024
"""Of the end of what a guest wrote to its serial port, so much is read by default."""

MAX_SCREENSHOT_BYTES = 64 * 1024 * 1024
"""A picture of a screen that is larger is not taken: 4096 by 4096 pixels have 48 MiB."""


# -- errors ------------------------------------------------------------------------------------


class HypervisorError(Exception):
    """A call to a host failed.

    `code` is stable, `message` is for operators alone, `retryable` says whether the same call
    can succeed later without anyone changing the request.
    """

    code: ClassVar[str] = "hypervisor_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class HostUnreachable(HypervisorError):
    """The host does not answer. Nothing is known about its domains."""

    code = "host_unreachable"
    retryable = True


class OperationTimeout(HypervisorError):
    """The host took the call but did not finish it in time; look before trying again."""

    code = "operation_timeout"
    retryable = True


class StartUnfinished(HypervisorError):
    """The host is still starting the domain, or began to and was interrupted."""

    code = "start_unfinished"
    retryable = True


class DomainNotFound(HypervisorError):
    """The host answered and does not know the domain."""

    code = "domain_not_found"


class DomainNotRunning(HypervisorError):
    """The call needs a running domain."""

    code = "domain_not_running"


class AgentUnavailable(HypervisorError):
    """The guest agent is not installed, not running yet, or does not answer."""

    code = "agent_unavailable"
    retryable = True


class AgentRefused(HypervisorError):
    """The guest agent answered with an error (unknown account, command not allowed...)."""

    code = "agent_refused"


class GuestRefused(HypervisorError):
    """The guest did not let a device go, or did not take one, within the bound."""

    code = "guest_refused"
    retryable = True


class Refused(HypervisorError):
    """The host cannot do this, now or ever: invalid request, missing file, no resources."""

    code = "host_refused"


class ShrinkRefused(Refused):
    """Disks, vCPUs and memory of a running domain only grow."""

    code = "shrink_refused"


class HostFull(Refused):
    """The host has not the memory or devices to start the domain."""

    code = "host_full"
    retryable = True


# -- what a domain shall be --------------------------------------------------------------------


class PowerState(StrEnum):
    """The hypervisor's word on a domain."""

    RUNNING = "running"
    STOPPED = "stopped"
    PAUSED = "paused"
    CRASHED = "crashed"
    ABSENT = "absent"


class PauseReason(StrEnum):
    """Why a domain is paused.

    `IN_TRANSIT` ends by itself: a migration, a saved state, a snapshot of the memory. Of the
    others only `MIGRATION_FAILED` and `GUEST_CRASHED` cannot be resumed.
    """

    BY_HAND = "by_hand"
    NO_SPACE = "no_space"
    IO_ERROR = "io_error"
    GUEST_SUSPENDED = "guest_suspended"
    GUEST_CRASHED = "guest_crashed"
    MIGRATION_FAILED = "migration_failed"
    WATCHDOG = "watchdog"
    IN_TRANSIT = "in_transit"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """Limits of one disk; None means unlimited. Throughput is in MB/s (10^6 bytes)."""

    iops: int | None = None
    throughput_mbps: int | None = None


@dataclass(frozen=True, slots=True)
class DiskAttachment:
    """One disk of a domain.

    `id` is the volume's public id; the guest sees it as the disk's serial number (at most 20
    characters), which is how a disk is recognised everywhere: target names are the domain's own
    and a guest may number its disks otherwise.
    """

    id: str
    target: str
    source: DiskSource
    limits: DiskLimits = DiskLimits()
    boot: bool = False
    readonly: bool = False


@dataclass(frozen=True, slots=True)
class NicSpec:
    """One network interface. `port_uuid` is the logical switch port that it is plugged into."""

    id: str
    port_uuid: str
    mac: str
    mtu: int = 1442
    link_up: bool = True


@dataclass(frozen=True, slots=True, order=True)
class PciAddress:
    """A PCI address on the host: `0000:3b:00.0`."""

    domain: int
    bus: int
    slot: int
    function: int

    @classmethod
    def parse(cls, text: str) -> "PciAddress":
        """From `dddd:bb:ss.f`; raises ValueError."""
        domain, bus, rest = text.split(":")
        slot, function = rest.split(".")
        return cls(int(domain, 16), int(bus, 16), int(slot, 16), int(function, 16))

    def __str__(self) -> str:
        return f"{self.domain:04x}:{self.bus:02x}:{self.slot:02x}.{self.function:x}"


@dataclass(frozen=True, slots=True)
class DomainSpec:
    """Everything a domain is made of; `Hypervisor.define` makes the host's definition equal it.

    `max_vcpus` and `max_memory_mib` above the present values are the headroom for hot upgrades;
    equal values mean none. `cpu_quota_percent` limits each vCPU to that part of a host CPU
    (None: unlimited); `cpu_shares` weighs against other domains of a busy host. `seed_digest`
    stands for the seed's content: what runs goes on reading the one that it was started with.

    `machine_type` is a name of `MachineTypes`; empty means the host's default, which becomes
    another one when the host's QEMU does. `windows` gives the guest what Windows expects of a
    machine: its clock in local time and, where the host can, the interfaces of Hyper-V. With a
    `watchdog` the machine is reset when its guest has begun to feed it and stops.
    """

    uuid: str
    name: str
    vcpus: int
    memory_mib: int
    disks: tuple[DiskAttachment, ...]
    nics: tuple[NicSpec, ...] = ()
    title: str = ""
    arch: Architecture = "x86_64"
    max_vcpus: int = 0
    max_memory_mib: int = 0
    cpu_shares: int = 1024
    cpu_quota_percent: int | None = None
    machine_type: str = ""
    windows: bool = False
    watchdog: bool = False
    seed: DiskSource | None = None
    seed_digest: str = ""
    pci_devices: tuple[PciAddress, ...] = ()
    owner: str = "scloud"

    def __post_init__(self) -> None:
        if self.max_vcpus < self.vcpus:
            object.__setattr__(self, "max_vcpus", self.vcpus)
        if self.max_memory_mib < self.memory_mib:
            object.__setattr__(self, "max_memory_mib", self.memory_mib)

    @property
    def hot_growth(self) -> bool:
        """Whether the domain is created with headroom."""
        return self.max_vcpus > self.vcpus or self.max_memory_mib > self.memory_mib


# -- what a domain is --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DiskObservation:
    """One disk as the host sees it. Counters count since the domain started.

    They are 0 and `counted` is False when it is stopped, or the host was too busy to tell.
    """

    id: str
    target: str
    path: str
    capacity_bytes: int = 0
    allocation_bytes: int = 0
    read_bytes: int = 0
    read_requests: int = 0
    write_bytes: int = 0
    write_requests: int = 0
    counted: bool = False


@dataclass(frozen=True, slots=True)
class NicObservation:
    """One interface as the host sees it. Counters are the guest's view: rx is what it received.

    They are 0 and `counted` is False when it is stopped, or the host did not tell.
    """

    mac: str
    port_uuid: str
    device: str = ""
    rx_bytes: int = 0
    rx_packets: int = 0
    rx_drops: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_drops: int = 0
    counted: bool = False


@dataclass(frozen=True, slots=True)
class BalloonObservation:
    """Guest memory in KiB as its balloon driver reports it; None where it does not."""

    current_kib: int
    rss_kib: int | None = None
    available_kib: int | None = None
    usable_kib: int | None = None
    unused_kib: int | None = None
    updated_at: int | None = None


STARTING = "starting"
"""The reason of a stopped domain that the host has begun to start (for ever, if interrupted)."""


@dataclass(frozen=True, slots=True)
class DomainObservation:
    """What the host says about one domain at `observed_at`.

    `pause` says why a paused domain is paused, and is None for others. `vcpus` and `memory_mib` are
    what the domain has been given, whether or not its guest uses all of it; 0 where the host was
    too busy to tell. What a domain was given a moment ago may not be in the figures of
    `observe_all` yet: `growth_headroom` asks anew. `run` names this life of the domain on this
    host: after another start, or on another host, counters begin anew under another name. It is
    empty while nothing runs. `cpu_time_ns` is 0 where it is not known. `machine_type` is that of
    what runs, else of the definition. `cpu_delay_ns` is how long its vCPUs have waited for a CPU of
    the host, together: their guest sees it as steal. None where the host does not tell. Reaching a
    CPU limit counts as waiting too.
    """

    uuid: str
    name: str
    power_state: PowerState
    observed_at: datetime
    reason: str = ""
    pause: PauseReason | None = None
    persistent: bool = True
    owner: str = ""
    vcpus: int = 0
    memory_mib: int = 0
    cpu_time_ns: int = 0
    balloon: BalloonObservation | None = None
    disks: tuple[DiskObservation, ...] = ()
    nics: tuple[NicObservation, ...] = ()
    pci_devices: tuple[PciAddress, ...] = ()
    run: str = ""
    machine_type: str = ""
    cpu_delay_ns: int | None = None


@dataclass(frozen=True, slots=True)
class GrowthHeadroom:
    """How far a running domain can grow without restart, and what it has been given now."""

    vcpus: int
    max_vcpus: int
    memory_mib: int
    max_memory_mib: int
    memory_step_mib: int = 2


# -- what a host is ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostCapacity:
    """What the host has in total, before any overcommit, and what is free of memory now."""

    hostname: str
    arch: str
    vcpus: int
    memory_mib: int
    free_memory_mib: int
    accelerated: bool
    hypervisor_version: str = ""
    libvirt_version: str = ""


@dataclass(frozen=True, slots=True)
class MachineTypes:
    """The machine types that a host offers to guests of one architecture, by their full names.

    Such as `pc-q35-7.2`: under that name a guest finds the same machine with every QEMU that
    offers it. `default` is the one that the host takes where none is named; empty where it cannot
    run such guests at all.
    """

    default: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HostCpu:
    """The CPU of a host: the model that is nearest to it, and what it can do beyond that model."""

    model: str
    vendor: str = ""
    features: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class HostCertificate:
    """A certificate that the connection to a host relies on, and when it ends (aware).

    `holder` is whose it is: the authority's, the one of who connects, or the host's own.
    """

    holder: Literal["authority", "client", "host"]
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class HostCounters:
    """What the host has counted since its boot, over all CPUs, and its memory now.

    Of `available_kib` a new process could be given without anything being swapped out.
    """

    cpus: int
    busy_ns: int
    iowait_ns: int
    idle_ns: int
    memory_kib: int
    available_kib: int


@dataclass(frozen=True, slots=True)
class HostMeasurement:
    """The counters of a host and of all our domains that are on there."""

    host: HostCounters
    domains: tuple[DomainObservation, ...]


@dataclass(frozen=True, slots=True)
class PciDevice:
    """A PCI function of the host, as candidate for passing through."""

    address: PciAddress
    vendor_id: str
    product_id: str
    vendor: str = ""
    product: str = ""
    class_code: str = ""
    driver: str = ""
    iommu_group: int | None = None
    numa_node: int | None = None


# -- what the guest agent says -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GuestInterface:
    """An interface inside the guest; addresses are `address/prefix`."""

    name: str
    mac: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GuestFilesystem:
    """A mounted file system of the guest; `disk_ids` are serials of the disks below it."""

    mount_point: str
    device: str
    fs_type: str
    total_bytes: int | None
    used_bytes: int | None
    disk_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GuestDisk:
    """One of the domain's disks as the guest names it, such as `/dev/vdb`."""

    disk_id: str
    device: str


@dataclass(frozen=True, slots=True)
class GuestSystem:
    """The operating system that runs in the guest; what the agent did not say is empty."""

    name: str
    version: str = ""
    kernel: str = ""
    machine: str = ""
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command in the guest ended. `exit_code` is None if a signal ended it."""

    exit_code: int | None
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Screenshot:
    """A picture of a screen as the host made it: `image/x-portable-pixmap` or `image/png`."""

    mime_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class VncEndpoint:
    """Where the host listens for the domain's screen."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class MigrationProgress:
    """State of a running migration; `percent` is of memory sent, 0 to 100."""

    percent: int
    remaining_mib: int = 0
    elapsed_s: float = 0.0


# -- the port ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HostRef:
    """Names one host: `uri` as libvirt takes it, `address` on the management network.

    `offloads` is False where the virtual switch runs in user space and cannot take packets with
    unfinished checksums from a guest.
    """

    name: str
    uri: str
    address: str
    offloads: bool = True
    options: tuple[tuple[str, str], ...] = field(default=())


@runtime_checkable
class Hypervisor(Protocol):
    """One host. See the module's docstring for what holds for every method."""

    @property
    def ref(self) -> HostRef:
        """The host this object talks to."""
        ...

    # -- the host ----------------------------------------------------------------------------

    def capacity(self) -> HostCapacity:
        """What the host has."""
        ...

    def machine_types(self, arch: Architecture) -> MachineTypes:
        """What machines the host offers to guests of that architecture.

        May be a minute old: it changes only when the host's QEMU is replaced.
        """
        ...

    def cpu(self) -> HostCpu:
        """The CPU that the host has; its model is empty where the host does not name one."""
        ...

    def certificates(self) -> tuple[HostCertificate, ...]:
        """The certificates that connections to the host rely on; none where nothing is encrypted.

        Those of this end are read from their files, whether or not the host answers; what cannot be
        read is left out. The host's own is among them only when it completes a handshake, so that
        one that does not answer, or is not trusted, is no error here.
        """
        ...

    def pci_devices(self) -> tuple[PciDevice, ...]:
        """All PCI functions, by address, whether passed through or not."""
        ...

    def keep_secret(self, secret_uuid: str, value: bytes) -> None:
        """Let the host know the secret that `RbdSource.secret_uuid` names, or its new value.

        It is on no disk of the host, so it is gone when the host's libvirt is restarted; running
        domains need it no more. Whoever has a domain started, moved here or given a disk tells it
        before.
        """
        ...

    # -- definition and power ------------------------------------------------------------------

    def define(self, spec: DomainSpec) -> None:
        """Make the host's persistent definition equal `spec`; a running domain is not changed.

        Raises `Refused` for a spec that the host does not take, such as a machine type that it
        does not offer.
        """
        ...

    def undefine(self, uuid: str) -> None:
        """Forget the domain; a running one is powered off first. Disks are not touched.

        Returns only when the domain is gone; missing domains succeed.
        """
        ...

    def start(self, uuid: str) -> None:
        """Start the domain from its definition; the guest boots on its own time.

        Raises `DomainNotFound`, `HostFull`, `Refused` (with the host's reason, e.g. a missing disk
        file), `StartUnfinished`. A crashed domain is cleaned up first. A paused one is resumed.
        """
        ...

    def resume(self, uuid: str) -> None:
        """Let a paused domain run again; one that runs already succeeds.

        A domain whose disk still answers with an error is paused again a moment later: observe.
        Raises `DomainNotFound`, `DomainNotRunning`, `Refused` where there is nothing to go on with
        (`PauseReason.MIGRATION_FAILED`, `GUEST_CRASHED`).
        """
        ...

    def shutdown(self, uuid: str) -> None:
        """Ask the guest to shut down, through the agent, else by ACPI; returns at once.

        The guest may ignore it: observe until a deadline, then `power_off`. A stopped or missing
        domain succeeds. Repeating asks again.
        """
        ...

    def reboot(self, uuid: str, *, noted: Callable[[], None] | None = None) -> None:
        """Ask the guest by its power button to shut down and boot again; returns at once.

        The machine itself goes on, and with it whoever is connected to its screen. So a changed
        definition does not take effect; see `runs_as`. When the machine begins to boot, `noted` is
        called once in another thread. The guest may ignore what it is asked, and the call gets lost
        with this process or its connection: ask again until a deadline. Raises `DomainNotRunning`.
        """
        ...

    def runs_as(self, uuid: str, spec: DomainSpec) -> bool:
        """Whether what runs is for its guest the machine of `spec`; False when nothing runs.

        The seed is compared by its digest alone.

        Where it is not, only a start from the definition brings the change to the guest. Disks to
        which a boot would give other letters than their targets say make a difference, too.
        """
        ...

    def reset(self, uuid: str) -> None:
        """Reset the machine as by its button, without asking. Raises `DomainNotRunning`."""
        ...

    def power_off(self, uuid: str) -> None:
        """Stop the domain now. Returns only when it is off; stopped or missing succeeds."""
        ...

    def observe(self, uuid: str) -> DomainObservation:
        """What the host says about the domain; `PowerState.ABSENT` if it does not know it."""
        ...

    def observe_all(self) -> tuple[DomainObservation, ...]:
        """All our domains with statistics, in one question to the host."""
        ...

    def measure(self) -> HostMeasurement:
        """The counters of the host and of all our domains that run or are paused.

        One question for all of them. What is wrong with a domain's disks is not looked at:
        `observe_all` does that.
        """
        ...

    # -- the guest agent -----------------------------------------------------------------------

    def agent_ready(self, uuid: str, *, timeout_s: float = 2.0) -> bool:
        """Whether the agent answers now. False for stopped and missing domains."""
        ...

    def set_password(
        self, uuid: str, account: str, password: str, *, encrypted: bool = False
    ) -> None:
        """Set an account's password; `encrypted` passwords are crypt(3) hashes.

        Raises `DomainNotRunning`, `AgentUnavailable`, `AgentRefused`.
        """
        ...

    def addresses(self, uuid: str) -> tuple[GuestInterface, ...]:
        """Interfaces and addresses as the guest has them. Raises `AgentUnavailable`."""
        ...

    def filesystems(self, uuid: str) -> tuple[GuestFilesystem, ...]:
        """Mounted file systems with the disks below them. Raises `AgentUnavailable`."""
        ...

    def guest_disks(self, uuid: str) -> tuple[GuestDisk, ...]:
        """The domain's disks by the names that the guest gives them, the seed left out.

        Raises `AgentUnavailable`, and `AgentRefused` when the agent is too old to know.
        """
        ...

    def system(self, uuid: str) -> GuestSystem:
        """The operating system as the guest names it.

        Raises `AgentUnavailable`, and `AgentRefused` when the agent is too old to know.
        """
        ...

    def freeze(self, uuid: str) -> int:
        """Freeze the guest's file systems; returns how many. Always `thaw` after it.

        Raises `AgentUnavailable`, `AgentRefused`; a failed call leaves nothing frozen.
        """
        ...

    def thaw(self, uuid: str) -> None:
        """Thaw the guest's file systems; nothing happens if none is frozen."""
        ...

    def run(
        self,
        uuid: str,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float = 30.0,
    ) -> CommandResult:
        """Run a program in the guest (no shell) and wait for it.

        Raises `OperationTimeout` when it does not end in time; it may then still run.
        """
        ...

    def read_file(self, uuid: str, path: str, *, max_bytes: int = 65536) -> bytes:
        """Content of a file of the guest, cut at `max_bytes`. Raises `AgentRefused`."""
        ...

    # -- changes to a running or stopped domain --------------------------------------------------

    def attach_disk(self, uuid: str, disk: DiskAttachment) -> str:
        """Attach the disk to the definition and, if it runs, to the running domain.

        Recognised by id: an attached disk is left as it is, with its limits set. Returns the
        target really used: `disk.target` if free, else the next free one. Raises `DomainNotFound`,
        `Refused`.
        """
        ...

    def detach_disk(self, uuid: str, disk_id: str, *, timeout_s: float = 15.0) -> None:
        """Take the disk out of the definition and the running domain; waits for the guest.

        The guest must have unmounted it, or it gets I/O errors: see `filesystems`. Raises
        `GuestRefused` if the guest has not let go in time; it is then still attached live.
        """
        ...

    def resize_disk(self, uuid: str, disk_id: str, *, size_gib: int) -> None:
        """Grow a disk of a running domain; the guest sees it at once.

        Equal size succeeds; smaller raises `ShrinkRefused`. Raises `DomainNotRunning`.
        """
        ...

    def set_disk_limits(self, uuid: str, disk_id: str, limits: DiskLimits) -> None:
        """Set the limits in the definition and, if it runs, at once in the running domain."""
        ...

    def set_cpu_limits(self, uuid: str, *, shares: int, quota_percent: int | None) -> None:
        """Set weight and limit of the vCPUs, in the definition and at once where it runs.

        A host without CPU control groups keeps the definition only.
        """
        ...

    def attach_nic(self, uuid: str, nic: NicSpec) -> None:
        """Attach the interface to the definition and the running domain; recognised by MAC.

        The guest's operating system has to bring it up by itself.
        """
        ...

    def detach_nic(self, uuid: str, mac: str, *, timeout_s: float = 15.0) -> None:
        """Take the interface out of both; waits for the guest. Raises `GuestRefused`."""
        ...

    def set_nic_link(self, uuid: str, mac: str, *, up: bool) -> None:
        """Plug or unplug the interface's cable, in the definition and at once where it runs."""
        ...

    def growth_headroom(self, uuid: str) -> GrowthHeadroom:
        """How far the running domain can grow. Raises `DomainNotRunning`."""
        ...

    def hot_upgrade(self, uuid: str, *, vcpus: int, memory_mib: int) -> None:
        """Grow the running domain, and bring new vCPUs online through the agent.

        Changes the running domain and the definition, memory first. Any failure may leave a part
        of it done: `growth_headroom` reports how far. Raises `ShrinkRefused` for less than it has,
        `Refused` above its headroom; `AgentUnavailable` if the vCPUs are plugged but the agent did
        not bring them online (calling again tries again). vCPUs are never unplugged.
        """
        ...

    # -- snapshots of disks of running domains ----------------------------------------------------

    def snapshot_disk(self, uuid: str, disk_id: str, name: str) -> None:
        """Keep the disk's present content under `name` inside its volume; instant.

        For storages with `snapshots_need_hypervisor`. An existing name succeeds and keeps its
        content. Freezing the file systems around it is the caller's business: `freeze`/`thaw`.
        Raises `DomainNotRunning` (use the storage then).
        """
        ...

    def delete_disk_snapshot(self, uuid: str, disk_id: str, name: str) -> None:
        """Forget the snapshot; missing succeeds. Raises `DomainNotRunning`."""
        ...

    def change_disk(self, uuid: str, disk_id: str, source: DiskSource) -> None:
        """Have the running domain write to a new overlay on the file that it writes to now.

        For volumes that use overlays, after `Storage.stage_snapshot`; instant, and the definition
        follows. A domain that writes there already is left as it is. Raises `DomainNotRunning`,
        `Refused`.
        """
        ...

    def merge_disk(self, uuid: str, disk_id: str, merging: Merging) -> bool:
        """Move a frozen file of the running domain's disk into the one below; True when it is done.

        Begins it where nobody has and looks at it otherwise, so it is called until it says True;
        the guest goes on meanwhile. Raises `DomainNotRunning`, `Refused` for files that are not
        neighbours in the chain that the domain has.
        """
        ...

    # -- migration ---------------------------------------------------------------------------------

    def migrate(
        self,
        uuid: str,
        destination: HostRef,
        *,
        timeout_s: float = 600.0,
        on_progress: Callable[[MigrationProgress], None] | None = None,
    ) -> None:
        """Move the running domain to `destination` without stopping it; disks must be shared.

        On return it runs there, is defined there and gone here. If it already runs there and not
        here, that succeeds. Any failure, or `timeout_s` in which the memory that is left to move
        became no less, ends the attempt with the domain running here, unless the source host
        itself was lost. Screen sessions end; a new VNC password is
        needed. Raises `DomainNotRunning`, `Refused` (host devices, incompatible CPU...).
        `on_progress` is called about once a second in the caller's thread.
        """
        ...

    def migration_progress(self, uuid: str) -> MigrationProgress | None:
        """Progress of a migration in flight, by whomever started; None if there is none."""
        ...

    def abort_migration(self, uuid: str) -> None:
        """End a migration in flight; the domain stays here. None in flight succeeds."""
        ...

    # -- screen ------------------------------------------------------------------------------------

    def vnc_endpoint(self, uuid: str) -> VncEndpoint:
        """Where the screen listens: on the host's management address only, never elsewhere.

        A domain starts with a password that nobody knows and that is already expired: the screen
        is shut until `set_vnc_password` opens it for a moment. So nobody else on the management
        network can use it. Raises `DomainNotRunning`.
        """
        ...

    def set_vnc_password(self, uuid: str, password: str, *, valid_until: datetime) -> None:
        """Open the screen for new sessions with this password until then (aware datetime).

        Replaces the password before; open sessions go on. At most 8 characters. Raises
        `DomainNotRunning`, ValueError for an unusable password.
        """
        ...

    def screenshot(self, uuid: str, *, max_bytes: int = MAX_SCREENSHOT_BYTES) -> Screenshot:
        """A picture of the first screen as it is now; sessions of people are not disturbed.

        Raises `DomainNotRunning`, `Refused` for a picture of more than `max_bytes`.
        """
        ...

    def console_log(self, uuid: str, *, max_bytes: int = MAX_CONSOLE_BYTES) -> bytes:
        """The end of what the guest wrote to its serial port since it was started on this host.

        At most `max_bytes`; empty where it wrote nothing. That of a stopped domain can be read,
        too. Nobody has looked at the bytes: they are whatever the guest wrote. Raises
        `DomainNotFound`, `Refused` where the host keeps no log that it shows.
        """
        ...
