"""The storage port on a pool of a Ceph cluster: RBD images, through librbd.

What is done there is done by processes of their own: see `compute.storage.rbd.child`. A rollback is
not one step for RBD. It is published before it begins, and whoever needs the volume next does what
is left of it ([ADR 22](../../../docs/adr/0022-ceph-through-librbd.md)).
"""

import contextlib
import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from compute.storage import helper, probe
from compute.storage.base import (
    GIB,
    CheckReport,
    DiskSource,
    ImageInfo,
    ImageMissing,
    ImageProbe,
    ImageRefused,
    Merging,
    PoolCapacity,
    RbdSource,
    SnapshotInfo,
    StorageError,
    StorageRef,
    VolumeInfo,
)
from compute.storage.files import abandoned, checked, named_errors
from compute.storage.rbd.calling import Cluster
from compute.storage.sandbox import Seen
from compute.storage.seeds import make_iso
from scloud.lib.lease import publishes

PURGE_DELAY_S = 3600.0
"""How long what was deleted can be fetched back from the trash with Ceph's own tools."""

PURGE_S = 20.0
"""How long one sweep purges: others wait for it."""

FRESH_S = 60.0
"""For how long a folder without a lock may be one of a call that is about to take the lock."""

_WORK = "scloud-call."
_CHUNK_BYTES = 4 * 1024**2


