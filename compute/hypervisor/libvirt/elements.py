"""The elements of a domain that SCloud writes, as objects. No policy here: see `build`."""

from dataclasses import dataclass
from typing import ClassVar

from compute.hypervisor.libvirt.xmlobject import XmlObject, at

OWNER_TAG = "{urn:scloud:domain:1}domain"
"""The element in a domain's metadata that marks it as ours."""


@dataclass(frozen=True, kw_only=True)
class NumaCell(XmlObject):
    """Guest NUMA node; memory can only be plugged into one."""

    TAG: ClassVar[str] = "cell"

    id: int = at("@id")
    cpus: str = at("@cpus")
    memory_mib: int = at("@memory")
    unit: str = at("@unit", "MiB")


@dataclass(frozen=True, kw_only=True)
class RbdMonitor(XmlObject):
    TAG: ClassVar[str] = "host"

    name: str = at("@name")
    port: int = at("@port")


@dataclass(frozen=True, kw_only=True)
class CephSecret(XmlObject):
    """A key that disks name; libvirt keeps it in memory and shows it to nobody."""

    TAG: ClassVar[str] = "secret"

    ephemeral: str = at("@ephemeral", "yes")
    private: str = at("@private", "yes")
    uuid: str = at("uuid")
    usage_type: str = at("usage@type", "ceph")
    usage: str = at("usage/name")


@dataclass(frozen=True, kw_only=True)
class Disk(XmlObject):
    """A disk or CD-ROM from a file or from the network."""

    TAG: ClassVar[str] = "disk"

    type: str = at("@type")
    device: str = at("@device", "disk")
    driver_name: str = at("driver@name", "qemu")
    driver_type: str = at("driver@type")
    cache: str | None = at("driver@cache")
    discard: str | None = at("driver@discard")
    on_write_error: str | None = at("driver@error_policy")
    on_read_error: str | None = at("driver@rerror_policy")
    auth_user: str | None = at("auth@username")
    secret_type: str | None = at("auth/secret@type")
    secret_uuid: str | None = at("auth/secret@uuid")
    file: str | None = at("source@file")
    protocol: str | None = at("source@protocol")
    network_name: str | None = at("source@name")
    monitors: tuple[RbdMonitor, ...] = at("source/", ())
    target: str = at("target@dev")
    bus: str = at("target@bus", "virtio")
    total_bytes_sec: int | None = at("iotune/total_bytes_sec")
    total_iops_sec: int | None = at("iotune/total_iops_sec")
    serial: str = at("serial")
    boot_order: int | None = at("boot@order")
    readonly: bool | None = at("readonly")


@dataclass(frozen=True, kw_only=True)
class Interface(XmlObject):
    """A virtio interface on an Open vSwitch bridge."""

    TAG: ClassVar[str] = "interface"

    type: str = at("@type", "bridge")
    mac: str = at("mac@address")
    bridge: str = at("source@bridge", "br-int")
    virtualport_type: str = at("virtualport@type", "openvswitch")
    interface_id: str = at("virtualport/parameters@interfaceid")
    model: str = at("model@type", "virtio")
    host_csum: str | None = at("driver/host@csum")
    host_gso: str | None = at("driver/host@gso")
    host_tso4: str | None = at("driver/host@tso4")
    host_tso6: str | None = at("driver/host@tso6")
    host_ecn: str | None = at("driver/host@ecn")
    host_ufo: str | None = at("driver/host@ufo")
    host_mrg_rxbuf: str | None = at("driver/host@mrg_rxbuf")
    guest_csum: str | None = at("driver/guest@csum")
    guest_tso4: str | None = at("driver/guest@tso4")
    guest_tso6: str | None = at("driver/guest@tso6")
    guest_ecn: str | None = at("driver/guest@ecn")
    guest_ufo: str | None = at("driver/guest@ufo")
    mtu: int = at("mtu@size")
    link_state: str = at("link@state", "up")
    # VMs boot from their disks; without the network boot ROM they do so seconds earlier under TCG.
    rom_enabled: str = at("rom@enabled", "no")


@dataclass(frozen=True, kw_only=True)
class Controller(XmlObject):
    """A PCI, USB or SCSI controller."""

    TAG: ClassVar[str] = "controller"

    type: str = at("@type")
    model: str = at("@model")


@dataclass(frozen=True, kw_only=True)
class Serial(XmlObject):
    """A serial port whose output is also kept in a file on the host."""

    TAG: ClassVar[str] = "serial"

    type: str = at("@type", "pty")
    log_file: str = at("log@file")
    log_append: str = at("log@append", "off")


@dataclass(frozen=True, kw_only=True)
class Channel(XmlObject):
    """A virtio-serial channel between the host and a program in the guest."""

    TAG: ClassVar[str] = "channel"

    type: str = at("@type", "unix")
    target_type: str = at("target@type", "virtio")
    name: str = at("target@name", "org.qemu.guest_agent.0")


@dataclass(frozen=True, kw_only=True)
class Input(XmlObject):
    TAG: ClassVar[str] = "input"

    type: str = at("@type")
    bus: str = at("@bus")


@dataclass(frozen=True, kw_only=True)
class Graphics(XmlObject):
    """The VNC server of the domain."""

    TAG: ClassVar[str] = "graphics"

    type: str = at("@type", "vnc")
    port: int = at("@port", -1)
    autoport: bool = at("@autoport", True)
    listen: str = at("@listen")
    password: str = at("@passwd")
    valid_to: str = at("@passwdValidTo")
    listen_type: str = at("listen@type", "address")
    listen_address: str = at("listen@address")


