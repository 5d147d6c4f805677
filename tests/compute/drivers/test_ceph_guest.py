"""A real guest whose disks are RBD images: boots, grows, is snapshotted, moves, goes back."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from compute.hypervisor.base import Hypervisor, PowerState, Refused
from compute.storage.base import RbdSource, StorageRef, VolumeBusy
from compute.storage.opening import open_storage
from scloud.lab import images
from scloud.lab.ceph import POOL, USER, Cluster, of_lab
from scloud.lab.plan import Lab
from scloud.lab.shell import kill_all
from tests.compute.drivers.rig import Rig, eventually, new_id

pytestmark = pytest.mark.lab

SECRET = "5c10d000-0000-4000-a000-0000000005ce"


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Iterator[Cluster]:
    """A cluster where the lab's hosts reach it."""
    found = of_lab(lab)
    was_up = found.is_up()
    found.up()
    yield found
    if not was_up:
        found.wipe()


@pytest.fixture(scope="module")
def ceph_rig(lab: Lab, lab_rig: Rig, cluster: Cluster) -> Iterator[Rig]:
    """The hosts of the lab, with a pool on the cluster instead of the directory."""
    options = (("monitors", cluster.monitors), ("user", USER), ("secret_uuid", SECRET))
    storage = open_storage(StorageRef("rbd", POOL, options, secret=cluster.key()))
    image_id = new_id("image")
    storage.import_image(image_id, images.ensure("mini"))
    rig = replace(lab_rig, storage=storage, image_id=image_id, made=[])
    rig._guest = None
    yield rig
    with contextlib.suppress(VolumeBusy):
        rig.clean()


def keep(host: Hypervisor, cluster: Cluster) -> None:
    host.keep_secret(SECRET, base64.b64decode(cluster.key()))


def qemu_of(name: str) -> int:
    """The process that runs a domain, seen from the outer machine."""
    (pid,) = (
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if f"guest={name},".encode() in _read(path)
    )
    return pid


def _read(path: Path) -> bytes:
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return b""


def guest_says(rig: Rig, uuid: str, command: str, host: Hypervisor | None = None) -> str:
    """Run a command in the guest."""
    found = (host or rig.hypervisor).run(uuid, ["/bin/sh", "-c", command], timeout_s=30)
    assert found.exit_code == 0, found
    return found.stdout.decode().strip()


def test_a_guest_lives_on_rbd(ceph_rig: Rig, cluster: Cluster) -> None:
    rig, host = ceph_rig, ceph_rig.hypervisor
    pool = rig.storage
    spec = rig.spec()
    root = spec.disks[0].id
    source = spec.disks[0].source
    assert isinstance(source, RbdSource)
    seed = pool.write_seed(spec.name, {"meta-data": f"instance-id: {spec.name}\n"})
    spec = replace(spec, seed=seed)
    host.define(spec)
    # Without the key no disk is opened; with another one neither.
    with pytest.raises(Refused):
        host.start(spec.uuid)
    for _ in range(2):
        keep(host, cluster)
    host.start(spec.uuid)
    rig.wait_for_agent(spec.uuid)
    assert "vda" in guest_says(rig, spec.uuid, "ls /dev")
    with pytest.raises(VolumeBusy):
        pool.rollback_snapshot(root, "none")

    # A disk is attached, grows while it is used, and is snapshotted.
    data = rig.disk()
    host.attach_disk(spec.uuid, data)
    guest_says(rig, spec.uuid, "echo first | dd of=/dev/vdb bs=512 conv=sync oflag=direct")
    host.resize_disk(spec.uuid, data.id, size_gib=2)
    assert pool.volume_info(data.id).size_gib == 2
    eventually(
        lambda: guest_says(rig, spec.uuid, "cat /sys/block/vdb/size") == str(2 * 1024**3 // 512),
        timeout_s=30,
        poll_s=0.5,
    )
    host.freeze(spec.uuid)
    pool.create_snapshot(data.id, "snap-1")
    host.thaw(spec.uuid)
    guest_says(rig, spec.uuid, "echo second | dd of=/dev/vdb bs=512 conv=sync oflag=direct")

    # It moves: the image stays where it is, and the other host needs the key.
    keep(rig.other, cluster)
    host.migrate(spec.uuid, rig.there, timeout_s=120)
    assert rig.other.observe(spec.uuid).power_state is PowerState.RUNNING
    read = "dd if=/dev/vdb bs=512 count=1 iflag=direct 2>/dev/null | head -c 6"
    assert guest_says(rig, spec.uuid, read, rig.other) == "second"

    # Off, back, and on again on the first host.
    rig.other.undefine(spec.uuid)
    pool.rollback_snapshot(data.id, "snap-1")
    assert pool.volume_info(data.id).size_gib == 2
    again = replace(spec, disks=(*spec.disks, replace(data, source=pool.disk_source(data.id))))
    host.define(again)
    host.start(spec.uuid)
    rig.wait_for_agent(spec.uuid)
    assert guest_says(rig, spec.uuid, read).startswith("first")
    host.detach_disk(spec.uuid, data.id)
    pool.delete_volume(data.id)
    host.undefine(spec.uuid)
    pool.delete_seed(spec.name)


def test_a_guest_whose_host_lost_power_starts_elsewhere_at_once(
    ceph_rig: Rig, cluster: Cluster
) -> None:
    """The dead client is shut out: nobody waits for it, and it writes no more."""
    rig, pool = ceph_rig, ceph_rig.storage
    spec = rig.spec()
    root = spec.disks[0].id
    keep(rig.hypervisor, cluster)
    rig.hypervisor.define(spec)
    rig.hypervisor.start(spec.uuid)
    rig.wait_for_agent(spec.uuid)
    # As a host whose power is cut: nothing is closed.
    kill_all([qemu_of(spec.name)])
    assert len(pool.shut_out(root)) == 1
    rig.hypervisor.undefine(spec.uuid)
    keep(rig.other, cluster)
    rig.other.define(spec)
    rig.other.start(spec.uuid)
    rig.wait_for_agent(spec.uuid, rig.other)
    rig.other.undefine(spec.uuid)