class RbdStorage:
    """See the module's docstring."""

    snapshots_need_hypervisor = False

    def __init__(self, ref: StorageRef) -> None:
        options = dict(ref.options)
        self._pool = ref.location
        self._monitors = options.get("monitors", "")
        self._user = options.get("user", "")
        self._secret_uuid = options.get("secret_uuid", "")
        self._scratch = options.get("scratch", "")
        self._pool_id = ref.pool_id
        self._marker = ref.marker
        self._cluster = Cluster(
            monitors=self._monitors, user=self._user, key=ref.secret, pool=ref.location
        )

    def _call(self, call: str, *, copies: bool = False, **words: Any) -> Any:
        """Make a call of the pool with this marker; see `Cluster.call`."""
        return self._cluster.call(call, words, marker=self._marker, copies=copies)

    def capacity(self) -> PoolCapacity:
        return PoolCapacity(**self._call("capacity"))

    @publishes
    def mark(self, token: str, *, replace: bool = False) -> None:
        words = {"pool_id": self._pool_id, "token": token, "replace": replace}
        self._cluster.call("mark", words, marker="")

    def try_write(self) -> None:
        self._call("try_write")

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
        try:
            return self.image_info(image_id)
        except ImageMissing:
            pass
        found = self.probe_image(source_path, max_virtual_gib=max_virtual_gib)
        if expected_sha256 is not None and _sha256(source_path) != expected_sha256.lower():
            raise ImageRefused("The file's checksum is not the expected one.", reason="checksum")
        with self._workspace() as folder:
            raw = source_path
            if found.format != "raw":
                # A hostile file is opened by nothing that reaches the cluster.
                raw = folder / "image.raw"
                self._unpack(source_path, raw, found)
            return ImageInfo(
                **self._call(
                    "import_image",
                    copies=True,
                    image_id=checked(image_id),
                    path=str(raw.absolute()),
                    size_bytes=found.virtual_bytes,
                )
            )

    @property
    def _place(self) -> Path:
        return Path(self._scratch or tempfile.gettempdir())

    def _forget_workspaces(self, older_than_s: float) -> list[str]:
        """Remove what killed calls left on this machine; return the names."""
        removed = []
        with named_errors():
            for left in sorted(self._place.glob(f"{_WORK}*")):
                if abandoned(left, older_than_s):
                    shutil.rmtree(left, ignore_errors=True)
                    removed.append(left.name)
        return removed

    @contextlib.contextmanager
    def _workspace(self) -> Iterator[Path]:
        """A folder on this machine for one call, gone when it ends; so are those of killed ones."""
        self._forget_workspaces(FRESH_S)
        with named_errors():
            folder = Path(tempfile.mkdtemp(prefix=_WORK, dir=self._place))
        try:
            with (folder / "lock").open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _unpack(self, source: Path, target: Path, found: ImageProbe) -> None:
        """Write the content of an image file into a sparse raw file."""
        with named_errors():
            target.touch(mode=0o600)
        seen = Seen(source, probe.IMAGE_NAME)
        made = Seen(target, "/made", writable=True)
        argv = ["qemu-img", "convert", "-q", "-f", found.format, "-O", "raw"]
        helper.run(
            [*argv, seen.name, made.name],
            files=(seen, made),
            stall_s=helper.COPY_STALL_S,
            growing=target,
            total_bytes=found.virtual_bytes,
            max_file_bytes=found.virtual_bytes + _CHUNK_BYTES,
        )

    @publishes
    def image_from_volume(
        self, image_id: str, volume_id: str, *, snapshot: str | None = None
    ) -> ImageInfo:
        try:
            return self.image_info(image_id)
        except ImageMissing:
            pass
        words = {"image_id": checked(image_id), "volume_id": volume_id, "snapshot": snapshot}
        return ImageInfo(**self._call("image_from_volume", copies=True, **words))

    def image_info(self, image_id: str) -> ImageInfo:
        return ImageInfo(**self._call("image_info", image_id=image_id))

    def list_images(self) -> tuple[ImageInfo, ...]:
        return tuple(ImageInfo(**one) for one in self._call("list_images"))

    def export_image(self, image_id: str, target: Path) -> None:
        self._call("export_image", copies=True, image_id=image_id, target=str(target.absolute()))

    @publishes
    def delete_image(self, image_id: str) -> None:
        self._call("delete_image", image_id=image_id, delay_s=PURGE_DELAY_S)

    # -- volumes -----------------------------------------------------------------------------

    @publishes
    def create_volume(self, volume_id: str, *, size_gib: int, image_id: str | None = None) -> None:
        words = {"size_bytes": size_gib * GIB, "image_id": image_id}
        self._call("create_volume", copies=True, volume_id=checked(volume_id), **words)

    @publishes
    def clone_volume(self, volume_id: str, *, source_volume_id: str) -> None:
        self._copy(volume_id, source_volume_id, None)

    @publishes
    def volume_from_snapshot(self, volume_id: str, *, source_volume_id: str, snapshot: str) -> None:
        self._copy(volume_id, source_volume_id, snapshot)

    def _copy(self, volume_id: str, source_volume_id: str, snapshot: str | None) -> None:
        words = {"source_volume_id": source_volume_id, "snapshot": snapshot}
        self._call("copy_volume", copies=True, volume_id=checked(volume_id), **words)

    @publishes
    def rebuild_volume(self, volume_id: str, *, size_gib: int, image_id: str) -> None:
        words: dict[str, Any] = {
            "size_bytes": size_gib * GIB,
            "image_id": image_id,
            "delay_s": PURGE_DELAY_S,
        }
        self._call("rebuild_volume", volume_id=checked(volume_id), **words)

    @publishes
    def resize_volume(self, volume_id: str, *, size_gib: int) -> None:
        # A rollback that did not end is brought to its end first.
        self._call("resize_volume", copies=True, volume_id=volume_id, size_bytes=size_gib * GIB)

    @publishes
    def delete_volume(self, volume_id: str) -> None:
        self._call("delete_volume", volume_id=volume_id, delay_s=PURGE_DELAY_S)

    def volume_info(self, volume_id: str) -> VolumeInfo:
        return VolumeInfo(**self._call("volume_info", copies=True, volume_id=volume_id))

    def list_volumes(self) -> tuple[VolumeInfo, ...]:
        return tuple(VolumeInfo(**one) for one in self._call("list_volumes", copies=True))

    def disk_source(self, volume_id: str) -> DiskSource:
        found = self._call("find_volume", volume_id=volume_id)
        # A domain that is defined before its volume is there does not find another one's.
        return self._source(found or f"volume.{checked(volume_id)}")

    def _source(self, image: str) -> DiskSource:
        monitors = []
        for one in self._monitors.split(","):
            name, _, port = one.strip().rpartition(":")
            monitors.append((name.strip("[]"), int(port)))
        return RbdSource(
            pool=self._pool,
            image=image,
            monitors=tuple(monitors),
            user=self._user,
            secret_uuid=self._secret_uuid,
        )

    @publishes
    def prepare_volume(self, volume_id: str) -> None:
        self._call("prepare_volume", copies=True, volume_id=volume_id)

    def in_doubt(self, volume_id: str) -> bool:
        return bool(self._call("in_doubt", volume_id=volume_id))

    @publishes
    def check_volume(self, volume_id: str) -> CheckReport:
        return CheckReport(**self._call("check_volume", copies=True, volume_id=volume_id))

    @publishes
    def repair_volume(self, volume_id: str, *, everything: bool) -> CheckReport:
        words = {"volume_id": volume_id, "everything": everything}
        return CheckReport(**self._call("repair_volume", copies=True, **words))

    @publishes
    def tidy_volume(self, volume_id: str) -> bool:
        # Ceph gives back by itself what a snapshot held.
        self._call("require_volume", volume_id=volume_id)
        return True

    def is_tidy(self, volume_id: str) -> bool:
        self._call("require_volume", volume_id=volume_id)
        return True

    def next_merge(self, volume_id: str) -> Merging | None:
        self._call("require_volume", volume_id=volume_id)
        return None

    @publishes
    def end_merge(self, volume_id: str, merging: Merging) -> None:
        raise StorageError(f"Volume {volume_id} is one RBD image: nothing of it is merged.")

    # -- snapshots of volumes ------------------------------------------------------------------

    def uses_overlays(self, volume_id: str) -> bool:
        return False

    @publishes
    def create_snapshot(self, volume_id: str, name: str) -> None:
        words = {"volume_id": volume_id, "snapshot": checked(name)}
        self._call("create_snapshot", copies=True, **words)

    @publishes
    def stage_snapshot(self, volume_id: str, name: str) -> DiskSource:
        self.create_snapshot(volume_id, name)
        return self.disk_source(volume_id)

    @publishes
    def delete_snapshot(self, volume_id: str, name: str) -> None:
        self._call("delete_snapshot", copies=True, volume_id=volume_id, snapshot=name)

    @publishes
    def rollback_snapshot(self, volume_id: str, name: str) -> None:
        self._call("rollback_snapshot", copies=True, volume_id=volume_id, snapshot=name)

    def list_snapshots(self, volume_id: str) -> tuple[SnapshotInfo, ...]:
        return tuple(
            SnapshotInfo(one["name"], one["size_bytes"], datetime.fromisoformat(one["created_at"]))
            for one in self._call("list_snapshots", volume_id=volume_id)
        )

    # -- seeds ---------------------------------------------------------------------------------

    @publishes
    def write_seed(self, vm_id: str, files: Mapping[str, str]) -> DiskSource:
        # There are passwords in it: not even a killed call leaves it lying about.
        with self._workspace() as folder:
            made = make_iso(folder, files)
            self._call("write_seed", vm_id=checked(vm_id), path=str(made))
        return self._source(f"seed.{vm_id}")

    @publishes
    def delete_seed(self, vm_id: str) -> None:
        self._call("delete_seed", vm_id=checked(vm_id))

    # -- hosts ---------------------------------------------------------------------------------

    def heartbeats(self) -> Mapping[str, str]:
        found: dict[str, str] = self._call("heartbeats")
        return found

    @publishes
    def shut_out(self, volume_id: str) -> tuple[str, ...]:
        return tuple(self._call("shut_out", volume_id=volume_id))

    # -- housekeeping ----------------------------------------------------------------------------

    def sweep_temporary(self, *, older_than_s: float = 3600.0) -> tuple[str, ...]:
        # First: what is here does not wait for a cluster that is away.
        removed = self._forget_workspaces(older_than_s)
        words = {"older_than_s": older_than_s, "purge_s": PURGE_S, "delay_s": PURGE_DELAY_S}
        return (*removed, *self._call("sweep_temporary", copies=True, **words))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
