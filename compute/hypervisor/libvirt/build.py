"""From a `DomainSpec` to the elements of a domain: which devices, which defaults, and why."""

import secrets
import string
from dataclasses import dataclass
from datetime import UTC, datetime

from compute.hypervisor.base import (
    Architecture,
    DiskAttachment,
    DiskLimits,
    DomainSpec,
    NicSpec,
    PciAddress,
)
from compute.hypervisor.libvirt import elements
from compute.hypervisor.libvirt.xmlobject import XmlObject
from compute.storage.base import DiskSource, FileSource, RbdSource

PCIE_ROOT_PORTS = 26
"""Every hot-pluggable device needs a port of its own and ports cannot be added live.

7 disks, the seed's controller, 8 interfaces, 4 GPUs and 6 devices of the machine itself.
"""

SEED_SERIAL = "seed"
SEED_TARGET = "sda"
CPU_PERIOD_US = 100_000
MEMORY_BLOCK_KIB = 2048
MEMORY_SLOTS = 4
CONSOLE_LOG_DIR = "/var/log/libvirt"
"""Not its `qemu` folder, which libvirt makes only when the first domain starts."""

ALIASES: dict[Architecture, str] = {"x86_64": "q35", "aarch64": "virt"}
"""What hosts call their newest machine type; its full names begin with `FAMILIES`."""

FAMILIES: dict[Architecture, str] = {"x86_64": "pc-q35-", "aarch64": "virt-"}

SPINLOCK_RETRIES = 8191
"""How often a guest tries before it tells the hypervisor that it waits; Hyper-V's own figure."""

VNC_LOCKED_UNTIL = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class HostTraits:
    """What differs from host to host in the same domain."""

    accelerated: bool
    address: str
    offloads: bool
    cpu_tuning: bool = True
    console_log_dir: str = CONSOLE_LOG_DIR


def vnc_time(moment: datetime) -> str:
    """A moment as libvirt's `passwdValidTo` wants it: UTC without zone."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def random_vnc_password() -> str:
    """Eight characters, which is all that RFB looks at."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(8))


def build_domain(spec: DomainSpec, host: HostTraits, *, vnc_password: str) -> elements.Domain:
    """The domain for `spec` on a host with these traits."""
    intel = spec.arch == "x86_64"
    growth_mib = spec.max_memory_mib - spec.memory_mib
    quota = spec.cpu_quota_percent
    # Of KVM: QEMU's own emulation has no such interfaces.
    hyperv = "on" if spec.windows and intel and host.accelerated else None
    cpu_model = None
    if not host.accelerated:
        cpu_model = "qemu64" if intel else "cortex-a72"
    return elements.Domain(
        type="kvm" if host.accelerated else "qemu",
        name=spec.name,
        uuid=spec.uuid,
        title=spec.title or None,
        owner=spec.owner,
        seed_digest=spec.seed_digest or None,
        max_memory_mib=spec.max_memory_mib if growth_mib else None,
        max_memory_unit="MiB" if growth_mib else None,
        max_memory_slots=MEMORY_SLOTS if growth_mib else None,
        memory_mib=spec.max_memory_mib,
        current_memory_mib=spec.memory_mib,
        max_vcpus=spec.max_vcpus,
        vcpus=spec.vcpus,
        cpu_shares=spec.cpu_shares if host.cpu_tuning else None,
        cpu_period_us=CPU_PERIOD_US if quota and host.cpu_tuning else None,
        cpu_quota_us=quota * CPU_PERIOD_US // 100 if quota and host.cpu_tuning else None,
        firmware=None if intel else "efi",
        arch=spec.arch,
        machine=spec.machine_type or ALIASES[spec.arch],
        apic=True if intel else None,
        # All that Linux offers since 4.20, but what ties a guest to one make of CPU or keeps it
        # from moving.
        hyperv_relaxed=hyperv,
        hyperv_vapic=hyperv,
        hyperv_spinlocks=hyperv,
        hyperv_spinlock_retries=SPINLOCK_RETRIES if hyperv else None,
        hyperv_vpindex=hyperv,
        hyperv_runtime=hyperv,
        hyperv_synic=hyperv,
        hyperv_stimer=hyperv,
        hyperv_frequencies=hyperv,
        hyperv_tlbflush=hyperv,
        hyperv_ipi=hyperv,
        # KVM: the host's own model, spelled out, so that a migration to a lesser CPU is refused
        # by the destination instead of failing in the guest. TCG has no host CPU to show.
        cpu_mode="host-model" if host.accelerated else "custom",
        cpu_match=None if host.accelerated else "exact",
        cpu_check="partial" if host.accelerated else "none",
        cpu_model=cpu_model,
        cpu_fallback=None if cpu_model is None else "forbid",
        numa_cells=(
            (elements.NumaCell(id=0, cpus=_range(spec.max_vcpus), memory_mib=spec.memory_mib),)
            if growth_mib
            else ()
        ),
        clock="localtime" if spec.windows else "utc",
        timers=_timers(hyperv is not None) if spec.windows and intel else (),
        devices=_devices(spec, host, growth_mib, vnc_password),
    )


def _timers(hyperv: bool) -> tuple[elements.Timer, ...]:
    """The clocks of a Windows guest: lost ticks are made up for, and none that is slow to read."""
    timers = (
        elements.Timer(name="rtc", tick_policy="catchup"),
        elements.Timer(name="pit", tick_policy="delay"),
        elements.Timer(name="hpet", present=False),
    )
    if hyperv:
        return (*timers, elements.Timer(name="hypervclock", present=True))
    return timers


def _range(count: int) -> str:
    return "0" if count == 1 else f"0-{count - 1}"


