"""The XML that reaches libvirt, compared with files that were looked at.

After a wanted change: `SCLOUD_REGENERATE_GOLDEN=1 pytest tests/compute/drivers/test_domain_xml.py`,
then read the difference before committing it.
"""

import dataclasses
import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from compute.hypervisor.base import (
    DiskAttachment,
    DiskLimits,
    DomainSpec,
    HostRef,
    NicSpec,
    PciAddress,
)
from compute.hypervisor.libvirt import build, elements
from compute.hypervisor.libvirt.build import HostTraits
from compute.hypervisor.libvirt.migration import for_destination
from compute.hypervisor.libvirt.parse import DomainXml
from compute.hypervisor.libvirt.reboot import is_same
from compute.hypervisor.libvirt.xmlobject import XmlObject, at
from compute.storage.base import FileSource, RbdSource

GOLDEN = Path(__file__).parent / "golden"
UUID = "6b1cf3a4-9c1f-4d4e-8f0a-3d0c4f2f7a11"

TCG = HostTraits(accelerated=False, address="10.0.0.11", offloads=False)
KVM = HostTraits(accelerated=True, address="10.0.0.12", offloads=True)
NO_CGROUPS = dataclasses.replace(TCG, cpu_tuning=False)

ROOT = DiskAttachment(
    "disk-root00001", "vda", FileSource("/pool/volumes/disk-root00001.qcow2"), boot=True
)
SMALL = DomainSpec(
    uuid=UUID, name="vm-small0001", vcpus=1, memory_mib=1024, disks=(ROOT,), title="web <1> & co"
)
FULL = dataclasses.replace(
    SMALL,
    name="vm-full00001",
    vcpus=2,
    memory_mib=4096,
    max_vcpus=8,
    max_memory_mib=16384,
    cpu_shares=2048,
    cpu_quota_percent=80,
    seed=FileSource("/pool/seeds/vm-full00001.iso", "raw"),
    seed_digest="0123456789abcdef",
    disks=(
        dataclasses.replace(ROOT, limits=DiskLimits(iops=2000, throughput_mbps=120)),
        DiskAttachment(
            "disk-data00001",
            "vdb",
            RbdSource(
                pool="volumes",
                image="disk-data00001",
                monitors=(("10.0.0.1", 6789), ("10.0.0.2", 6789)),
                user="scloud",
                secret_uuid="0f8b9d5e-7a61-4b8f-9d1c-2f6a5b4c3d2e",
            ),
            DiskLimits(throughput_mbps=50),
            readonly=True,
        ),
    ),
    nics=(
        NicSpec("nic-one000001", "8a7f1a3e-7a44-4f53-9a67-0e1b0d8a2c11", "52:54:00:00:00:01"),
        NicSpec(
            "nic-two000001",
            "8a7f1a3e-7a44-4f53-9a67-0e1b0d8a2c12",
            "52:54:00:00:00:02",
            mtu=1500,
            link_up=False,
        ),
    ),
    pci_devices=(PciAddress.parse("0000:3b:00.0"), PciAddress.parse("0001:af:1f.7")),
)
ARM = dataclasses.replace(
    SMALL,
    name="vm-arm000001",
    arch="aarch64",
    seed=FileSource("/pool/seeds/vm-arm000001.iso", "raw"),
)

WINDOWS = dataclasses.replace(
    SMALL, name="vm-windows001", machine_type="pc-q35-7.2", windows=True, watchdog=True
)
WINDOWS_ON_ARM = dataclasses.replace(ARM, machine_type="virt-7.2", windows=True)

CASES = {
    "small-tcg": (SMALL, TCG),
    "small-no-cgroups": (SMALL, NO_CGROUPS),
    "full-kvm": (FULL, KVM),
    "full-tcg": (FULL, TCG),
    "arm-tcg": (ARM, TCG),
    "arm-kvm": (ARM, KVM),
    "windows-kvm": (WINDOWS, KVM),
    "windows-tcg": (WINDOWS, TCG),
    "windows-arm-kvm": (WINDOWS_ON_ARM, KVM),
}


