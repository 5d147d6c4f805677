"""A pool is what it says, or it is not used: contract of markers, and a medium that is ill."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from compute.storage import files, lookout, overlays
from compute.storage.base import (
    CheckReport,
    Storage,
    StorageError,
    StorageFaulty,
    StorageForeign,
    StorageFull,
    StorageHanging,
    StorageReadOnly,
    StorageRef,
    StorageStale,
    StorageUnavailable,
    VolumeMissing,
)
from compute.storage.fake import FakeStorage, forget_fake_pools
from compute.storage.marker import digest_of
from compute.storage.opening import open_storage
from compute.storage.tree import Tree
from tests.compute.drivers.sick import SickFileSystem


@dataclass
class Place:
    """Where a pool lies: opened with a marker in mind, taken away, put back, looked into."""

    open: Callable[[str], Storage]
    unmount: Callable[[], None]
    mount: Callable[[], None]
    is_untouched: Callable[[], bool]


def _directory(tmp_path: Path) -> Place:
    root, away = tmp_path / "pool", tmp_path / "away"
    root.mkdir()

    def unmount() -> None:
        root.rename(away)
        root.mkdir()

    def mount() -> None:
        root.rmdir()
        away.rename(root)

    return Place(
        lambda digest: open_storage(StorageRef("dir", str(root), marker=digest)),
        unmount,
        mount,
        lambda: not any(root.iterdir()),
    )


def _fake(_tmp_path: Path) -> Place:
    forget_fake_pools()
    kept: list[str] = []

    def opened(digest: str) -> FakeStorage:
        found = open_storage(StorageRef("fake", "marked", marker=digest))
        assert isinstance(found, FakeStorage)
        return found

    def unmount() -> None:
        pool = opened("")
        kept.append(pool.marker)
        pool.marker = ""

    def mount() -> None:
        opened("").marker = kept.pop()

    return Place(opened, unmount, mount, lambda: not opened("").marker)


@pytest.fixture(params=[_fake, _directory], ids=["fake", "dir"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Each test of the contract runs over both."""
    made: Place = request.param(tmp_path)
    return made


def test_a_pool_is_used_as_the_one_that_it_is_and_as_no_other(place: Place) -> None:
    # Releases that know no markers have used it, and go on.
    place.open("").create_volume("disk-1", size_gib=1)
    place.open("").mark("token one")
    place.open("").mark("token two")
    assert place.open("").volume_info("disk-1").size_gib == 1

    mine = place.open(digest_of("token two"))
    assert [one.volume_id for one in mine.list_volumes()] == ["disk-1"]
    for call in (place.open(digest_of("token one")).capacity, place.open(digest_of("3")).try_write):
        with pytest.raises(StorageForeign):
            call()
    with pytest.raises(StorageForeign):
        place.open("").mark("token three")
    assert place.open(digest_of("token two")).volume_info("disk-1").size_gib == 1

    place.open("").mark("token three", replace=True)
    assert place.open(digest_of("token three")).volume_info("disk-1").size_gib == 1
    with pytest.raises(StorageForeign):
        place.open(digest_of("token two")).list_volumes()


def test_an_unmounted_pool_is_no_empty_pool(place: Place) -> None:
    place.open("").mark("token")
    digest = digest_of("token")
    pool = place.open(digest)
    pool.create_volume("disk-1", size_gib=1)
    place.unmount()
    pool = place.open(digest)
    for call in (
        pool.capacity,
        pool.try_write,
        pool.list_volumes,
        pool.list_images,
        pool.sweep_temporary,
        lambda: pool.volume_info("disk-1"),
        lambda: pool.create_volume("disk-1", size_gib=1),
        lambda: pool.delete_volume("disk-1"),
        lambda: pool.prepare_volume("disk-1"),
        lambda: pool.uses_overlays("disk-1"),
        lambda: pool.delete_snapshot("disk-1", "snap-1"),
        lambda: pool.write_seed("vm-1", {"meta-data": ""}),
        lambda: pool.delete_image("image-1"),
    ):
        with pytest.raises(StorageUnavailable) as caught:
            call()
        assert not isinstance(caught.value, StorageForeign)
    assert place.is_untouched()
    place.mount()
    pool = place.open(digest)
    assert [one.volume_id for one in pool.list_volumes()] == ["disk-1"]
    with pytest.raises(VolumeMissing):
        pool.volume_info("disk-2")


def test_a_pool_that_goes_while_it_is_read_has_lost_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = _directory(tmp_path)
    place.open("").mark("token")
    pool = place.open(digest_of("token"))
    pool.create_volume("disk-1", size_gib=1)

    def gone(root: Path) -> set[str]:
        place.unmount()
        return overlays.names_of(root)

    monkeypatch.setattr("compute.storage.dir.names_of", gone)
    with pytest.raises(StorageUnavailable):
        pool.list_volumes()
    place.mount()

    def unreadable(*_none: object) -> None:
        place.unmount()
        raise VolumeMissing("It is not there.")

    monkeypatch.setattr(overlays.VolumeFiles, "facts", unreadable)
    with pytest.raises(StorageUnavailable):
        pool.volume_info("disk-1")


