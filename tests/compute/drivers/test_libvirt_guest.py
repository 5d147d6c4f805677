"""The libvirt driver on real guests: what the guest and the host say, not what the driver says."""

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import libvirt
import libvirt_qemu
import pytest
from django.conf import settings

from compute.hypervisor.base import (
    STARTING,
    AgentUnavailable,
    DiskAttachment,
    DiskLimits,
    DomainSpec,
    HostRef,
    HostUnreachable,
    Hypervisor,
    HypervisorError,
    OperationTimeout,
    PauseReason,
    PowerState,
    Refused,
    StartUnfinished,
)
from compute.hypervisor.libvirt import connection, migration
from compute.hypervisor.libvirt.parse import DomainXml, alias_of
from compute.hypervisor.opening import open_hypervisor
from compute.storage.base import FileSource
from compute.vnc import rfb, screens
from compute.vnc.screen import Endpoint, ScreenOpener
from scloud.lab import region
from scloud.lab.plan import Lab
from tests.compute.drivers.rig import Rig, eventually, new_id

pytestmark = pytest.mark.lab


def shell(hypervisor: Hypervisor, spec: DomainSpec, command: str, timeout_s: float = 30.0) -> str:
    """Run a command in the guest, which must succeed."""
    result = hypervisor.run(spec.uuid, ["/bin/sh", "-c", command], timeout_s=timeout_s)
    assert result.exit_code == 0, result
    return result.stdout.decode().strip()


def seen_as(hypervisor: Hypervisor, spec: DomainSpec, disk_id: str) -> str:
    """The guest's name for the disk with that serial; empty when it sees none."""
    look = f"for d in /sys/block/vd*; do grep -qx {disk_id} $d/serial && basename $d; done; true"
    return shell(hypervisor, spec, look)


def device_of(hypervisor: Hypervisor, spec: DomainSpec, disk_id: str) -> str:
    """The guest's name for the disk with that serial, which a guest takes a while to find."""
    found: list[str] = []

    def is_found() -> bool:
        found[:] = [seen_as(hypervisor, spec, disk_id)]
        return found != [""]

    eventually(is_found, timeout_s=30, poll_s=0.2)
    return found[0]


def crypt_hash(password: str, salt: str) -> str:
    """A SHA-512 crypt(3) hash, made by another program."""
    words = ["openssl", "passwd", "-6", "-salt", salt, password]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def live_xml(rig: Rig, spec: DomainSpec, *, inactive: bool = False) -> ElementTree.Element:
    """What libvirt says about the domain, asked without the driver."""
    conn = libvirt.open(rig.here.uri)
    try:
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE if inactive else 0
        return ElementTree.fromstring(conn.lookupByUUIDString(spec.uuid).XMLDesc(flags))
    finally:
        conn.close()


# -- disks -----------------------------------------------------------------------------------------


