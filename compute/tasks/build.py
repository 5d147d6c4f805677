"""From rows to what the drivers take: the domain of a VM and its seed. Calls no host."""

from collections.abc import Sequence

from django.conf import settings

from compute.hypervisor.base import (
    Architecture,
    DiskAttachment,
    DiskLimits,
    DomainSpec,
    NicSpec,
)
from compute.hypervisor.cloudinit import SeedSpec
from compute.models import VM, Cluster, Disk
from compute.models.image import OsFamily
from compute.models.platform import Architecture as Arch
from compute.rules.guests import reads_tables
from compute.rules.hostnames import hostname_for
from compute.rules.logins import open_hash
from compute.rules.targets import SYSTEM_TARGET
from compute.storage.base import DiskSource
from compute.tasks import gpu
from network.rules.guest import NicPlan
from network.tasks import plumbing


def attachment(disk: Disk, source: DiskSource) -> DiskAttachment:
    """Return how a disk hangs on its domain."""
    return DiskAttachment(
        id=disk.id,
        target=disk.target or SYSTEM_TARGET,
        source=source,
        limits=limits_of(disk),
        boot=disk.is_system,
    )


def limits_of(disk: Disk) -> DiskLimits:
    """Return the limits that the disk's type sets."""
    return DiskLimits(
        iops=disk.disk_type.iops_limit, throughput_mbps=disk.disk_type.throughput_limit_mbps
    )


def guests_of(cluster: Cluster) -> Architecture:
    """Return the architecture of the guests of a cluster, as drivers call it."""
    return "aarch64" if cluster.architecture == Arch.AARCH64 else "x86_64"


def domain_spec(
    vm: VM,
    disks: Sequence[tuple[Disk, DiskSource]],
    nics: Sequence[plumbing.NicSpec],
    seed: DiskSource | None,
    seed_digest: str,
) -> DomainSpec:
    """Return the domain of a VM as its rows say it shall be."""
    return DomainSpec(
        uuid=str(vm.uuid),
        name=vm.id,
        title=vm.name,
        vcpus=vm.vcpus,
        memory_mib=vm.memory_mib,
        max_vcpus=vm.max_vcpus,
        max_memory_mib=vm.max_memory_mib,
        arch=guests_of(vm.cluster),
        machine_type=vm.machine_type,
        windows=vm.image.os_family == OsFamily.WINDOWS,
        watchdog=vm.image.watchdog,
        cpu_shares=min(262_144, vm.cluster.cpu_shares_per_vcpu * vm.vcpus),
        cpu_quota_percent=vm.cluster.cpu_quota_percent,
        disks=tuple(attachment(disk, source) for disk, source in disks),
        nics=tuple(
            NicSpec(id=nic.nic_id, port_uuid=nic.port_uuid, mac=nic.mac, mtu=nic.mtu_bytes)
            for nic in nics
        ),
        seed=seed,
        seed_digest=seed_digest,
        pci_devices=gpu.addresses(vm),
    )


def seed_spec(vm: VM, disks: Sequence[Disk], nics: Sequence[NicPlan]) -> SeedSpec:
    """Return what the guest is told when it boots."""
    keys = tuple(line.strip() for line in vm.ssh_public_key.splitlines() if line.strip())
    return SeedSpec(
        instance_id=f"{vm.id}-{vm.seed_generation}",
        # Empty where a worker of an earlier version created the VM.
        hostname=vm.hostname or hostname_for(vm.name, vm.id),
        account=vm.admin_account,
        password_hash=open_hash(vm),
        ssh_keys=keys,
        time_zone=settings.SCLOUD_GUEST_TIME_ZONE,
        nics=tuple(nics),
        tables=reads_tables(vm.image),
        data_disk_serials=tuple(disk.id for disk in disks if disk.format_at_boot),
        user_data=vm.user_data,
    )
