"""Booting the guest again in the machine that runs, and whether that is enough."""

import string
from typing import Any

import libvirt

from compute.hypervisor.libvirt.build import SEED_SERIAL
from compute.hypervisor.libvirt.host import Host
from compute.hypervisor.libvirt.parse import (
    DomainXml,
    memory_kib,
    pci_address_of,
    source_path,
    target_of,
)

_BOOTED = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_BOOTED)


def watch(host: Host, uuid: str) -> None:
    """Take "booted" away as the reason why the domain runs.

    libvirt keeps the reason over its own restarts, and says "booted" again when it resets the
    machine of a guest that has shut down. Nothing else that can be asked tells such a boot from
    the one before: the machine's process and all its counters go on.
    """

    def work(domain: libvirt.virDomain) -> None:
        state, reason = domain.state()
        if (state, reason) == _BOOTED:
            domain.suspend()
            state = libvirt.VIR_DOMAIN_PAUSED
        if state == libvirt.VIR_DOMAIN_PAUSED:
            domain.resume()

    host.with_domain(uuid, work, running=True)


def happened(host: Host, uuid: str) -> bool:
    """Whether the domain runs because it booted."""
    return host.with_domain(uuid, lambda domain: tuple(domain.state()) == _BOOTED)


def is_same(live: DomainXml, wanted: DomainXml) -> bool:
    """Whether a boot of what runs gives the guest the machine that is wanted.

    Limits of CPU are left out: they are set while the domain runs. So is what belongs to the host,
    such as a newer machine type, which can wait for the next start.
    """
    return _facts(live) == _facts(wanted) and _disks_in_order(live)


def _facts(xml: DomainXml) -> dict[str, Any]:
    vcpu = xml.root.find("vcpu")
    most = "" if vcpu is None else vcpu.text or ""
    growth = xml.virtio_memory()
    size = 0 if growth is None else memory_kib(growth.find("target/size"))
    requested = 0 if growth is None else memory_kib(growth.find("target/requested"))
    total = memory_kib(xml.root.find("memory"))
    return {
        "vcpus": (most if vcpu is None else vcpu.get("current", most), most),
        "memory": (total - size + requested, total),
        "seed": xml.seed_digest,
        "disks": {
            disk.findtext("serial"): (
                disk.get("device"),
                target_of(disk),
                source_path(disk),
                disk.find("readonly") is not None,
                *(disk.findtext(f"iotune/total_{what}_sec", "0") for what in ("bytes", "iops")),
            )
            for disk in xml.disks()
            # Of the seed, the digest tells.
            if disk.findtext("serial") != SEED_SERIAL
        },
        "nics": {
            tuple(
                element.get(attribute)
                for path, attribute in (
                    ("mac", "address"),
                    ("virtualport/parameters", "interfaceid"),
                    ("mtu", "size"),
                )
                if (element := nic.find(path)) is not None
            )
            for nic in xml.root.findall("devices/interface")
        },
        "pci": set(xml.pci_devices()),
    }


def _disks_in_order(live: DomainXml) -> bool:
    """Whether a boot gives the virtio disks the letters of their targets.

    A guest counts them by their places on the bus, where what was plugged in came last.
    """
    places = sorted(
        (pci_address_of(disk), target_of(disk))
        for disk in live.root.findall("devices/disk[target]")
        if target_of(disk).startswith("vd")
    )
    targets = [target for _, target in places]
    return targets == [f"vd{letter}" for letter in string.ascii_lowercase[: len(targets)]]
