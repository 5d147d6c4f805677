"""The storage port: one pool that holds images, volumes, snapshots and seeds.

Contract of every method of `Storage`:

* **Ensure, do not do.** A method brings about the state that its name says. Called again with the
  same arguments, after a success or after a crash at any point, it ends in the same state.
  Deleting what does not exist succeeds. Ids are chosen by the caller and never reused.
* **Nothing half-done is visible.** A volume or image exists completely or not at all: a killed
  call leaves at most a temporary object that no list shows and that `sweep_temporary` removes.
* **The right pool or none.** A pool has a marker: a random token, whose digest is in
  `StorageRef.marker`. Without it a directory is somebody else's, or not mounted: no method reads
  that as "empty" or writes there (`StorageUnavailable`, `StorageForeign`). The pool is looked at
  before each call, and again where something was not found.
* **Bounded in time.** A call that exceeds its bound raises `StorageTimeout`; its helper process
  is dead by then.
* **Errors** are `StorageError`s with a stable `code`, a `message` for operators and
  `retryable`. The message may name paths; tenants see a text chosen by the code. Unless a method
  says otherwise, a failed call leaves the pool as it was.

A backend is used by several processes at once. The caller serialises calls on the same volume;
calls on different objects may overlap.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Literal, Protocol, runtime_checkable

GIB = 1024**3

ImageFormat = Literal["qcow2", "raw"]


class StorageError(Exception):
    """A storage call failed.

    `code` is stable, `message` is for operators alone, `retryable` says whether the same call
    can succeed later without anyone changing the request.
    """

    code: ClassVar[str] = "storage_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class StorageUnavailable(StorageError):
    """The pool cannot be reached (directory not mounted, cluster down)."""

    code = "storage_unavailable"
    retryable = True


class StorageForeign(StorageUnavailable):
    """What lies at the pool's location is another pool, or says so of itself."""

    code = "storage_foreign"


class StorageStale(StorageUnavailable):
    """The pool's server does not know its files any more (ESTALE): it has to be mounted anew."""

    code = "storage_stale"


class StorageReadOnly(StorageError):
    """The pool can be read and not written."""

    code = "storage_read_only"
    retryable = True


class StorageFaulty(StorageError):
    """The medium of the pool could not read or write (EIO)."""

    code = "storage_io_error"
    retryable = True


class StorageTimeout(StorageError):
    """The call exceeded its time bound and was stopped."""

    code = "storage_timeout"
    retryable = True


class StorageHanging(StorageTimeout):
    """The pool's file system does not answer at all."""

    code = "storage_hanging"


class StorageFull(StorageError):
    """The pool has too little free space."""

    code = "storage_full"
    retryable = True


class VolumeMissing(StorageError):
    """The volume does not exist in the pool."""

    code = "volume_missing"


class VolumeDamaged(StorageError):
    """The volume's metadata cannot be read."""

    code = "volume_damaged"


class VolumeBusy(StorageError):
    """The volume is open in a running domain (or another call) and must not be touched now."""

    code = "volume_busy"
    retryable = True


class SnapshotMissing(StorageError):
    """The volume has no snapshot of that name."""

    code = "snapshot_missing"


class SnapshotLimit(StorageError):
    """The volume holds as many snapshots that rest on each other as its backend can bear."""

    code = "snapshot_limit"


class ImageMissing(StorageError):
    """The image does not exist in the pool."""

    code = "image_missing"


class ImageBusy(StorageError):
    """Volumes still rest on the image."""

    code = "image_busy"


