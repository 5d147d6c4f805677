"""What libvirt is asked and what its answers mean, for disks whose snapshots are overlays."""

from types import SimpleNamespace
from typing import Any

import libvirt
import pytest

from compute.hypervisor.base import Refused
from compute.hypervisor.libvirt import overlays
from compute.hypervisor.libvirt.parse import DomainXml
from compute.storage.base import FileSource, Merging

XML = """
<domain><devices>
  <disk type='file'><driver name='qemu' type='qcow2'/><source file='/p/overlays/d/2.qcow2'/>
    <backingStore type='file'><format type='qcow2'/><source file='/p/overlays/d/1.qcow2'/>
      <backingStore type='file'><format type='qcow2'/><source file='/p/volumes/d.qcow2'/>
        <backingStore/></backingStore></backingStore>
    <target dev='vdb' bus='virtio'/><serial>disk-1</serial></disk>
  <disk type='file'><source file='/p/volumes/e.qcow2'/><target dev='vda'/>
    <serial>disk-2</serial></disk>
</devices></domain>
"""


class Domain:
    """A domain that notes what it is asked."""

    def __init__(self, job: dict[str, int] | None = None) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.job = job or {}

    def XMLDesc(self, _flags: int = 0) -> str:  # libvirt's name
        return XML

    def isActive(self) -> int:  # libvirt's name
        return 1

    def blockJobInfo(self, _target: str, _flags: int) -> dict[str, int]:  # libvirt's name
        return self.job

    def __getattr__(self, name: str) -> Any:
        return lambda *words: self.asked.append((name, *words))


def host_with(domain: Domain) -> Any:
    """A host that knows one domain."""
    return SimpleNamespace(with_domain=lambda uuid, work, running: work(domain))


def merging(child: str, into: str) -> Merging:
    return Merging(FileSource(child), FileSource(into))


def test_a_chain_is_read_from_the_top() -> None:
    disk = DomainXml.parse(XML).disk("disk-1")
    assert disk is not None
    assert overlays.chain_of(disk) == [
        "/p/overlays/d/2.qcow2",
        "/p/overlays/d/1.qcow2",
        "/p/volumes/d.qcow2",
    ]


def test_one_disk_is_changed_and_the_others_take_no_part() -> None:
    domain = Domain()
    overlays.change(host_with(domain), "u", "disk-1", FileSource("/p/overlays/d/2.qcow2"))
    assert domain.asked == []
    overlays.change(host_with(domain), "u", "disk-1", FileSource("/p/overlays/d/3.qcow2"))
    ((name, text, _flags),) = domain.asked
    assert name == "snapshotCreateXML"
    assert text == (
        '<domainsnapshot><disks><disk name="vda" snapshot="no" />'
        '<disk name="vdb" snapshot="external" type="file"><driver type="qcow2" />'
        '<source file="/p/overlays/d/3.qcow2" /></disk></disks></domainsnapshot>'
    )


def test_a_merge_is_begun_once_and_done_when_the_chain_says_so() -> None:
    one, two, first = "/p/overlays/d/1.qcow2", "/p/overlays/d/2.qcow2", "/p/volumes/d.qcow2"
    domain = Domain()
    assert not overlays.merge(host_with(domain), "u", "disk-1", merging(one, first))
    assert domain.asked == [
        ("blockCommit", "vdb", first, one, 0, libvirt.VIR_DOMAIN_BLOCK_COMMIT_RELATIVE)
    ]
    busy = Domain({"type": libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT})
    assert not overlays.merge(host_with(busy), "u", "disk-1", merging(one, first))
    assert busy.asked == []
    gone = "/p/overlays/d/7.qcow2"
    assert overlays.merge(host_with(domain), "u", "disk-1", merging(gone, first))
    for wrong in (merging(two, one), merging(two, first), merging(gone, "/p/other.qcow2")):
        with pytest.raises(Refused):
            overlays.merge(host_with(domain), "u", "disk-1", wrong)


def test_a_merge_is_ended_for_what_libvirt_does_not_do_beside_it() -> None:
    busy = Domain({"type": libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT})
    overlays.stop_merges(busy, ["vda"])  # type: ignore[arg-type]  # a stand-in
    assert busy.asked == [("blockJobAbort", "vda", 0)]
    idle = Domain()
    overlays.stop_merges(idle, ["vda"])  # type: ignore[arg-type]  # a stand-in
    assert idle.asked == []
