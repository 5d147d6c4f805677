"""What libvirt's answers mean: power states, statistics, node devices, errors."""

from datetime import UTC, datetime

import libvirt
import pytest

from compute.hypervisor.base import (
    AgentRefused,
    AgentUnavailable,
    DomainNotFound,
    DomainNotRunning,
    HostCounters,
    HostCpu,
    HostFull,
    HypervisorError,
    OperationTimeout,
    PauseReason,
    PciAddress,
    PowerState,
    Refused,
)
from compute.hypervisor.libvirt import parse
from compute.hypervisor.libvirt.connection import translate

T4 = """
<device>
  <name>pci_0000_3b_00_0</name>
  <path>/sys/devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0</path>
  <parent>pci_0000_3a_00_0</parent>
  <driver><name>vfio-pci</name></driver>
  <capability type='pci'>
    <class>0x030200</class>
    <domain>0</domain><bus>59</bus><slot>0</slot><function>0</function>
    <product id='0x1eb8'>TU104GL [Tesla T4]</product>
    <vendor id='0x10de'>NVIDIA Corporation</vendor>
    <capability type='virt_functions' maxCount='16'/>
    <iommuGroup number='78'>
      <address domain='0x0000' bus='0x3b' slot='0x00' function='0x0'/>
    </iommuGroup>
    <numa node='1'/>
    <pci-express><link validity='cap' port='0' speed='8' width='16'/></pci-express>
  </capability>
</device>
"""

ATLAS = """
<device>
  <name>pci_0000_81_00_0</name>
  <capability type='pci'>
    <domain>0</domain><bus>129</bus><slot>0</slot><function>0</function>
    <product id='0xd100'/>
    <vendor id='0x19e5'>Huawei Technologies Co., Ltd.</vendor>
  </capability>
</device>
"""

CAPABILITIES = """
<capabilities>
  <host>
    <cpu>
      <arch>x86_64</arch><model>EPYC-Rome</model><vendor>AMD</vendor>
      <topology sockets='1' dies='1' cores='8' threads='2'/>
      <feature name='xsaves'/><feature name='wbnoinvd'/>
    </cpu>
  </host>
  <guest><arch name='x86_64'><cpu><model>other</model></cpu></arch></guest>
</capabilities>
"""


def test_the_cpu_of_a_host_is_read_from_its_capabilities() -> None:
    cpu = HostCpu("EPYC-Rome", "AMD", frozenset({"xsaves", "wbnoinvd"}))
    assert parse.host_cpu(CAPABILITIES) == cpu
    assert parse.host_cpu("<capabilities><host/></capabilities>") == HostCpu("")


DOMAIN = """
<domain type='kvm' id='4'>
  <name>vm-1</name>
  <metadata><s:domain xmlns:s='urn:scloud:domain:1' owner='scloud'/></metadata>
  <memory unit='KiB'>8388608</memory>
  <devices>
    <memory model='virtio-mem'>
      <target>
        <size unit='KiB'>6291456</size><node>0</node><block unit='KiB'>2048</block>
        <requested unit='KiB'>2097152</requested><current unit='KiB'>0</current>
      </target>
    </memory>
    <disk type='file' device='disk'>
      <source file='/pool/volumes/disk-1.qcow2'/><target dev='vda'/><serial>disk-1</serial>
      <alias name='virtio-disk0'/>
    </disk>
    <disk type='network' device='disk'>
      <source protocol='rbd' name='volumes/disk-2'/><target dev='vdb'/><serial>disk-2</serial>
    </disk>
    <interface type='bridge'>
      <mac address='52:54:00:00:00:01'/>
      <virtualport type='openvswitch'><parameters interfaceid='port-1'/></virtualport>
      <target dev='vnet7'/>
    </interface>
    <hostdev mode='subsystem' type='pci'>
      <source><address domain='0x0000' bus='0x3b' slot='0x00' function='0x0'/></source>
      <address type='pci' domain='0x0000' bus='0x09' slot='0x00' function='0x0'/>
    </hostdev>
    <graphics type='vnc' port='5903' listen='10.0.0.11'/>
  </devices>
</domain>
"""