class ImageRefused(StorageError):
    """The file offered as an image is not acceptable.

    `reason` is a stable word: `unknown_format`, `corrupt`, `backing_file`, `external_data`,
    `encrypted`, `too_large`, `bomb`, `checksum`, `missing`. `found` is the name of the format that
    was recognised instead of a disk image's, empty where none was; tenants may read it.
    """

    code = "image_refused"

    def __init__(self, message: str, *, reason: str, found: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.found = found


class ShrinkRefused(StorageError):
    """A volume can only grow."""

    code = "shrink_refused"


@dataclass(frozen=True, slots=True)
class FileSource:
    """A disk that is a file on every host of the cluster."""

    path: str
    format: ImageFormat = "qcow2"


@dataclass(frozen=True, slots=True)
class RbdSource:
    """A disk that is a Ceph RBD image; `secret_uuid` names the libvirt secret with the key."""

    pool: str
    image: str
    monitors: tuple[tuple[str, int], ...]
    user: str
    secret_uuid: str
    format: ImageFormat = "raw"


DiskSource = FileSource | RbdSource
"""What a domain needs to open a disk. Opaque to everything but the hypervisor driver."""


@dataclass(frozen=True, slots=True)
class Merging:
    """Two files of one volume: `into` is to take the content and the place of `child`."""

    child: DiskSource
    into: DiskSource


@dataclass(frozen=True, slots=True)
class PoolCapacity:
    """Total and free space of a pool in bytes, as the backend reports it."""

    total_bytes: int
    available_bytes: int
    read_only: bool = False

    @property
    def used_bytes(self) -> int:
        """What is taken, by this pool or by others on the same medium."""
        return self.total_bytes - self.available_bytes


@dataclass(frozen=True, slots=True)
class ImageProbe:
    """What an offered image file truly is."""

    format: ImageFormat
    virtual_bytes: int
    file_bytes: int


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image in the pool. `sha256` is of the stored file as `export_image` gives it out."""

    image_id: str
    virtual_bytes: int
    stored_bytes: int
    sha256: str

    @property
    def size_gib(self) -> int:
        """Smallest whole size in GiB of a volume that can hold the image."""
        return max(1, -(-self.virtual_bytes // GIB))


@dataclass(frozen=True, slots=True)
class VolumeInfo:
    """A volume in the pool. `image_id` is the image it rests on, if any."""

    volume_id: str
    size_bytes: int
    stored_bytes: int
    image_id: str | None

    @property
    def size_gib(self) -> int:
        """Size in whole GiB."""
        return self.size_bytes // GIB


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a look at all tables of a volume found, its snapshots' included.

    `errors`: entries that are wrong, so that content may be read or overwritten wrongly. `leaks`:
    units of space that nothing uses, which harm nothing. `missing`: files that are not there.
    """

    errors: int = 0
    leaks: int = 0
    missing: int = 0

    @property
    def sound(self) -> bool:
        """Whether the volume may be used."""
        return not self.errors and not self.missing


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot inside a volume. `size_bytes` is the volume's size when it was taken."""

    name: str
    size_bytes: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StorageRef:
    """Names one pool. `kind` selects the backend, `location` is its address.

    `dir`: a directory path that every host sees under the same name. `fake`: any word.
    `rbd`: the name of a pool of a Ceph cluster; its `options` are `monitors` (``host:port``, with
    commas), `user` (whose key is `secret`), `secret_uuid` (of the libvirt secret with that key)
    and `scratch`, a directory with room for the content of an image that is imported.
    `options` are backend settings (never secrets in clear): ``("snapshots", "overlays")`` for a
    `dir` whose new snapshots are overlays. `pool_id` is the platform's name of the pool. `marker`
    is the SHA-256 digest of the token in its marker, in hex; empty while none was written, and
    nothing is compared then.
    """

    kind: Literal["dir", "rbd", "fake"]
    location: str
    options: tuple[tuple[str, str], ...] = ()
    pool_id: str = ""
    marker: str = ""
    secret: str = field(default="", repr=False)


@runtime_checkable
class Storage(Protocol):
    """One pool. See the module's docstring for what holds for every method."""

    @property
    def snapshots_need_hypervisor(self) -> bool:
        """Whether snapshots of a volume in a running domain must go through the hypervisor.

        True for QCOW2 files (QEMU holds the file), False where the cluster snapshots by itself.
        A volume that no running domain has open is always snapshotted through the storage.
        """
        ...

    def uses_overlays(self, volume_id: str) -> bool:
        """Whether a new snapshot freezes the volume's file and puts an overlay on it.

        Then taking and forgetting one, and rolling back to it, take the same short time whatever
        the size. A running domain's is taken by `stage_snapshot`; forgetting one needs no domain.
        What is forgotten is cleared away by `tidy_volume`. The volume may be missing.
        """
        ...

    def capacity(self) -> PoolCapacity:
        """Total and free space of the pool. Raises `StorageUnavailable` if it is not there."""
        ...

    def mark(self, token: str, *, replace: bool = False) -> None:
        """Lay ready a marker with the token, for a pool that has none yet.

        It holds from the first call on whose `StorageRef.marker` is the token's digest; until then
        nothing has changed. With `replace` it takes the place of another one, else that is
        `StorageForeign`.
        """
        ...

    def try_write(self) -> None:
        """Write a little, bring it to the medium and remove it.

        Raises what keeps the pool from being written: `StorageReadOnly`, `StorageFull`,
        `StorageFaulty`.
        """
        ...

    # -- images ------------------------------------------------------------------------------

    def probe_image(self, path: Path, *, max_virtual_gib: int = 500) -> ImageProbe:
        """Say what the file is; refuse what could harm. Changes nothing.

        The format is read from the file's magic (never believed from its name); whatever is not
        QCOW2 and not a recognised foreign format counts as raw. Raises `ImageRefused` for backing
        files, external data files, encryption, damaged or oversized metadata, virtual sizes above
        `max_virtual_gib`, and anything whose inspection exceeds its memory or time bounds.
        """
        ...

    def import_image(
        self,
        image_id: str,
        source_path: Path,
        *,
        expected_sha256: str | None = None,
        max_virtual_gib: int = 500,
    ) -> ImageInfo:
        """Make the file an image of the pool, copied and converted after `probe_image`.

        If the image exists already, its info is returned and the source is not read.
        `expected_sha256` is that of the source file; a difference is `ImageRefused("checksum")`.
        Raises `StorageFull`, `ImageRefused`.
        """
        ...

    def image_from_volume(
        self, image_id: str, volume_id: str, *, snapshot: str | None = None
    ) -> ImageInfo:
        """Make an image from a volume's (or its snapshot's) content; independent of both after.

        Without `snapshot` the volume must not be open in a running domain (`VolumeBusy`). As for
        each copy, the tables of what is read are looked at (`VolumeDamaged`), but for those that a
        running domain writes to. Raises `VolumeMissing`, `SnapshotMissing`, `StorageFull`.
        """
        ...

    def image_info(self, image_id: str) -> ImageInfo:
        """Facts of an image. Raises `ImageMissing`."""
        ...

    def list_images(self) -> tuple[ImageInfo, ...]:
        """All complete images, by id."""
        ...

    def export_image(self, image_id: str, target: Path) -> None:
        """Make `target`, which must not be there, a QCOW2 file with the image's content.

        It may be a second name of the pool's own file, so the caller must not change it. A failed
        call may leave a part of it. Raises `ImageMissing`.
        """
        ...

    def delete_image(self, image_id: str) -> None:
        """Remove the image. Raises `ImageBusy` while volumes rest on it."""
        ...

    # -- volumes -----------------------------------------------------------------------------

    def create_volume(self, volume_id: str, *, size_gib: int, image_id: str | None = None) -> None:
        """Make a volume, empty or with the image's content; thin in both cases.

        If it exists it is grown to `size_gib` at least, its content stays. Raises `ImageMissing`,
        `StorageFull`, `ShrinkRefused` when the image is larger than `size_gib`.
        """
        ...

    def clone_volume(self, volume_id: str, *, source_volume_id: str) -> None:
        """Make an independent volume with the source's present content and size.

        If the target exists nothing is done. Snapshots of the source are not copied. The source
        must not be open in a running domain (`VolumeBusy`). Raises `VolumeMissing`,
        `VolumeDamaged`, `StorageFull`.
        """
        ...

    def volume_from_snapshot(self, volume_id: str, *, source_volume_id: str, snapshot: str) -> None:
        """Make an independent volume from a snapshot, also while the source is in use.

        If the target exists nothing is done. The caller must not delete the snapshot meanwhile.
        Raises `VolumeMissing`, `VolumeDamaged`, `SnapshotMissing`, `StorageFull`.
        """
        ...

    def rebuild_volume(self, volume_id: str, *, size_gib: int, image_id: str) -> None:
        """Replace a volume by a fresh one from the image; its content and snapshots are gone.

        A repeated call rebuilds again. The volume must not be open (`VolumeBusy`). After a
        failure the old content is what it was. Creates the volume if it is missing; nothing of one
        that is damaged is needed.
        """
        ...

    def resize_volume(self, volume_id: str, *, size_gib: int) -> None:
        """Grow a volume that no running domain has open (`VolumeBusy`); never shrinks.

        Equal size: nothing happens. Smaller: `ShrinkRefused`. For volumes of running domains use
        `Hypervisor.resize_disk`.
        """
        ...

    def delete_volume(self, volume_id: str) -> None:
        """Remove the volume with its snapshots. Raises `VolumeBusy` while it is open."""
        ...

    def volume_info(self, volume_id: str) -> VolumeInfo:
        """Facts of a volume, also while it is in use. Raises `VolumeMissing`, `VolumeDamaged`."""
        ...

    def list_volumes(self) -> tuple[VolumeInfo, ...]:
        """All complete volumes, by id. A damaged one is listed with a size of 0."""
        ...

    def disk_source(self, volume_id: str) -> DiskSource:
        """What a domain needs to open the volume now; the volume need not exist yet.

        A snapshot or a rollback may change it: a domain is defined anew before each start.
        """
        ...

    def prepare_volume(self, volume_id: str) -> None:
        """Put right what a killed call or domain left, before a domain opens the volume.

        Nothing is written where nothing is wrong. Raises `VolumeMissing`, `VolumeDamaged` (also
        where a file of several is missing), `VolumeBusy`.
        """
        ...

    def in_doubt(self, volume_id: str) -> bool:
        """Whether a change of the volume in place did not end; a cheap look. May be missing.

        Such a volume is used by no other call until `check_volume`, or the look that each of them
        takes by itself, finds it sound.
        """
        ...

    def check_volume(self, volume_id: str) -> CheckReport:
        """Look at all tables of a volume that nobody has open (`VolumeBusy`).

        Content is not changed. One that is sound is not in doubt any more, and what an
        interrupted rollback left undone of its size is done; one that is not is in doubt from then
        on. Takes as long as its tables need.
        Raises `VolumeMissing`, `VolumeDamaged` where nothing can be looked at.
        """
        ...

    def repair_volume(self, volume_id: str, *, everything: bool) -> CheckReport:
        """Give back space that nothing uses; with `everything` correct errors too.

        What is lost by a correction is lost in the snapshots as well. Returns what a check finds
        afterwards. One that was interrupted leaves the volume in doubt and may be repeated. Where
        a file is missing nothing is changed. Raises as `check_volume`.
        """
        ...

    def tidy_volume(self, volume_id: str) -> bool:
        """Clear away what forgotten snapshots left; True when nothing is left to clear.

        May be killed at any moment and called at any time; what a domain or a copy has open is
        left for another call. Moves as many bytes as were written after the forgotten snapshots.
        Raises `VolumeMissing`, `VolumeDamaged`, `StorageFull`.
        """
        ...

    def is_tidy(self, volume_id: str) -> bool:
        """Whether there is nothing for `tidy_volume`; a cheap look. Raises `VolumeMissing`."""
        ...

    def next_merge(self, volume_id: str) -> Merging | None:
        """What the domain that has the volume open can merge now (`Hypervisor.merge_disk`)."""
        ...

    def end_merge(self, volume_id: str, merging: Merging) -> None:
        """Publish a merge that a domain has done, and remove the file that nothing needs any more.

        Raises `VolumeBusy` while anything has that file open.
        """
        ...

    # -- snapshots of volumes ------------------------------------------------------------------

    def create_snapshot(self, volume_id: str, name: str) -> None:
        """Keep the volume's present content under `name`; nothing happens if it exists.

        If `snapshots_need_hypervisor`, only while no running domain has the volume (`VolumeBusy`).
        Raises `VolumeMissing`, `SnapshotLimit`, `StorageFull`.
        """
        ...

    def stage_snapshot(self, volume_id: str, name: str) -> DiskSource:
        """Publish a snapshot of a volume that a running domain has open, where overlays are used.

        Returns the file to which the domain has to be brought (`Hypervisor.change_disk`); until
        then it still writes to the frozen one, and the snapshot must not be read. Called again it
        returns the present file. Raises `VolumeMissing`, `SnapshotLimit`, `StorageFull`.
        """
        ...

    def delete_snapshot(self, volume_id: str, name: str) -> None:
        """Forget one snapshot; the others and the volume keep their content. May be missing.

        If `snapshots_need_hypervisor`, only while no running domain has the volume (`VolumeBusy`),
        unless `uses_overlays`. Its bytes go now or with `tidy_volume`.
        """
        ...

    def rollback_snapshot(self, volume_id: str, name: str) -> None:
        """Set the volume's content back to the snapshot; all snapshots stay.

        The size does not go back: a volume that has grown since keeps its size (`size_bytes` is
        never reduced by a rollback). Never while a running domain has it (`VolumeBusy`). One that
        was interrupted may be repeated, also where it left the volume in doubt. Raises
        `VolumeMissing`, `VolumeDamaged`, `SnapshotMissing`, `SnapshotLimit`.
        """
        ...

    def list_snapshots(self, volume_id: str) -> tuple[SnapshotInfo, ...]:
        """Snapshots oldest first, also while the volume is in use. Raises `VolumeMissing`."""
        ...

    # -- seeds ---------------------------------------------------------------------------------

    def write_seed(self, vm_id: str, files: Mapping[str, str]) -> DiskSource:
        """Make or replace the NoCloud seed of a VM (`meta-data`, `user-data`, `network-config`).

        A seed holds password hashes: only its owner may read it (mode 0600 on files). Replacing
        is atomic; a running domain reads the seed it was started with or, on `rbd`, the new one.
        """
        ...

    def delete_seed(self, vm_id: str) -> None:
        """Remove the seed; may be missing."""
        ...

    # -- hosts ---------------------------------------------------------------------------------

    def heartbeats(self) -> Mapping[str, str]:
        """What each host has written last as its heartbeat, by the host's own name.

        A host that is alive writes another text every few seconds, so one that stays the same
        between two looks tells of a host that writes no more: no clock but the reader's is needed.
        At most 100 characters of each; a host without a heartbeat is not among them. What is no
        heartbeat is passed over. Raises `StorageUnavailable` if the pool is not there.
        """
        ...

    def shut_out(self, volume_id: str) -> tuple[str, ...]:
        """Let nobody who has the volume open now write to it any more; returns who that was.

        For a volume whose domain has ended with its host, before another host opens it: a cluster
        (`rbd`) believes in such a client for half a minute, for which the next one would wait.
        Other pools do nothing. Never while the domain runs somewhere. May be missing.
        """
        ...

    # -- housekeeping ----------------------------------------------------------------------------

    def sweep_temporary(self, *, older_than_s: float = 3600.0) -> tuple[str, ...]:
        """Remove leftovers of killed calls; returns the names removed.

        Objects of calls that still run are not touched, whatever their age.
        """
        ...
