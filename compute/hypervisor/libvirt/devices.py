"""Disks and interfaces of running and stopped domains."""

import string
import time
from collections.abc import Callable
from dataclasses import replace
from xml.etree import ElementTree

import libvirt

from compute.hypervisor.base import (
    DiskAttachment,
    DiskLimits,
    GuestRefused,
    NicSpec,
    Refused,
    ShrinkRefused,
)
from compute.hypervisor.libvirt.build import build_disk, build_nic
from compute.hypervisor.libvirt.host import CALL_TIMEOUT_S, Host, both, xml_of
from compute.hypervisor.libvirt.overlays import stop_merges
from compute.hypervisor.libvirt.parse import DomainXml, target_of
from compute.storage.base import GIB

MAX_SERIAL_LENGTH = 20
_POLL_S = 0.2
_ASK_AGAIN_S = 5.0

Find = Callable[[DomainXml], ElementTree.Element | None]


def _xml_at(domain: libvirt.virDomain, place: int) -> DomainXml:
    return xml_of(domain, persistent=place == libvirt.VIR_DOMAIN_AFFECT_CONFIG)


def _text(element: ElementTree.Element) -> str:
    return ElementTree.tostring(element, encoding="unicode")


# -- disks -----------------------------------------------------------------------------------------


def attach_disk(host: Host, uuid: str, disk: DiskAttachment) -> str:
    """Attach where it is missing; returns the target."""
    if len(disk.id) > MAX_SERIAL_LENGTH:
        raise Refused(f"A disk id of more than {MAX_SERIAL_LENGTH} characters cannot be shown.")

    def work(domain: libvirt.virDomain) -> str:
        places = both(domain)
        xmls = [_xml_at(domain, place) for place in places]
        attached = [xml.disk(disk.id) for xml in xmls]
        used: set[str] = set().union(*(xml.targets() for xml in xmls))
        present = next((found for found in attached if found is not None), None)
        target = target_of(present) if present is not None else _free_target(disk.target, used)
        text = build_disk(replace(disk, target=target, boot=False)).to_xml()
        for place, found in zip(places, attached, strict=True):
            if found is None:
                domain.attachDeviceFlags(text, place)
        return target

    target = host.with_domain(uuid, work)
    set_disk_limits(host, uuid, disk.id, disk.limits)
    return target


def _free_target(wanted: str, used: set[str]) -> str:
    candidates = [wanted, *(f"vd{letter}" for letter in string.ascii_lowercase)]
    for candidate in candidates:
        if candidate not in used:
            return candidate
    raise Refused("The domain has no free disk target.")


def detach_disk(host: Host, uuid: str, disk_id: str, *, timeout_s: float) -> None:
    def end_merges(domain: libvirt.virDomain) -> None:
        disk = xml_of(domain).disk(disk_id)
        if disk is not None:
            stop_merges(domain, [target_of(disk)])

    host.with_domain(uuid, end_merges)
    _detach(host, uuid, lambda xml: xml.disk(disk_id), timeout_s=timeout_s, what="disk")


def _detach(host: Host, uuid: str, find: Find, *, timeout_s: float, what: str) -> None:
    """Take a device out of the running domain, wait for the guest, then out of the definition."""

    def work(domain: libvirt.virDomain) -> None:
        for place in both(domain):
            deadline = time.monotonic() + timeout_s
            asked_at = float("-inf")
            while (device := find(_xml_at(domain, place))) is not None:
                now = time.monotonic()
                if now > deadline:
                    raise GuestRefused(f"The guest has not released the {what} in time.")
                if now - asked_at > _ASK_AGAIN_S:
                    asked_at = now
                    try:
                        domain.detachDeviceFlags(_text(device), place)
                    except libvirt.libvirtError:
                        # An earlier request may still be in the guest's hands: look, ask again.
                        if place == libvirt.VIR_DOMAIN_AFFECT_CONFIG or not domain.isActive():
                            raise
                else:
                    time.sleep(_POLL_S)

    host.with_domain(uuid, work, timeout_s=2 * timeout_s + CALL_TIMEOUT_S)


def resize_disk(host: Host, uuid: str, disk_id: str, *, size_gib: int) -> None:
    """Grow a running domain's disk; libvirt itself would shrink without a word."""
    wanted = size_gib * GIB

    def work(domain: libvirt.virDomain) -> None:
        target = target_of(_required(xml_of(domain).disk(disk_id)))
        present = domain.blockInfo(target, 0)[0]
        if wanted < present:
            raise ShrinkRefused("A disk can only grow.")
        if wanted > present:
            stop_merges(domain, [target])
            domain.blockResize(target, wanted, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)

    host.with_domain(uuid, work, running=True)


def set_disk_limits(host: Host, uuid: str, disk_id: str, limits: DiskLimits) -> None:
    """Set limits; libvirt takes running domain and definition only in separate calls."""
    throughput = limits.throughput_mbps
    parameters = {
        "total_iops_sec": limits.iops or 0,
        "total_bytes_sec": 0 if throughput is None else throughput * 1_000_000,
    }

    def work(domain: libvirt.virDomain) -> None:
        for place in both(domain):
            target = target_of(_required(_xml_at(domain, place).disk(disk_id)))
            present = domain.blockIoTune(target, place)
            if any(present.get(name, 0) != value for name, value in parameters.items()):
                domain.setBlockIoTune(target, parameters, place)

    host.with_domain(uuid, work)


def _required(element: ElementTree.Element | None) -> ElementTree.Element:
    if element is None:
        raise Refused("The domain has no such device.")
    return element


# -- interfaces --------------------------------------------------------------------------------


def attach_nic(host: Host, uuid: str, nic: NicSpec) -> None:
    text = build_nic(nic, offloads=host.ref.offloads).to_xml()

    def work(domain: libvirt.virDomain) -> None:
        for place in both(domain):
            if _xml_at(domain, place).nic(nic.mac) is None:
                domain.attachDeviceFlags(text, place)

    host.with_domain(uuid, work)
    set_nic_link(host, uuid, nic.mac, up=nic.link_up)


def detach_nic(host: Host, uuid: str, mac: str, *, timeout_s: float) -> None:
    _detach(host, uuid, lambda xml: xml.nic(mac), timeout_s=timeout_s, what="network interface")


def set_nic_link(host: Host, uuid: str, mac: str, *, up: bool) -> None:
    """Plug or unplug the cable."""
    wanted = "up" if up else "down"

    def work(domain: libvirt.virDomain) -> None:
        for place in both(domain):
            nic = _required(_xml_at(domain, place).nic(mac))
            link = nic.find("link")
            if link is None:
                link = ElementTree.SubElement(nic, "link", state="up")
            if link.get("state") != wanted:
                link.set("state", wanted)
                domain.updateDeviceFlags(_text(nic), place)

    host.with_domain(uuid, work)
