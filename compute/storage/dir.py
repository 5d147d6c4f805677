"""The storage port on a directory that every host sees under the same path.

    images/<image>.qcow2    read-only, complete by itself     images/<image>.json   its facts
    volumes/<volume>.qcow2  rests on ../images/<image>.qcow2, or on nothing
    seeds/<vm>.iso          NoCloud seed
    work/<call>/            what a running call is making; locked by it

Whatever is made is made in `work/` and renamed when it is complete and on the medium. A call's
folder holds a lock that ends with its process, so the sweep knows what nobody works on any more.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import struct
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from compute.storage import helper, probe, qcow2
from compute.storage.base import (
    GIB,
    DiskSource,
    FileSource,
    ImageBusy,
    ImageInfo,
    ImageMissing,
    ImageProbe,
    ImageRefused,
    PoolCapacity,
    ShrinkRefused,
    SnapshotInfo,
    SnapshotMissing,
    StorageFull,
    StorageTimeout,
    StorageUnavailable,
    VolumeBusy,
    VolumeDamaged,
    VolumeInfo,
    VolumeMissing,
)
from compute.storage.sandbox import Seen
from scloud.lib import lease
from scloud.lib.lease import publishes

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_SEED_FILE = re.compile(r"[a-z-]{1,32}")
_BACKING = re.compile(r"\.\./images/([a-z0-9-]+)\.qcow2")
_CHUNK_BYTES = 4 * 1024**2
_LOCK_TIMEOUT_S = 30.0
_F_OFD_GETLK = 36
_FLOCK = struct.Struct("hhqqi4x")


class DirectoryStorage:
    """See the module's docstring."""

    snapshots_need_hypervisor = True

    def __init__(self, root: Path) -> None:
        self._root = root
        self._images = root / "images"
        self._volumes = root / "volumes"
        self._seeds = root / "seeds"
        self._work = root / "work"

    # -- paths and helpers -------------------------------------------------------------------

    def _ready(self) -> None:
        """Make the folders; the pool's own directory must be there (it may be a mount)."""
        if not self._root.is_dir():
            raise StorageUnavailable("The storage directory is not there.")
        with _space():
            for folder in (self._images, self._volumes, self._seeds, self._work):
                folder.mkdir(mode=0o755, exist_ok=True)

    def _image(self, image_id: str) -> Path:
        return self._images / f"{_checked(image_id)}.qcow2"

    def _image_facts(self, image_id: str) -> Path:
        return self._images / f"{_checked(image_id)}.json"

    def _volume(self, volume_id: str) -> Path:
        return self._volumes / f"{_checked(volume_id)}.qcow2"

    def _volume_size(self, volume_id: str) -> Path:
        """Note of the size that a rollback in progress has to give back."""
        return self._volumes / f"{_checked(volume_id)}.size"

    def _seed(self, vm_id: str) -> Path:
        return self._seeds / f"{_checked(vm_id)}.iso"

    @contextlib.contextmanager
    def _workspace(self, what: str) -> Iterator[Path]:
        """A folder for one call, locked while the call lives, gone when it ends."""
        self._ready()
        with _space():
            folder = Path(tempfile.mkdtemp(prefix=f"{what}.", dir=self._work))
        try:
            with (folder / "lock").open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _forget_workspaces(self, what: str) -> None:
        """Remove at once what calls for the same thing left that died half-way."""
        for folder in self._work.glob(f"{what}.*"):
            if _abandoned(folder, 0.0):
                shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _image_lock(self, *, exclusive: bool) -> Iterator[None]:
        """Keeps an image from being deleted while a volume on it is being made."""
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        deadline = time.monotonic() + _LOCK_TIMEOUT_S
        with (self._images / ".lock").open("ab") as lock:
            while True:
                try:
                    fcntl.flock(lock, kind | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise StorageTimeout("The image folder is locked.") from error
                    time.sleep(0.05)
            yield

    def capacity(self) -> PoolCapacity:
        self._ready()
        facts = os.statvfs(self._root)
        return PoolCapacity(
            total_bytes=facts.f_blocks * facts.f_frsize,
            available_bytes=facts.f_bavail * facts.f_frsize,
        )

    # -- images ------------------------------------------------------------------------------

    def probe_image(self, path: Path, *, max_virtual_gib: int = 500) -> ImageProbe:
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
        with contextlib.suppress(ImageMissing):
            return self.image_info(image_id)
        found = self.probe_image(source_path, max_virtual_gib=max_virtual_gib)
        if expected_sha256 is not None and _sha256(source_path) != expected_sha256.lower():
            raise ImageRefused("The file's checksum is not the expected one.", reason="checksum")
        with self._workspace(f"image-{image_id}") as folder:
            made = folder / "image.qcow2"
            source = Seen(source_path, probe.IMAGE_NAME)
            self._convert([source], made, found.format, size_bytes=found.virtual_bytes)
            return self._publish_image(image_id, made, folder)

    @publishes
    def image_from_volume(
        self, image_id: str, volume_id: str, *, snapshot: str | None = None
    ) -> ImageInfo:
        with contextlib.suppress(ImageMissing):
            return self.image_info(image_id)
        if snapshot is None:
            # QEMU reads zeros where a file was cut off. Tables of a volume that a running domain
            # has open change while one looks.
            self._require_idle(volume_id)
            probe.check_metadata(self._seen(volume_id))
        with self._workspace(f"image-{image_id}") as folder:
            made = folder / "image.qcow2"
            self._copy_volume(volume_id, made, snapshot=snapshot)
            return self._publish_image(image_id, made, folder)

    def _publish_image(self, image_id: str, made: Path, folder: Path) -> ImageInfo:
        """Give a finished file its place. The facts come first: an image has them always."""
        probe.check_metadata((Seen(made, probe.IMAGE_NAME),))
        info = ImageInfo(
            image_id=image_id,
            virtual_bytes=_header(made).virtual_bytes,
            stored_bytes=made.stat().st_size,
            sha256=_sha256(made),
        )
        facts = folder / "image.json"
        with _space():
            facts.write_text(json.dumps(asdict(info)))
        made.chmod(0o444)
        _publish(facts, self._image_facts(image_id))
        _publish(made, self._image(image_id))
        return info

    def image_info(self, image_id: str) -> ImageInfo:
        self._ready()
        if not self._image(image_id).exists():
            raise ImageMissing(f"The storage has no image {image_id}.")
        return ImageInfo(**json.loads(self._image_facts(image_id).read_text()))

    def list_images(self) -> tuple[ImageInfo, ...]:
        self._ready()
        names = sorted(path.stem for path in self._images.glob("*.qcow2"))
        found = []
        for name in names:
            with contextlib.suppress(ImageMissing, FileNotFoundError):  # deleted meanwhile
                found.append(self.image_info(name))
        return tuple(found)

    def export_image(self, image_id: str) -> Path:
        self.image_info(image_id)
        return self._image(image_id)

    @publishes
    def delete_image(self, image_id: str) -> None:
        self._ready()
        with self._image_lock(exclusive=True):
            users = [
                volume.volume_id for volume in self.list_volumes() if volume.image_id == image_id
            ]
            if users:
                raise ImageBusy(f"{len(users)} volumes rest on image {image_id}.")
            self._image(image_id).unlink(missing_ok=True)
            self._image_facts(image_id).unlink(missing_ok=True)
            _sync_folder(self._images)

    # -- volumes -----------------------------------------------------------------------------

    @publishes
    def create_volume(self, volume_id: str, *, size_gib: int, image_id: str | None = None) -> None:
        self._ready()
        if self._volume(volume_id).exists():
            if self.volume_info(volume_id).size_bytes < size_gib * GIB:
                self.resize_volume(volume_id, size_gib=size_gib)
            return
        self._make_volume(volume_id, size_gib=size_gib, image_id=image_id)

    @publishes
    def rebuild_volume(self, volume_id: str, *, size_gib: int, image_id: str) -> None:
        self._ready()
        self._require_idle(volume_id)
        self._make_volume(volume_id, size_gib=size_gib, image_id=image_id)
        self._volume_size(volume_id).unlink(missing_ok=True)

    def _make_volume(self, volume_id: str, *, size_gib: int, image_id: str | None) -> None:
        with self._workspace(f"volume-{volume_id}") as folder, self._image_lock(exclusive=False):
            made = folder / "volume.qcow2"
            argv = ["qemu-img", "create", "-q", "-f", "qcow2"]
            if image_id is not None:
                if self.image_info(image_id).virtual_bytes > size_gib * GIB:
                    raise ShrinkRefused("The image is larger than the volume.")
                # -u: the name is relative to where the volume will be, not to where it is made.
                argv += ["-u", "-F", "qcow2", "-b", f"../images/{_checked(image_id)}.qcow2"]
            helper.run([*argv, str(made), str(size_gib * GIB)])
            made.chmod(0o600)
            _publish(made, self._volume(volume_id))

    @publishes
    def clone_volume(self, volume_id: str, *, source_volume_id: str) -> None:
        self._copy_to_new_volume(volume_id, source_volume_id, snapshot=None)

    @publishes
    def volume_from_snapshot(self, volume_id: str, *, source_volume_id: str, snapshot: str) -> None:
        self._copy_to_new_volume(volume_id, source_volume_id, snapshot=snapshot)

    def _copy_to_new_volume(self, volume_id: str, source_id: str, *, snapshot: str | None) -> None:
        self._ready()
        if self._volume(volume_id).exists():
            return
        with self._workspace(f"volume-{volume_id}") as folder:
            made = folder / "volume.qcow2"
            self._copy_volume(source_id, made, snapshot=snapshot)
            made.chmod(0o600)
            _publish(made, self._volume(volume_id))

    def _copy_volume(self, volume_id: str, target: Path, *, snapshot: str | None) -> None:
        """Write the volume's or the snapshot's content into a file that needs no other."""
        size_bytes = self.volume_info(volume_id).size_bytes
        if snapshot is None:
            self._require_idle(volume_id)
        else:
            # QEMU copies a snapshot with the volume's present size; a volume that has grown since
            # has zeros behind, which is what a grown disk shows as well.
            self._require_snapshot(volume_id, snapshot)
        self._convert(
            self._seen(volume_id), target, "qcow2", size_bytes=size_bytes, snapshot=snapshot
        )

    def _seen(self, volume_id: str, *, writable: bool = False) -> list[Seen]:
        """Return what a helper needs to open a volume: first itself, then what it rests on."""
        volume = self._volume(volume_id)
        seen = [Seen(volume, f"/pool/volumes/{volume.name}", writable)]
        image_id = self.volume_info(volume_id).image_id
        if image_id is not None:
            image = self._image(image_id)
            seen.append(Seen(image, f"/pool/images/{image.name}"))
        return seen

    def _convert(
        self,
        sources: list[Seen],
        target: Path,
        source_format: str,
        *,
        size_bytes: int,
        snapshot: str | None = None,
    ) -> None:
        options = [] if snapshot is None else ["-U", "-l", f"snapshot.name={snapshot}"]
        argv = ["qemu-img", "convert", "-q", "-f", source_format, "-O", "qcow2", *options]
        # The helper may fill the file but not make one.
        with _space():
            target.touch(mode=0o600)
        made = Seen(target, "/made", writable=True)
        helper.run(
            [*argv, sources[0].name, made.name],
            files=(*sources, made),
            stall_s=helper.COPY_STALL_S,
            growing=target,
            total_bytes=size_bytes,
            # Tables and reference counts take less than a hundredth of the data.
            max_file_bytes=size_bytes + size_bytes // 64 + 64 * 1024**2,
        )

    @publishes
    def resize_volume(self, volume_id: str, *, size_gib: int) -> None:
        info = self.volume_info(volume_id)
        wanted = size_gib * GIB
        if wanted < info.size_bytes:
            raise ShrinkRefused("A volume can only grow.")
        if wanted > info.size_bytes:
            self._require_idle(volume_id)
            self._resize(volume_id, wanted)

    def _resize(self, volume_id: str, size_bytes: int) -> None:
        seen = self._seen(volume_id, writable=True)
        helper.run(
            ["qemu-img", "resize", "-q", "-f", "qcow2", seen[0].name, str(size_bytes)], files=seen
        )
        _sync_file(self._volume(volume_id))

    @publishes
    def delete_volume(self, volume_id: str) -> None:
        self._ready()
        with contextlib.suppress(VolumeMissing):
            self._require_idle(volume_id)
            self._volume(volume_id).unlink(missing_ok=True)
        self._volume_size(volume_id).unlink(missing_ok=True)
        _sync_folder(self._volumes)
        self._forget_workspaces(f"volume-{volume_id}")

    def volume_info(self, volume_id: str) -> VolumeInfo:
        self._ready()
        path = self._volume(volume_id)
        header = self._volume_header(volume_id)
        backing = _BACKING.fullmatch(header.backing_file or "")
        return VolumeInfo(
            volume_id=volume_id,
            size_bytes=header.virtual_bytes,
            stored_bytes=path.stat().st_blocks * 512,
            image_id=backing.group(1) if backing else None,
        )

    def list_volumes(self) -> tuple[VolumeInfo, ...]:
        self._ready()
        names = sorted(path.stem for path in self._volumes.glob("*.qcow2"))
        found = []
        for name in names:
            try:
                found.append(self.volume_info(name))
            except VolumeDamaged:
                found.append(VolumeInfo(name, size_bytes=0, stored_bytes=0, image_id=None))
            except (VolumeMissing, FileNotFoundError):
                continue  # deleted since the folder was read
        return tuple(found)

    def disk_source(self, volume_id: str) -> DiskSource:
        return FileSource(path=str(self._volume(volume_id)), format="qcow2")

    def _volume_header(self, volume_id: str) -> qcow2.Qcow2Header:
        try:
            return _header(self._volume(volume_id))
        except FileNotFoundError as error:
            raise VolumeMissing(f"The storage has no volume {volume_id}.") from error
        except ImageRefused as error:
            raise VolumeDamaged(f"The volume {volume_id} cannot be read.") from error

    def _require_idle(self, volume_id: str) -> None:
        """QEMU marks its open files with locks that hold across hosts; look for any of them."""
        try:
            with self._volume(volume_id).open("rb+") as file:
                asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 100, 200, 0)
                answer = fcntl.fcntl(file, _F_OFD_GETLK, asked)
        except FileNotFoundError as error:
            raise VolumeMissing(f"The storage has no volume {volume_id}.") from error
        if _FLOCK.unpack(answer)[0] != fcntl.F_UNLCK:
            raise VolumeBusy("The volume is in use by a running VM.")

    # -- snapshots of volumes ------------------------------------------------------------------

    @publishes
    def create_snapshot(self, volume_id: str, name: str) -> None:
        self._require_idle(volume_id)
        if name not in self._snapshot_names(volume_id):
            self._snapshot("-c", volume_id, name)

    @publishes
    def delete_snapshot(self, volume_id: str, name: str) -> None:
        with contextlib.suppress(VolumeMissing):
            self._require_idle(volume_id)
            if name in self._snapshot_names(volume_id):
                self._snapshot("-d", volume_id, name)

    @publishes
    def rollback_snapshot(self, volume_id: str, name: str) -> None:
        self._require_idle(volume_id)
        self._require_snapshot(volume_id, name)
        size = self._volume_size(volume_id)
        if not size.exists():
            # QEMU takes the size back as well. The note survives a crash between the two steps.
            with self._workspace(f"volume-{volume_id}") as folder:
                note = folder / "size"
                note.write_text(str(self.volume_info(volume_id).size_bytes))
                _publish(note, size)
        self._snapshot("-a", volume_id, name)
        wanted = int(size.read_text())
        if self.volume_info(volume_id).size_bytes < wanted:
            self._resize(volume_id, wanted)
        size.unlink(missing_ok=True)

    def list_snapshots(self, volume_id: str) -> tuple[SnapshotInfo, ...]:
        self._ready()
        header = self._volume_header(volume_id)
        with self._volume(volume_id).open("rb") as file:
            return qcow2.read_snapshots(file, header)

    def _snapshot_names(self, volume_id: str) -> set[str]:
        return {snapshot.name for snapshot in self.list_snapshots(volume_id)}

    def _require_snapshot(self, volume_id: str, name: str) -> None:
        if name not in self._snapshot_names(volume_id):
            raise SnapshotMissing(f"Volume {volume_id} has no snapshot {name}.")

    def _snapshot(self, verb: str, volume_id: str, name: str) -> None:
        seen = self._seen(volume_id, writable=True)
        # 7.2's `snapshot` takes no -f; --image-opts says the format instead.
        options = f"driver=qcow2,file.driver=file,file.filename={seen[0].name}"
        helper.run(
            ["qemu-img", "snapshot", "-q", verb, _checked(name), "--image-opts", options],
            stall_s=helper.COPY_STALL_S,
            files=seen,
        )
        _sync_file(self._volume(volume_id))

    # -- seeds ---------------------------------------------------------------------------------

    @publishes
    def write_seed(self, vm_id: str, files: Mapping[str, str]) -> DiskSource:
        for name in files:
            if not _SEED_FILE.fullmatch(name):
                raise ValueError(f"{name!r} is not a name for a seed file.")
        place = self._seed(vm_id)
        with self._workspace(f"seed-{vm_id}") as folder:
            content, made = folder / "content", folder / "seed.iso"
            with _space():
                content.mkdir(mode=0o700)
                for name, text in files.items():
                    (content / name).write_text(text)
                made.touch(mode=0o600)
            helper.run(
                [
                    "genisoimage",
                    "-quiet",
                    "-output",
                    str(made),
                    "-volid",
                    "CIDATA",
                    "-joliet",
                    "-rock",
                    "-input-charset",
                    "utf-8",
                    str(content),
                ]
            )
            _publish(made, place)
        return FileSource(path=str(place), format="raw")

    @publishes
    def delete_seed(self, vm_id: str) -> None:
        self._ready()
        self._seed(vm_id).unlink(missing_ok=True)
        self._forget_workspaces(f"seed-{vm_id}")

    # -- housekeeping ----------------------------------------------------------------------------

    def sweep_temporary(self, *, older_than_s: float = 3600.0) -> tuple[str, ...]:
        self._ready()
        removed = []
        for folder in sorted(self._work.iterdir()):
            if _abandoned(folder, older_than_s):
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder.name)
        with self._image_lock(exclusive=True):
            for facts in self._images.glob("*.json"):
                if not facts.with_suffix(".qcow2").exists() and _age_s(facts) > older_than_s:
                    facts.unlink(missing_ok=True)
                    removed.append(facts.name)
        return tuple(removed)


def _checked(name: str) -> str:
    """Names become paths and arguments: nothing but ids gets through."""
    if not _ID.fullmatch(name):
        raise ValueError(f"{name!r} is not an id.")
    return name


def _header(path: Path) -> qcow2.Qcow2Header:
    with path.open("rb") as file:
        return qcow2.read_header(file)


def _sha256(path: Path) -> str:
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            # No share of a total: it is a second round over what was counted already.
            lease.moving(done)
    return digest.hexdigest()


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _abandoned(folder: Path, older_than_s: float) -> bool:
    """Whether the call that made the folder is over."""
    if _age_s(folder) <= older_than_s:
        return False
    try:
        with (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True


def _publish(made: Path, place: Path) -> None:
    """Put a finished file in its place: on the medium first, then visible, both for good."""
    _sync_file(made)
    # What took hours to make is not put in the place of what another worker made meanwhile.
    lease.confirm()
    made.rename(place)
    _sync_folder(place.parent)


def _sync_file(path: Path) -> None:
    with _space(), path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _space() -> Iterator[None]:
    """A full medium has a name of its own."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("The storage pool is full.") from error
        raise
