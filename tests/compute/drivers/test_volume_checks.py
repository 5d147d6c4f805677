"""Volumes in a directory that are checked and repaired: damage, killed workers, missing files."""

import random
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from compute.storage import helper
from compute.storage.base import (
    GIB,
    CheckReport,
    FileSource,
    StorageError,
    StorageFaulty,
    StorageTimeout,
    VolumeBusy,
    VolumeDamaged,
)
from compute.storage.dir import DirectoryStorage
from compute.storage.helper import HelperFailed, HelperInterrupted
from scloud.lib import lease
from tests import budget
from tests.compute.drivers.overlay_world import (
    World,
    await_end_of_helpers,
    dies_at,
    forget_what_is_used,
    holds,
    opened_by_qemu,
    qemu_io,
)

MIB = 1024**2


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The pool's directory."""
    path = tmp_path / "pool"
    path.mkdir()
    return path


def branched(root: Path) -> World:
    """A volume of three files: two snapshots and what was written after them."""
    world = World(root, random.Random(7))
    for _ in range(2):
        world.write()
        world.take()
    world.write()
    return world


def plain(root: Path) -> tuple[DirectoryStorage, Path]:
    """A volume with a snapshot inside its only file: 1 in the snapshot, 2 now."""
    pool = DirectoryStorage(root)
    pool.create_volume("disk-1", size_gib=1)
    path = root / "volumes/disk-1.qcow2"
    qemu_io(path, ["write -P 1 0 1M"])
    pool.create_snapshot("disk-1", "s1")
    qemu_io(path, ["write -P 2 0 1M"])
    return pool, path


def filled_with(path: Path, byte: int) -> bool:
    return "erification failed" not in qemu_io(path, [f"read -P {byte} 0 1M"], "-r")


# -- what is found and repaired --------------------------------------------------------------------


def test_every_file_of_a_tree_is_looked_at_and_repaired(root: Path) -> None:
    world = branched(root)
    assert world.pool.check_volume("disk-1") == CheckReport()
    frozen = [world.files.path(number) for number in (0, 1)]
    for path in frozen:
        forget_what_is_used(path)
    found = world.pool.check_volume("disk-1")
    forget_what_is_used(world.active)
    assert world.pool.check_volume("disk-1").errors > found.errors > 0
    assert world.pool.repair_volume("disk-1", everything=True) == CheckReport()
    world.settle()


def test_what_nothing_uses_is_counted_and_given_back(root: Path) -> None:
    pool, path = plain(root)
    subprocess.run(["qemu-img", "snapshot", "-c", "s2", path], check=True)
    with path.open("rb+") as file:
        # The header knows of one snapshot; what the other holds is counted and used by nothing.
        file.seek(60)
        file.write((1).to_bytes(4, "big"))
    found = pool.check_volume("disk-1")
    assert (found.sound, found.errors, found.leaks > 0) == (True, 0, True)
    assert pool.repair_volume("disk-1", everything=False) == CheckReport()
    assert filled_with(path, 2)
    pool.rollback_snapshot("disk-1", "s1")
    assert filled_with(path, 1)


@pytest.mark.parametrize("lost", ["volumes/disk-1.qcow2", "overlays/disk-1/1.qcow2"])
def test_a_missing_file_is_told_and_nothing_is_changed(root: Path, lost: str) -> None:
    world = branched(root)
    (root / lost).unlink()
    before = {path: path.read_bytes() for path in root.rglob("*.qcow2")}
    for _ in range(2):
        assert world.pool.check_volume("disk-1").missing == 1
        assert world.pool.repair_volume("disk-1", everything=True).missing == 1
    assert {path: path.read_bytes() for path in root.rglob("*.qcow2")} == before
    with pytest.raises(VolumeDamaged):
        world.pool.prepare_volume("disk-1")


def test_a_missing_image_is_told(root: Path, tmp_path: Path) -> None:
    pool = DirectoryStorage(root)
    source = tmp_path / "source"
    source.write_bytes(bytes([2]) * MIB)
    pool.import_image("image-1", source)
    pool.create_volume("disk-1", size_gib=1, image_id="image-1")
    assert pool.check_volume("disk-1").sound
    (root / "images/image-1.qcow2").unlink()
    assert pool.check_volume("disk-1") == CheckReport(missing=1)


