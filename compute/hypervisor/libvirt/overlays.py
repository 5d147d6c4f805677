"""Disks of running domains whose snapshots are overlays: a new file on top, merges below it.

libvirt does both as an external snapshot of one disk and as a block commit. What it tells
afterwards is looked at and not waited for: its events are lost when it is restarted.
"""

import itertools
from collections.abc import Iterable
from xml.etree import ElementTree

import libvirt

from compute.hypervisor.base import Refused
from compute.hypervisor.libvirt.host import Host, xml_of
from compute.hypervisor.libvirt.parse import DomainXml, target_of
from compute.storage.base import DiskSource, FileSource, Merging

# Without metadata of libvirt's own: the pool's manifest is what knows the snapshots.
_CHANGE = (
    libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
    | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
    | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
    | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT
)


def change(host: Host, uuid: str, disk_id: str, source: DiskSource) -> None:
    """Put the overlay on top unless it is there."""
    path = _path(source)

    def work(domain: libvirt.virDomain) -> None:
        xml = xml_of(domain)
        disk = _disk(xml, disk_id)
        if chain_of(disk)[0] != path:
            stop_merges(domain, [target_of(disk)])
            domain.snapshotCreateXML(_snapshot(xml, target_of(disk), path), _CHANGE)

    host.with_domain(uuid, work, running=True)


def merge(host: Host, uuid: str, disk_id: str, merging: Merging) -> bool:
    """Begin the merge, or look whether it is done."""
    child, into = _path(merging.child), _path(merging.into)

    def is_done(domain: libvirt.virDomain) -> bool:
        chain = chain_of(_disk(xml_of(domain), disk_id))
        if child not in chain and into in chain:
            return True
        if chain[0] == child or (child, into) not in itertools.pairwise(chain):
            raise Refused("The domain has other files in its chain.")
        return False

    def work(domain: libvirt.virDomain) -> bool:
        target = target_of(_disk(xml_of(domain), disk_id))
        # Before the chain: a merge that ends in between has changed it.
        if domain.blockJobInfo(target, 0):
            return False
        if is_done(domain):
            return True
        # Relative, as the names in the headers are: the pool may be moved.
        flags = libvirt.VIR_DOMAIN_BLOCK_COMMIT_RELATIVE
        try:
            domain.blockCommit(target, into, child, 0, flags)
        except libvirt.libvirtError:
            # libvirt hears a moment after QEMU that a merge has ended, and only then changes the
            # chain: it may have done so since.
            if is_done(domain):
                return True
            raise
        return False

    return host.with_domain(uuid, work, running=True)


def stop_merges(domain: libvirt.virDomain, targets: Iterable[str]) -> None:
    """End merges that are under way, which libvirt lets nothing else happen beside.

    All files stay as they are in the chain, and the merge may begin anew.
    """
    for target in targets:
        job = domain.blockJobInfo(target, 0) if domain.isActive() else None
        if job and job.get("type") == libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT:
            domain.blockJobAbort(target, 0)


def chain_of(disk: ElementTree.Element) -> list[str]:
    """Return the paths of a disk's files, the one that is written to first."""
    found = []
    one: ElementTree.Element | None = disk
    while one is not None:
        source = one.find("source")
        if source is None:
            break
        found.append(source.get("file", ""))
        one = one.find("backingStore")
    return found


def _disk(xml: DomainXml, disk_id: str) -> ElementTree.Element:
    disk = xml.disk(disk_id)
    if disk is None or not chain_of(disk):
        raise Refused("The domain has no such disk.")
    return disk


def _path(source: DiskSource) -> str:
    if not isinstance(source, FileSource):
        raise Refused("Only files have overlays.")
    return source.path


def _snapshot(xml: DomainXml, target: str, path: str) -> str:
    """Describe a snapshot of one disk; others would take part unless they say no."""
    root = ElementTree.Element("domainsnapshot")
    disks = ElementTree.SubElement(root, "disks")
    for name in sorted(xml.targets()):
        if name != target:
            ElementTree.SubElement(disks, "disk", name=name, snapshot="no")
    one = ElementTree.SubElement(disks, "disk", name=target, snapshot="external", type="file")
    ElementTree.SubElement(one, "driver", type="qcow2")
    ElementTree.SubElement(one, "source", file=path)
    return ElementTree.tostring(root, encoding="unicode")
