"""What a pool on Ceph does beyond the contract: kills, lost leases, users, the trash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compute.storage.base import (
    GIB,
    CheckReport,
    ImageBusy,
    RbdSource,
    StorageError,
    StorageForeign,
    StorageFull,
    StorageTimeout,
    StorageUnavailable,
    VolumeBusy,
    VolumeDamaged,
)
from compute.storage.marker import digest_of
from compute.storage.opening import open_storage
from compute.storage.rbd import calling, driver
from compute.storage.rbd.driver import RbdStorage
from scloud.lab.ceph import POOL, USER
from scloud.lab.shell import run, wait_for
from scloud.lib import lease
from tests.ceph_fixture import CephWorld

pytestmark = pytest.mark.ceph

MIB = 1024**2
# What the cluster of the tests needs to notice that a client was killed, and more.
NOTICED_S = 30.0
# What was deleted is counted as room once its objects are trimmed, the OSD has told how much it
# holds and the monitors have looked at it.
ROOM_S = 120.0


def children() -> list[int]:
    """Pids of the processes that ask Ceph for us."""
    words = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            words += (task / "children").read_text().split()
    found = []
    for pid in {int(word) for word in words}:
        with contextlib.suppress(OSError):
            if calling.MODULE.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


@contextlib.contextmanager
def killed_after(seconds: float) -> Iterator[None]:
    """``kill -9`` of what asks Ceph, so long after it has begun."""
    over = threading.Event()

    def kill() -> None:
        while not over.is_set():
            if pids := children():
                time.sleep(seconds)
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.001)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def when_free(work: Callable[[], object]) -> None:
    """Do what has to wait until the cluster notices that a client was killed."""
    end = time.monotonic() + NOTICED_S
    while True:
        try:
            work()
        except VolumeBusy:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
        else:
            return


def lost_at(number: int) -> Callable[[], None]:
    """A lease that is lost when it is confirmed for the so manieth time."""
    asked = 0

    def confirm() -> None:
        nonlocal asked
        asked += 1
        if asked == number:
            raise TimeoutError("the lease is lost")

    return confirm


def fill(world: CephWorld, volume_id: str, byte: int, *, mib: int) -> None:
    """Write a whole volume, so that there is something to do for each of its objects."""
    world.qemu_io(volume_id, f"write -P {byte} 0 {mib}M")


def is_full_of(world: CephWorld, volume_id: str, byte: int, *, mib: int) -> bool:
    """Whether a whole volume is made of that byte."""
    said = world.qemu_io(volume_id, f"read -P {byte} 0 {mib}M")
    return "verification failed" not in said


@contextlib.contextmanager
def guest(world: CephWorld, volume_id: str, byte: int) -> Iterator[subprocess.Popen[str]]:
    """Somebody who has the volume open and has written to it, as a running domain."""
    process = subprocess.Popen(
        ["qemu-io", "-f", "raw", world.url(volume_id)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(f"write -P {byte} 0 1M\n")
        process.stdin.flush()
        while "wrote" not in process.stdout.readline():
            assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


# -- images ------------------------------------------------------------------------------------


def test_an_image_is_given_out_as_the_file_whose_checksum_is_told(ceph: CephWorld) -> None:
    pool, source = ceph.open(), ceph.scratch / "source.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", source, "1G")
    for at in ("0", "300M", "1023M"):
        run("qemu-io", "-f", "qcow2", "-c", f"write -P 0x41 {at} 1M", source)
    info = pool.import_image("image-1", source)
    assert info.virtual_bytes == GIB
    for number in (1, 2):
        target = ceph.scratch / f"target-{number}"
        pool.export_image("image-1", target)
        assert hashlib.sha256(target.read_bytes()).hexdigest() == info.sha256
        assert target.stat().st_size == info.stored_bytes < 4 * MIB
        run("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", source, target)
    with pytest.raises(StorageError, match="there already"):
        pool.export_image("image-1", ceph.scratch / "target-1")
    assert [path.name for path in ceph.scratch.glob("scloud-*")] == []


def test_a_clone_of_an_image_takes_no_room_of_its_own(ceph: CephWorld) -> None:
    pool, source = ceph.open(), ceph.scratch / "source.raw"
    source.write_bytes(os.urandom(8 * MIB))
    pool.import_image("image-1", source)
    pool.create_volume("disk-1", size_gib=8, image_id="image-1")
    assert pool.volume_info("disk-1").stored_bytes == 0
    ceph.write("disk-1", 0x41)
    assert pool.volume_info("disk-1").stored_bytes == 4 * MIB, "one object"
    pool.create_snapshot("disk-1", "snap-1")
    ceph.write("disk-1", 0x42)
    assert pool.volume_info("disk-1").stored_bytes == 8 * MIB, "with what the snapshot keeps"


# -- kills -------------------------------------------------------------------------------------


def test_a_rollback_that_is_killed_is_brought_to_its_end(ceph: CephWorld) -> None:
    """The entry says what is to be; who needs the volume next does the rest."""
    pool, mib = ceph.open(), 256
    pool.create_volume("disk-1", size_gib=1)
    fill(ceph, "disk-1", 0x41, mib=mib)
    pool.create_snapshot("disk-1", "snap-1")
    pool.resize_volume("disk-1", size_gib=2)
    wait, cut_off, tries = 0.3, 0, 0
    # From before its beginning to after its end it takes as long as the machine needs.
    while cut_off < 2 and tries < 40:
        tries += 1
        fill(ceph, "disk-1", 0x42, mib=mib)
        with (
            killed_after(wait),
            contextlib.suppress(StorageUnavailable),
        ):
            pool.rollback_snapshot("disk-1", "snap-1")
        if pool.in_doubt("disk-1"):
            cut_off += 1
            when_free(lambda: pool.prepare_volume("disk-1"))
            assert is_full_of(ceph, "disk-1", 0x41, mib=mib)
        else:
            # All or nothing: it was killed before it began, or after its end.
            when_free(lambda: pool.prepare_volume("disk-1"))
            ended = is_full_of(ceph, "disk-1", 0x41, mib=mib)
            assert ended or is_full_of(ceph, "disk-1", 0x42, mib=mib)
            wait *= 0.8 if ended else 1.3
        assert not pool.in_doubt("disk-1")
        assert pool.volume_info("disk-1").size_gib == 2
        assert [one.name for one in pool.list_snapshots("disk-1")] == ["snap-1"]
        when_free(lambda: pool.check_volume("disk-1"))
    assert cut_off == 2, "no kill hit a rollback"


@pytest.mark.parametrize(
    "settle",
    [
        lambda pool: pool.prepare_volume("disk-1"),
        lambda pool: pool.check_volume("disk-1"),
        lambda pool: pool.rollback_snapshot("disk-1", "snap-1"),
        lambda pool: pool.resize_volume("disk-1", size_gib=3),
        lambda pool: pool.create_snapshot("disk-1", "snap-2"),
        lambda pool: pool.delete_snapshot("disk-1", "snap-1"),
        lambda pool: pool.clone_volume("disk-2", source_volume_id="disk-1"),
    ],
    ids=["prepare", "check", "rollback", "resize", "snapshot", "forget", "clone"],
)
def test_whoever_needs_the_volume_ends_a_rollback_first(
    ceph: CephWorld, settle: Callable[[RbdStorage], object]
) -> None:
    pool = ceph.open()
    pool.create_volume("disk-1", size_gib=1)
    ceph.write("disk-1", 0x41)
    pool.create_snapshot("disk-1", "snap-1")
    ceph.write("disk-1", 0x42)
    pool.resize_volume("disk-1", size_gib=2)
    # The third time is when all is done and only the entry still says that it is not.
    with pytest.raises(TimeoutError), lease.held(confirm=lost_at(3)):
        pool.rollback_snapshot("disk-1", "snap-1")
    assert pool.in_doubt("disk-1")
    # What was written in doubt is gone: it was never the volume's.
    ceph.write("disk-1", 0x43)
    when_free(lambda: settle(pool))
    assert not pool.in_doubt("disk-1")
    assert ceph.holds("disk-1", 0x41)
    assert pool.volume_info("disk-1").size_gib >= 2
    if pool.list_volumes()[-1].volume_id == "disk-2":
        assert ceph.holds("disk-2", 0x41)


def test_a_copy_that_is_killed_leaves_nothing_that_is_seen(
    ceph: CephWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "PURGE_DELAY_S", 0.0)
    pool, source = ceph.open(), ceph.scratch / "source.raw"
    source.write_bytes(os.urandom(64 * MIB))
    pool.create_volume("disk-1", size_gib=1)
    fill(ceph, "disk-1", 0x41, mib=256)
    before = ceph.images()

    def stop(done: int, total: int | None) -> None:
        if total and 0 < done < total and total > 100:
            raise KeyboardInterrupt

    copies: list[Callable[[], object]] = [
        lambda: pool.clone_volume("disk-2", source_volume_id="disk-1"),
        lambda: pool.image_from_volume("image-1", "disk-1"),
        lambda: pool.import_image("image-2", source),
    ]
    for copy in copies:
        with pytest.raises(KeyboardInterrupt), lease.held(moving=stop):
            copy()
        assert children() == []
    assert [one.volume_id for one in pool.list_volumes()] == ["disk-1"]
    assert pool.list_images() == ()
    left = set(ceph.images()) - set(before)
    assert len(left) == 3
    assert pool.sweep_temporary(older_than_s=3600) == ()
    wait_for(
        "the cluster to notice that the clients are gone, and the leftovers to be removed",
        lambda: bool(pool.sweep_temporary(older_than_s=0)) or ceph.images() == before,
        timeout_s=NOTICED_S,
    )
    wait_for("all of them", lambda: _swept(pool, ceph, before), timeout_s=NOTICED_S, every_s=0.5)
    for copy in copies:
        copy()
    assert ceph.holds("disk-2", 0x41)


def _swept(pool: RbdStorage, world: CephWorld, before: list[str]) -> bool:
    pool.sweep_temporary(older_than_s=0)
    return world.images() == before and world.rbd("trash", "ls") == ""


def test_who_lost_the_lease_publishes_nothing(ceph: CephWorld) -> None:
    pool, source = ceph.open(), ceph.scratch / "source.raw"
    source.write_bytes(b"\x41" * MIB)
    pool.import_image("image-1", source)
    pool.create_volume("disk-1", size_gib=1)
    calls: list[Callable[[], object]] = [
        lambda: pool.create_volume("disk-2", size_gib=1),
        lambda: pool.create_volume("disk-2", size_gib=1, image_id="image-1"),
        lambda: pool.clone_volume("disk-2", source_volume_id="disk-1"),
        lambda: pool.rebuild_volume("disk-1", size_gib=2, image_id="image-1"),
        lambda: pool.resize_volume("disk-1", size_gib=2),
        lambda: pool.delete_volume("disk-1"),
        lambda: pool.create_snapshot("disk-1", "snap-1"),
        lambda: pool.rollback_snapshot("disk-1", "snap-0"),
        lambda: pool.import_image("image-2", source),
        lambda: pool.delete_image("image-1"),
    ]
    pool.create_snapshot("disk-1", "snap-0")
    for call in calls:
        # The first time is before the call.
        with pytest.raises(TimeoutError), lease.held(confirm=lost_at(2)):
            call()
        assert [(one.volume_id, one.size_gib) for one in pool.list_volumes()] == [("disk-1", 1)]
        assert [one.image_id for one in pool.list_images()] == ["image-1"]
        assert not pool.in_doubt("disk-1")
        when_free(lambda: pool.check_volume("disk-1"))
    assert [one.name for one in pool.list_snapshots("disk-1")] == ["snap-0"]
    # Clones that were left do not keep the image.
    assert any(name.startswith("volume.disk-2") for name in ceph.images())
    pool.delete_image("image-1")
    assert pool.list_images() == ()


# -- users -------------------------------------------------------------------------------------


def test_a_volume_in_use_is_snapshotted_and_nothing_else(ceph: CephWorld) -> None:
    pool, source = ceph.open(), ceph.scratch / "source.raw"
    source.write_bytes(b"\x50" * MIB)
    pool.import_image("image-1", source)
    pool.create_volume("disk-1", size_gib=1)
    with guest(ceph, "disk-1", 0x41):
        pool.create_snapshot("disk-1", "snap-1")
        uses: list[Callable[[], object]] = [
            lambda: pool.rollback_snapshot("disk-1", "snap-1"),
            lambda: pool.resize_volume("disk-1", size_gib=2),
            lambda: pool.delete_volume("disk-1"),
            lambda: pool.clone_volume("disk-2", source_volume_id="disk-1"),
            lambda: pool.image_from_volume("image-2", "disk-1"),
            lambda: pool.check_volume("disk-1"),
            lambda: pool.repair_volume("disk-1", everything=True),
            lambda: pool.rebuild_volume("disk-1", size_gib=1, image_id="image-1"),
        ]
        for use in uses:
            with pytest.raises(VolumeBusy):
                use()
        assert not pool.in_doubt("disk-1")
        pool.volume_from_snapshot("disk-3", source_volume_id="disk-1", snapshot="snap-1")
        assert pool.volume_info("disk-1").size_gib == 1
    assert ceph.holds("disk-3", 0x41)
    assert [one.volume_id for one in pool.list_volumes()] == ["disk-1", "disk-3"]


def test_who_is_shut_out_writes_no_more_and_is_not_waited_for(ceph: CephWorld) -> None:
    pool = ceph.open()
    pool.create_volume("disk-1", size_gib=1)
    with guest(ceph, "disk-1", 0x41) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert len(pool.shut_out("disk-1")) == 1
        process.stdin.write("write -P 0x42 0 1M\n")
        process.stdin.flush()
        said = process.stdout.readline()
        while "write" not in said and "wrote" not in said and process.poll() is None:
            said = process.stdout.readline()
        assert "wrote" not in said
    wait_for(
        "the volume to be free",
        lambda: pool.shut_out("disk-1") == (),
        timeout_s=NOTICED_S,
        every_s=0.2,
    )
    assert ceph.holds("disk-1", 0x41)
    assert pool.shut_out("disk-none") == ()


# -- leftovers ---------------------------------------------------------------------------------


def first_seen(world: CephWorld) -> list[str]:
    """The names that a sweep remembers as those of nothing."""
    if "scloud.broken" not in world.rados("ls").split():
        return []
    return world.rados("listomapkeys", "scloud.broken").split()


def test_an_rbd_image_that_is_just_being_made_is_left_alone(ceph: CephWorld) -> None:
    """Its name comes first, and what tells its age later."""
    pool = ceph.open()
    made, name = "volume.disk-1.0123456789ab", "volume.disk-2.0123456789ab"
    for one in (made, name):
        ceph.rbd("create", "--size", "1G", one)
    header = ceph.object_map(name).replace("rbd_object_map", "rbd_header")
    ceph.rados("rm", header)
    # One that was seen in its first moment is whole now.
    ceph.rados("setomapval", "scloud.broken", made, "0")
    for _ in range(2):
        assert pool.sweep_temporary(older_than_s=3600) == ()
        assert ceph.images() == [made, name]
        assert first_seen(ceph) == [name]
    time.sleep(1.0)
    assert pool.sweep_temporary(older_than_s=3600) == ()
    # Its making was killed: nothing comes of it any more.
    ceph.rbd("rm", "--no-progress", made)
    assert pool.sweep_temporary(older_than_s=1.0) == ()
    assert ceph.images() == []
    assert pool.sweep_temporary(older_than_s=1.0) == ()
    assert first_seen(ceph) == []


# -- the trash ---------------------------------------------------------------------------------


def test_what_was_deleted_can_be_fetched_back_for_a_time(
    ceph: CephWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = ceph.open()
    pool.create_volume("disk-1", size_gib=1)
    ceph.write("disk-1", 0x41)
    pool.create_snapshot("disk-1", "snap-1")
    (name,) = ceph.images()
    pool.delete_volume("disk-1")
    assert pool.list_volumes() == ()
    assert ceph.images() == []
    assert pool.sweep_temporary(older_than_s=0) == (), "not before its time"
    assert name in ceph.rbd("trash", "ls")
    # Whatever name it is fetched back under: nothing is deleted at once that no volume names.
    (one,) = json.loads(ceph.rbd("trash", "ls", "--format", "json"))
    ceph.rbd("trash", "restore", one["id"])
    assert ceph.images() == [name]
    assert pool.sweep_temporary(older_than_s=0) == (name,)
    assert name in ceph.rbd("trash", "ls")
    (one,) = json.loads(ceph.rbd("trash", "ls", "--format", "json"))
    ceph.rbd("trash", "restore", "--image", "rescued.1", one["id"])
    assert pool.sweep_temporary(older_than_s=0) == ()
    assert ceph.images() == ["rescued.1"]
    ceph.rbd("snap", "purge", "rescued.1")
    ceph.rbd("rm", "rescued.1")
    monkeypatch.setattr(driver, "PURGE_DELAY_S", 0.0)
    pool.create_volume("disk-2", size_gib=1)
    (other,) = ceph.images()
    pool.create_snapshot("disk-2", "snap-1")
    pool.delete_volume("disk-2")
    assert pool.sweep_temporary(older_than_s=0) == (other,)
    assert other not in ceph.rbd("trash", "ls")


def test_a_purge_that_takes_long_goes_on_with_the_next_sweep(
    ceph: CephWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "PURGE_DELAY_S", 0.0)
    monkeypatch.setattr(driver, "PURGE_S", 0.0)
    pool = ceph.open()
    for number in range(2):
        pool.create_volume(f"disk-{number}", size_gib=8)
        pool.delete_volume(f"disk-{number}")
    assert pool.sweep_temporary(older_than_s=0) == ()
    monkeypatch.setattr(driver, "PURGE_S", 20.0)
    wait_for("both", lambda: _swept(pool, ceph, []), timeout_s=NOTICED_S, every_s=0.5)


def is_full(pool: RbdStorage) -> bool:
    """Whether a write that needs room is refused; one that waits for room ends the test."""
    try:
        pool.try_write()
    except StorageFull:
        return True
    return False


def test_a_full_pool_says_so_and_can_be_emptied(
    ceph: CephWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "PURGE_DELAY_S", 0.0)
    # Its bytes are counted here.
    ceph.renew()
    pool = ceph.open()
    pool.create_volume("disk-1", size_gib=1)
    pool.create_volume("disk-2", size_gib=1)
    for volume_id in ("disk-1", "disk-2"):
        fill(ceph, volume_id, 0x41, mib=32)
    pool.create_snapshot("disk-1", "snap-1")
    pool.create_snapshot("disk-1", "snap-2")
    fill(ceph, "disk-1", 0x42, mib=32)
    # Its list of the trash is there from the first look at the pool.
    pool.try_write()
    quota = ("osd", "pool", "set-quota", POOL, "max_bytes")
    ceph.cluster.ceph(*quota, str(48 * MIB))
    try:
        wait_for("the pool to be full", lambda: is_full(pool), timeout_s=NOTICED_S)
        with pytest.raises(StorageFull):
            pool.create_volume("disk-3", size_gib=1)
        assert [one.volume_id for one in pool.list_volumes()] == ["disk-1", "disk-2"]
        pool.delete_snapshot("disk-1", "snap-2")
        assert [one.name for one in pool.list_snapshots("disk-1")] == ["snap-1"]
        pool.delete_volume("disk-1")
        assert [one.volume_id for one in pool.list_volumes()] == ["disk-2"]
        left = [name for name in ceph.images() if name.startswith("volume.disk-2.")]
        wait_for("all of it", lambda: _swept(pool, ceph, left), timeout_s=NOTICED_S, every_s=0.5)
        wait_for("room", lambda: not is_full(pool), timeout_s=ROOM_S, every_s=0.5)
        assert is_full_of(ceph, "disk-2", 0x41, mib=32)
    finally:
        ceph.cluster.ceph(*quota, "0")
        wait_for("room", lambda: not is_full(pool), timeout_s=ROOM_S, every_s=0.5)


def test_images_are_purged_after_what_rested_on_them(
    ceph: CephWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "PURGE_DELAY_S", 0.0)
    pool, source = ceph.open(), ceph.scratch / "source.raw"
    source.write_bytes(b"\x41" * MIB)
    pool.import_image("image-1", source)
    pool.create_volume("disk-1", size_gib=1, image_id="image-1")
    with pytest.raises(ImageBusy):
        pool.delete_image("image-1")
    pool.delete_volume("disk-1")
    pool.delete_image("image-1")
    kinds = [name.partition(".")[0] for name in pool.sweep_temporary(older_than_s=0)]
    assert kinds == ["volume", "image"]
    assert ceph.rbd("trash", "ls") == ""


def test_what_is_not_ours_is_left_alone(ceph: CephWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "PURGE_DELAY_S", 0.0)
    pool = ceph.open()
    for name in ("vm-100-disk-0", "volume.foreign", "trashed"):
        ceph.rbd("create", "--size", "1G", name)
    ceph.rbd("trash", "mv", "trashed")
    assert pool.sweep_temporary(older_than_s=0) == ()
    assert ceph.images() == ["vm-100-disk-0", "volume.foreign"]
    assert "trashed" in ceph.rbd("trash", "ls")
    assert pool.list_volumes() == ()


# -- the pool ----------------------------------------------------------------------------------


def test_a_pool_without_its_marker_is_not_used(ceph: CephWorld) -> None:
    unmarked, token = ceph.open(pool_id="pool-1"), "a token"
    with pytest.raises(StorageUnavailable, match="no marker"):
        ceph.open(marker=digest_of(token)).list_volumes()
    unmarked.mark(token)
    unmarked.mark("another that was laid ready")
    marked = ceph.open(marker=digest_of(token))
    marked.create_volume("disk-1", size_gib=1)
    assert [one.volume_id for one in marked.list_volumes()] == ["disk-1"]
    for use in (marked_as("another that was laid ready", ceph), marked_as("a third", ceph)):
        with pytest.raises(StorageForeign, match="pool-1"):
            use.delete_volume("disk-1")
    with pytest.raises(StorageForeign):
        unmarked.mark("a third")
    unmarked.mark("a third", replace=True)
    assert len(marked_as("a third", ceph).list_volumes()) == 1
    with pytest.raises(StorageForeign):
        marked.list_volumes()


def marked_as(token: str, world: CephWorld) -> RbdStorage:
    """The driver that expects this token."""
    return world.open(marker=digest_of(token))


def test_a_wrong_key_and_a_wrong_pool_are_told_apart_from_an_empty_pool(ceph: CephWorld) -> None:
    wrong = run("ceph-authtool", "--gen-print-key").strip()
    ref = ceph.ref(secret=wrong)
    assert wrong not in repr(ref)
    with pytest.raises(StorageUnavailable, match="cannot be reached") as refused:
        open_storage(ref).list_volumes()
    assert wrong not in str(refused.value)
    cluster = calling.Cluster(ceph.cluster.monitors, USER, ceph.cluster.key(), "none")
    assert ceph.cluster.key() not in repr(cluster)
    with pytest.raises(StorageUnavailable, match="no pool none"):
        cluster.call("list_volumes", {}, marker="")


def test_the_key_is_in_no_list_of_processes(ceph: CephWorld) -> None:
    pool, key = ceph.open(), ceph.cluster.key().encode()
    pool.create_volume("disk-1", size_gib=64)
    seen: list[bytes] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    with contextlib.suppress(OSError):
                        words = (entry / "cmdline").read_bytes()
                        if b"object-map" in words or calling.MODULE.encode() in words:
                            seen.extend([words, (entry / "environ").read_bytes()])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        pool.check_volume("disk-1")
    finally:
        over.set()
        thread.join()
    assert any(b"object-map" in words for words in seen)
    assert not any(key in words for words in seen)


def test_without_the_library_it_is_said_what_to_install(
    ceph: CephWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The environment of the tests has its own packages and not those of the distribution.
    monkeypatch.setattr(calling, "PYTHON", sys.executable)
    with pytest.raises(StorageUnavailable, match="install python3-rbd"):
        ceph.open().list_volumes()


def test_a_call_that_says_nothing_is_ended(
    ceph: CephWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "QUICK_S", 0.05)
    with pytest.raises(StorageTimeout, match=r"0\.05 seconds"):
        ceph.open().image_info("image-1")
    assert children() == []


def test_the_only_osd_is_away_for_a_time(ceph: CephWorld) -> None:
    pool = ceph.open()
    pool.create_volume("disk-1", size_gib=1)
    ceph.write("disk-1", 0x41)
    ceph.cluster.kill("ceph-osd")
    began = time.monotonic()
    with pytest.raises((StorageTimeout, StorageUnavailable)):
        pool.try_write()
    assert time.monotonic() - began < calling.QUICK_S + 5
    ceph.cluster.up()
    assert ceph.holds("disk-1", 0x41)
    pool.try_write()
    assert [one.volume_id for one in pool.list_volumes()] == ["disk-1"]


def test_an_rbd_image_that_is_gone_makes_its_volume_a_damaged_one(ceph: CephWorld) -> None:
    pool = ceph.open()
    pool.create_volume("disk-1", size_gib=1)
    pool.create_volume("disk-2", size_gib=1)
    source = pool.disk_source("disk-1")
    assert isinstance(source, RbdSource)
    ceph.rbd("rm", "--no-progress", source.image)
    assert [(one.volume_id, one.size_gib) for one in pool.list_volumes()] == [
        ("disk-1", 0),
        ("disk-2", 1),
    ]
    for use in (pool.volume_info, pool.prepare_volume):
        with pytest.raises(VolumeDamaged):
            use("disk-1")
    pool.delete_volume("disk-1")
    assert [one.volume_id for one in pool.list_volumes()] == ["disk-2"]


def test_a_check_tells_a_lost_rbd_image_from_one_with_errors(ceph: CephWorld) -> None:
    pool = ceph.open()
    pool.create_volume("disk-1", size_gib=1)
    source = pool.disk_source("disk-1")
    assert isinstance(source, RbdSource)
    ceph.write("disk-1", 0x41)
    ceph.damage("disk-1")
    assert pool.check_volume("disk-1") == CheckReport(errors=1)
    assert pool.repair_volume("disk-1", everything=True) == CheckReport()
    ceph.rbd("rename", source.image, "elsewhere")
    for _ in range(2):
        assert pool.check_volume("disk-1") == CheckReport(missing=1)
        assert pool.repair_volume("disk-1", everything=False) == CheckReport(missing=1)
        assert pool.repair_volume("disk-1", everything=True) == CheckReport(missing=1)
        assert pool.in_doubt("disk-1")
    # Somebody finds it: it is looked at before it is used.
    ceph.rbd("rename", "elsewhere", source.image)
    with pytest.raises(VolumeDamaged):
        pool.prepare_volume("disk-1")
    assert pool.check_volume("disk-1") == CheckReport()
    assert not pool.in_doubt("disk-1")
    pool.prepare_volume("disk-1")
    assert ceph.holds("disk-1", 0x41)


# -- seeds -------------------------------------------------------------------------------------


def test_a_seed_is_one_object_that_is_replaced_as_a_whole(ceph: CephWorld) -> None:
    pool = ceph.open()
    source = pool.write_seed("vm-1", {"meta-data": "instance-id: one\n"})
    assert isinstance(source, RbdSource)
    assert source == pool.write_seed("vm-1", {"meta-data": "instance-id: two\n"})
    exported = ceph.scratch / "seed.iso"
    ceph.rbd("export", "--no-progress", source.image, exported)
    content = exported.read_bytes()
    assert content[0x8028 : 0x8028 + 6] == b"CIDATA"
    assert b"instance-id: two" in content
    assert b"instance-id: one" not in content
    facts = ceph.rbd("info", source.image)
    assert "4 MiB in 1 objects" in facts
    with pytest.raises(StorageError, match="at most"):
        pool.write_seed("vm-1", {"user-data": "x" * 5 * MIB})
    with pytest.raises(ValueError, match="not a name"):
        pool.write_seed("vm-1", {"../x": ""})
    pool.delete_seed("vm-1")
    assert ceph.images() == []


def test_the_source_of_a_volume_names_cluster_user_and_secret(ceph: CephWorld) -> None:
    pool = ceph.open()
    pool.create_volume("disk-1", size_gib=1)
    (name,) = ceph.images()
    assert pool.disk_source("disk-1") == RbdSource(
        pool=POOL,
        image=name,
        monitors=((ceph.cluster.address, ceph.cluster.port),),
        user=USER,
        secret_uuid="5c10d000-0000-4000-a000-0000000000ce",
    )
