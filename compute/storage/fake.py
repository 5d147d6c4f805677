"""A storage pool in memory, for tests of speed, scale and failure. Keeps the port's contract.

Pools live as long as the process and are found again by their location. Content is a byte string
per volume; `write_content` and `read_content` stand for what a guest would do.
"""

import contextlib
import hashlib
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from compute.storage import probe
from compute.storage.base import (
    GIB,
    CheckReport,
    DiskSource,
    FileSource,
    ImageBusy,
    ImageInfo,
    ImageMissing,
    ImageProbe,
    ImageRefused,
    Merging,
    PoolCapacity,
    ShrinkRefused,
    SnapshotInfo,
    SnapshotMissing,
    StorageForeign,
    StorageFull,
    StorageHanging,
    StorageReadOnly,
    StorageRef,
    StorageTimeout,
    StorageUnavailable,
    VolumeBusy,
    VolumeDamaged,
    VolumeInfo,
    VolumeMissing,
)
from compute.storage.marker import digest_of
from scloud.lib.lease import publishes

_PREFIX = "/fake-storage"
_KEPT_BYTES = 4096
"""Of an imported file, enough to tell images apart."""


@dataclass(slots=True)
class StorageFaults:
    """What shall go wrong. `fail_next` maps a method to the error of its next call.

    A method in `cut_off` stops in the middle of what it changes in place.
    """

    unavailable: bool = False
    full: bool = False
    read_only: bool = False
    hanging: bool = False
    slow_s: float = 0.0
    cut_off: set[str] = field(default_factory=set)
    fail_next: dict[str, Exception] = field(default_factory=dict)


@dataclass(slots=True)
class FakeSnapshot:
    info: SnapshotInfo
    content: bytes


@dataclass(slots=True)
class FakeVolume:
    """A volume; `users` are the running domains that have it open.

    `doubt` is what did not end, as `in_doubt` tells; `errors`, `leaks` and `missing` are what a
    check finds.
    """

    volume_id: str
    size_bytes: int
    image_id: str | None = None
    content: bytes = b""
    snapshots: list[FakeSnapshot] = field(default_factory=list)
    users: set[str] = field(default_factory=set)
    overlays: int = 0
    forgotten: int = 0
    doubt: str = ""
    errors: int = 0
    leaks: int = 0
    missing: int = 0

    @property
    def file(self) -> str:
        """Name of the file that a domain would open; another one after each overlay."""
        return f"{self.volume_id}@{self.overlays}" if self.overlays else self.volume_id

    def take_snapshot(self, name: str) -> None:
        """Keep the present content; nothing happens if the name is taken."""
        if all(snapshot.info.name != name for snapshot in self.snapshots):
            info = SnapshotInfo(name, self.size_bytes, datetime.now(UTC))
            self.snapshots.append(FakeSnapshot(info, self.content))

    def drop_snapshot(self, name: str) -> None:
        """Forget a snapshot; may be missing."""
        self.snapshots = [kept for kept in self.snapshots if kept.info.name != name]

    def snapshot(self, name: str) -> FakeSnapshot:
        """One snapshot; raises `SnapshotMissing`."""
        for snapshot in self.snapshots:
            if snapshot.info.name == name:
                return snapshot
        raise SnapshotMissing(f"Volume {self.volume_id} has no snapshot {name}.")


@dataclass(slots=True)
class _Image:
    info: ImageInfo
    content: bytes