def test_a_file_that_is_no_qcow2_any_more_is_an_error(root: Path) -> None:
    world = branched(root)
    path = world.files.path(1)
    path.write_bytes(bytes(path.stat().st_size))
    assert world.pool.check_volume("disk-1").errors == 1
    assert world.pool.repair_volume("disk-1", everything=True).errors == 1
    with pytest.raises(VolumeDamaged):
        world.pool.prepare_volume("disk-1")


def test_a_file_that_qemu_marked_as_damaged_is_an_error_until_it_is_repaired(root: Path) -> None:
    world = branched(root)
    with world.files.path(1).open("rb+") as file:
        file.seek(79)
        file.write(bytes([2]))
    assert world.pool.check_volume("disk-1") == CheckReport(errors=1)
    with pytest.raises(VolumeDamaged):
        world.pool.prepare_volume("disk-1")
    assert world.pool.repair_volume("disk-1", everything=True) == CheckReport()
    world.settle()


def test_a_manifest_that_cannot_be_read_is_told(root: Path) -> None:
    world = branched(root)
    (root / "overlays/disk-1/manifest.json").write_text("{}")
    with pytest.raises(VolumeDamaged):
        world.pool.check_volume("disk-1")


def test_what_a_domain_has_open_is_neither_checked_nor_repaired(root: Path) -> None:
    world = branched(root)
    with opened_by_qemu(world.active):
        with pytest.raises(VolumeBusy):
            world.pool.check_volume("disk-1")
        with pytest.raises(VolumeBusy):
            world.pool.repair_volume("disk-1", everything=True)
        assert not world.pool.in_doubt("disk-1")
    world.settle()


@pytest.mark.parametrize(
    ("exit_code", "said", "kind"),
    [
        (
            1,
            "qemu-img: Could not open 'x': Could not read L1 table: Input/output error",
            StorageFaulty,
        ),
        (1, "qemu-img: Could not open 'x': Connection timed out", StorageFaulty),
        (1, "qemu-img: Check failed: Cannot allocate memory", StorageFaulty),
        (1, "unshare: fork failed: Resource temporarily unavailable", HelperInterrupted),
        (1, "unshare: unshare failed: Operation not permitted", HelperInterrupted),
        (137, "", HelperInterrupted),
        (-9, "", HelperInterrupted),
        (134, "qemu-img: Assertion failed.", HelperInterrupted),
    ],
)
def test_what_keeps_a_check_from_looking_says_nothing_of_the_volume(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    exit_code: int,
    said: str,
    kind: type[StorageError],
) -> None:
    world = branched(root)
    assert dies_at(lambda: world.pool.resize_volume("disk-1", size_gib=2), 0)

    def fails(argv: object, **limits: object) -> bytes:
        raise HelperFailed(f"qemu-img failed ({exit_code}): {said}", exit_code=exit_code)

    calls: list[Callable[[], object]] = [
        lambda: world.pool.check_volume("disk-1"),
        lambda: world.pool.prepare_volume("disk-1"),
    ]
    with monkeypatch.context() as patched:
        patched.setattr("compute.storage.helper.run", fails)
        for call in calls:
            with pytest.raises(kind) as caught:
                call()
            assert caught.value.retryable
    assert world.pool.check_volume("disk-1").sound


