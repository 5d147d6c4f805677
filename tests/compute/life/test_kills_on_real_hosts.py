"""Workers that die at every step, on real hosts: afterwards nothing dangles and nothing is left."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta

import libvirt
import pytest
from django.utils import timezone

from compute.actions import disks, snapshots
from compute.actions.vms import changes, lifecycle
from compute.actions.vms.migrate import migrate_vm
from compute.models import VM, Disk, Image, Snapshot
from scloud.jobs import faults
from scloud.jobs.models import Job, JobStatus
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.box import WorkerDied, points_of
from tests.compute.life.test_on_real_hosts import data_disk, look, path_of, settle, system_disk
from tests.lab_platform import RealPlatform

pytestmark = pytest.mark.lab


def run_dying(platform: RealPlatform, point: str) -> None:
    """Work, die once at the point, and let another worker finish."""
    died: list[str] = []

    def hook(reached: str) -> None:
        if reached == point and not died:
            died.append(reached)
            raise WorkerDied(point)

    faults.install(hook)
    try:
        with pytest.raises(WorkerDied):
            platform.run_jobs()
        with scopes_disabled():
            Job.objects.filter(status=JobStatus.RUNNING).update(
                lease_until=timezone.now() - timedelta(seconds=1)
            )
        platform.run_jobs()
    finally:
        faults.install(None)


@contextlib.contextmanager
def held_still(vm: VM) -> Iterator[None]:
    """Pause the VM's guest for the block, if it runs.

    QEMU writes the tables of an image in use step by step; a check that reads them meanwhile
    sees an old one beside a new one. Pausing writes everything out.
    """
    assert vm.host is not None
    conn = libvirt.open(vm.host.uri)
    try:
        domain = conn.lookupByUUIDString(str(vm.uuid))
        runs = bool(domain.isActive())
        if runs:
            domain.suspend()
        try:
            yield
        finally:
            if runs:
                domain.resume()
    finally:
        conn.close()


def assert_true(platform: RealPlatform, vm: VM) -> None:
    """Rows, hosts and files say the same; every file is whole."""
    vm.refresh_from_db()
    assert (vm.task, vm.failure) == ("", "")
    assert vm.host is not None
    assert platform.domains() == {vm.id: [vm.host.name]}
    rows = {disk.pk: disk for disk in Disk.objects.exclude(status="destroyed")}
    volumes = {info.volume_id: info for info in platform.storage.list_volumes()}
    assert set(volumes) == set(rows)
    images = {info.image_id for info in platform.storage.list_images()}
    assert images == {image.pk for image in Image.objects.filter(status="available")}
    hanging = {one.id for one in platform.hypervisor(vm).observe(str(vm.uuid)).disks}
    assert {disk.pk for disk in rows.values() if disk.vm_id == vm.pk} <= hanging
    for pk, disk in rows.items():
        assert disk.task == ""
        assert volumes[pk].size_gib == disk.size_gib
        assert volumes[pk].image_id in {None, *images}
        kept = {one.name for one in platform.storage.list_snapshots(pk)}
        assert kept == {row.pk for row in Snapshot.objects.filter(disk=disk, status="available")}
        check = ["qemu-img", "check", "-q", "-U", "-f", "qcow2", str(path_of(platform, disk))]
        with held_still(vm):
            assert subprocess.run(check, check=False).returncode in (0, 3)


def test_a_running_vm_survives_every_death_of_its_workers(real_platform: RealPlatform) -> None:
    platform = real_platform
    vm = platform.running_vm(agent=True)
    disk = data_disk(platform)

    def expand() -> None:
        disk.refresh_from_db()
        size = disk.size_gib + 1
        token = disks.quote_expansion(actor=platform.actor, disk=disk, size_gib=size).token
        disks.expand_disk(actor=platform.actor, disk=disk, size_gib=size, quote_token=token)

    def attach() -> None:
        disk.refresh_from_db()
        if disk.vm is not None:
            disks.detach_disk(actor=platform.actor, disk=disk)
            settle(platform, disk)
        disks.attach_disk(actor=platform.actor, vm=vm, disk=disk)

    def snapshot() -> None:
        snapshots.create_snapshot(actor=platform.actor, disk=system_disk(vm), name="s")

    def migrate() -> None:
        vm.refresh_from_db()
        migrate_vm(actor=Actor.system(platform.tenant), vm=vm)

    verbs: dict[str, Callable[[], None]] = {
        "disk.attach": attach,
        "disk.expand": expand,
        "disk.create_snapshot": snapshot,
        "vm.migrate": migrate,
    }
    for kind, verb in verbs.items():
        for point in points_of(kind):
            verb()
            run_dying(platform, point)
            assert_true(platform, vm)
            assert vm.status == "running"
    assert platform.guest(vm, "/bin/echo", "alive") == "alive"
    assert int(str(look(path_of(platform, disk))["virtual-size"])) == 12 * 1024**3


def test_a_stopped_vm_survives_every_death_of_its_workers(real_platform: RealPlatform) -> None:
    platform = real_platform
    vm = platform.running_vm()
    lifecycle.power_off_vm(actor=platform.actor, vm=vm)
    settle(platform, vm)
    for point in points_of("vm.reinstall"):
        vm.refresh_from_db()
        changes.reinstall_vm(actor=platform.actor, vm=vm, image=platform.image)
        run_dying(platform, point)
        assert_true(platform, vm)
        assert vm.status == "stopped"
    for number, point in enumerate(points_of("vm.make_image")):
        vm.refresh_from_db()
        changes.make_image(actor=platform.actor, vm=vm, name=f"golden-{number}")
        run_dying(platform, point)
        assert_true(platform, vm)
    assert Image.objects.filter(tenant=platform.tenant, status="available").count() == 2
    lifecycle.start_vm(actor=platform.actor, vm=vm)
    settle(platform, vm)
    platform.await_agent(vm)
