"""What real guests say through their agents, and what real hosts count of them."""

from __future__ import annotations

import time

import pytest

from alarms.collecting.guests import Question, Way, ask_guest
from alarms.readings import samples
from alarms.store.base import SeriesKey
from compute.hypervisor.base import DomainSpec, Hypervisor
from tests.compute.drivers.rig import Rig

pytestmark = pytest.mark.lab

MIB = 2**20


def shell(driver: Hypervisor, spec: DomainSpec, script: str) -> str:
    return driver.run(spec.uuid, ["/bin/sh", "-c", script], timeout_s=120).stdout.decode()


@pytest.fixture(scope="module")
def guest(lab_rig: Rig) -> DomainSpec:
    """One of its own: what other tests do to the shared guest is not measured.

    Its agent answers before it has grown its root file system, which begins at 100 MB.
    """
    spec = lab_rig.started()
    lab_rig.wait_for_agent(spec.uuid)
    size = "df -kP / | awk 'END { print $2 }'"
    shell(lab_rig.hypervisor, spec, f"until [ $({size}) -gt 500000 ]; do sleep 0.5; done")
    return spec


def question(rig: Rig, spec: DomainSpec) -> Question:
    return Question("vm-1", spec.uuid, "linux", "1", rig.hypervisor)


def test_a_guest_tells_what_it_says_itself(lab_rig: Rig, guest: DomainSpec) -> None:
    spec = guest
    reading, way = ask_guest(question(lab_rig, spec), Way.PROGRAM)
    assert way is Way.PROGRAM
    facts = shell(lab_rig.hypervisor, spec, "cat /proc/meminfo; df -kP /").splitlines()
    total_kib = int(facts[0].split()[1])
    assert reading.memory_total_bytes == total_kib * 1024
    assert reading.memory_available_bytes is not None
    assert 0 < reading.memory_available_bytes < reading.memory_total_bytes
    root = next(one for one in reading.filesystems if one.mount_point == "/")
    assert root.size_bytes == int(facts[-1].split()[1]) * 1024
    assert root.used_bytes == pytest.approx(int(facts[-1].split()[2]) * 1024, rel=0.1)
    assert reading.load is not None
    assert reading.tcp_connections is not None
    assert reading.processes_blocked is not None


def test_a_guests_files_say_the_same(lab_rig: Rig, guest: DomainSpec) -> None:
    spec = guest
    reading, way = ask_guest(question(lab_rig, spec), Way.FILES)
    assert way is Way.FILES
    assert (
        reading.memory_total_bytes
        == ask_guest(question(lab_rig, spec), Way.PROGRAM)[0].memory_total_bytes
    )
    assert reading.load is not None


def test_what_a_guest_writes_is_counted(lab_rig: Rig, guest: DomainSpec) -> None:
    spec, driver = guest, lab_rig.hypervisor
    disk = spec.disks[0].id

    def read() -> samples.VmReading:
        (seen,) = (one for one in driver.measure().domains if one.uuid == spec.uuid)
        nics = {nic.port_uuid: nic.id for nic in spec.nics}
        return samples.read_vm("h", seen, disks={disk}, nics=nics, read_s=time.monotonic())

    def written(before: samples.VmReading, after: samples.VmReading) -> float:
        """Bytes between two readings."""
        values, _totals = samples.vm_numbers(before, after, None, agent=None)
        per_second = values[SeriesKey("disk_written_bytes_per_second", disk)]
        return per_second * (after.reading.read_s - before.reading.read_s)

    def said() -> int:
        """Bytes that the guest says it has written since it booted: by itself it writes, too."""
        return int(shell(driver, spec, "cat /sys/block/vda/stat").split()[6]) * 512

    begin = said()
    before, first = read(), said()
    shell(driver, spec, "dd if=/dev/urandom of=/root/load bs=1M count=32 conv=fsync; rm /root/load")
    # The host counts what is done, which may be a moment after the guest was told of it.
    last = said()
    time.sleep(1.5)
    after, end = read(), said()
    assert last - first >= 32 * MIB
    assert 0.99 * (last - first) <= written(before, after) <= 1.01 * (end - begin)
    values, _totals = samples.vm_numbers(before, after, None, agent=None)
    assert 0 < values[SeriesKey("cpu_usage_ratio")] <= 1