def test_a_check_that_does_not_get_its_memory_says_nothing_of_the_volume(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = branched(root)
    run = helper.run

    def starved(argv: Sequence[str], **limits: Any) -> bytes:
        return run(argv, **limits, memory_bytes=16 * MIB)

    with monkeypatch.context() as patched:
        patched.setattr(helper, "run", starved)
        with pytest.raises(HelperInterrupted):
            world.pool.check_volume("disk-1")
    assert world.pool.check_volume("disk-1").sound


def test_damage_that_sounds_like_a_mediums_error_is_damage(root: Path) -> None:
    pool, path = plain(root)
    with path.open("rb+") as file:
        # A table of reference counts that begins where none can begin is not read any further.
        file.seek(48)
        table = int.from_bytes(file.read(8), "big")
        file.seek(table)
        block = int.from_bytes(file.read(8), "big")
        file.seek(table)
        file.write((block + 512).to_bytes(8, "big"))
    assert pool.check_volume("disk-1").errors > 1
    assert pool.repair_volume("disk-1", everything=True).errors > 1


def test_nothing_is_merged_while_a_volume_is_in_doubt(root: Path) -> None:
    world = branched(root)
    assert dies_at(lambda: world.pool.resize_volume("disk-1", size_gib=2), 0)
    world.size_gib = 1
    world.pool.delete_snapshot("disk-1", "s1")
    del world.kept["s1"]
    assert not world.pool.tidy_volume("disk-1")
    assert world.pool.check_volume("disk-1").sound
    world.settle()


# -- copies ----------------------------------------------------------------------------------------


def test_every_file_that_a_copy_reads_is_looked_at(root: Path) -> None:
    world = branched(root)
    pool = world.pool
    forget_what_is_used(world.files.path(1))
    calls: list[Callable[[], object]] = [
        lambda: pool.clone_volume("disk-2", source_volume_id="disk-1"),
        lambda: pool.image_from_volume("image-1", "disk-1"),
        lambda: pool.volume_from_snapshot("disk-2", source_volume_id="disk-1", snapshot="s2"),
        lambda: pool.image_from_volume("image-1", "disk-1", snapshot="s2"),
    ]
    for call in calls:
        with pytest.raises(VolumeDamaged):
            call()
    # The first one rests on no other.
    pool.volume_from_snapshot("disk-2", source_volume_id="disk-1", snapshot="s1")
    assert holds(root / "volumes/disk-2.qcow2", world.kept["s1"])
    with opened_by_qemu(world.active), pytest.raises(VolumeDamaged):
        pool.volume_from_snapshot("disk-3", source_volume_id="disk-1", snapshot="s2")
    assert [one.volume_id for one in pool.list_volumes()] == ["disk-1", "disk-2"]


def test_a_snapshot_inside_a_damaged_file_is_neither_copied_nor_gone_back_to(root: Path) -> None:
    _plain, path = plain(root)
    pool = DirectoryStorage(root, overlays=True)
    forget_what_is_used(path)
    calls: list[Callable[[], object]] = [
        lambda: pool.volume_from_snapshot("disk-2", source_volume_id="disk-1", snapshot="s1"),
        lambda: pool.rollback_snapshot("disk-1", "s1"),
    ]
    for call in calls:
        with pytest.raises(VolumeDamaged):
            call()
    assert pool.repair_volume("disk-1", everything=True).sound
    pool.rollback_snapshot("disk-1", "s1")
    active = pool.disk_source("disk-1")
    assert isinstance(active, FileSource)
    assert filled_with(Path(active.path), 1)


def test_a_copy_from_a_pool_that_is_slow_says_nothing_of_the_volume(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = branched(root)
    run = helper.run

    def slow(argv: Sequence[str], **limits: Any) -> bytes:
        if argv[1] == "check":
            raise StorageTimeout("qemu-img made no progress for 900 seconds.")
        return run(argv, **limits)

    with monkeypatch.context() as patched:
        patched.setattr(helper, "run", slow)
        with pytest.raises(StorageTimeout):
            world.pool.image_from_volume("image-1", "disk-1")
    world.pool.image_from_volume("image-1", "disk-1")


# -- a new one in place of what is damaged ---------------------------------------------------------


LOSSES: dict[str, Callable[[World], object]] = {
    "its first file": lambda world: world.files.path(0).unlink(),
    "a frozen file": lambda world: world.files.path(1).unlink(),
    "its active file": lambda world: world.active.unlink(),
    "its manifest's end": lambda world: manifest_of(world).write_text("{"),
    "its manifest": lambda world: manifest_of(world).write_bytes(b"\xff\xfe"),
    "all of its files": lambda world: lose_all_files(world),
}


def lose_all_files(world: World) -> None:
    for number in world.files.tree().files:
        world.files.path(number).unlink()


def manifest_of(world: World) -> Path:
    return world.root / "overlays/disk-1/manifest.json"


@pytest.mark.parametrize("lost", LOSSES)
def test_a_volume_that_lost_anything_is_rebuilt(root: Path, tmp_path: Path, lost: str) -> None:
    world = branched(root)
    pool = world.pool
    (tmp_path / "source").write_bytes(bytes([5]) * MIB)
    pool.import_image("image-1", tmp_path / "source")
    foreign = root / "overlays/disk-1/notes.txt"
    foreign.write_text("somebody's")
    (frozen, last) = (world.files.path(1), world.active)
    LOSSES[lost](world)
    for path in (frozen, last):
        if path.exists():
            with opened_by_qemu(path, alone=True), pytest.raises(VolumeBusy):
                pool.rebuild_volume("disk-1", size_gib=2, image_id="image-1")
    for step in range(5):
        assert dies_at(
            lambda: pool.rebuild_volume("disk-1", size_gib=2, image_id="image-1"), step
        ), step
    pool.rebuild_volume("disk-1", size_gib=2, image_id="image-1")
    info = pool.volume_info("disk-1")
    assert (info.size_gib, info.image_id) == (2, "image-1")
    assert pool.list_snapshots("disk-1") == ()
    assert pool.check_volume("disk-1") == CheckReport()
    pool.prepare_volume("disk-1")
    assert filled_with(world.active, 5)
    # Nobody who knows the old names finds the new content.
    assert world.active not in (frozen, last)
    assert [*root.glob("volumes/*"), *root.glob("overlays/disk-1/*.qcow2")] == [world.active]
    assert foreign.exists()


def test_a_volume_whose_manifest_is_no_text_is_deleted(root: Path) -> None:
    world = branched(root)
    manifest_of(world).write_bytes(b"\xff\xfe")
    assert [one.size_bytes for one in world.pool.list_volumes()] == [0]
    world.pool.delete_volume("disk-1")
    assert world.pool.list_volumes() == ()
    assert not list(root.glob("*/disk-1*"))


def patiently(call: Callable[[], object]) -> None:
    """Do a call as a job does, which waits while a helper that was killed still dies."""
    until = time.monotonic() + 60
    while True:
        try:
            call()
        except VolumeBusy:
            assert time.monotonic() < until
            time.sleep(0.05)
        else:
            return


# -- killed workers --------------------------------------------------------------------------------


def test_a_check_that_is_killed_at_any_step_changes_nothing(root: Path) -> None:
    world = branched(root)
    before = {path: path.read_bytes() for path in root.rglob("*.qcow2")}
    for step in range(3):
        assert dies_at(lambda: world.pool.check_volume("disk-1"), step)
        await_end_of_helpers(root)
        assert {path: path.read_bytes() for path in root.rglob("*.qcow2")} == before
    assert world.pool.check_volume("disk-1").sound
    world.settle()


# The helper of each file, twice: it repairs, it looks; then the note is removed.
REPAIR_STEPS = range(7)


@pytest.mark.parametrize("step", budget.share(REPAIR_STEPS, 1, of=3))
@pytest.mark.parametrize("within_s", [None, 0.03])
def test_a_repair_that_is_killed_at_any_step_leaves_the_volume_in_doubt(
    root: Path, step: int, within_s: float | None
) -> None:
    world = branched(root)
    for number in world.files.tree().files:
        forget_what_is_used(world.files.path(number))

    def repair() -> None:
        world.pool.repair_volume("disk-1", everything=True)

    assert dies_at(repair, step, within_s=within_s)
    await_end_of_helpers(root)
    if within_s is None:
        assert world.pool.in_doubt("disk-1")
        if step <= 2:
            # Not all of its files were repaired.
            with pytest.raises(VolumeDamaged):
                world.pool.prepare_volume("disk-1")
    patiently(repair)
    assert not world.pool.in_doubt("disk-1")
    world.settle()


def test_a_note_on_a_file_that_is_not_the_active_one_is_its_number_alone(root: Path) -> None:
    """So does a process of the last release check that file."""
    _plain, path = plain(root)
    pool = DirectoryStorage(root, overlays=True)
    pool.create_snapshot("disk-1", "s2")
    pool.delete_snapshot("disk-1", "s1")
    note = root / "overlays/disk-1/doubt"
    for step in range(20):
        assert dies_at(lambda: pool.tidy_volume("disk-1"), step)
        await_end_of_helpers(root)
        if note.exists():
            break
    assert note.read_text() == "0"
    forget_what_is_used(path)
    with pytest.raises(VolumeDamaged):
        pool.prepare_volume("disk-1")
    assert pool.repair_volume("disk-1", everything=True).sound
    assert pool.tidy_volume("disk-1")
    assert not note.exists()
    there = subprocess.check_output(["qemu-img", "snapshot", "-l", path])
    assert there.strip() == b""


@pytest.mark.parametrize("repairs", [False, True])
def test_who_has_lost_the_job_neither_trusts_nor_repairs(root: Path, repairs: bool) -> None:
    class Lost(Exception):
        """The job was taken over."""

    world = branched(root)
    assert dies_at(lambda: world.pool.resize_volume("disk-1", size_gib=2), 0)
    for number in world.files.tree().files if repairs else ():
        forget_what_is_used(world.files.path(number))
    before = {path: path.read_bytes() for path in root.rglob("*.qcow2")}
    asked: list[bool] = []

    def confirm() -> None:
        asked.append(True)
        # Held while the call begins.
        if len(asked) > 1:
            raise Lost

    def call() -> CheckReport:
        if repairs:
            return world.pool.repair_volume("disk-1", everything=True)
        return world.pool.check_volume("disk-1")

    with lease.held(confirm), pytest.raises(Lost):
        call()
    assert world.pool.in_doubt("disk-1")
    assert {path: path.read_bytes() for path in root.rglob("*.qcow2")} == before
    assert call().sound
    assert not world.pool.in_doubt("disk-1")


# Before it lie the note of the size and its folder; behind it the end of the doubt, and the size.
AT_QEMU = 2


def test_a_rollback_that_was_killed_is_repeated_and_nothing_else_is_done_before(
    root: Path,
) -> None:
    pool, path = plain(root)
    assert dies_at(lambda: pool.rollback_snapshot("disk-1", "s1"), AT_QEMU)
    await_end_of_helpers(root)
    assert pool.in_doubt("disk-1")
    forget_what_is_used(path)
    # Half done, as it is not sound; only the same one goes on, and is looked at in the end.
    with pytest.raises(VolumeDamaged):
        pool.prepare_volume("disk-1")
    with pytest.raises(VolumeDamaged):
        pool.rollback_snapshot("disk-1", "s1")
    assert pool.in_doubt("disk-1")
    assert pool.repair_volume("disk-1", everything=True).sound
    pool.rollback_snapshot("disk-1", "s1")
    assert not pool.in_doubt("disk-1")
    assert filled_with(path, 1)


@pytest.mark.parametrize("turn", budget.share(range(20), 3, of=10))
def test_a_rollback_inside_a_file_killed_at_any_moment_keeps_the_snapshot(
    root: Path, turn: int
) -> None:
    """Mapped wholly, so that QEMU is at its tables when it dies; then the same one is repeated."""
    pool = DirectoryStorage(root)
    pool.create_volume("disk-1", size_gib=1)
    path = root / "volumes/disk-1.qcow2"
    mapped = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata"]
    subprocess.run([*mapped, path, "100G"], check=True)
    kept, now = {0: 7, 3 * MIB: 8}, {0: 9, 6 * MIB: 5}
    writes = [f"write -P {byte} {slot} 128k" for slot, byte in kept.items()]
    qemu_io(path, writes)
    pool.create_snapshot("disk-1", "s1")
    qemu_io(path, [f"write -P {byte} {slot} 128k" for slot, byte in now.items()])
    within_s = random.Random(turn).uniform(0.0, 0.6)
    assert dies_at(lambda: pool.rollback_snapshot("disk-1", "s1"), AT_QEMU, within_s=within_s)
    await_end_of_helpers(root)

    def roll_back() -> None:
        pool.rollback_snapshot("disk-1", "s1")

    try:
        patiently(roll_back)
    except VolumeDamaged:
        # Found before a guest could write: nothing is lost by the repair.
        assert pool.repair_volume("disk-1", everything=True).sound
        roll_back()
    assert not pool.in_doubt("disk-1")
    pool.prepare_volume("disk-1")
    assert holds(path, kept)
    assert pool.volume_info("disk-1").size_gib == 100
    # The guest writes, and the snapshot is still what it was.
    qemu_io(path, [f"write -P {byte} {slot} 128k" for slot, byte in now.items()])
    pool.rollback_snapshot("disk-1", "s1")
    assert holds(path, kept)


def test_a_rollback_that_was_killed_before_it_gave_the_size_back_is_completed(root: Path) -> None:
    pool, path = plain(root)
    pool.resize_volume("disk-1", size_gib=3)
    assert dies_at(lambda: pool.rollback_snapshot("disk-1", "s1"), AT_QEMU + 2)
    await_end_of_helpers(root)
    assert pool.volume_info("disk-1").size_gib == 1
    assert pool.check_volume("disk-1").sound
    assert pool.volume_info("disk-1").size_gib == 3
    assert filled_with(path, 1)


def test_a_rollback_gives_back_the_size_that_the_volume_had_last(root: Path) -> None:
    pool, _path = plain(root)
    pool.resize_volume("disk-1", size_gib=2)
    # What one left that was killed before QEMU began; then the volume was enlarged.
    assert dies_at(lambda: pool.rollback_snapshot("disk-1", "s1"), AT_QEMU)
    await_end_of_helpers(root)
    assert (root / "volumes/disk-1.size").read_text() == str(2 * GIB)
    pool.resize_volume("disk-1", size_gib=3)
    pool.rollback_snapshot("disk-1", "s1")
    assert pool.volume_info("disk-1").size_gib == 3
    assert not (root / "volumes/disk-1.size").exists()