def _devices(
    spec: DomainSpec, host: HostTraits, growth_mib: int, vnc_password: str
) -> tuple[XmlObject, ...]:
    intel = spec.arch == "x86_64"
    devices: list[XmlObject] = [build_disk(disk) for disk in spec.disks]
    if spec.seed is not None:
        devices.append(build_seed(spec.seed))
    devices.append(elements.Controller(type="pci", model="pcie-root"))
    devices.extend(
        elements.Controller(type="pci", model="pcie-root-port") for _ in range(PCIE_ROOT_PORTS)
    )
    devices.append(elements.Controller(type="usb", model="qemu-xhci"))
    if spec.seed is not None:
        devices.append(elements.Controller(type="scsi", model="virtio-scsi"))
    devices.extend(build_nic(nic, offloads=host.offloads) for nic in spec.nics)
    devices.append(
        elements.Serial(log_file=f"{host.console_log_dir}/{spec.name}-console.log"),
    )
    devices.append(elements.Channel())
    devices.append(elements.Input(type="tablet", bus="usb"))
    if not intel:
        # x86 machines have a PS/2 keyboard; small kernels know that one and no USB keyboard.
        devices.append(elements.Input(type="keyboard", bus="usb"))
    devices.append(build_graphics(host.address, vnc_password, VNC_LOCKED_UNTIL))
    devices.append(elements.Video(type="vga" if intel else "virtio"))
    devices.extend(build_host_device(address) for address in spec.pci_devices)
    devices.append(elements.MemoryBalloon())
    devices.append(elements.Rng())
    if spec.watchdog:
        devices.append(elements.Watchdog())
    if growth_mib:
        devices.append(build_virtio_memory(growth_mib * 1024, requested_kib=0))
    return tuple(devices)


def build_disk(disk: DiskAttachment) -> elements.Disk:
    """A disk. No host cache, so that what the guest flushed is on the medium.

    An error of the storage pauses the guest instead of being handed to it: its file systems stay
    whole, and it goes on where it was once the storage has free space or answers again.
    """
    return _disk(
        disk.source,
        target=disk.target,
        serial=disk.id,
        cache="none",
        discard="unmap",
        on_error="stop",
        limits=disk.limits,
        boot_order=1 if disk.boot else None,
        readonly=True if disk.readonly else None,
    )


def build_seed(source: DiskSource) -> elements.Disk:
    """The NoCloud seed: a CD-ROM, which takes no letter of the data disks from them.

    On virtio-scsi, because cloud kernels have no AHCI and ARM machines no IDE.
    """
    return _disk(
        source,
        target=SEED_TARGET,
        serial=SEED_SERIAL,
        readonly=True,
        device="cdrom",
        bus="scsi",
    )


def _disk(
    source: DiskSource,
    *,
    target: str,
    serial: str,
    cache: str | None = None,
    discard: str | None = None,
    on_error: str | None = None,
    limits: DiskLimits | None = None,
    boot_order: int | None = None,
    readonly: bool | None = None,
    device: str = "disk",
    bus: str = "virtio",
) -> elements.Disk:
    limits = limits or DiskLimits()
    throughput = limits.throughput_mbps
    rbd = source if isinstance(source, RbdSource) else None
    return elements.Disk(
        type="network" if rbd else "file",
        device=device,
        bus=bus,
        driver_type=source.format,
        cache=cache,
        discard=discard,
        on_write_error=on_error,
        on_read_error=on_error,
        auth_user=rbd.user if rbd else None,
        secret_type="ceph" if rbd else None,
        secret_uuid=rbd.secret_uuid if rbd else None,
        file=source.path if isinstance(source, FileSource) else None,
        protocol="rbd" if rbd else None,
        network_name=f"{rbd.pool}/{rbd.image}" if rbd else None,
        monitors=(
            tuple(elements.RbdMonitor(name=name, port=port) for name, port in rbd.monitors)
            if rbd
            else ()
        ),
        target=target,
        total_bytes_sec=None if throughput is None else throughput * 1_000_000,
        total_iops_sec=limits.iops,
        serial=serial,
        boot_order=boot_order,
        readonly=readonly,
    )


def build_nic(nic: NicSpec, *, offloads: bool) -> elements.Interface:
    """An interface on the integration bridge, bound to its logical switch port.

    Without offloads the guest finishes its packets itself: a switch in user space would forward
    unfinished checksums, and TCP would hang.
    """
    off = None if offloads else "off"
    return elements.Interface(
        mac=nic.mac,
        interface_id=nic.port_uuid,
        host_csum=off,
        host_gso=off,
        host_tso4=off,
        host_tso6=off,
        host_ecn=off,
        host_ufo=off,
        host_mrg_rxbuf=off,
        guest_csum=off,
        guest_tso4=off,
        guest_tso6=off,
        guest_ecn=off,
        guest_ufo=off,
        mtu=nic.mtu,
        link_state="up" if nic.link_up else "down",
    )


def build_graphics(address: str, password: str, valid_until: datetime) -> elements.Graphics:
    """A VNC server on one address that takes `password` until then."""
    return elements.Graphics(
        listen=address, password=password, valid_to=vnc_time(valid_until), listen_address=address
    )


def build_host_device(address: PciAddress) -> elements.HostDevice:
    return elements.HostDevice(
        domain=f"0x{address.domain:04x}",
        bus=f"0x{address.bus:02x}",
        slot=f"0x{address.slot:02x}",
        function=f"0x{address.function:x}",
    )


def build_virtio_memory(size_kib: int, *, requested_kib: int) -> elements.VirtioMemory:
    """Headroom for memory growth, of which `requested_kib` shall be in use."""
    return elements.VirtioMemory(
        size_kib=size_kib, block_kib=MEMORY_BLOCK_KIB, requested_kib=requested_kib
    )