class FakeStorage:
    """See the module's docstring."""

    snapshots_need_hypervisor = True

    def __init__(self, location: str, *, total_gib: int = 100_000, overlays: bool = False) -> None:
        self.location = location
        self.overlays = overlays
        self.faults = StorageFaults()
        self.volumes: dict[str, FakeVolume] = {}
        self.images: dict[str, _Image] = {}
        self.seeds: dict[str, dict[str, str]] = {}
        self.beats: dict[str, str] = {}
        self.shut_outs: list[str] = []
        # Digests: of the marker that is there, of those laid ready, of the one that is asked for.
        self.marker = ""
        self.ready: set[str] = set()
        self.expected = ""
        self._total_bytes = total_gib * GIB
        self._folder: Path | None = None
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def _call(self, name: str, *, writes: bool = False) -> Iterator[None]:
        """One call of the port: faults first, then alone."""
        if self.faults.slow_s:
            time.sleep(self.faults.slow_s)
        if self.faults.hanging:
            raise StorageHanging("The storage's file system does not answer.")
        if self.faults.unavailable:
            raise StorageUnavailable("The storage directory is not there.")
        self._require_marker()
        if (error := self.faults.fail_next.pop(name, None)) is not None:
            raise error
        if writes and self.faults.full:
            raise StorageFull("The storage pool is full.")
        if writes and self.faults.read_only:
            raise StorageReadOnly("The storage pool is read-only.")
        with self._lock:
            yield

    def _require_marker(self) -> None:
        if not self.expected:
            return
        if self.expected in self.ready:
            self.marker = self.expected
            self.ready.clear()
        if not self.marker:
            raise StorageUnavailable("The storage directory has no marker: is it mounted?")
        if self.marker != self.expected:
            raise StorageForeign("The storage directory is another pool.")

    def capacity(self) -> PoolCapacity:
        with self._call("capacity"):
            used = sum(len(volume.content) for volume in self.volumes.values())
            free = 0 if self.faults.full else self._total_bytes - used
            return PoolCapacity(self._total_bytes, free, read_only=self.faults.read_only)

    @publishes
    def mark(self, token: str, *, replace: bool = False) -> None:
        with self._call("mark"):
            if self.marker and not replace:
                raise StorageForeign("The directory is marked already.")
            self.ready.add(digest_of(token))

    def try_write(self) -> None:
        with self._call("try_write", writes=True):
            return

    # -- for tests ---------------------------------------------------------------------------

    def write_content(self, volume_id: str, content: bytes) -> None:
        """What a guest would have written."""
        self._volume(volume_id).content = content

    def read_content(self, volume_id: str) -> bytes:
        return self._volume(volume_id).content

    # -- images ------------------------------------------------------------------------------

    def probe_image(self, path: Path, *, max_virtual_gib: int = 500) -> ImageProbe:
        with self._call("probe_image"):
            return probe.probe(path, max_virtual_gib=max_virtual_gib)

    @publishes
    def import_image(
        self,
        image_id: str,
        source_path: Path,
        *,
        expected_sha256: str | None = None,
        max_virtual_gib: int = 500,
    ) -> ImageInfo:
        with self._call("import_image", writes=True):
            if image_id in self.images:
                return self.images[image_id].info
            found = probe.probe(source_path, max_virtual_gib=max_virtual_gib)
            with source_path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                file.seek(0)
                content = file.read(_KEPT_BYTES)
            if expected_sha256 is not None and digest != expected_sha256.lower():
                raise ImageRefused(
                    "The file's checksum is not the expected one.", reason="checksum"
                )
            # The pool has a file of its own: the caller's goes once it is imported.
            shutil.copyfile(source_path, self._file(image_id))
            return self._add_image(image_id, content, found.virtual_bytes)

    def add_image(self, image_id: str, *, size_gib: int = 1) -> ImageInfo:
        """An image without a file, for tests that need only its name."""
        with self._call("import_image", writes=True):
            return self._add_image(image_id, image_id.encode(), size_gib * GIB)

    def _file(self, image_id: str) -> Path:
        """Where an image's file lies, in a directory that goes with this object."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="fake-storage-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder / f"{image_id}.qcow2"

    def _add_image(self, image_id: str, content: bytes, virtual_bytes: int) -> ImageInfo:
        digest = hashlib.sha256(content).hexdigest()
        info = ImageInfo(image_id, virtual_bytes, max(1, len(content)), digest)
        self.images[image_id] = _Image(info, content)
        return info

    @publishes
    def image_from_volume(
        self, image_id: str, volume_id: str, *, snapshot: str | None = None
    ) -> ImageInfo:
        with self._call("image_from_volume", writes=True):
            if image_id in self.images:
                return self.images[image_id].info
            content = self._content(volume_id, snapshot)
            return self._add_image(image_id, content, self._volume(volume_id).size_bytes)

    def image_info(self, image_id: str) -> ImageInfo:
        with self._call("image_info"):
            return self._image(image_id).info

    def list_images(self) -> tuple[ImageInfo, ...]:
        with self._call("list_images"):
            return tuple(self.images[name].info for name in sorted(self.images))

    def export_image(self, image_id: str, target: Path) -> None:
        with self._call("export_image"):
            path, content = self._file(image_id), self._image(image_id).content
            if path.exists():
                shutil.copyfile(path, target)
            else:
                target.write_bytes(content)

    @publishes
    def delete_image(self, image_id: str) -> None:
        with self._call("delete_image"):
            users = [v for v in self.volumes.values() if v.image_id == image_id]
            if users:
                raise ImageBusy(f"{len(users)} volumes rest on image {image_id}.")
            if self.images.pop(image_id, None) is not None:
                self._file(image_id).unlink(missing_ok=True)

    def _image(self, image_id: str) -> _Image:
        if image_id not in self.images:
            raise ImageMissing(f"The storage has no image {image_id}.")
        return self.images[image_id]

    # -- volumes -----------------------------------------------------------------------------

    @publishes
    def create_volume(self, volume_id: str, *, size_gib: int, image_id: str | None = None) -> None:
        with self._call("create_volume", writes=True):
            if volume_id in self.volumes:
                volume = self.volumes[volume_id]
                volume.size_bytes = max(volume.size_bytes, size_gib * GIB)
                return
            self.volumes[volume_id] = self._fresh(volume_id, size_gib, image_id)

    @publishes
    def rebuild_volume(self, volume_id: str, *, size_gib: int, image_id: str) -> None:
        with self._call("rebuild_volume", writes=True):
            if volume_id in self.volumes:
                self._require_idle(volume_id)
            self.volumes[volume_id] = self._fresh(volume_id, size_gib, image_id)

    def _fresh(self, volume_id: str, size_gib: int, image_id: str | None) -> FakeVolume:
        volume = FakeVolume(volume_id, size_gib * GIB, image_id)
        if image_id is not None:
            image = self._image(image_id)
            if image.info.virtual_bytes > volume.size_bytes:
                raise ShrinkRefused("The image is larger than the volume.")
            volume.content = image.content
        return volume

    @publishes
    def clone_volume(self, volume_id: str, *, source_volume_id: str) -> None:
        with self._call("clone_volume", writes=True):
            self._copy(volume_id, source_volume_id, None)

    @publishes
    def volume_from_snapshot(self, volume_id: str, *, source_volume_id: str, snapshot: str) -> None:
        with self._call("volume_from_snapshot", writes=True):
            self._copy(volume_id, source_volume_id, snapshot)

    def _copy(self, volume_id: str, source_id: str, snapshot: str | None) -> None:
        if volume_id not in self.volumes:
            content = self._content(source_id, snapshot)
            size_bytes = self._volume(source_id).size_bytes
            self.volumes[volume_id] = FakeVolume(volume_id, size_bytes, content=content)

    def _content(self, volume_id: str, snapshot: str | None) -> bytes:
        volume = self._volume(volume_id)
        if snapshot is None:
            self._require_idle(volume_id)
        self._settle(volume)
        content = volume.content if snapshot is None else volume.snapshot(snapshot).content
        if not volume.users and (volume.errors or volume.missing):
            raise VolumeDamaged(f"The volume {volume_id} cannot be copied.")
        return content

    @publishes
    def resize_volume(self, volume_id: str, *, size_gib: int) -> None:
        with self._call("resize_volume", writes=True):
            volume = self._volume(volume_id)
            if size_gib * GIB < volume.size_bytes:
                raise ShrinkRefused("A volume can only grow.")
            if size_gib * GIB > volume.size_bytes:
                self._require_idle(volume_id)
                self._settle(volume)
                with self._in_place(volume, "resize_volume"):
                    volume.size_bytes = size_gib * GIB

    @publishes
    def delete_volume(self, volume_id: str) -> None:
        with self._call("delete_volume"):
            if volume_id in self.volumes:
                self._require_idle(volume_id)
                del self.volumes[volume_id]

    def volume_info(self, volume_id: str) -> VolumeInfo:
        with self._call("volume_info"):
            return self._info(self._volume(volume_id))

    def list_volumes(self) -> tuple[VolumeInfo, ...]:
        with self._call("list_volumes"):
            return tuple(self._info(self.volumes[name]) for name in sorted(self.volumes))

    def disk_source(self, volume_id: str) -> DiskSource:
        volume = self.volumes.get(volume_id)
        return FileSource(self._path(volume_id if volume is None else volume.file), format="qcow2")

    def _path(self, file: str) -> str:
        return f"{_PREFIX}/{self.location}/volumes/{file}"

    @publishes
    def prepare_volume(self, volume_id: str) -> None:
        with self._call("prepare_volume"):
            volume = self._volume(volume_id)
            if volume.missing:
                raise VolumeDamaged(f"A file of the volume {volume_id} is missing.")
            self._settle(volume)

    def in_doubt(self, volume_id: str) -> bool:
        with self._call("in_doubt"):
            volume = self.volumes.get(volume_id)
            return volume is not None and bool(volume.doubt)

    @publishes
    def check_volume(self, volume_id: str) -> CheckReport:
        with self._call("check_volume"):
            self._require_idle(volume_id)
            volume = self._volume(volume_id)
            report = self._look(volume)
            if not report.sound:
                volume.doubt = "all"
            return report

    @publishes
    def repair_volume(self, volume_id: str, *, everything: bool) -> CheckReport:
        with self._call("repair_volume", writes=True):
            self._require_idle(volume_id)
            volume = self._volume(volume_id)
            if not volume.missing:
                volume.doubt = "all"
                self._cut_off("repair_volume")
                volume.leaks = 0
                volume.errors = 0 if everything else volume.errors
            return self._look(volume)

    @staticmethod
    def _look(volume: FakeVolume) -> CheckReport:
        report = CheckReport(volume.errors, volume.leaks, volume.missing)
        if report.sound:
            volume.doubt = ""
        return report

    def _settle(self, volume: FakeVolume) -> None:
        """Look at a volume that is in doubt, as each use of it does."""
        if volume.doubt and not self._look(volume).sound:
            raise VolumeDamaged(f"An operation on the volume {volume.volume_id} did not end.")

    def _cut_off(self, method: str) -> None:
        if method in self.faults.cut_off:
            raise StorageTimeout("The helper made no progress.")

    @contextlib.contextmanager
    def _in_place(self, volume: FakeVolume, what: str) -> Iterator[None]:
        """Change a volume in place; one that is cut off leaves it in doubt."""
        before, volume.doubt = volume.doubt, what
        self._cut_off(what.partition(" ")[0])
        yield
        if before:
            self._settle(volume)
        volume.doubt = ""

    @publishes
    def tidy_volume(self, volume_id: str) -> bool:
        with self._call("tidy_volume"):
            volume = self._volume(volume_id)
            if volume.users and volume.forgotten:
                return False
            volume.forgotten = 0
            return True

    def is_tidy(self, volume_id: str) -> bool:
        with self._call("is_tidy"):
            return not self._volume(volume_id).forgotten

    def next_merge(self, volume_id: str) -> Merging | None:
        with self._call("next_merge"):
            volume = self._volume(volume_id)
            if not volume.forgotten:
                return None
            source = FileSource(path=self._path(volume.file), format="qcow2")
            return Merging(child=source, into=source)

    @publishes
    def end_merge(self, volume_id: str, merging: Merging) -> None:
        with self._call("end_merge"):
            volume = self._volume(volume_id)
            volume.forgotten = max(0, volume.forgotten - 1)

    @staticmethod
    def _info(volume: FakeVolume) -> VolumeInfo:
        stored = max(1, len(volume.content))
        return VolumeInfo(volume.volume_id, volume.size_bytes, stored, volume.image_id)

    def _volume(self, volume_id: str) -> FakeVolume:
        if volume_id not in self.volumes:
            raise VolumeMissing(f"The storage has no volume {volume_id}.")
        return self.volumes[volume_id]

    def _require_idle(self, volume_id: str) -> None:
        if self._volume(volume_id).users:
            raise VolumeBusy("The volume is in use by a running VM.")

    # -- snapshots of volumes ------------------------------------------------------------------

    @publishes
    def create_snapshot(self, volume_id: str, name: str) -> None:
        with self._call("create_snapshot", writes=True):
            if self.snapshots_need_hypervisor:
                self._require_idle(volume_id)
            volume = self._volume(volume_id)
            self._settle(volume)
            there = len(volume.snapshots)
            if self.overlays or volume.overlays:
                volume.take_snapshot(name)
                volume.overlays += len(volume.snapshots) - there
            else:
                with self._in_place(volume, "create_snapshot"):
                    volume.take_snapshot(name)

    def uses_overlays(self, volume_id: str) -> bool:
        with self._call("uses_overlays"):
            volume = self.volumes.get(volume_id)
            return self.overlays or (volume is not None and volume.overlays > 0)

    @publishes
    def stage_snapshot(self, volume_id: str, name: str) -> DiskSource:
        with self._call("stage_snapshot", writes=True):
            volume = self._volume(volume_id)
            if all(kept.info.name != name for kept in volume.snapshots):
                volume.take_snapshot(name)
                volume.overlays += 1
            return self.disk_source(volume_id)

    @publishes
    def delete_snapshot(self, volume_id: str, name: str) -> None:
        with self._call("delete_snapshot"):
            if volume_id in self.volumes:
                volume = self._volume(volume_id)
                if volume.overlays:
                    volume.forgotten += any(kept.info.name == name for kept in volume.snapshots)
                    volume.drop_snapshot(name)
                    return
                if self.snapshots_need_hypervisor:
                    self._require_idle(volume_id)
                self._settle(volume)
                with self._in_place(volume, "delete_snapshot"):
                    volume.drop_snapshot(name)

    @publishes
    def rollback_snapshot(self, volume_id: str, name: str) -> None:
        with self._call("rollback_snapshot", writes=True):
            self._require_idle(volume_id)
            volume = self._volume(volume_id)
            what = f"rollback_snapshot {name}"
            if volume.doubt != what:
                self._settle(volume)
            kept = volume.snapshot(name)
            if self.overlays or volume.overlays:
                volume.content = kept.content
                volume.overlays += 1
                return
            with self._in_place(volume, what):
                volume.content = kept.content

    def list_snapshots(self, volume_id: str) -> tuple[SnapshotInfo, ...]:
        with self._call("list_snapshots"):
            return tuple(replace(kept.info) for kept in self._volume(volume_id).snapshots)

    # -- seeds ---------------------------------------------------------------------------------

    @publishes
    def write_seed(self, vm_id: str, files: Mapping[str, str]) -> DiskSource:
        with self._call("write_seed", writes=True):
            self.seeds[vm_id] = dict(files)
            return FileSource(path=f"{_PREFIX}/{self.location}/seeds/{vm_id}", format="raw")

    @publishes
    def delete_seed(self, vm_id: str) -> None:
        with self._call("delete_seed"):
            self.seeds.pop(vm_id, None)

    # -- hosts ---------------------------------------------------------------------------------

    def heartbeats(self) -> Mapping[str, str]:
        with self._call("heartbeats"):
            return dict(self.beats)

    @publishes
    def shut_out(self, volume_id: str) -> tuple[str, ...]:
        with self._call("shut_out"):
            self.shut_outs.append(volume_id)
            return ()

    # -- housekeeping ----------------------------------------------------------------------------

    def sweep_temporary(self, *, older_than_s: float = 3600.0) -> tuple[str, ...]:
        with self._call("sweep_temporary"):
            return ()


_pools: dict[str, FakeStorage] = {}
_pools_lock = threading.Lock()


def open_fake_storage(ref: StorageRef) -> FakeStorage:
    """The pool of that location; made at first use."""
    with _pools_lock:
        overlays = ("snapshots", "overlays") in ref.options
        pool = _pools.setdefault(ref.location, FakeStorage(ref.location))
        pool.overlays = pool.overlays or overlays
        pool.expected = ref.marker
        return pool


def forget_fake_pools() -> None:
    """Start over with no pools."""
    with _pools_lock:
        _pools.clear()


def find_path(source: DiskSource) -> FakeVolume | None:
    """The fake volume behind a disk source; None for others. Raises `VolumeMissing`."""
    if not isinstance(source, FileSource) or not source.path.startswith(f"{_PREFIX}/"):
        return None
    location, kind, name = source.path.removeprefix(f"{_PREFIX}/").rsplit("/", 2)
    pool = _pools.get(location)
    if kind == "seeds":
        if pool is None or name not in pool.seeds:
            raise VolumeMissing(f"The seed {name} is missing.")
        return None
    volume_id = name.partition("@")[0]
    if pool is None or volume_id not in pool.volumes:
        raise VolumeMissing(f"The storage has no volume {name}.")
    return pool.volumes[volume_id]