@pytest.mark.parametrize(
    "look",
    [
        lambda pool: pool.check_volume("disk-1"),
        lambda pool: pool.repair_volume("disk-1", everything=True),
    ],
    ids=["check", "repair"],
)
def test_a_pool_that_goes_while_a_volume_is_checked_has_lost_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Callable[[Storage], CheckReport]
) -> None:
    place = _directory(tmp_path)
    place.open("").mark("token")
    pool = place.open(digest_of("token"))
    pool.create_volume("disk-1", size_gib=1)
    tree_of = overlays.VolumeFiles.tree

    def gone_after_it_was_read(volume: overlays.VolumeFiles) -> Tree:
        tree = tree_of(volume)
        place.unmount()
        return tree

    with monkeypatch.context() as patched:
        patched.setattr(overlays.VolumeFiles, "tree", gone_after_it_was_read)
        with pytest.raises(StorageUnavailable):
            look(pool)
    assert place.is_untouched()
    place.mount()
    assert not pool.in_doubt("disk-1")
    assert pool.check_volume("disk-1") == CheckReport()


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EROFS, StorageReadOnly),
        (errno.EIO, StorageFaulty),
        (errno.ESTALE, StorageStale),
        (errno.ENOTCONN, StorageUnavailable),
    ],
)
def test_what_a_medium_says_has_a_code(number: int, kind: type[StorageError]) -> None:
    with pytest.raises(kind) as caught, files.named_errors():
        raise OSError(number, "said")
    assert type(caught.value) is kind
    assert caught.value.retryable


# -- a medium that is ill ------------------------------------------------------------------------


@pytest.fixture
def sick(tmp_path: Path) -> Iterator[SickFileSystem]:
    """A file system that is ill when it is told to, at ``tmp_path / "sick"``."""
    backing, place = tmp_path / "backing", tmp_path / "sick"
    backing.mkdir()
    place.mkdir()
    made = SickFileSystem(backing, place)
    yield made
    made.unmount()


@pytest.mark.lab
def test_a_pool_that_is_ill_says_how_and_delays_nobody(
    sick: SickFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = tmp_path / "sound"
    sound.mkdir()
    pools = []
    for root, pool_id in ((tmp_path / "sick", "sick"), (sound, "sound")):
        open_storage(StorageRef("dir", str(root), pool_id=pool_id)).mark(pool_id)
        ref = StorageRef("dir", str(root), pool_id=pool_id, marker=digest_of(pool_id))
        pools.append(open_storage(ref))
    ill, other = pools
    ill.create_volume("disk-1", size_gib=1)

    for number, kind in (
        (errno.EROFS, StorageReadOnly),
        (errno.ENOSPC, StorageFull),
        (errno.EIO, StorageFaulty),
        (errno.ESTALE, StorageStale),
    ):
        sick.cannot_write = number
        for call in (ill.try_write, lambda: ill.create_volume("disk-2", size_gib=1)):
            with pytest.raises(kind) as caught:
                call()
            assert type(caught.value) is kind
        assert [one.volume_id for one in ill.list_volumes()] == ["disk-1"]
        sick.heal()
    for number, kind in ((errno.EIO, StorageFaulty), (errno.ESTALE, StorageStale)):
        sick.fails = number
        with pytest.raises(kind):
            ill.list_volumes()
        sick.heal()

    monkeypatch.setattr(lookout, "LIMIT_S", 1.0)
    monkeypatch.setattr(lookout, "PAUSE_S", 0.5)
    sick.hangs = True
    began = time.monotonic()
    with pytest.raises(StorageHanging):
        ill.volume_info("disk-1")
    assert 0.9 < time.monotonic() - began < 5
    # From now on nobody waits, not even for its process that cannot end; others go on.
    time.sleep(0.6)
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises(StorageHanging):
            ill.list_volumes()
        other.create_volume("disk-1", size_gib=1)
    assert time.monotonic() - began < 5
    sick.heal()
    monkeypatch.setattr(lookout, "LIMIT_S", 30.0)
    for _ in range(100):
        time.sleep(0.1)
        try:
            found = ill.list_volumes()
        except StorageHanging:
            continue
        break
    assert [one.volume_id for one in found] == ["disk-1"]


def test_the_child_that_looks_is_kept_and_replaced(tmp_path: Path) -> None:
    one = lookout.Lookout(tmp_path)
    try:
        first = one.look("")
        assert first.total_bytes > first.available_bytes > 0
        child = one._child
        one.look("")
        assert child is one._child
        assert child is not None
        child.kill()
        child.wait()
        one.look("")
        assert one._child is not child
        with pytest.raises(StorageUnavailable, match="no marker"):
            one.look("0" * 64)
    finally:
        one.end()
