"""The storage port on a directory that every host sees under the same path.

    images/<image>.qcow2    read-only, complete by itself     images/<image>.json   its facts
    volumes/<volume>.qcow2  rests on ../images/<image>.qcow2, or on nothing
    overlays/<volume>/      the other files of one with snapshots; see `compute.storage.overlays`
    seeds/<vm>.iso          NoCloud seed
    work/<call>/            what a running call is making; locked by it
    pool.json               which pool it is; see `compute.storage.marker`

Whatever is made is made in `work/` and renamed when it is complete and on the medium. A call's
folder holds a lock that ends with its process, so the sweep knows what nobody works on any more.

Snapshots are overlays where the pool is told so. Without that, and in volumes that had snapshots
before, QEMU keeps them inside the volume's first file.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from compute.storage import helper, marker, probe
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
    VolumeDamaged,
    VolumeInfo,
    VolumeMissing,
)
from compute.storage.files import (
    abandoned,
    age_s,
    checked,
    header_of,
    locked,
    named_errors,
    publish,
    sync_file,
    sync_folder,
)
from compute.storage.lookout import lookout
from compute.storage.overlays import VolumeFiles, names_of
from compute.storage.sandbox import Seen
from compute.storage.seeds import make_iso
from scloud.lib import lease
from scloud.lib.lease import publishes

_CHUNK_BYTES = 4 * 1024**2

HEARTBEATS = "heartbeats"
"""The folder into which hosts write, each a file of its own name, put there by renaming."""
# What begins with a dot is being written.
_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_BEAT_BYTES = 100
_BACK = "-a"
"""What `qemu-img snapshot` calls a rollback."""

P = ParamSpec("P")
R = TypeVar("R")


def _looked(
    method: Callable[Concatenate["DirectoryStorage", P], R],
) -> Callable[Concatenate["DirectoryStorage", P], R]:
    """Make a call of the port one that is never made on another directory than the pool's.

    What its medium says has a name. What was not found is not missing when the pool itself is gone
    by now.
    """

    @functools.wraps(method)
    def called(self: "DirectoryStorage", /, *args: P.args, **kwargs: P.kwargs) -> R:
        self._ready()
        try:
            with named_errors():
                return method(self, *args, **kwargs)
        except (FileNotFoundError, ImageMissing, SnapshotMissing, VolumeDamaged, VolumeMissing):
            self._look()
            raise

    return called


class DirectoryStorage:
    """See the module's docstring."""

    snapshots_need_hypervisor = True

    def __init__(
        self, root: Path, *, overlays: bool = False, pool_id: str = "", marker: str = ""
    ) -> None:
        self._overlays = overlays
        self._pool_id = pool_id
        self._marker = marker
        self._root = root
        self._images = root / "images"
        self._volumes = root / "volumes"
        self._seeds = root / "seeds"
        self._work = root / "work"

    # -- paths and helpers -------------------------------------------------------------------

    def _look(self) -> marker.Look:
        """Look at the pool, in a process that may hang where it is one of the platform's."""
        if self._pool_id:
            return lookout(self._root).look(self._marker)
        return marker.look(self._root, self._marker)

    def _ready(self) -> marker.Look:
        """Look at the pool and make the folders; its own directory must be there already."""
        seen = self._look()
        with named_errors():
            for folder in (self._images, self._volumes, self._seeds, self._work):
                folder.mkdir(mode=0o755, exist_ok=True)
        return seen

    def _image(self, image_id: str) -> Path:
        return self._images / f"{checked(image_id)}.qcow2"

    def _image_facts(self, image_id: str) -> Path:
        return self._images / f"{checked(image_id)}.json"

    def _volume(self, volume_id: str) -> Path:
        return self._volumes / f"{checked(volume_id)}.qcow2"

    def _volume_size(self, volume_id: str) -> Path:
        """Note of the size that a rollback in progress has to give back."""
        return self._volumes / f"{checked(volume_id)}.size"

    def _files(self, volume_id: str) -> VolumeFiles:
        return VolumeFiles(self._root, volume_id)

    def _seed(self, vm_id: str) -> Path:
        return self._seeds / f"{checked(vm_id)}.iso"

    @contextlib.contextmanager
    def _workspace(self, what: str) -> Iterator[Path]:
        """A folder for one call, locked while the call lives, gone when it ends."""
        self._ready()
        with named_errors():
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
            if abandoned(folder, 0.0):
                shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _image_lock(self, *, exclusive: bool) -> Iterator[None]:
        """Keeps an image from being deleted while a volume on it is being made."""
        path = self._images / ".lock"
        with locked(path, exclusive=exclusive, what="The image folder"):
            yield

    def capacity(self) -> PoolCapacity:
        seen = self._ready()
        return PoolCapacity(
            total_bytes=seen.total_bytes,
            available_bytes=seen.available_bytes,
            read_only=seen.read_only,
        )

    @publishes
    def mark(self, token: str, *, replace: bool = False) -> None:
        self._look()
        marker.lay_ready(self._root, self._pool_id, token, replace=replace)

    @_looked
    def try_write(self) -> None:
        with self._workspace("try") as folder:
            written = folder / "written"
            written.write_bytes(os.urandom(_CHUNK_BYTES // 1024))
            sync_file(written)

    # -- images ------------------------------------------------------------------------------

    def probe_image(self, path: Path, *, max_virtual_gib: int = 500) -> ImageProbe:
        return probe.probe(path, max_virtual_gib=max_virtual_gib)

    @publishes
    @_looked
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
    @_looked
    def image_from_volume(
        self, image_id: str, volume_id: str, *, snapshot: str | None = None
    ) -> ImageInfo:
        with contextlib.suppress(ImageMissing):
            return self.image_info(image_id)
        with self._workspace(f"image-{image_id}") as folder:
            made = folder / "image.qcow2"
            self._copy_volume(volume_id, made, snapshot=snapshot)
            return self._publish_image(image_id, made, folder)

    def _publish_image(self, image_id: str, made: Path, folder: Path) -> ImageInfo:
        """Give a finished file its place. The facts come first: an image has them always."""
        probe.check_metadata((Seen(made, probe.IMAGE_NAME),))
        info = ImageInfo(
            image_id=image_id,
            virtual_bytes=header_of(made).virtual_bytes,
            stored_bytes=made.stat().st_size,
            sha256=_sha256(made),
        )
        facts = folder / "image.json"
        with named_errors():
            facts.write_text(json.dumps(asdict(info)))
        made.chmod(0o444)
        publish(facts, self._image_facts(image_id))
        publish(made, self._image(image_id))
        return info

    @_looked
    def image_info(self, image_id: str) -> ImageInfo:
        return self._image_info(image_id)

    def _image_info(self, image_id: str) -> ImageInfo:
        if not self._image(image_id).exists():
            raise ImageMissing(f"The storage has no image {image_id}.")
        return ImageInfo(**json.loads(self._image_facts(image_id).read_text()))

    @_looked
    def list_images(self) -> tuple[ImageInfo, ...]:
        names = sorted(path.stem for path in self._images.glob("*.qcow2"))
        found = []
        for name in names:
            with contextlib.suppress(ImageMissing, FileNotFoundError):  # deleted meanwhile
                found.append(self._image_info(name))
        self._look()
        return tuple(found)

    @_looked
    def export_image(self, image_id: str, target: Path) -> None:
        info = self.image_info(image_id)
        names = [str(self._image(image_id)), str(target)]
        try:
            helper.run(["cp", "--link", "--", *names])
        except helper.HelperFailed:
            # Another file system, or one that knows no second names.
            helper.run(
                ["cp", "--", *names],
                stall_s=helper.COPY_STALL_S,
                growing=target,
                total_bytes=info.stored_bytes,
            )

    @publishes
    @_looked
    def delete_image(self, image_id: str) -> None:
        with self._image_lock(exclusive=True):
            users = sum(image_id in self._images_under(one) for one in names_of(self._root))
            if users:
                raise ImageBusy(f"{users} volumes rest on image {image_id}.")
            self._image(image_id).unlink(missing_ok=True)
            self._image_facts(image_id).unlink(missing_ok=True)
            sync_folder(self._images)

    def _images_under(self, volume_id: str) -> frozenset[str]:
        """Return the images that any file of a volume rests on; of a damaged one, none is known."""
        try:
            return self._files(volume_id).tree().images()
        except (VolumeDamaged, VolumeMissing):
            return frozenset()

    # -- volumes -----------------------------------------------------------------------------

    @publishes
    @_looked
    def create_volume(self, volume_id: str, *, size_gib: int, image_id: str | None = None) -> None:
        if self._files(volume_id).exists():
            if self.volume_info(volume_id).size_bytes < size_gib * GIB:
                self.resize_volume(volume_id, size_gib=size_gib)
            return
        self._make_volume(volume_id, size_gib=size_gib, image_id=image_id)

    @publishes
    @_looked
    def rebuild_volume(self, volume_id: str, *, size_gib: int, image_id: str) -> None:
        self._files(volume_id).require_closed()
        self._make_volume(volume_id, size_gib=size_gib, image_id=image_id)
        self._volume_size(volume_id).unlink(missing_ok=True)

    def _make_volume(self, volume_id: str, *, size_gib: int, image_id: str | None) -> None:
        """Make a volume, or replace one with all its snapshots."""
        volume = self._files(volume_id)
        branched = volume.has_manifest()
        with self._workspace(f"volume-{volume_id}") as folder, self._image_lock(exclusive=False):
            made = folder / "volume.qcow2"
            argv = ["qemu-img", "create", "-q", "-f", "qcow2"]
            if image_id is not None:
                if self.image_info(image_id).virtual_bytes > size_gib * GIB:
                    raise ShrinkRefused("The image is larger than the volume.")
                # -u: the name is relative to where the volume will be, not to where it is made.
                up = "../../" if branched else "../"
                argv += ["-u", "-F", "qcow2", "-b", f"{up}images/{checked(image_id)}.qcow2"]
            helper.run([*argv, str(made), str(size_gib * GIB)])
            made.chmod(0o600)
            if branched:
                volume.start_over(made, image_id=image_id)
            else:
                publish(made, self._volume(volume_id))
                volume.checks.trust()

    @publishes
    @_looked
    def clone_volume(self, volume_id: str, *, source_volume_id: str) -> None:
        self._copy_to_new_volume(volume_id, source_volume_id, snapshot=None)

    @publishes
    @_looked
    def volume_from_snapshot(self, volume_id: str, *, source_volume_id: str, snapshot: str) -> None:
        self._copy_to_new_volume(volume_id, source_volume_id, snapshot=snapshot)

    def _copy_to_new_volume(self, volume_id: str, source_id: str, *, snapshot: str | None) -> None:
        self._ready()
        if self._files(volume_id).exists():
            return
        with self._workspace(f"volume-{volume_id}") as folder:
            made = folder / "volume.qcow2"
            self._copy_volume(source_id, made, snapshot=snapshot)
            made.chmod(0o600)
            publish(made, self._volume(volume_id))

    def _copy_volume(self, volume_id: str, target: Path, *, snapshot: str | None) -> None:
        """Write the volume's or the snapshot's content into a file that needs no other."""
        volume = self._files(volume_id)
        size_bytes = self.volume_info(volume_id).size_bytes
        with volume.copying():
            if snapshot is None:
                self._require_idle(volume_id)
            else:
                self._require_snapshot(volume_id, snapshot)
            volume.prepare()
            tree = volume.tree()
            kept = None if snapshot is None else tree.snapshot(snapshot)
            file = tree.active if kept is None else kept.file
            # QEMU copies a snapshot inside a file with the file's present size; one that has grown
            # since has zeros behind, which is what a grown disk shows as well.
            inside = snapshot if kept is not None and kept.inside else None
            volume.checks.require_readable(tree, file)
            seen = volume.seen(tree, file)
            self._convert(seen, target, "qcow2", size_bytes=size_bytes, snapshot=inside)

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
        with named_errors():
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
    @_looked
    def resize_volume(self, volume_id: str, *, size_gib: int) -> None:
        info = self.volume_info(volume_id)
        wanted = size_gib * GIB
        if wanted < info.size_bytes:
            raise ShrinkRefused("A volume can only grow.")
        if wanted > info.size_bytes:
            self._require_idle(volume_id)
            volume = self._files(volume_id)
            volume.prepare()
            volume.resize(volume.tree(), wanted)

    @publishes
    @_looked
    def delete_volume(self, volume_id: str) -> None:
        self._files(volume_id).delete()
        self._volume_size(volume_id).unlink(missing_ok=True)
        self._forget_workspaces(f"volume-{volume_id}")

    @_looked
    def volume_info(self, volume_id: str) -> VolumeInfo:
        return self._volume_info(volume_id)

    def _volume_info(self, volume_id: str) -> VolumeInfo:
        tree, size_bytes, stored_bytes = self._files(volume_id).facts()
        return VolumeInfo(
            volume_id=volume_id,
            size_bytes=size_bytes,
            stored_bytes=stored_bytes,
            image_id=tree.image_of(tree.active),
        )

    @_looked
    def list_volumes(self) -> tuple[VolumeInfo, ...]:
        found = []
        for name in sorted(names_of(self._root)):
            try:
                found.append(self._volume_info(name))
            except VolumeDamaged:
                found.append(VolumeInfo(name, size_bytes=0, stored_bytes=0, image_id=None))
            except VolumeMissing:
                continue  # deleted since the folder was read
        # Nothing is there any more either when the medium was taken away meanwhile.
        self._look()
        return tuple(found)

    @_looked
    def disk_source(self, volume_id: str) -> DiskSource:
        volume = self._files(volume_id)
        try:
            tree = volume.branched()
        except VolumeMissing:
            tree = None
        path = volume.path(0 if tree is None else tree.active)
        return FileSource(path=str(path), format="qcow2")

    @publishes
    @_looked
    def prepare_volume(self, volume_id: str) -> None:
        volume = self._files(volume_id)
        volume.facts()
        volume.prepare()
        self._give_size_back(volume_id)

    @_looked
    def in_doubt(self, volume_id: str) -> bool:
        return self._files(volume_id).checks.doubts() is not None

    @publishes
    @_looked
    def check_volume(self, volume_id: str) -> CheckReport:
        return self._judged(volume_id, self._files(volume_id).checks.check())

    @publishes
    @_looked
    def repair_volume(self, volume_id: str, *, everything: bool) -> CheckReport:
        return self._judged(volume_id, self._files(volume_id).checks.repair(everything=everything))

    def _judged(self, volume_id: str, report: CheckReport) -> CheckReport:
        if report.missing:
            # Not when the pool itself is gone by now.
            self._look()
        if report.sound:
            self._give_size_back(volume_id)
        else:
            self._files(volume_id).checks.distrust()
        return report

    @publishes
    @_looked
    def tidy_volume(self, volume_id: str) -> bool:
        volume = self._files(volume_id)
        volume.facts()
        return volume.tidy()

    @_looked
    def is_tidy(self, volume_id: str) -> bool:
        return self._files(volume_id).is_tidy()

    @_looked
    def next_merge(self, volume_id: str) -> Merging | None:
        volume = self._files(volume_id)
        step = volume.mergeable()
        if step is None:
            return None
        child, into = (FileSource(str(volume.path(one))) for one in (step.child, step.into))
        return Merging(child=child, into=into)

    @publishes
    @_looked
    def end_merge(self, volume_id: str, merging: Merging) -> None:
        volume = self._files(volume_id)
        step = volume.mergeable()
        # Another one by now: somebody else has published this.
        if step is not None and self.next_merge(volume_id) == merging:
            volume.end_merge(step)

    def _require_idle(self, volume_id: str) -> None:
        """Raise VolumeBusy while it is open, VolumeDamaged where a change did not end well."""
        volume = self._files(volume_id)
        volume.require_unused()
        volume.checks.settle()

    # -- snapshots of volumes ------------------------------------------------------------------

    @_looked
    def uses_overlays(self, volume_id: str) -> bool:
        with contextlib.suppress(VolumeMissing):
            return self._overlays or self._files(volume_id).branched() is not None
        return self._overlays

    @publishes
    @_looked
    def create_snapshot(self, volume_id: str, name: str) -> None:
        self._require_idle(volume_id)
        if self.uses_overlays(volume_id):
            self._files(volume_id).snapshot(checked(name))
        elif name not in self._snapshot_names(volume_id):
            self._snapshot("-c", volume_id, name)

    @publishes
    @_looked
    def stage_snapshot(self, volume_id: str, name: str) -> DiskSource:
        self._files(volume_id).snapshot(checked(name), live=True)
        return self.disk_source(volume_id)

    @publishes
    @_looked
    def delete_snapshot(self, volume_id: str, name: str) -> None:
        with contextlib.suppress(VolumeMissing):
            if self.uses_overlays(volume_id):
                self._files(volume_id).forget(name)
                return
            self._require_idle(volume_id)
            if name in self._snapshot_names(volume_id):
                self._snapshot("-d", volume_id, name)

    @publishes
    @_looked
    def rollback_snapshot(self, volume_id: str, name: str) -> None:
        volume = self._files(volume_id)
        if volume.checks.doubts() == f"0 {_BACK} {checked(name)}":
            # The same one was cut off. Repeated to its end it is checked then; what it left is not
            # sound yet.
            volume.require_unused()
        else:
            self._require_idle(volume_id)
        self._require_snapshot(volume_id, name)
        kept = volume.tree().snapshot(name)
        if not self.uses_overlays(volume_id):
            self._roll_back_inside(volume_id, name)
        elif kept is not None and kept.inside:
            self._roll_back_to_copy(volume_id, name)
        else:
            volume.roll_back(name)

    def _roll_back_to_copy(self, volume_id: str, name: str) -> None:
        """Go back to a snapshot inside the first file by a copy of it.

        QEMU's own way back loses the snapshot when it is killed half-way.
        """
        size_bytes = self.volume_info(volume_id).size_bytes
        with self._workspace(f"volume-{volume_id}") as folder:
            made = folder / "volume.qcow2"
            self._copy_volume(volume_id, made, snapshot=name)
            if header_of(made).virtual_bytes < size_bytes:
                seen = Seen(made, "/made", writable=True)
                helper.run(
                    ["qemu-img", "resize", "-q", "-f", "qcow2", seen.name, str(size_bytes)],
                    files=(seen,),
                )
            made.chmod(0o600)
            self._files(volume_id).replace(made)

    def _roll_back_inside(self, volume_id: str, name: str) -> None:
        # QEMU takes the size back as well. The note survives a crash between the two steps; the
        # volume may have grown since one that was left.
        now, noted = self.volume_info(volume_id).size_bytes, self._noted_size(volume_id)
        if noted is None or noted < now:
            with self._workspace(f"volume-{volume_id}") as folder:
                note = folder / "size"
                note.write_text(str(now))
                publish(note, self._volume_size(volume_id))
        self._snapshot(_BACK, volume_id, name)
        self._give_size_back(volume_id)

    def _give_size_back(self, volume_id: str) -> None:
        """Do what is left of a rollback whose worker died before it gave the size back."""
        wanted = self._noted_size(volume_id)
        if wanted is None:
            return
        if self.volume_info(volume_id).size_bytes < wanted:
            volume = self._files(volume_id)
            volume.resize(volume.tree(), wanted)
        self._volume_size(volume_id).unlink(missing_ok=True)

    def _noted_size(self, volume_id: str) -> int | None:
        """Return the size in bytes that a rollback has to give back; None where none has."""
        try:
            return int(self._volume_size(volume_id).read_text())
        except FileNotFoundError:
            return None

    @_looked
    def list_snapshots(self, volume_id: str) -> tuple[SnapshotInfo, ...]:
        kept = sorted(self._files(volume_id).tree().snapshots, key=lambda one: one.created_at)
        return tuple(SnapshotInfo(one.name, one.size_bytes, one.created_at) for one in kept)

    def _snapshot_names(self, volume_id: str) -> set[str]:
        return {snapshot.name for snapshot in self.list_snapshots(volume_id)}

    def _require_snapshot(self, volume_id: str, name: str) -> None:
        if name not in self._snapshot_names(volume_id):
            raise SnapshotMissing(f"Volume {volume_id} has no snapshot {name}.")

    def _snapshot(self, verb: str, volume_id: str, name: str) -> None:
        volume = self._files(volume_id)
        volume.snapshot_inside(verb, volume.tree(), name)

    # -- seeds ---------------------------------------------------------------------------------

    @publishes
    @_looked
    def write_seed(self, vm_id: str, files: Mapping[str, str]) -> DiskSource:
        place = self._seed(vm_id)
        with self._workspace(f"seed-{vm_id}") as folder:
            made = make_iso(folder, files)
            publish(made, place)
        return FileSource(path=str(place), format="raw")

    @publishes
    @_looked
    def delete_seed(self, vm_id: str) -> None:
        self._seed(vm_id).unlink(missing_ok=True)
        self._forget_workspaces(f"seed-{vm_id}")

    # -- hosts ---------------------------------------------------------------------------------

    @_looked
    def heartbeats(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        folder = self._root / HEARTBEATS
        # The folder is made by the first host that writes; a file may be replaced meanwhile.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for path in sorted(folder.iterdir()):
                if not _HOST_NAME.fullmatch(path.name):
                    continue
                with contextlib.suppress(OSError, UnicodeDecodeError):
                    # Hosts write here: no link is followed, and nothing but a file is read.
                    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                    # Path.open takes no flags and no descriptor.
                    with open(os.open(path, flags), "rb") as file:  # noqa: PTH123
                        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                            found[path.name] = file.read(_BEAT_BYTES).decode()
        return found

    @publishes
    def shut_out(self, volume_id: str) -> tuple[str, ...]:
        return ()

    # -- housekeeping ----------------------------------------------------------------------------

    @_looked
    def sweep_temporary(self, *, older_than_s: float = 3600.0) -> tuple[str, ...]:
        removed = []
        for folder in sorted(self._work.iterdir()):
            if abandoned(folder, older_than_s):
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder.name)
        with self._image_lock(exclusive=True):
            for facts in self._images.glob("*.json"):
                if not facts.with_suffix(".qcow2").exists() and age_s(facts) > older_than_s:
                    facts.unlink(missing_ok=True)
                    removed.append(facts.name)
        return tuple(removed)


def _sha256(path: Path) -> str:
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            # No share of a total: it is a second round over what was counted already.
            lease.moving(done)
    return digest.hexdigest()
