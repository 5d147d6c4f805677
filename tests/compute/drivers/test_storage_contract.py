"""The storage port's contract, over the pool in memory, over directories and over Ceph."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from compute.storage.base import (
    GIB,
    CheckReport,
    FileSource,
    ImageBusy,
    ImageMissing,
    ImageRefused,
    ShrinkRefused,
    SnapshotMissing,
    Storage,
    StorageRef,
    VolumeDamaged,
    VolumeMissing,
)
from compute.storage.fake import FakeStorage
from compute.storage.opening import open_storage
from tests.ceph_fixture import CephWorld
from tests.compute.drivers.overlay_world import forget_what_is_used

MIB = 1024**2


@dataclass
class Pool:
    """A pool, how a guest would write into its volumes, and what damages one."""

    storage: Storage
    write: Callable[[str, int], None]
    holds: Callable[[str, int], bool]
    sources: Path
    beat: Callable[[str, str], None]
    damage: Callable[[str], None]

    def image(self, image_id: str, byte: int, *, size_mib: int = 4) -> None:
        """An image whose first MiB is made of that byte."""
        source = self.sources / f"{image_id}.raw"
        source.write_bytes(bytes([byte]) * MIB + bytes((size_mib - 1) * MIB))
        self.storage.import_image(image_id, source)


def _directory_pool(tmp_path: Path, *options: tuple[str, str]) -> Pool:
    root = tmp_path / "pool"
    root.mkdir()
    storage = open_storage(StorageRef("dir", str(root), options))

    def qemu_io(volume_id: str, command: str) -> str:
        source = storage.disk_source(volume_id)
        assert isinstance(source, FileSource)
        result = subprocess.run(
            ["qemu-io", "-f", "qcow2", "-c", command, source.path],
            capture_output=True,
            text=True,
            check=True,
        )
        return result.stdout

    def write(volume_id: str, byte: int) -> None:
        qemu_io(volume_id, f"write -P {byte} 0 1M")

    def holds(volume_id: str, byte: int) -> bool:
        return "verification failed" not in qemu_io(volume_id, f"read -P {byte} 0 1M")

    def beat(host: str, text: str) -> None:
        folder = root / "heartbeats"
        folder.mkdir(exist_ok=True)
        (folder / f".{host}").write_text(text)
        (folder / f".{host}").rename(folder / host)

    def damage(volume_id: str) -> None:
        source = storage.disk_source(volume_id)
        assert isinstance(source, FileSource)
        forget_what_is_used(Path(source.path))

    return Pool(
        storage,
        write=write,
        holds=holds,
        sources=tmp_path,
        beat=beat,
        damage=damage,
    )


def _fake_pool(tmp_path: Path) -> Pool:
    storage = FakeStorage("contract")

    def holds(volume_id: str, byte: int) -> bool:
        return storage.read_content(volume_id)[:1] == bytes([byte])

    def damage(volume_id: str) -> None:
        storage.volumes[volume_id].errors = 3

    return Pool(
        storage,
        write=lambda volume_id, byte: storage.write_content(volume_id, bytes([byte])),
        holds=holds,
        sources=tmp_path,
        beat=storage.beats.__setitem__,
        damage=damage,
    )


def _ceph_pool(world: CephWorld) -> Pool:
    return Pool(
        world.open(),
        write=world.write,
        holds=world.holds,
        sources=world.scratch,
        beat=world.beat,
        damage=world.damage,
    )


@pytest.fixture(params=["fake", "dir", "overlays", pytest.param("rbd", marks=pytest.mark.ceph)])
def pool(request: pytest.FixtureRequest, tmp_path: Path) -> Pool:
    """Each test of the contract runs over all."""
    if request.param == "fake":
        return _fake_pool(tmp_path)
    if request.param == "rbd":
        return _ceph_pool(request.getfixturevalue("ceph"))
    options = [("snapshots", "overlays")] if request.param == "overlays" else []
    return _directory_pool(tmp_path, *options)


# -- images ------------------------------------------------------------------------------------


def test_an_imported_image_is_listed_with_its_facts(pool: Pool) -> None:
    pool.image("image-1", 0x41)
    pool.image("image-1", 0x41)
    info = pool.storage.image_info("image-1")
    assert info.virtual_bytes == 4 * MIB
    assert info.size_gib == 1
    assert len(info.sha256) == 64
    assert pool.storage.list_images() == (info,)
    pool.storage.export_image("image-1", pool.sources / "exported")
    assert (pool.sources / "exported").stat().st_size > 0
    with pytest.raises(ImageMissing):
        pool.storage.export_image("image-9", pool.sources / "other")
    assert not (pool.sources / "other").exists()


def test_an_image_is_deleted_when_no_volume_rests_on_it(pool: Pool) -> None:
    pool.image("image-1", 0x41)
    pool.storage.create_volume("disk-1", size_gib=1, image_id="image-1")
    with pytest.raises(ImageBusy):
        pool.storage.delete_image("image-1")
    pool.storage.delete_volume("disk-1")
    for _ in range(2):
        pool.storage.delete_image("image-1")
    assert pool.storage.list_images() == ()
    with pytest.raises(ImageMissing):
        pool.storage.image_info("image-1")


def test_a_wrong_checksum_is_refused_and_leaves_nothing(pool: Pool) -> None:
    source = pool.sources / "upload"
    source.write_bytes(bytes(MIB))
    with pytest.raises(ImageRefused) as refusal:
        pool.storage.import_image("image-1", source, expected_sha256="0" * 64)
    assert refusal.value.reason == "checksum"
    assert pool.storage.list_images() == ()


def test_an_image_from_a_volume_is_independent_of_it(pool: Pool) -> None:
    pool.image("image-1", 0x41)
    pool.storage.create_volume("disk-1", size_gib=1, image_id="image-1")
    pool.write("disk-1", 0x42)
    for _ in range(2):
        pool.storage.image_from_volume("image-2", "disk-1")
    pool.storage.delete_volume("disk-1")
    pool.storage.delete_image("image-1")
    pool.storage.create_volume("disk-2", size_gib=1, image_id="image-2")
    assert pool.holds("disk-2", 0x42)


# -- volumes -----------------------------------------------------------------------------------


def test_a_volume_holds_its_images_content_and_keeps_its_own(pool: Pool) -> None:
    pool.image("image-1", 0x41)
    for volume_id in ("disk-1", "disk-2"):
        pool.storage.create_volume(volume_id, size_gib=1, image_id="image-1")
        assert pool.holds(volume_id, 0x41)
    pool.write("disk-1", 0x42)
    pool.storage.create_volume("disk-1", size_gib=1, image_id="image-1")
    assert pool.holds("disk-1", 0x42)
    assert pool.holds("disk-2", 0x41)
    info = pool.storage.volume_info("disk-1")
    assert (info.size_gib, info.image_id) == (1, "image-1")


def test_volumes_are_listed_until_deleted(pool: Pool) -> None:
    pool.storage.create_volume("disk-2", size_gib=2)
    pool.storage.create_volume("disk-1", size_gib=1)
    found = [(one.volume_id, one.size_gib, one.image_id) for one in pool.storage.list_volumes()]
    assert found == [("disk-1", 1, None), ("disk-2", 2, None)]
    for _ in range(2):
        pool.storage.delete_volume("disk-1")
    assert [one.volume_id for one in pool.storage.list_volumes()] == ["disk-2"]
    with pytest.raises(VolumeMissing):
        pool.storage.volume_info("disk-1")


def test_a_volume_needs_its_image_and_room_for_it(pool: Pool) -> None:
    with pytest.raises(ImageMissing):
        pool.storage.create_volume("disk-1", size_gib=1, image_id="image-none")
    source = pool.sources / "large.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", source, "2G"], check=True)
    pool.storage.import_image("image-1", source)
    with pytest.raises(ShrinkRefused):
        pool.storage.create_volume("disk-1", size_gib=1, image_id="image-1")
    assert pool.storage.list_volumes() == ()


def test_a_volume_grows_and_never_shrinks(pool: Pool) -> None:
    pool.storage.create_volume("disk-1", size_gib=1)
    pool.write("disk-1", 0x41)
    for _ in range(2):
        pool.storage.resize_volume("disk-1", size_gib=2)
    with pytest.raises(ShrinkRefused):
        pool.storage.resize_volume("disk-1", size_gib=1)
    assert pool.storage.volume_info("disk-1").size_gib == 2
    pool.storage.create_volume("disk-1", size_gib=3)
    assert pool.storage.volume_info("disk-1").size_gib == 3
    assert pool.holds("disk-1", 0x41)
    with pytest.raises(VolumeMissing):
        pool.storage.resize_volume("disk-none", size_gib=1)


def test_a_clone_is_independent_of_its_source(pool: Pool) -> None:
    pool.storage.create_volume("disk-1", size_gib=1)
    pool.write("disk-1", 0x41)
    for _ in range(2):
        pool.storage.clone_volume("disk-2", source_volume_id="disk-1")
    pool.write("disk-1", 0x42)
    assert pool.holds("disk-2", 0x41)
    pool.storage.delete_volume("disk-1")
    assert pool.holds("disk-2", 0x41)
    with pytest.raises(VolumeMissing):
        pool.storage.clone_volume("disk-3", source_volume_id="disk-none")


def test_rebuilding_replaces_content_and_snapshots(pool: Pool) -> None:
    pool.image("image-1", 0x41)
    pool.image("image-2", 0x42)
    pool.storage.create_volume("disk-1", size_gib=1, image_id="image-1")
    pool.write("disk-1", 0x43)
    pool.storage.create_snapshot("disk-1", "snap-1")
    with pytest.raises(ImageMissing):
        pool.storage.rebuild_volume("disk-1", size_gib=2, image_id="image-none")
    assert pool.holds("disk-1", 0x43)
    for _ in range(2):
        pool.storage.rebuild_volume("disk-1", size_gib=2, image_id="image-2")
    assert pool.holds("disk-1", 0x42)
    assert pool.storage.list_snapshots("disk-1") == ()
    assert pool.storage.volume_info("disk-1").size_bytes == 2 * GIB


# -- snapshots ---------------------------------------------------------------------------------


def test_every_snapshot_keeps_its_content_whatever_happens_to_the_others(pool: Pool) -> None:
    pool.storage.create_volume("disk-1", size_gib=1)
    for number in (1, 2, 3):
        pool.write("disk-1", 0x40 + number)
        for _ in range(2):
            pool.storage.create_snapshot("disk-1", f"snap-{number}")
    pool.write("disk-1", 0x50)
    for _ in range(2):
        pool.storage.delete_snapshot("disk-1", "snap-2")
        assert pool.storage.tidy_volume("disk-1")
    found = pool.storage.list_snapshots("disk-1")
    assert [one.name for one in found] == ["snap-1", "snap-3"]
    assert found[0].created_at <= found[1].created_at
    assert pool.holds("disk-1", 0x50)
    for name, byte in (("snap-1", 0x41), ("snap-3", 0x43), ("snap-1", 0x41)):
        pool.storage.rollback_snapshot("disk-1", name)
        pool.storage.prepare_volume("disk-1")
        assert pool.holds("disk-1", byte)
    with pytest.raises(SnapshotMissing):
        pool.storage.rollback_snapshot("disk-1", "snap-2")


def test_a_rollback_does_not_take_the_size_back(pool: Pool) -> None:
    pool.storage.create_volume("disk-1", size_gib=1)
    pool.storage.create_snapshot("disk-1", "snap-1")
    pool.storage.resize_volume("disk-1", size_gib=2)
    pool.storage.rollback_snapshot("disk-1", "snap-1")
    assert pool.storage.volume_info("disk-1").size_gib == 2
    assert pool.storage.list_snapshots("disk-1")[0].size_bytes == GIB


def test_a_volume_from_a_snapshot_is_independent(pool: Pool) -> None:
    pool.storage.create_volume("disk-1", size_gib=1)
    pool.write("disk-1", 0x41)
    pool.storage.create_snapshot("disk-1", "snap-1")
    pool.write("disk-1", 0x42)
    for _ in range(2):
        pool.storage.volume_from_snapshot("disk-2", source_volume_id="disk-1", snapshot="snap-1")
    pool.storage.image_from_volume("image-1", "disk-1", snapshot="snap-1")
    pool.storage.delete_volume("disk-1")
    assert pool.holds("disk-2", 0x41)
    pool.storage.create_volume("disk-3", size_gib=1, image_id="image-1")
    assert pool.holds("disk-3", 0x41)
    with pytest.raises(SnapshotMissing):
        pool.storage.volume_from_snapshot("disk-4", source_volume_id="disk-2", snapshot="snap-9")


def test_snapshots_of_a_missing_volume(pool: Pool) -> None:
    pool.storage.delete_snapshot("disk-none", "snap-1")
    for call in (pool.storage.create_snapshot, pool.storage.rollback_snapshot):
        with pytest.raises(VolumeMissing):
            call("disk-none", "snap-1")
    for look in (
        pool.storage.list_snapshots,
        pool.storage.prepare_volume,
        pool.storage.tidy_volume,
    ):
        with pytest.raises(VolumeMissing):
            look("disk-none")
    assert pool.storage.list_volumes() == ()


# -- seeds and housekeeping --------------------------------------------------------------------


def test_a_seed_is_written_replaced_and_removed(pool: Pool) -> None:
    files = {"meta-data": "instance-id: vm-1\n", "user-data": "#cloud-config\n"}
    first = pool.storage.write_seed("vm-1", files)
    assert pool.storage.write_seed("vm-1", files) == first
    for _ in range(2):
        pool.storage.delete_seed("vm-1")


def test_a_quiet_pool_has_nothing_to_sweep(pool: Pool) -> None:
    pool.image("image-1", 0x41)
    pool.storage.create_volume("disk-1", size_gib=1, image_id="image-1")
    pool.storage.write_seed("vm-1", {"meta-data": ""})
    assert pool.storage.sweep_temporary(older_than_s=0) == ()
    capacity = pool.storage.capacity()
    assert 0 < capacity.available_bytes <= capacity.total_bytes
    assert capacity.used_bytes >= 0


# -- hosts -------------------------------------------------------------------------------------


def test_hosts_leave_heartbeats(pool: Pool) -> None:
    assert pool.storage.heartbeats() == {}
    pool.beat("h1", "1")
    pool.beat("h2.example", "1")
    pool.beat("h1", "2")
    assert pool.storage.heartbeats() == {"h1": "2", "h2.example": "1"}


def test_nobody_is_shut_out_of_a_volume_that_nobody_has_open(pool: Pool) -> None:
    pool.storage.create_volume("disk-1", size_gib=1)
    pool.write("disk-1", 0x41)
    for volume_id in ("disk-1", "disk-none"):
        assert pool.storage.shut_out(volume_id) == ()
    assert pool.holds("disk-1", 0x41)
    pool.write("disk-1", 0x42)


# -- checking ----------------------------------------------------------------------------------


def test_a_check_of_a_sound_volume_finds_nothing_and_changes_nothing(pool: Pool) -> None:
    pool.storage.create_volume("disk-1", size_gib=1)
    pool.write("disk-1", 0x41)
    pool.storage.create_snapshot("disk-1", "snap-1")
    pool.write("disk-1", 0x42)
    for _ in range(2):
        assert pool.storage.check_volume("disk-1") == CheckReport()
    assert pool.storage.check_volume("disk-1").sound
    assert not pool.storage.in_doubt("disk-1")
    assert pool.holds("disk-1", 0x42)
    pool.storage.rollback_snapshot("disk-1", "snap-1")
    assert pool.holds("disk-1", 0x41)


def test_a_damaged_volume_is_found_and_repaired_as_far_as_is_wanted(pool: Pool) -> None:
    pool.storage.create_volume("disk-1", size_gib=1)
    pool.write("disk-1", 0x41)
    pool.storage.create_snapshot("disk-1", "snap-1")
    pool.write("disk-1", 0x42)
    pool.damage("disk-1")
    found = pool.storage.check_volume("disk-1")
    assert found.errors > 0
    assert not found.sound
    # From here on nobody uses it.
    assert pool.storage.in_doubt("disk-1")
    uses: list[Callable[[], object]] = [
        lambda: pool.storage.prepare_volume("disk-1"),
        lambda: pool.storage.create_snapshot("disk-1", "snap-2"),
        lambda: pool.storage.resize_volume("disk-1", size_gib=2),
        lambda: pool.storage.rollback_snapshot("disk-1", "snap-1"),
        lambda: pool.storage.clone_volume("disk-2", source_volume_id="disk-1"),
        lambda: pool.storage.image_from_volume("image-1", "disk-1"),
    ]
    for repaired in (False, True):
        if repaired:
            # Space alone is not what is wrong with it.
            assert pool.storage.repair_volume("disk-1", everything=False).errors > 0
        for use in uses:
            with pytest.raises(VolumeDamaged):
                use()
        assert pool.storage.in_doubt("disk-1")
    for _ in range(2):
        assert pool.storage.repair_volume("disk-1", everything=True).sound
        assert not pool.storage.in_doubt("disk-1")
    pool.storage.prepare_volume("disk-1")
    assert pool.holds("disk-1", 0x42)
    pool.storage.rollback_snapshot("disk-1", "snap-1")
    assert pool.holds("disk-1", 0x41)


def test_no_copy_is_made_of_a_volume_with_errors(pool: Pool) -> None:
    pool.storage.create_volume("disk-1", size_gib=1)
    pool.write("disk-1", 0x41)
    pool.damage("disk-1")
    uses: list[Callable[[], object]] = [
        lambda: pool.storage.clone_volume("disk-2", source_volume_id="disk-1"),
        lambda: pool.storage.image_from_volume("image-1", "disk-1"),
    ]
    for use in uses:
        with pytest.raises(VolumeDamaged):
            use()
    assert [one.volume_id for one in pool.storage.list_volumes()] == ["disk-1"]
    assert pool.storage.list_images() == ()
    assert pool.storage.repair_volume("disk-1", everything=True).sound
    for use in uses:
        use()


def test_what_is_not_there_cannot_be_checked(pool: Pool) -> None:
    assert not pool.storage.in_doubt("disk-9")
    with pytest.raises(VolumeMissing):
        pool.storage.check_volume("disk-9")
    with pytest.raises(VolumeMissing):
        pool.storage.repair_volume("disk-9", everything=True)
