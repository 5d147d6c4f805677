"""Booting the guest again in the machine that runs, and whether that is enough."""

import string
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

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


class Reboots:
    """Who wants to know of the next reset of a domain of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._wanted: dict[str, Callable[[], None]] = {}
        self._heard_on: WeakSet[libvirt.virConnect] = WeakSet()

    def tell(self, uuid: str, noted: Callable[[], None]) -> None:
        """Have `noted` called once, in a thread of its own, when the domain is reset."""

        def work(conn: libvirt.virConnect) -> None:
            with self._lock:
                self._wanted[uuid] = noted
                if conn not in self._heard_on:
                    # Also what is reset because its guest has shut down: libvirt tells nowhere
                    # else of it, and no state or counter that can be asked changes.
                    conn.domainEventRegisterAny(
                        None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._happened, None
                    )
                    self._heard_on.add(conn)

        self._host.call(work)

    def _happened(
        self, conn: libvirt.virConnect, domain: libvirt.virDomain, opaque: object
    ) -> None:
        with self._lock:
            noted = self._wanted.pop(domain.UUIDString(), None)
        if noted is not None:
            # Not in the thread of the events, which keeps connections alive.
            threading.Thread(target=noted, name="libvirt-reboot", daemon=True).start()


def is_same(live: DomainXml, wanted: DomainXml) -> bool:
    """Whether a boot of what runs gives the guest the machine that is wanted.

    Limits of CPU are left out: they are set while the domain runs. So is the machine around them,
    such as its type or a watchdog, which can wait for the next start.
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
            # The digest stands for the seed.
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