STATS = {
    "state.state": libvirt.VIR_DOMAIN_RUNNING,
    "state.reason": 1,
    "cpu.time": 12_000_000_000,
    "vcpu.current": 2,
    "vcpu.maximum": 4,
    "vcpu.0.time": 7,
    "vcpu.0.delay": 1_000,
    "vcpu.1.delay": 2_000,
    "balloon.current": 4194304,
    "balloon.available": 4000000,
    "balloon.usable": 3000000,
    "balloon.rss": 2000000,
    "block.count": 2,
    "block.0.name": "vda",
    "block.0.rd.bytes": 1000,
    "block.0.rd.reqs": 10,
    "block.0.wr.bytes": 2000,
    "block.0.wr.reqs": 20,
    "block.0.capacity": 42949672960,
    "block.0.physical": 1000000,
    "block.1.name": "vdb",
    "net.count": 1,
    "net.0.name": "vnet7",
    "net.0.rx.bytes": 5,
    "net.0.rx.pkts": 6,
    "net.0.tx.drop": 7,
}


def test_a_gpu_is_recognised_from_its_node_device() -> None:
    device = parse.pci_device(T4)
    assert device is not None
    assert str(device.address) == "0000:3b:00.0"
    assert (device.vendor_id, device.product_id) == ("10de", "1eb8")
    assert (device.vendor, device.product) == ("NVIDIA Corporation", "TU104GL [Tesla T4]")
    assert (device.class_code, device.driver) == ("030200", "vfio-pci")
    assert (device.iommu_group, device.numa_node) == (78, 1)


def test_a_card_with_few_facts_is_recognised_too() -> None:
    device = parse.pci_device(ATLAS)
    assert device is not None
    assert (str(device.address), device.vendor_id, device.product) == ("0000:81:00.0", "19e5", "")
    assert (device.driver, device.iommu_group, device.numa_node) == ("", None, None)


def test_what_a_domain_was_given_counts_and_not_what_its_guest_took_of_it() -> None:
    taken = {**STATS, "balloon.current": 2097152}
    xml = parse.DomainXml.parse(DOMAIN)
    seen = parse.observation("u", "vm-1", xml, taken, persistent=True, moment=datetime.now(UTC))
    assert seen.memory_mib == 4096
    assert seen.balloon is not None
    assert seen.balloon.current_kib == 2097152


def test_other_node_devices_are_none() -> None:
    assert parse.pci_device("<device><name>net_eth0</name></device>") is None


def test_statistics_and_xml_make_one_observation() -> None:
    moment = datetime.now(UTC)
    xml = parse.DomainXml.parse(DOMAIN)
    seen = parse.observation("u", "vm-1", xml, STATS, persistent=True, moment=moment)
    assert seen.power_state is PowerState.RUNNING
    assert (seen.owner, seen.vcpus, seen.memory_mib) == ("scloud", 2, 4096)
    assert seen.cpu_time_ns == 12_000_000_000
    assert seen.cpu_delay_ns == 3_000
    assert seen.balloon is not None
    assert (seen.balloon.available_kib, seen.balloon.usable_kib) == (4000000, 3000000)
    first, second = seen.disks
    assert (first.id, first.target, first.path) == ("disk-1", "vda", "/pool/volumes/disk-1.qcow2")
    assert (first.read_bytes, first.write_requests) == (1000, 20)
    assert (first.capacity_bytes, first.allocation_bytes) == (42949672960, 1000000)
    assert (second.id, second.path, second.read_bytes) == ("disk-2", "volumes/disk-2", 0)
    nic = seen.nics[0]
    assert (nic.mac, nic.port_uuid, nic.device) == ("52:54:00:00:00:01", "port-1", "vnet7")
    assert (nic.rx_bytes, nic.rx_packets, nic.tx_drops) == (5, 6, 7)
    assert seen.pci_devices == (PciAddress(0, 0x3B, 0, 0),)
    # The second disk's counters were not told: they are unknown, and not 0.
    assert [disk.counted for disk in seen.disks] == [True, False]
    assert nic.counted


def test_a_run_is_named_by_the_driver() -> None:
    xml, moment = parse.DomainXml.parse(DOMAIN), datetime.now(UTC)
    seen = parse.observation("u", "vm-1", xml, STATS, persistent=True, moment=moment, run="4")
    assert seen.run == "4"


def test_the_counters_of_a_host() -> None:
    times = {"user": 5, "kernel": 7, "idle": 100, "iowait": 3}
    memory = {"total": 1000, "free": 100, "cached": 300, "buffers": 50}
    seen = parse.host_counters(8, times, memory)
    assert seen == HostCounters(8, 12, 3, 100, 1000, 450)
    # A host may add up caches that lie on several nodes to more than there is.
    odd = parse.host_counters(8, {}, {"total": 10, "free": 9, "cached": 9})
    assert (odd.available_kib, odd.busy_ns, odd.idle_ns) == (10, 0, 0)