@dataclass(frozen=True, kw_only=True)
class Video(XmlObject):
    TAG: ClassVar[str] = "video"

    type: str = at("model@type")
    heads: int = at("model@heads", 1)


@dataclass(frozen=True, kw_only=True)
class MemoryBalloon(XmlObject):
    """The balloon; we use it to read the guest's memory statistics."""

    TAG: ClassVar[str] = "memballoon"

    model: str = at("@model", "virtio")
    free_page_reporting: str = at("@freePageReporting", "on")
    stats_period_s: int = at("stats@period", 10)


@dataclass(frozen=True, kw_only=True)
class Rng(XmlObject):
    TAG: ClassVar[str] = "rng"

    model: str = at("@model", "virtio")
    backend_model: str = at("backend@model", "random")
    backend: str = at("backend", "/dev/urandom")


@dataclass(frozen=True, kw_only=True)
class Watchdog(XmlObject):
    """Resets the machine when its guest stops feeding it; silent until the guest begins to."""

    TAG: ClassVar[str] = "watchdog"

    model: str = at("@model", "i6300esb")
    action: str = at("@action", "reset")


@dataclass(frozen=True, kw_only=True)
class Timer(XmlObject):
    TAG: ClassVar[str] = "timer"

    name: str = at("@name")
    present: bool | None = at("@present")
    tick_policy: str | None = at("@tickpolicy")


@dataclass(frozen=True, kw_only=True)
class VirtioMemory(XmlObject):
    """Memory that the guest gets and gives back in blocks while it runs."""

    TAG: ClassVar[str] = "memory"

    model: str = at("@model", "virtio-mem")
    size_kib: int = at("target/size")
    size_unit: str = at("target/size@unit", "KiB")
    node: int = at("target/node", 0)
    block_kib: int = at("target/block", 2048)
    block_unit: str = at("target/block@unit", "KiB")
    requested_kib: int = at("target/requested", 0)
    requested_unit: str = at("target/requested@unit", "KiB")


@dataclass(frozen=True, kw_only=True)
class HostDevice(XmlObject):
    """A PCI function of the host, passed through."""

    TAG: ClassVar[str] = "hostdev"

    mode: str = at("@mode", "subsystem")
    type: str = at("@type", "pci")
    managed: bool = at("@managed", True)
    domain: str = at("source/address@domain")
    bus: str = at("source/address@bus")
    slot: str = at("source/address@slot")
    function: str = at("source/address@function")


@dataclass(frozen=True, kw_only=True)
class Domain(XmlObject):
    TAG: ClassVar[str] = "domain"

    type: str = at("@type")
    name: str = at("name")
    uuid: str = at("uuid")
    title: str | None = at("title")
    owner: str = at(f"metadata/{OWNER_TAG}@owner")
    seed_digest: str | None = at(f"metadata/{OWNER_TAG}@seed")
    max_memory_mib: int | None = at("maxMemory")
    max_memory_unit: str | None = at("maxMemory@unit")
    max_memory_slots: int | None = at("maxMemory@slots")
    memory_mib: int = at("memory")
    memory_unit: str = at("memory@unit", "MiB")
    current_memory_mib: int = at("currentMemory")
    current_memory_unit: str = at("currentMemory@unit", "MiB")
    max_vcpus: int = at("vcpu")
    vcpu_placement: str = at("vcpu@placement", "static")
    vcpus: int = at("vcpu@current")
    cpu_shares: int | None = at("cputune/shares")
    cpu_period_us: int | None = at("cputune/period")
    cpu_quota_us: int | None = at("cputune/quota")
    firmware: str | None = at("os@firmware")
    arch: str = at("os/type@arch")
    machine: str = at("os/type@machine")
    os_type: str = at("os/type", "hvm")
    boot_menu: bool = at("os/bootmenu@enable", False)
    acpi: bool = at("features/acpi", True)
    apic: bool | None = at("features/apic")
    # What guests that know Hyper-V use instead of what is slow to emulate.
    hyperv_relaxed: str | None = at("features/hyperv/relaxed@state")
    hyperv_vapic: str | None = at("features/hyperv/vapic@state")
    hyperv_spinlocks: str | None = at("features/hyperv/spinlocks@state")
    hyperv_spinlock_retries: int | None = at("features/hyperv/spinlocks@retries")
    hyperv_vpindex: str | None = at("features/hyperv/vpindex@state")
    hyperv_runtime: str | None = at("features/hyperv/runtime@state")
    hyperv_synic: str | None = at("features/hyperv/synic@state")
    hyperv_stimer: str | None = at("features/hyperv/stimer@state")
    hyperv_frequencies: str | None = at("features/hyperv/frequencies@state")
    hyperv_tlbflush: str | None = at("features/hyperv/tlbflush@state")
    hyperv_ipi: str | None = at("features/hyperv/ipi@state")
    cpu_mode: str = at("cpu@mode")
    cpu_match: str | None = at("cpu@match")
    cpu_check: str | None = at("cpu@check")
    cpu_model: str | None = at("cpu/model")
    cpu_fallback: str | None = at("cpu/model@fallback")
    numa_cells: tuple[NumaCell, ...] = at("cpu/numa/", ())
    clock: str = at("clock@offset", "utc")
    timers: tuple[Timer, ...] = at("clock/", ())
    on_poweroff: str = at("on_poweroff", "destroy")
    on_reboot: str = at("on_reboot", "restart")
    on_crash: str = at("on_crash", "destroy")
    devices: tuple[XmlObject, ...] = at("devices/", ())