def built(name: str) -> elements.Domain:
    """The domain of a case, with a password that is the same each time."""
    spec, host = CASES[name]
    return build.build_domain(spec, host, vnc_password="password")


@pytest.mark.parametrize("name", CASES)
def test_the_domain_is_the_one_that_was_looked_at(name: str) -> None:
    path = GOLDEN / f"{name}.xml"
    text = built(name).to_xml()
    if os.environ.get("SCLOUD_REGENERATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.xml")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_libvirts_own_schema_takes_the_domain(name: str, tmp_path: Path) -> None:
    path = tmp_path / "domain.xml"
    path.write_text(built(name).to_xml())
    result = subprocess.run(
        ["virt-xml-validate", path, "domain"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def _objects(element: XmlObject) -> list[XmlObject]:
    found = [element]
    for name, _ in element.properties():
        value = getattr(element, name)
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, XmlObject):
                found.extend(_objects(child))
    return found


def test_every_property_of_every_element_is_in_a_golden_file() -> None:
    written: set[tuple[type, str]] = set()
    for name in CASES:
        for element in _objects(built(name)):
            for field, _ in element.properties():
                if getattr(element, field) not in (None, ()):
                    written.add((type(element), field))
    classes = [
        value
        for value in vars(elements).values()
        if isinstance(value, type) and issubclass(value, XmlObject) and value.TAG
    ]
    # A key of a pool is no part of a domain: tests on a Ceph cluster have libvirt keep one.
    classes.remove(elements.CephSecret)
    missing = [
        f"{cls.__name__}.{field}"
        for cls in classes
        for field, _ in cls.properties()
        if (cls, field) not in written
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("spec", "machine"),
    [
        (SMALL, "q35"),
        (ARM, "virt"),
        (dataclasses.replace(SMALL, machine_type="pc-q35-6.2"), "pc-q35-6.2"),
        (dataclasses.replace(ARM, machine_type="virt-6.2"), "virt-6.2"),
    ],
)
def test_the_machine_type_is_the_one_that_was_asked_for(spec: DomainSpec, machine: str) -> None:
    domain = DomainXml(build.build_domain(spec, KVM, vnc_password="").to_element())
    assert domain.machine_type == machine


@pytest.mark.parametrize(
    ("spec", "host", "hyperv", "clock", "timers"),
    [
        (SMALL, KVM, False, "utc", []),
        (WINDOWS, KVM, True, "localtime", ["rtc", "pit", "hpet", "hypervclock"]),
        # Emulated CPUs have none of Hyper-V's interfaces; ARM has none of these clocks.
        (WINDOWS, TCG, False, "localtime", ["rtc", "pit", "hpet"]),
        (WINDOWS_ON_ARM, KVM, False, "localtime", []),
    ],
)
def test_windows_gets_what_it_expects_of_a_machine(
    spec: DomainSpec, host: HostTraits, hyperv: bool, clock: str, timers: list[str]
) -> None:
    root = build.build_domain(spec, host, vnc_password="").to_element()
    assert (root.find("features/hyperv") is not None) == hyperv
    offset = root.find("clock")
    assert offset is not None
    assert offset.get("offset") == clock
    assert [timer.get("name") for timer in offset] == timers


def test_only_a_domain_with_a_watchdog_has_one() -> None:
    def watchdogs(spec: DomainSpec) -> list[dict[str, str]]:
        root = build.build_domain(spec, KVM, vnc_password="").to_element()
        return [dict(found.items()) for found in root.iterfind("devices/watchdog")]

    assert watchdogs(SMALL) == []
    assert watchdogs(WINDOWS) == [{"model": "i6300esb", "action": "reset"}]


def test_every_domain_has_a_source_of_random_numbers() -> None:
    for name in CASES:
        root = ElementTree.fromstring(built(name).to_xml())
        assert len(root.findall("devices/rng[@model='virtio']")) == 1


@pytest.mark.parametrize(
    "change", [{"machine_type": "pc-q35-7.2"}, {"windows": True}, {"watchdog": True}]
)
def test_the_machine_around_what_runs_can_wait_for_the_next_start(change: dict[str, Any]) -> None:
    """A restart of a VM of an earlier release is a reboot, as it was."""
    wanted = dataclasses.replace(SMALL, **change)
    live, other = (
        DomainXml(build.build_domain(spec, KVM, vnc_password="").to_element())
        for spec in (SMALL, wanted)
    )
    assert ElementTree.tostring(live.root) != ElementTree.tostring(other.root)
    assert is_same(live, other)


def test_no_disk_is_opened_without_a_stated_format() -> None:
    """A guessed format lets a guest turn its raw disk into one that names files of the host."""
    for name in CASES:
        for disk in ElementTree.fromstring(built(name).to_xml()).findall("devices/disk"):
            driver = disk.find("driver")
            assert driver is not None
            assert driver.get("type") in ("qcow2", "raw")


def test_an_error_of_the_storage_pauses_the_guest_and_reaches_no_file_system() -> None:
    for name in CASES:
        for disk in ElementTree.fromstring(built(name).to_xml()).findall("devices/disk"):
            driver = disk.find("driver")
            assert driver is not None
            policy = (driver.get("error_policy"), driver.get("rerror_policy"))
            seed = disk.findtext("serial") == build.SEED_SERIAL
            assert policy == ((None, None) if seed else ("stop", "stop"))


def test_the_screen_is_locked_from_birth_and_on_one_address() -> None:
    graphics = DomainXml.parse(built("full-kvm").to_xml()).graphics()
    assert graphics is not None
    assert graphics.get("listen") == KVM.address
    assert graphics.get("passwd")
    assert datetime.fromisoformat(graphics.get("passwdValidTo", "") + "+00:00") < datetime.now(UTC)


def test_a_moved_domain_listens_at_its_destination_and_is_locked_again() -> None:
    there = HostRef("h2", "qemu+tcp://10.0.0.99/system", "10.0.0.99")
    text = built("full-kvm").to_xml().replace("2000-01-01T00:00:00", "2099-01-01T00:00:00")
    moved = for_destination(text, there)
    assert KVM.address not in moved
    assert moved.count("10.0.0.99") == 2
    assert "2099" not in moved
    assert "password" not in re.findall(r'passwd="([^"]*)"', moved)
    before, after = (DomainXml.parse(each).root for each in (text, moved))
    assert [child.tag for child in before] == [child.tag for child in after]
    assert DomainXml.parse(moved).owner == "scloud"


def test_texts_from_outside_cannot_become_elements() -> None:
    spec = dataclasses.replace(SMALL, title='</title><devices><disk type="file"/>')
    root = ElementTree.fromstring(build.build_domain(spec, TCG, vnc_password='"/><evil>').to_xml())
    assert root.findtext("title") == spec.title
    assert len(root.findall("devices/disk")) == 1
    assert root.find(".//evil") is None


def test_paths_share_elements_and_nothing_is_written_for_none() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Sample(XmlObject):
        TAG = "sample"
        a: int = at("x/y@a", 1)
        b: bool = at("x/y@b", False)
        c: str = at("x/y", "text")
        d: str | None = at("x/z@none")
        e: bool | None = at("flag", True)
        f: tuple[XmlObject, ...] = at("list/", ())

    text = Sample().to_xml()
    assert text == (
        '<sample>\n  <x>\n    <y a="1" b="no">text</y>\n  </x>\n  <flag />\n</sample>\n'
    )


@pytest.mark.parametrize("text", ["0000:00:00.0", "0001:af:1f.7"])
def test_pci_addresses_read_as_they_are_written(text: str) -> None:
    assert str(PciAddress.parse(text)) == text


@pytest.mark.parametrize("text", ["", "3b:00.0", "zz:00:00.0", "0000:00:00"])
def test_what_is_no_pci_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        PciAddress.parse(text)