def test_a_hot_disk_holds_data_grows_and_comes_back_with_it(lab_rig: Rig) -> None:
    rig, spec, disk = lab_rig, lab_rig.guest(), lab_rig.disk()
    h = rig.hypervisor
    h.attach_disk(spec.uuid, disk)
    name = device_of(h, spec, disk.id)
    assert shell(h, spec, f"cat /sys/block/{name}/size") == str(1024**3 // 512)
    shell(h, spec, f"dd if=/dev/urandom of=/dev/{name} bs=1M count=8 && sync")
    content = shell(h, spec, f"head -c 8388608 /dev/{name} | md5sum")
    h.resize_disk(spec.uuid, disk.id, size_gib=2)
    assert shell(h, spec, f"cat /sys/block/{name}/size") == str(2 * 1024**3 // 512)
    h.detach_disk(spec.uuid, disk.id)
    assert seen_as(h, spec, disk.id) == ""
    h.attach_disk(spec.uuid, disk)
    name = device_of(h, spec, disk.id)
    assert shell(h, spec, f"head -c 8388608 /dev/{name} | md5sum") == content
    h.detach_disk(spec.uuid, disk.id)


def test_disk_limits_are_in_the_domain_and_hold_in_the_guest(lab_rig: Rig) -> None:
    rig, spec = lab_rig, lab_rig.guest()
    h, disk = rig.hypervisor, rig.disk(limits=DiskLimits(iops=500, throughput_mbps=2))
    target = h.attach_disk(spec.uuid, disk)
    for inactive in (False, True):
        found = live_xml(rig, spec, inactive=inactive).find(
            f"devices/disk/target[@dev='{target}']/../iotune"
        )
        assert found is not None
        assert found.findtext("total_bytes_sec") == "2000000"
        assert found.findtext("total_iops_sec") == "500"
    name = device_of(h, spec, disk.id)
    write = f"dd if=/dev/zero of=/dev/{name} bs=1M count=8 conv=fsync"
    started = time.monotonic()
    shell(h, spec, write)
    assert time.monotonic() - started > 2.5
    h.set_disk_limits(spec.uuid, disk.id, DiskLimits())
    started = time.monotonic()
    shell(h, spec, write)
    assert time.monotonic() - started < 2.5
    h.detach_disk(spec.uuid, disk.id)


def test_a_snapshot_of_a_running_disk_holds_what_was_there(lab_rig: Rig) -> None:
    rig, spec, disk = lab_rig, lab_rig.guest(), lab_rig.disk()
    h = rig.hypervisor
    h.attach_disk(spec.uuid, disk)
    name = device_of(h, spec, disk.id)
    shell(h, spec, f"mkdir -p /mnt/d && mke2fs -q /dev/{name} && mount /dev/{name} /mnt/d")
    sums = {}
    for number in (1, 2, 3):
        shell(h, spec, f"head -c 2000000 /dev/urandom > /mnt/d/file; echo {number} > /mnt/d/n")
        sums[number] = shell(h, spec, "md5sum < /mnt/d/file")
        assert h.freeze(spec.uuid) >= 2
        try:
            h.snapshot_disk(spec.uuid, disk.id, f"snap-{number}")
        finally:
            h.thaw(spec.uuid)
    h.delete_disk_snapshot(spec.uuid, disk.id, "snap-2")
    mounts = {fs.mount_point: fs.disk_ids for fs in h.filesystems(spec.uuid)}
    assert mounts["/mnt/d"] == (disk.id,)
    copy_id = new_id("disk")
    rig.storage.volume_from_snapshot(copy_id, source_volume_id=disk.id, snapshot="snap-3")
    shell(h, spec, "umount /mnt/d")
    h.detach_disk(spec.uuid, disk.id)
    for number in (1, 3, 1):
        rig.storage.rollback_snapshot(disk.id, f"snap-{number}")
        h.attach_disk(spec.uuid, disk)
        name = device_of(h, spec, disk.id)
        shell(h, spec, f"mount -o ro /dev/{name} /mnt/d")
        assert shell(h, spec, "cat /mnt/d/n") == str(number)
        assert shell(h, spec, "md5sum < /mnt/d/file") == sums[number]
        shell(h, spec, "umount /mnt/d")
        h.detach_disk(spec.uuid, disk.id)
    source = rig.storage.disk_source(copy_id)
    assert isinstance(source, FileSource)
    subprocess.run(["qemu-img", "check", "-q", source.path], check=True)


def test_overlays_outlive_a_merge_and_the_death_of_qemu(lab_rig: Rig) -> None:
    """Written through the domain's own disk by QEMU, so that no guest has to boot for it."""
    rig, h = lab_rig, lab_rig.hypervisor
    spec, disk = rig.started(), rig.disk()
    h.attach_disk(spec.uuid, disk)
    for number in (1, 2, 3, 4):
        for at in range(number, 5):
            qemu_writes(rig, spec, disk.id, f"write -P {number} {at}M 1M")
        if number < 4:
            source = rig.storage.stage_snapshot(disk.id, f"snap-{number}")
            h.change_disk(spec.uuid, disk.id, source)
    qemu_writes(rig, spec, disk.id, "flush")
    rig.storage.delete_snapshot(disk.id, "snap-2")
    merging = rig.storage.next_merge(disk.id)
    assert merging is not None
    eventually(lambda: h.merge_disk(spec.uuid, disk.id, merging), timeout_s=60, poll_s=0.02)
    # Before anybody has published it: the manifest still counts on the file that was merged.
    kill_qemu(spec.name)
    eventually(
        lambda: h.observe(spec.uuid).power_state in (PowerState.STOPPED, PowerState.CRASHED),
        timeout_s=30,
        poll_s=0.1,
    )
    rig.storage.prepare_volume(disk.id)
    assert rig.storage.next_merge(disk.id) == merging
    assert rig.storage.tidy_volume(disk.id)
    now = {number: number for number in (1, 2, 3, 4)}
    first, third = dict.fromkeys((1, 2, 3, 4), 1), {1: 1, 2: 2, 3: 3, 4: 3}
    assert_holds(rig, disk.id, now)
    for name, content in (("snap-3", third), ("snap-1", first)):
        copy_id = new_id("disk")
        rig.storage.volume_from_snapshot(copy_id, source_volume_id=disk.id, snapshot=name)
        assert_holds(rig, copy_id, content)
        rig.storage.rollback_snapshot(disk.id, name)
        assert_holds(rig, disk.id, content)
    h.undefine(spec.uuid)


def qemu_writes(rig: Rig, spec: DomainSpec, disk_id: str, command: str) -> None:
    """Have the domain's QEMU do something with a disk, as its guest would."""
    conn = libvirt.open(rig.here.uri)
    try:
        domain = conn.lookupByUUIDString(spec.uuid)
        disk = DomainXml.parse(domain.XMLDesc(0)).disk(disk_id)
        assert disk is not None
        words = f'qemu-io -d /machine/peripheral/{alias_of(disk)}/virtio-backend "{command}"'
        asked = {"execute": "human-monitor-command", "arguments": {"command-line": words}}
        answer = json.loads(libvirt_qemu.qemuMonitorCommand(domain, json.dumps(asked), 0))
        assert "rror" not in answer["return"], answer
    finally:
        conn.close()


def assert_holds(rig: Rig, volume_id: str, content: dict[int, int]) -> None:
    """Compare the MiBs of a volume with the bytes that fill them."""
    source = rig.storage.disk_source(volume_id)
    assert isinstance(source, FileSource)
    words = [word for at, byte in content.items() for word in ("-c", f"read -P {byte} {at}M 1M")]
    done = subprocess.run(
        ["qemu-io", "-r", "-f", "qcow2", *words, source.path],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "erification failed" not in done.stdout, (volume_id, content)


def kill_qemu(name: str) -> None:
    """Kill the process of a domain, wherever in the lab it runs."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if words.startswith(b"/usr/bin/qemu-system") and f"guest={name},".encode() in words:
                os.kill(int(entry.name), signal.SIGKILL)
                return
    raise AssertionError(f"no QEMU runs {name}")


def test_volumes_of_running_guests_are_in_use(lab_rig: Rig) -> None:
    spec = lab_rig.guest()
    source = spec.disks[0].source
    assert isinstance(source, FileSource)
    result = subprocess.run(
        ["qemu-img", "snapshot", "-c", "x", source.path], capture_output=True, check=False
    )
    assert b"lock" in result.stderr


# -- growth, password, seed ------------------------------------------------------------------------


def test_the_guest_sees_its_new_cpu_and_memory(lab_rig: Rig) -> None:
    rig, h = lab_rig, lab_rig.hypervisor
    spec = rig.spec(growth=True)
    h.define(spec)
    h.start(spec.uuid)
    rig.wait_for_agent(spec.uuid)

    def memory_kib() -> int:
        return int(shell(h, spec, "grep MemTotal /proc/meminfo").split()[1])

    before_kib = memory_kib()
    assert shell(h, spec, "cat /sys/devices/system/cpu/online") == "0"
    h.hot_upgrade(spec.uuid, vcpus=2, memory_mib=512)
    assert shell(h, spec, "cat /sys/devices/system/cpu/online") == "0-1"
    eventually(lambda: memory_kib() - before_kib > 250 * 1024, timeout_s=15, poll_s=0.5)
    h.power_off(spec.uuid)
    h.start(spec.uuid)
    after = h.growth_headroom(spec.uuid)
    assert (after.vcpus, after.memory_mib) == (2, 512)
    h.power_off(spec.uuid)


def test_memory_that_a_guest_cannot_take_counts_all_the_same(lab_rig: Rig) -> None:
    rig, h = lab_rig, lab_rig.hypervisor
    spec = rig.spec(growth=True)
    h.define(spec)
    h.start(spec.uuid)
    # Nobody has booted yet who could take the memory or bring the vCPU online.
    with pytest.raises(AgentUnavailable):
        h.hot_upgrade(spec.uuid, vcpus=2, memory_mib=512)
    given = h.growth_headroom(spec.uuid)
    seen = h.observe(spec.uuid)
    assert (given.vcpus, given.memory_mib) == (seen.vcpus, seen.memory_mib) == (2, 512)
    h.power_off(spec.uuid)


@pytest.fixture
def small_pool(lab_rig: Rig, lab: Lab) -> Iterator[Path]:
    """A file system of 32 MB that only the first host has."""
    place = lab.storage / new_id("small")
    place.mkdir()
    first = lab.hosts[0]
    region.in_host(first, "mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(place))
    yield place
    region.in_host(first, "umount", "-l", str(place))
    place.rmdir()


def test_a_full_storage_pauses_the_guest_and_room_lets_it_go_on(
    lab_rig: Rig, lab: Lab, small_pool: Path
) -> None:
    rig, spec, first = lab_rig, lab_rig.started(), lab.hosts[0]
    rig.wait_for_agent(spec.uuid)
    h, disk_id, file = rig.hypervisor, new_id("disk"), small_pool / "thin.qcow2"
    region.in_host(first, "qemu-img", "create", "-q", "-f", "qcow2", str(file), "1G")
    h.attach_disk(spec.uuid, DiskAttachment(disk_id, "vdb", FileSource(str(file))))
    name = device_of(h, spec, disk_id)
    # Not in the command's own time: the agent answers no more when the guest stands still.
    write = f"sleep 2; dd if=/dev/urandom of=/dev/{name} bs=1M count=64 conv=fsync"
    shell(h, spec, f"({write}; echo $? >/tmp/ended) </dev/null >/dev/null 2>&1 &")
    rig.wait_for_power(spec.uuid, PowerState.PAUSED, timeout_s=60)
    everybody = {one.uuid: one for one in h.observe_all()}
    assert everybody[spec.uuid].pause is PauseReason.NO_SPACE
    assert h.observe(spec.uuid).pause is PauseReason.NO_SPACE
    # Without room it goes nowhere.
    h.resume(spec.uuid)
    rig.wait_for_power(spec.uuid, PowerState.PAUSED, timeout_s=30)
    assert h.observe(spec.uuid).pause is PauseReason.NO_SPACE
    region.in_host(first, "mount", "-o", "remount,size=128m", str(small_pool))
    h.resume(spec.uuid)
    rig.wait_for_agent(spec.uuid)
    eventually(
        lambda: shell(h, spec, "cat /tmp/ended 2>/dev/null; true") == "0",
        timeout_s=120,
        poll_s=1.0,
    )
    assert h.observe(spec.uuid).power_state is PowerState.RUNNING
    assert "error" not in shell(h, spec, f"dmesg | grep {name} | tail -5; true").lower()
    h.power_off(spec.uuid)


def test_passwords_reach_the_guests_shadow_file(lab_rig: Rig) -> None:
    rig, spec = lab_rig, lab_rig.guest()
    h = rig.hypervisor
    h.set_password(spec.uuid, "root", "Plain.Secret1")
    stored = h.read_file(spec.uuid, "/etc/shadow").decode().split(":")[1]
    assert stored == crypt_hash("Plain.Secret1", stored.split("$")[2])
    hashed = crypt_hash("Other.Secret2", "abcdefgh")
    h.set_password(spec.uuid, "root", hashed, encrypted=True)
    assert h.read_file(spec.uuid, "/etc/shadow").decode().split(":")[1] == hashed


def test_the_guest_reads_its_seed_which_takes_no_letter_from_the_disks(lab_rig: Rig) -> None:
    rig, h = lab_rig, lab_rig.hypervisor
    spec = rig.spec()
    spec = dataclasses.replace(spec, disks=(*spec.disks, rig.disk()))
    seed = rig.storage.write_seed(
        spec.name,
        {
            "meta-data": '{"instance-id": "i-1", "local-hostname": "from-seed"}',
            "user-data": "#cloud-config\n{}\n",
        },
    )
    h.define(dataclasses.replace(spec, seed=seed))
    h.start(spec.uuid)
    rig.wait_for_agent(spec.uuid)
    assert shell(h, spec, "hostname") == "from-seed"
    later = rig.disk(target="vdc")
    assert h.attach_disk(spec.uuid, later) == "vdc"
    eventually(lambda: len(h.guest_disks(spec.uuid)) == 3, timeout_s=20, poll_s=0.5)
    letters = {"vda": spec.disks[0].id, "vdb": spec.disks[1].id, "vdc": later.id}
    for name, disk_id in letters.items():
        assert shell(h, spec, f"cat /sys/block/{name}/serial") == disk_id
    said = {disk.disk_id: disk.device for disk in h.guest_disks(spec.uuid)}
    assert said == {disk_id: f"/dev/{name}" for name, disk_id in letters.items()}
    h.undefine(spec.uuid)
    rig.storage.delete_seed(spec.name)


# -- screen ----------------------------------------------------------------------------------------


def _login(rig: Rig, spec: DomainSpec, password: str) -> bool:
    """Open the screen as our VNC processes do; whether it was let in."""
    where = rig.hypervisor.vnc_endpoint(spec.uuid)
    endpoint = Endpoint(
        address=where.address,
        port=where.port,
        password=password,
        tls=screens.encryption(settings.SCLOUD_GATEWAY_CERTIFICATES),
        plain_allowed=False,
    )

    async def login() -> bool:
        try:
            end = await ScreenOpener.connect(endpoint)
        except rfb.WrongPassword:
            return False
        end.close()
        return True

    return asyncio.run(login())


def test_the_screen_speaks_rfb_and_opens_only_with_a_fresh_password(lab_rig: Rig) -> None:
    rig, h = lab_rig, lab_rig.hypervisor
    spec = rig.started()
    endpoint = h.vnc_endpoint(spec.uuid)
    with socket.create_connection((endpoint.address, endpoint.port), timeout=5) as raw:
        assert raw.recv(12).startswith(b"RFB 003.")
        raw.sendall(b"RFB 003.008\n")
        # One way in: VeNCrypt, and with it one as well, a VNC password within TLS.
        assert raw.recv(2) == bytes([1, rfb.SECURITY_VENCRYPT])
        raw.sendall(bytes([rfb.SECURITY_VENCRYPT]))
        assert raw.recv(2) == b"\x00\x02"
        raw.sendall(b"\x00\x02")
        offered = raw.recv(6, socket.MSG_WAITALL)
        assert offered == b"\x00\x01" + rfb.X509_VNC.to_bytes(4, "big")
    assert not _login(rig, spec, "guessed1")
    xml = live_xml(rig, spec).find("devices/graphics")
    assert xml is not None
    assert [listen.get("address") for listen in xml.findall("listen")] == [rig.here.address]
    h.set_vnc_password(spec.uuid, "abcdefgh", valid_until=datetime.now(UTC) + timedelta(seconds=60))
    assert _login(rig, spec, "abcdefgh")
    assert not _login(rig, spec, "abcdefgx")
    h.set_vnc_password(spec.uuid, "abcdefgh", valid_until=datetime.now(UTC) - timedelta(seconds=60))
    assert not _login(rig, spec, "abcdefgh")
    h.power_off(spec.uuid)


# -- migration -------------------------------------------------------------------------------------


def test_a_guest_keeps_running_and_its_screen_is_locked_after_a_move(lab_rig: Rig) -> None:
    rig, spec, disk = lab_rig, lab_rig.guest(), lab_rig.disk()
    here, there = rig.hypervisor, rig.other
    here.attach_disk(spec.uuid, disk)
    name = device_of(here, spec, disk.id)
    shell(here, spec, f"dd if=/dev/urandom of=/dev/{name} bs=1M count=4 && sync")
    content = shell(here, spec, f"head -c 4194304 /dev/{name} | md5sum")
    boot_id = shell(here, spec, "cat /proc/sys/kernel/random/boot_id")
    here.snapshot_disk(spec.uuid, disk.id, "snap-1")
    here.set_vnc_password(
        spec.uuid, "abcdefgh", valid_until=datetime.now(UTC) + timedelta(seconds=600)
    )
    here.migrate(spec.uuid, rig.there)
    assert here.observe(spec.uuid).power_state is PowerState.ABSENT
    seen = there.observe(spec.uuid)
    assert (seen.power_state, seen.persistent) == (PowerState.RUNNING, True)
    assert shell(there, spec, "cat /proc/sys/kernel/random/boot_id") == boot_id
    assert shell(there, spec, f"head -c 4194304 /dev/{name} | md5sum") == content
    there.snapshot_disk(spec.uuid, disk.id, "snap-2")
    assert [one.name for one in rig.storage.list_snapshots(disk.id)] == ["snap-1", "snap-2"]
    there.migrate(spec.uuid, rig.here)
    assert not _login(rig, spec, "abcdefgh")
    here.detach_disk(spec.uuid, disk.id)
    assert shell(here, spec, "cat /proc/sys/kernel/random/boot_id") == boot_id


def test_a_move_to_a_host_that_does_not_answer_leaves_the_guest_running(lab_rig: Rig) -> None:
    rig, spec = lab_rig, lab_rig.started()
    nowhere = HostRef("none", "qemu+tcp://127.0.0.1:1/system", "127.0.0.1")
    with pytest.raises(Refused):
        rig.hypervisor.migrate(spec.uuid, nowhere, timeout_s=30)
    assert rig.hypervisor.observe(spec.uuid).power_state is PowerState.RUNNING
    rig.hypervisor.power_off(spec.uuid)


# -- foreign domains, broken hosts -----------------------------------------------------------------


def test_foreign_domains_are_neither_shown_nor_touched(lab_rig: Rig) -> None:
    rig, h = lab_rig, lab_rig.hypervisor
    uuid = "0e0a6a3c-51b5-4a53-8f7c-2f7a4b6f9a01"
    conn = libvirt.open(rig.here.uri)
    domain = conn.defineXML(
        f"<domain type='qemu'><name>foreign</name><uuid>{uuid}</uuid><memory>65536</memory>"
        "<os><type>hvm</type></os></domain>"
    )
    try:
        assert uuid not in {seen.uuid for seen in h.observe_all()}
        for call in (
            lambda: h.start(uuid),
            lambda: h.power_off(uuid),
            lambda: h.undefine(uuid),
            lambda: h.observe(uuid),
        ):
            with pytest.raises(Refused, match="not ours"):
                call()
        assert conn.lookupByUUIDString(uuid).name() == "foreign"
    finally:
        domain.undefine()
        conn.close()


def test_a_crashed_guest_is_told_from_a_stopped_one(lab_rig: Rig, lab: Lab) -> None:
    rig, h = lab_rig, lab_rig.hypervisor
    spec = rig.started()
    host = next(one for one in lab.hosts if one.uri == rig.here.uri)
    pid = region.in_host(host, "cat", f"/run/libvirt/qemu/{spec.name}.pid").strip()
    region.in_host(host, "kill", "-9", pid)
    rig.wait_for_power(spec.uuid, PowerState.CRASHED, timeout_s=10)
    h.start(spec.uuid)
    assert h.observe(spec.uuid).power_state is PowerState.RUNNING
    h.power_off(spec.uuid)


def test_a_restart_of_libvirtd_is_survived_by_guest_and_driver(lab_rig: Rig, lab: Lab) -> None:
    rig, h = lab_rig, lab_rig.hypervisor
    spec = rig.started()
    host = next(one for one in lab.hosts if one.uri == rig.here.uri)
    region.kill_libvirtd(host, hold=True)
    try:
        for _ in range(2):
            with pytest.raises(HostUnreachable):
                h.observe(spec.uuid)
    finally:
        region.start_libvirtd(host)
    assert h.observe(spec.uuid).power_state is PowerState.RUNNING
    h.power_off(spec.uuid)


def test_a_host_that_refuses_connections_is_unreachable_at_once() -> None:
    nowhere = open_hypervisor(HostRef("none", "qemu+tcp://127.0.0.1:1/system", "127.0.0.1"))
    started = time.monotonic()
    with pytest.raises(HostUnreachable):
        nowhere.observe("0e0a6a3c-51b5-4a53-8f7c-2f7a4b6f9a02")
    assert time.monotonic() - started < 3


def test_a_host_that_takes_connections_and_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        uri = f"qemu+tcp://127.0.0.1:{port}/system"
        started = time.monotonic()
        with pytest.raises(HostUnreachable):
            open_hypervisor(HostRef("silent", uri, "127.0.0.1")).observe_all()
        assert time.monotonic() - started < 2 * connection.CONNECT_TIMEOUT_S


def test_a_call_beyond_its_bound_gives_the_connection_up(lab_rig: Rig) -> None:
    link = connection.connection_to(lab_rig.here.uri)
    # Kept, not its id: an object that is gone may leave its address to the next one.
    before = link.call(lambda conn: conn, timeout_s=5)
    release = threading.Event()
    with pytest.raises(OperationTimeout):
        link.call(lambda conn: release.wait(), timeout_s=0.1)
    release.set()
    assert link.call(lambda conn: conn, timeout_s=5) is not before


def test_a_forked_process_opens_a_connection_of_its_own(lab_rig: Rig) -> None:
    script = f"""
import os, sys
from compute.hypervisor.base import HostRef
from compute.hypervisor.opening import open_hypervisor
h = open_hypervisor(HostRef("h1", {lab_rig.here.uri!r}, {lab_rig.here.address!r}))
h.observe_all()
pid = os.fork()
if pid == 0:
    h.observe_all()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
h.observe_all()
print("fine")
"""
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert result.stdout == "fine\n"


def test_an_agent_that_hangs_and_a_guest_that_ignores_us_keep_nobody_waiting(lab_rig: Rig) -> None:
    rig, h = lab_rig, lab_rig.hypervisor
    spec = rig.started()
    rig.wait_for_agent(spec.uuid)
    # In the background, or the agent could not tell that the command ran.
    stop = "(sleep 1; kill -STOP $(pidof acpid) $(pidof qemu-ga)) > /dev/null 2>&1 &"
    shell(h, spec, stop)
    eventually(lambda: not h.agent_ready(spec.uuid, timeout_s=1), timeout_s=20, poll_s=0.5)
    started = time.monotonic()
    with pytest.raises(AgentUnavailable):
        h.set_password(spec.uuid, "root", "Secret.123")
    assert time.monotonic() - started < 30
    started = time.monotonic()
    h.shutdown(spec.uuid)
    assert time.monotonic() - started < 5
    assert h.observe(spec.uuid).power_state is PowerState.RUNNING
    h.power_off(spec.uuid)
    assert h.observe(spec.uuid).power_state is PowerState.STOPPED


def test_a_host_that_freezes_is_given_up_and_found_again(lab_rig: Rig, lab: Lab) -> None:
    rig, h = lab_rig, lab_rig.hypervisor
    h.observe_all()
    host = next(one for one in lab.hosts if one.uri == rig.here.uri)
    pid = region.in_host(host, "pidof", "libvirtd").strip()
    region.in_host(host, "kill", "-STOP", pid)
    try:
        started = time.monotonic()
        with pytest.raises(HypervisorError) as first:
            h.observe_all()
        assert first.value.retryable
        with pytest.raises(HostUnreachable):
            h.observe_all()
        assert time.monotonic() - started < 40
    finally:
        region.in_host(host, "kill", "-CONT", pid)
    eventually(lambda: _answers(h), timeout_s=20, poll_s=0.5)


def test_a_host_that_freezes_under_many_calls_ends_no_process(lab: Lab) -> None:
    host = lab.hosts[0]
    asking = subprocess.Popen(
        [sys.executable, "-m", "tests.compute.drivers.silence", host.uri, "6"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert asking.stdout is not None
    try:
        assert asking.stdout.readline() == "asking\n"
        pid = region.in_host(host, "pidof", "libvirtd").strip()
        region.in_host(host, "kill", "-STOP", pid)
        try:
            # The keep-alive ends them; where two calls share a connection it ends the process.
            failed = [asking.stdout.readline() for _call in range(6)]
            time.sleep(1)
        finally:
            region.in_host(host, "kill", "-CONT", pid)
        time.sleep(2)
        assert failed == ["failed: HostUnreachable\n"] * 6
        assert asking.poll() is None
    finally:
        asking.kill()
        asking.communicate()


def _answers(hypervisor: Hypervisor) -> bool:
    try:
        hypervisor.observe_all()
    except HypervisorError:
        return False
    return True


def test_an_interrupted_start_is_told_and_forgotten_when_libvirt_restarts(
    lab_rig: Rig, lab: Lab
) -> None:
    rig, h = lab_rig, lab_rig.hypervisor
    spec = rig.started()
    host = next(one for one in lab.hosts if one.uri == rig.here.uri)
    state = host.run / "libvirt/qemu" / f"{spec.name}.xml"
    started = state.read_text()
    h.power_off(spec.uuid)

    # What a libvirtd leaves that is killed after it began the start and before there is a process.
    unfinished, changes = re.subn(
        r"<domstatus .*>",
        "<domstatus state='paused' reason='starting up' pid='0'>\n"
        "  <job type='none' async='start' flags='0x0' asyncStarted='0'/>",
        started,
        count=1,
    )
    assert changes == 1
    region.kill_libvirtd(host, hold=True)
    state.write_text(unfinished)
    # A libvirtd that is started without the hook, as on a host that nobody prepared.
    region.in_host(host, "libvirtd", "--listen", "--timeout", "0", "--daemon")
    eventually(lambda: _answers(h), timeout_s=30, poll_s=0.5)
    asked = time.monotonic()
    seen = h.observe(spec.uuid)
    assert (seen.power_state, seen.reason) == (PowerState.STOPPED, STARTING)
    with pytest.raises(StartUnfinished):
        h.start(spec.uuid)
    # libvirt itself would wait for half a minute, for a lock that nobody gives back.
    assert time.monotonic() - asked < 25

    region.kill_libvirtd(host, hold=True)
    region.start_libvirtd(host)
    eventually(lambda: _answers(h), timeout_s=30, poll_s=0.5)
    assert not state.exists()
    assert h.observe(spec.uuid).reason != STARTING
    h.start(spec.uuid)
    rig.wait_for_power(spec.uuid, PowerState.RUNNING)
    h.undefine(spec.uuid)


def test_a_move_that_takes_too_long_ends_on_one_host(lab_rig: Rig) -> None:
    rig = lab_rig
    spec = rig.started()
    with contextlib.suppress(OperationTimeout):
        rig.hypervisor.migrate(spec.uuid, rig.there, timeout_s=0)
    states = [driver.observe(spec.uuid).power_state for driver in (rig.hypervisor, rig.other)]
    assert states.count(PowerState.RUNNING) == 1
    rig.hypervisor.migrate(spec.uuid, rig.there)
    rig.other.undefine(spec.uuid)


def test_a_move_that_is_given_up_before_it_began_is_ended(
    lab_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = lab_rig
    spec = rig.started()
    begin = migration._move

    def late(*given: Any) -> None:
        time.sleep(2)
        begin(*given)

    monkeypatch.setattr(migration, "_move", late)
    with pytest.raises(OperationTimeout):
        rig.hypervisor.migrate(spec.uuid, rig.there, timeout_s=0)
    assert rig.hypervisor.observe(spec.uuid).power_state == PowerState.RUNNING
    assert rig.other.observe(spec.uuid).power_state == PowerState.ABSENT
    monkeypatch.undo()
    rig.hypervisor.migrate(spec.uuid, rig.there)
    rig.other.undefine(spec.uuid)