def test_a_busy_domain_that_tells_only_its_state_is_still_seen() -> None:
    bare = {key: value for key, value in STATS.items() if key.startswith("state.")}
    xml = parse.DomainXml.parse(DOMAIN)
    seen = parse.observation("u", "vm-1", xml, bare, persistent=True, moment=datetime.now(UTC))
    assert seen.power_state is PowerState.RUNNING
    # An older libvirt does not tell for how long its vCPUs waited: not known, and not 0.
    assert seen.cpu_delay_ns is None
    assert seen.balloon is None
    assert seen.vcpus == 0
    assert [disk.id for disk in seen.disks] == ["disk-1", "disk-2"]
    assert not any(disk.counted for disk in seen.disks)
    assert not any(nic.counted for nic in seen.nics)
    assert seen.cpu_time_ns == 0


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        (libvirt.VIR_DOMAIN_RUNNING, 1, PowerState.RUNNING),
        (libvirt.VIR_DOMAIN_BLOCKED, 0, PowerState.RUNNING),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR, PowerState.PAUSED),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP, PowerState.STOPPED),
        (libvirt.VIR_DOMAIN_SHUTDOWN, 1, PowerState.RUNNING),
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN, PowerState.STOPPED),
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED, PowerState.CRASHED),
        (libvirt.VIR_DOMAIN_CRASHED, 0, PowerState.CRASHED),
        (libvirt.VIR_DOMAIN_PMSUSPENDED, 0, PowerState.PAUSED),
    ],
)
def test_power_states(state: int, reason: int, expected: PowerState) -> None:
    assert parse.power_state(state, reason) is expected


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        (libvirt.VIR_DOMAIN_RUNNING, 1, None),
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN, None),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP, None),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER, PauseReason.BY_HAND),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR, PauseReason.IO_ERROR),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION, PauseReason.IN_TRANSIT),
        (
            libvirt.VIR_DOMAIN_PAUSED,
            libvirt.VIR_DOMAIN_PAUSED_POSTCOPY_FAILED,
            PauseReason.MIGRATION_FAILED,
        ),
        (libvirt.VIR_DOMAIN_PAUSED, 999, PauseReason.OTHER),
        (libvirt.VIR_DOMAIN_PMSUSPENDED, 0, PauseReason.GUEST_SUSPENDED),
    ],
)
def test_reasons_of_a_pause(state: int, reason: int, expected: PauseReason | None) -> None:
    assert parse.pause_reason(state, reason) is expected


def test_reasons_are_words() -> None:
    paused = libvirt.VIR_DOMAIN_PAUSED
    assert parse.power_reason(paused, libvirt.VIR_DOMAIN_PAUSED_IOERROR) == "disk error"
    assert parse.power_reason(libvirt.VIR_DOMAIN_RUNNING, 1) == ""


def test_the_screens_endpoint_needs_a_port_and_an_address() -> None:
    endpoint = parse.DomainXml.parse(DOMAIN).vnc_endpoint()
    assert endpoint is not None
    assert (endpoint.address, endpoint.port) == ("10.0.0.11", 5903)
    assert parse.DomainXml.parse(DOMAIN.replace("5903", "-1")).vnc_endpoint() is None
    assert parse.DomainXml.parse("<domain/>").vnc_endpoint() is None


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (libvirt.VIR_ERR_NO_DOMAIN, "Domain not found", DomainNotFound),
        (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, "QEMU guest agent is not connected", AgentUnavailable),
        (libvirt.VIR_ERR_AGENT_UNSYNCED, "agent not synced", AgentUnavailable),
        (
            libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
            "argument unsupported: QEMU guest agent is not configured",
            AgentUnavailable,
        ),
        (
            libvirt.VIR_ERR_INTERNAL_ERROR,
            "unable to execute QEMU agent command 'guest-exec': no such file",
            AgentRefused,
        ),
        (libvirt.VIR_ERR_OPERATION_INVALID, "domain is not running", DomainNotRunning),
        (libvirt.VIR_ERR_OPERATION_TIMEOUT, "cannot acquire state change lock", OperationTimeout),
        (libvirt.VIR_ERR_INTERNAL_ERROR, "qemu: Cannot allocate memory", HostFull),
        (libvirt.VIR_ERR_XML_ERROR, "missing source", Refused),
    ],
)
def test_errors_have_the_ports_names(code: int, text: str, expected: type[HypervisorError]) -> None:
    error = libvirt.libvirtError("failed")
    error.err = (code, libvirt.VIR_FROM_QEMU, text, 2, None, None, None, 0, 0)
    translated = translate(error)
    assert type(translated) is expected
    assert translated.code == expected.code
