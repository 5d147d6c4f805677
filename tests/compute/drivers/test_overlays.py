"""Volumes with overlays in a directory: killed workers, wrong headers, missing files."""

import contextlib
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compute.storage.base import (
    GIB,
    FileSource,
    ImageBusy,
    SnapshotLimit,
    VolumeBusy,
    VolumeDamaged,
    VolumeMissing,
)
from compute.storage.dir import DirectoryStorage
from compute.storage.overlays import VolumeFiles
from compute.storage.tree import MAX_DEPTH, Tree
from tests import budget
from tests.compute.drivers.overlay_world import (
    SLOTS,
    World,
    await_end_of_helpers,
    dies_at,
    forget_what_is_used,
    holds,
    opened_by_qemu,
    qemu_io,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The pool's directory."""
    path = tmp_path / "pool"
    path.mkdir()
    return path


@pytest.fixture
def world(root: Path) -> World:
    """An empty volume in a pool of overlays."""
    return World(root, random.Random(7))


def prepared(root: Path) -> World:
    """A volume with snapshots on two branches, one forgotten in the middle and one at the end."""
    world = World(root, random.Random(7))
    world.write()
    for _ in range(3):
        world.take()
        world.write()
    world.chance.seed(1)
    world.state = dict(world.kept["s2"])
    world.pool.rollback_snapshot("disk-1", "s2")
    world.write()
    world.take()
    world.write()
    for name in ("s1", "s3"):
        del world.kept[name]
        world.pool.delete_snapshot("disk-1", name)
    return world


CALLS: dict[str, Callable[..., None]] = {
    "take": World.take,
    "roll back": World.roll_back,
    "forget": World.forget,
    "tidy": World.tidy,
    "resize": World.resize,
}
STEPS = {"take": 4, "roll back": 6, "forget": 5, "tidy": 9, "resize": 2}
MATRIX = [(what, step) for what, steps in STEPS.items() for step in range(steps)]


@pytest.mark.parametrize(("what", "step"), budget.share(MATRIX, 1, of=4))
def test_a_worker_killed_before_any_act_has_changed_all_or_nothing(
    root: Path, what: str, step: int
) -> None:
    world = prepared(root)
    CALLS[what](world, step=step)
    world.look()
    CALLS[what](world)
    world.settle()


@pytest.mark.parametrize("within_s", budget.share((0.0, 0.02, 0.04, 0.06, 0.08, 0.12), 2, of=6))
@pytest.mark.parametrize("what", ["take", "roll back", "tidy"])
def test_a_helper_killed_at_work_has_changed_all_or_nothing(
    root: Path, what: str, within_s: float
) -> None:
    world = prepared(root)
    CALLS[what](world, step=0, within_s=within_s)
    world.look()
    CALLS[what](world)
    world.settle()


@pytest.mark.parametrize("turn", budget.share(range(20), 3, of=20))
def test_a_rollback_of_100_gb_killed_at_any_moment_loses_no_snapshot(root: Path, turn: int) -> None:
    """Mapped wholly, as a volume that was written once: QEMU's own rollback rewrites its tables."""
    world = World(root, random.Random(turn))
    place = root / "volumes/disk-1.qcow2"
    mapped = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata"]
    subprocess.run([*mapped, place, "100G"], check=True)
    world.size_gib = 100
    world.write()
    world.take()
    world.write()
    done = dies_at(
        lambda: world.pool.rollback_snapshot("disk-1", "s1"),
        0,
        within_s=world.chance.uniform(0.0, 0.25),
    )
    assert done
    await_end_of_helpers(root)
    world.pool.prepare_volume("disk-1")
    assert holds(world.active, world.state) or holds(world.active, world.kept["s1"])
    world.pool.rollback_snapshot("disk-1", "s1")
    world.state = dict(world.kept["s1"])
    world.settle()


def test_a_generated_story_ends_with_the_content_that_a_model_says(root: Path) -> None:
    """``SCLOUD_OVERLAY_SEED`` and ``SCLOUD_OVERLAY_STEPS`` choose another and a longer one."""
    seed = int(os.environ.get("SCLOUD_OVERLAY_SEED", "7"))
    default = "1000" if budget.WHOLE else "40"
    operations = int(os.environ.get("SCLOUD_OVERLAY_STEPS", default))
    world = World(root, random.Random(seed))
    world.log.append(f"seed {seed}")
    acts: list[tuple[Callable[..., None], int]] = [
        (World.take, 5),
        (World.roll_back, 4),
        (World.forget, 4),
        (World.tidy, 4),
        (World.resize, 1),
        (World.clone, 1),
        (World.in_use, 1),
        (World.lead_past, 2),
    ]
    for turn in range(operations):
        world.write()
        act = world.chance.choices([one for one, _ in acts], [weight for _, weight in acts])[0]
        step = world.chance.randint(0, 8) if world.chance.random() < 0.4 else -1
        within_s = world.chance.choice((-1.0, 0.0, 0.02, 0.05))
        world.log.append(f"{turn} {act.__name__} {step} {within_s}")
        act(world, step=step, within_s=within_s)
        if turn % 5 == 4:
            world.look()
    world.settle()


def test_headers_follow_the_manifest(world: World) -> None:
    for _ in range(3):
        world.write()
        world.take()
    world.write()
    path = world.files.path(2)
    lies = ["qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2"]
    subprocess.run([*lies, "-b", "../../volumes/disk-1.qcow2", path], check=True)
    with opened_by_qemu(world.active), pytest.raises(VolumeBusy):
        world.pool.prepare_volume("disk-1")
    world.pool.prepare_volume("disk-1")
    world.settle()


def test_a_moved_pool_still_holds_everything(world: World) -> None:
    world.write()
    world.take()
    world.write()
    world.root = world.root.rename(world.root.with_name("moved"))
    world.settle()


def test_what_a_domain_has_open_is_forgotten_at_once_and_cleared_away_later(
    world: World,
) -> None:
    world.write()
    world.take()
    world.write()
    with opened_by_qemu(world.active):
        world.forget()
        assert world.pool.list_snapshots("disk-1") == ()
        assert not world.pool.tidy_volume("disk-1")
        calls: list[Callable[[], object]] = [
            lambda: world.pool.create_snapshot("disk-1", "s9"),
            lambda: world.pool.resize_volume("disk-1", size_gib=2),
            lambda: world.pool.clone_volume("disk-2", source_volume_id="disk-1"),
            lambda: world.pool.delete_volume("disk-1"),
            lambda: world.pool.rebuild_volume("disk-1", size_gib=1, image_id="none"),
        ]
        for call in calls:
            with pytest.raises(VolumeBusy):
                call()
    assert world.pool.tidy_volume("disk-1")
    assert world.active == world.root / "volumes/disk-1.qcow2"
    world.settle()


def test_a_frozen_file_is_read_while_a_domain_writes_and_nothing_is_merged_meanwhile(
    world: World,
) -> None:
    world.write()
    for _ in range(3):
        world.take()
        world.write()
    with opened_by_qemu(world.active):
        world.pool.volume_from_snapshot("disk-2", source_volume_id="disk-1", snapshot="s2")
        world.pool.image_from_volume("image-1", "disk-1", snapshot="s1")
    assert holds(world.root / "volumes/disk-2.qcow2", world.kept["s2"])
    assert holds(world.root / "images/image-1.qcow2", world.kept["s1"])
    world.pool.delete_volume("disk-2")
    world.forget()
    with world.files.copying():
        assert not world.pool.tidy_volume("disk-1")
    world.settle()


def test_a_domain_that_was_not_brought_over_keeps_its_file_and_its_size(world: World) -> None:
    """A worker died between the publication of a live snapshot and QEMU's change to it."""
    world.write()
    before = world.active
    with opened_by_qemu(before):
        world.files.snapshot("s1", live=True)
        assert world.active != before
        calls: list[Callable[[], object]] = [
            lambda: world.pool.create_snapshot("disk-1", "s2"),
            lambda: world.pool.rollback_snapshot("disk-1", "s1"),
            lambda: world.pool.delete_volume("disk-1"),
        ]
        for call in calls:
            with pytest.raises(VolumeBusy):
                call()
    subprocess.run(["qemu-img", "resize", "-q", before, "3G"], check=True)
    assert world.pool.volume_info("disk-1").size_bytes == 3 * GIB
    qemu_io(before, [f"write -P 9 {SLOTS[0]} 128k"])
    world.pool.prepare_volume("disk-1")
    world.size_gib = 3
    world.state[SLOTS[0]] = 9
    world.kept["s1"] = dict(world.state)
    world.settle()


def test_a_volume_of_earlier_releases_keeps_the_snapshots_inside_its_file(
    root: Path,
) -> None:
    world = World(root, random.Random(3))
    old = DirectoryStorage(root)
    world.write()
    old.create_snapshot("disk-1", "old-1")
    first = dict(world.state)
    world.write()
    old.create_snapshot("disk-1", "old-2")
    world.kept = {"old-1": first, "old-2": dict(world.state)}
    world.write()
    world.take()
    world.write()
    names = [one.name for one in world.pool.list_snapshots("disk-1")]
    assert names == ["old-1", "old-2", "s1"]
    world.pool.resize_volume("disk-1", size_gib=2)
    world.size_gib = 2
    world.pool.rollback_snapshot("disk-1", "old-1")
    world.state = dict(first)
    world.settle()
    world.pool.volume_from_snapshot("disk-2", source_volume_id="disk-1", snapshot="old-2")
    assert holds(root / "volumes/disk-2.qcow2", world.kept["old-2"])
    world.pool.delete_volume("disk-2")
    for name in ("old-1", "s1"):
        world.pool.delete_snapshot("disk-1", name)
        del world.kept[name]
    world.settle()
    there = subprocess.check_output(["qemu-img", "snapshot", "-l", root / "volumes/disk-1.qcow2"])
    assert b"old-2" in there
    assert b"old-1" not in there
    world.pool.delete_snapshot("disk-1", "old-2")
    world.kept.clear()
    world.settle()
    assert not (root / "volumes/disk-1.qcow2").exists()


def test_reinstalling_makes_a_new_root_and_the_image_stays_as_long_as_a_file_rests_on_it(
    root: Path, tmp_path: Path
) -> None:
    pool = DirectoryStorage(root, overlays=True)
    for number in (1, 2):
        source = tmp_path / f"source-{number}"
        source.write_bytes(bytes([number]) * 1024**2)
        pool.import_image(f"image-{number}", source)
    pool.create_volume("disk-1", size_gib=1, image_id="image-1")
    pool.create_snapshot("disk-1", "s1")
    with pytest.raises(ImageBusy):
        pool.delete_image("image-1")
    assert dies_at(lambda: pool.rebuild_volume("disk-1", size_gib=2, image_id="image-2"), 4)
    for _ in range(2):
        pool.rebuild_volume("disk-1", size_gib=2, image_id="image-2")
    pool.delete_image("image-1")
    with pytest.raises(ImageBusy):
        pool.delete_image("image-2")
    info = pool.volume_info("disk-1")
    assert (info.size_gib, info.image_id) == (2, "image-2")
    assert pool.list_snapshots("disk-1") == ()
    source_path = pool.disk_source("disk-1")
    assert isinstance(source_path, FileSource)
    assert holds(Path(source_path.path), {SLOTS[0]: 2})


def test_a_deleted_volume_is_gone_before_its_files_are(world: World) -> None:
    for _ in range(3):
        world.write()
        world.take()
    pool = world.pool
    for step in range(1, 6):
        assert dies_at(lambda: pool.delete_volume("disk-1"), step)
        assert pool.list_volumes() == ()
        with pytest.raises(VolumeMissing):
            pool.volume_info("disk-1")
    pool.delete_volume("disk-1")
    assert not list(world.root.glob("*/disk-1*"))


def test_a_missing_or_foreign_file_is_told_and_nothing_of_others_is_removed(world: World) -> None:
    for _ in range(3):
        world.write()
        world.take()
    folder = world.root / "overlays/disk-1"
    foreign = [folder / "notes.txt", folder / "2.qcow2.bak", world.root / "volumes/Other.qcow2"]
    for path in foreign:
        path.write_text("somebody's")
    world.forget()
    world.settle()
    number = world.files.tree().chain(world.files.tree().active)[1]
    hidden = world.files.path(number).rename(folder / "hidden")
    for call in (
        lambda: world.pool.volume_info("disk-1"),
        lambda: world.pool.prepare_volume("disk-1"),
        lambda: world.pool.tidy_volume("disk-1"),
        lambda: world.pool.create_snapshot("disk-1", "s9"),
        lambda: world.pool.clone_volume("disk-2", source_volume_id="disk-1"),
    ):
        with pytest.raises(VolumeDamaged):
            call()
    assert [(one.volume_id, one.size_bytes) for one in world.pool.list_volumes()] == [("disk-1", 0)]
    hidden.rename(world.files.path(number))
    world.settle()
    (folder / "manifest.json").write_text("{")
    with pytest.raises(VolumeDamaged):
        world.pool.volume_info("disk-1")
    world.pool.delete_volume("disk-1")
    assert all(path.exists() for path in foreign)


@pytest.mark.parametrize("what", ["prepare", "look", "take", "roll back"])
def test_a_merge_that_ends_while_the_volume_is_looked_at_damages_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    for _ in range(3):
        world.write()
        world.take()
    world.write()
    world.pool.delete_snapshot("disk-1", "s2")
    del world.kept["s2"]
    read = VolumeFiles.branched
    merged: list[bool] = []

    def merged_after_it_was_read(volume: VolumeFiles) -> Tree | None:
        tree = read(volume)
        if not merged:
            merged.append(True)
            assert volume.tidy()
        return tree

    calls: dict[str, Callable[[], object]] = {
        "prepare": world.files.prepare,
        "look": world.files.require_unused,
        "take": lambda: world.pool.create_snapshot("disk-1", "s9"),
        "roll back": lambda: world.pool.rollback_snapshot("disk-1", "s1"),
    }
    with monkeypatch.context() as patched:
        patched.setattr(VolumeFiles, "branched", merged_after_it_was_read)
        calls[what]()
    assert merged
    if what == "take":
        world.kept["s9"] = dict(world.state)
    if what == "roll back":
        world.state = dict(world.kept["s1"])
    world.settle()


def test_a_merge_is_ended_for_a_change_of_the_volume(world: World) -> None:
    for _ in range(2):
        world.write()
        world.take()
    world.write()
    volume = world.files
    begun = threading.Event()

    def merge() -> None:
        with volume._tidying(exclusive=True), opened_by_qemu(volume.path(0)):
            begun.set()
            while not volume._is_wanted():
                time.sleep(0.01)

    merging = threading.Thread(target=merge, daemon=True)
    merging.start()
    assert begun.wait(10)
    world.take()
    merging.join(10)
    assert "s3" in world.kept
    world.settle()


def test_depth_has_a_bound_and_forgetting_gives_it_back(world: World) -> None:
    pool = world.pool
    for number in range(MAX_DEPTH - 1):
        pool.create_snapshot("disk-1", f"s{number}")
    with pytest.raises(SnapshotLimit):
        pool.create_snapshot("disk-1", "more")
    pool.delete_snapshot("disk-1", "s5")
    assert pool.tidy_volume("disk-1")
    pool.create_snapshot("disk-1", "more")


def test_what_is_counted_on_is_on_the_medium_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merge: content, then the manifest, then the header above, then the removal."""
    for _ in range(3):
        world.write()
        world.take()
    del world.kept["s2"]
    world.pool.delete_snapshot("disk-1", "s2")
    acts: list[str] = []
    real = {name: getattr(os, name) for name in ("fsync", "rename", "unlink")}

    def noted(name: str) -> Callable[..., object]:
        def act(what: object, *args: object, **options: object) -> object:
            path = Path(f"/proc/self/fd/{what}").readlink() if isinstance(what, int) else what
            acts.append(f"{name} {Path(str(path)).name}")
            return real[name](what, *args, **options)

        return act

    for name in real:
        monkeypatch.setattr(os, name, noted(name))
    assert world.pool.tidy_volume("disk-1")
    monkeypatch.undo()
    assert [act for act in acts if act != "unlink new.qcow2"] == [
        "fsync 1.qcow2",
        "fsync manifest.new",
        "rename manifest.new",
        "fsync disk-1",
        "fsync 3.qcow2",
        "unlink 2.qcow2",
        "fsync disk-1",
    ]
    world.settle()


# -- doubt -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlays", [False, True])
def test_a_volume_whose_change_did_not_end_is_checked_before_anybody_uses_it(
    root: Path, overlays: bool
) -> None:
    pool = DirectoryStorage(root, overlays=overlays)
    pool.create_volume("disk-1", size_gib=1)
    pool.create_snapshot("disk-1", "s1")
    assert not (root / "overlays/disk-1/doubt").exists()
    for step in (0, 1):
        # Before the helper ran, and between its end and the removal of the note.
        assert dies_at(lambda: pool.resize_volume("disk-1", size_gib=2), step)
        await_end_of_helpers(root)
        assert (root / "overlays/disk-1/doubt").exists()
        pool.prepare_volume("disk-1")
        assert not (root / "overlays/disk-1/doubt").exists()
    assert pool.volume_info("disk-1").size_gib == 2


@pytest.mark.parametrize("overlays", [False, True])
def test_a_volume_that_a_killed_change_damaged_is_used_by_nothing_until_it_is_sound(
    root: Path, overlays: bool, tmp_path: Path
) -> None:
    pool = DirectoryStorage(root, overlays=overlays)
    source = tmp_path / "source"
    source.write_bytes(bytes([2]) * 1024**2)
    pool.import_image("image-1", source)
    pool.create_volume("disk-1", size_gib=1)
    pool.create_snapshot("disk-1", "s1")
    assert dies_at(lambda: pool.resize_volume("disk-1", size_gib=2), 1)
    await_end_of_helpers(root)
    active = pool.disk_source("disk-1")
    assert isinstance(active, FileSource)
    path = Path(active.path)
    qemu_io(path, ["write -P 7 0 1M"])
    whole = path.read_bytes()
    forget_what_is_used(path)
    calls: list[Callable[[], object]] = [
        lambda: pool.prepare_volume("disk-1"),
        lambda: pool.create_snapshot("disk-1", "s2"),
        lambda: pool.rollback_snapshot("disk-1", "s1"),
        lambda: pool.resize_volume("disk-1", size_gib=3),
        lambda: pool.clone_volume("disk-2", source_volume_id="disk-1"),
        lambda: pool.image_from_volume("image-2", "disk-1"),
    ]
    for call in calls:
        with pytest.raises(VolumeDamaged):
            call()
    path.write_bytes(whole)
    pool.prepare_volume("disk-1")
    pool.create_snapshot("disk-1", "s2")
    # One that stays damaged can still be reinstalled, and deleted.
    with in_doubt(root):
        pool.rebuild_volume("disk-1", size_gib=2, image_id="image-1")
    pool.prepare_volume("disk-1")
    with in_doubt(root):
        pool.delete_volume("disk-1")
    assert not list(root.glob("*/disk-1*"))


@contextlib.contextmanager
def in_doubt(root: Path) -> Iterator[None]:
    """A note that a change of the volume did not end, and a file that cannot be checked."""
    source = DirectoryStorage(root).disk_source("disk-1")
    assert isinstance(source, FileSource)
    path, folder = Path(source.path), root / "overlays/disk-1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "doubt").write_text(path.stem if path.parent == folder else "0")
    with path.open("rb+") as file:
        file.seek(48)
        file.write(bytes(8))
    yield
