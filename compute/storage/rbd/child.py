"""What is done in a pool, one call in one process, which may hang or be ended at any moment.

It runs under the distribution's own Python, for which the libraries of Ceph are packaged. The
request is a line on the standard input, the answer the last line of the output:

    {"ok": …} or {"error": code, "message": …}

Before it come ``{"moving": [done, total]}``, and ``{"confirm": true}``, after which it goes on only
when it gets a line: what follows is seen by others.

    scloud.pool        which pool it is: see `_require_marker`
    scloud.volumes     volume ─▶ its RBD image, and what is not settled
    scloud.images      image ─▶ its RBD image and its facts
    scloud.heartbeats  host ─▶ what it wrote last
    scloud.broken      RBD image without content ─▶ when a sweep saw it first
    volume.<id>.<…>    an RBD image; what is in neither list is no volume, but left by a killed call
    image.<id>.<…>     an RBD image whose snapshot `base` is protected; volumes are clones of it
    seed.<vm>          an RBD image of one object, so that it is replaced at one blow
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from compute.storage import base
from compute.storage.base import (
    ImageBusy,
    ImageMissing,
    ShrinkRefused,
    SnapshotMissing,
    StorageError,
    StorageForeign,
    StorageFull,
    StorageTimeout,
    StorageUnavailable,
    VolumeBusy,
    VolumeDamaged,
    VolumeMissing,
)
from compute.storage.rbd import qcow2

try:
    import rados
    import rbd
except ImportError:
    rados = rbd = None

POOL, VOLUMES, IMAGES, HEARTBEATS, BROKEN = (
    f"scloud.{name}" for name in ("pool", "volumes", "images", "heartbeats", "broken")
)
BASE = "base"
TRASH = "rbd_trash"
"""The object in which RBD keeps what is in the trash of a pool."""

SEED_BYTES = 4 * 1024**2
"""One object of RBD, which is written as a whole or not at all."""

CHUNK = 4 * 1024**2
_OURS = re.compile(r"(volume|image)\.[A-Za-z0-9_-]+\.[0-9a-f]{12}")
_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_BEAT_BYTES = 100
_PERCENT = re.compile(rb"(\d+)% complete")
_PAGE = 500
# So many objects of an RBD image are asked for to reach the OSDs that hold it.
_ASKED = 1024
# Of the client, in seconds: without them it waits for a cluster that is away for ever.
_CONNECT_S, _MONITOR_S, _OSD_S = 10, 10, 30
# Layering, exclusive lock, object map, fast diff, deep flatten.
_FEATURES = 1 | 4 | 8 | 16 | 32

_ERRORS: Mapping[int, type[StorageError]] = {
    errno.ENOSPC: StorageFull,
    errno.EDQUOT: StorageFull,
    errno.EBUSY: VolumeBusy,
    errno.EROFS: VolumeBusy,
    errno.EIO: base.StorageFaulty,
    errno.ETIMEDOUT: StorageTimeout,
    errno.EACCES: StorageUnavailable,
    errno.EPERM: StorageUnavailable,
    errno.ENOTCONN: StorageUnavailable,
    # The cluster has shut this client out.
    errno.ESHUTDOWN: StorageUnavailable,
}

T = TypeVar("T")


def say(**words: Any) -> None:
    """Write a line of the answer, at once."""
    os.write(1, json.dumps(words).encode() + b"\n")


def moving(done: int, total: int) -> None:
    say(moving=[done, total])


def confirm() -> None:
    """Go on only as long as the caller still may: others see what follows."""
    say(confirm=True)
    if not sys.stdin.readline():
        raise SystemExit(1)


class ImageGone(VolumeDamaged):
    """An RBD image that one of the lists names is not there, or one that it rests on."""


class Pool:
    """The pool of a request."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self.settings = {
            "mon_host": str(asked["monitors"]),
            "key": str(asked["key"]),
            "client_mount_timeout": str(_CONNECT_S),
            "rados_mon_op_timeout": str(_MONITOR_S),
            "rados_osd_op_timeout": str(_OSD_S),
            # Each process does one thing: what it has written is written.
            "rbd_cache": "false",
            "log_file": "",
            "log_to_stderr": "false",
            "err_to_stderr": "false",
            "admin_socket": "",
        }
        self.user = str(asked["user"])
        self.name = str(asked["pool"])
        self.cluster = rados.Rados(rados_id=self.user, conf=self.settings)
        try:
            self.cluster.connect()
        except rados.Error as error:
            raise StorageUnavailable(f"The Ceph cluster cannot be reached: {error}.") from error
        try:
            self.io = self.cluster.open_ioctx(self.name)
        except rados.ObjectNotFound as error:
            raise StorageUnavailable(f"The cluster has no pool {self.name}.") from error
        # One that is full refuses what needs room, and deletes. Without this the client waits until
        # it is not full any more, with all that writes, so that nobody could ever empty it.
        self.io.set_osdmap_full_try()
        self.rbd = rbd.RBD()

    # -- lists of ours -------------------------------------------------------------------------

    def entries(self, register: str) -> dict[str, Any]:
        """Return all that a list holds."""
        found: dict[str, Any] = {}
        last = ""
        while True:
            with rados.ReadOpCtx() as op:
                page, _ = self.io.get_omap_vals(op, last, "", _PAGE)
                try:
                    self.io.operate_read_op(op, register)
                except rados.ObjectNotFound:
                    return found
                values = {str(key): bytes(value) for key, value in page}
            if not values:
                return found
            for key, value in values.items():
                found[key] = json.loads(value)
                last = key

    def entry(self, register: str, key: str) -> Any:
        """Return one entry, None where there is none."""
        with rados.ReadOpCtx() as op:
            page, _ = self.io.get_omap_vals_by_keys(op, (key,))
            try:
                self.io.operate_read_op(op, register)
            except rados.ObjectNotFound:
                return None
            for _key, value in page:
                return json.loads(bytes(value))
        return None

    def write(self, register: str, key: str, value: Any, *, without: tuple[str, ...] = ()) -> None:
        """Write an entry and remove others, in one step."""
        with rados.WriteOpCtx() as op:
            self.io.set_omap(op, (key,), (json.dumps(value).encode(),))
            if without:
                self.io.remove_omap_keys(op, without)
            self.io.operate_write_op(op, register)

    def forget(self, register: str, key: str) -> None:
        """Remove an entry; may be missing."""
        with rados.WriteOpCtx() as op:
            self.io.remove_omap_keys(op, (key,))
            with contextlib.suppress(rados.ObjectNotFound):
                self.io.operate_write_op(op, register)

    # -- RBD images ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def open(
        self, name: str, *, snapshot: str | None = None, read_only: bool = False
    ) -> Iterator[Any]:
        """Open an RBD image that one of the lists names. Raises ImageGone."""
        try:
            image = rbd.Image(self.io, name, snapshot=snapshot, read_only=read_only)
        except rbd.ImageNotFound as error:
            raise ImageGone(f"The RBD image {name} is missing.") from error
        with contextlib.closing(image):
            yield image

    @contextlib.contextmanager
    def made(self, kind: str, owner: str, size_bytes: int) -> Iterator[tuple[str, Any]]:
        """Make an empty RBD image and keep it open: it is not swept away meanwhile."""
        name = _new_name(kind, owner)
        self.rbd.create(self.io, name, size_bytes, old_format=False, features=_FEATURES)
        with self.open(name) as image:
            yield name, image

    def volume(self, volume_id: str) -> dict[str, Any]:
        """Return the entry of a volume. Raises VolumeMissing."""
        found: dict[str, Any] | None = self.entry(VOLUMES, volume_id)
        if found is None:
            raise VolumeMissing(f"The storage has no volume {volume_id}.")
        return found

    def image(self, image_id: str) -> dict[str, Any]:
        """Return the entry of an image. Raises ImageMissing."""
        found: dict[str, Any] | None = self.entry(IMAGES, image_id)
        if found is None:
            raise ImageMissing(f"The storage has no image {image_id}.")
        return found

    def users(self, name: str) -> list[str]:
        """Return the addresses of those who have an RBD image open to write."""
        try:
            with self.open(name, read_only=True) as image:
                return [str(one["addr"]) for one in image.watchers_list()]
        except VolumeDamaged:
            return []

    def require_idle(self, name: str) -> None:
        """Raise VolumeBusy while somebody has an RBD image open to write.

        One that was killed counts as well, until the cluster notices, which takes half a minute.
        """
        if self.users(name):
            raise VolumeBusy("The volume is in use by a running VM.")

    def settled(self, volume_id: str) -> tuple[str, dict[str, Any]]:
        """Return the RBD image of a volume that nobody uses, and its entry; it is sound.

        A rollback that did not end is brought to its end. Raises VolumeBusy, VolumeMissing,
        VolumeDamaged.
        """
        entry = self.volume(volume_id)
        name = str(entry["image"])
        if entry.get("damaged"):
            raise VolumeDamaged(f"A check of the volume {volume_id} found errors.")
        self.require_idle(name)
        if "rolling" in entry:
            self.roll(volume_id, entry)
        return name, self.volume(volume_id)

    def roll(self, volume_id: str, entry: dict[str, Any]) -> None:
        """Do what is left of a rollback: all of it, as often as need be.

        RBD goes from object to object, so one that was cut off leaves the volume half old, half
        new. The snapshot is what it was, and the entry names it, until all is done.
        """
        to, size_bytes = entry["rolling"]["snapshot"], int(entry["rolling"]["size_bytes"])
        # The command tells how far it is: what shows no progress for long is given up.
        _rbd(self, "snap", "rollback", _spec(self, str(entry["image"]), str(to)))
        with self.open(entry["image"]) as image:
            if image.size() < size_bytes:
                image.resize(size_bytes)
            image.flush()
            confirm()
            self.write(VOLUMES, volume_id, {"image": entry["image"]})

    def trash(self, name: str, delay_s: float) -> bool:
        """Put an RBD image into the trash, from where it can be fetched back for a time.

        False where somebody has it open, or a full pool has no room for the trash: the sweep does
        it later, because no list names it.
        """
        try:
            self.rbd.trash_move(self.io, name, int(delay_s))
        except rbd.ImageNotFound:
            pass
        except rbd.ImageBusy:
            return False
        except rbd.Error as error:
            if _ERRORS.get(_number(error)) is not StorageFull:
                raise
            return False
        return True


def _number(error: Exception) -> int:
    """The number of an error of the libraries, as in `errno`; 0 where it has none."""
    return abs(int(getattr(error, "errno", 0) or 0))


def _new_name(kind: str, owner: str) -> str:
    # Never that of another call for the same volume, which may have been killed or still run.
    return f"{kind}.{owner}.{secrets.token_hex(6)}"


# -- the pool ----------------------------------------------------------------------------------


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def require_marker(pool: Pool, marker: str) -> None:
    """Raise StorageUnavailable, StorageForeign unless the pool has the marker of that digest.

    One that was laid ready takes its place now, in one step.
    """
    there = pool.entries(POOL)
    current = there.get("current")
    if current is not None and _digest(current["token"]) == marker:
        return
    ready = {key: value for key, value in there.items() if key.startswith("ready.")}
    for value in ready.values():
        if _digest(value["token"]) == marker:
            pool.write(POOL, "current", value, without=tuple(ready))
            return
    if current is None:
        raise StorageUnavailable("The Ceph pool has no marker: is it the right cluster?")
    raise StorageForeign(f"The Ceph pool is another one: its marker names {current['pool']!r}.")


def mark(pool: Pool, *, pool_id: str, token: str, replace: bool) -> None:
    current = pool.entry(POOL, "current")
    if current is not None and not replace:
        raise StorageForeign(
            f"The Ceph pool is marked already: its marker names {current['pool']!r}."
        )
    pool.write(POOL, f"ready.{secrets.token_hex(8)}", {"pool": pool_id, "token": token})


def look(pool: Pool) -> None:
    """Do nothing: the marker was looked at before."""


def capacity(pool: Pool) -> dict[str, int]:
    asked = json.dumps({"prefix": "df", "format": "json"})
    result, output, said = pool.cluster.mon_command(asked, b"")
    if result:
        raise StorageUnavailable(f"The cluster does not tell its room: {said}")
    for one in json.loads(output)["pools"]:
        if one["name"] == pool.name:
            stats = one["stats"]
            available = int(stats["max_avail"])
            # What a pool keeps, without its copies: the room left is told so, too.
            return {
                "total_bytes": int(stats["stored"]) + available,
                "available_bytes": available,
            }
    raise StorageUnavailable(
        f"The cluster does not tell the room of pool {pool.name}: does its manager run?"
    )


def try_write(pool: Pool) -> None:
    with rados.WriteOpCtx() as op:
        # The list of the trash, which a pool that is full could not make when it is needed.
        op.new(rados.LIBRADOS_CREATE_IDEMPOTENT)
        pool.io.operate_write_op(op, TRASH)
    name = f"scloud.try.{secrets.token_hex(8)}"
    pool.io.write_full(name, os.urandom(4096))
    pool.io.remove_object(name)


def heartbeats(pool: Pool) -> dict[str, str]:
    found: dict[str, str] = {}
    last = ""
    while True:
        with rados.ReadOpCtx() as op:
            page, _ = pool.io.get_omap_vals(op, last, "", _PAGE)
            try:
                pool.io.operate_read_op(op, HEARTBEATS)
            except rados.ObjectNotFound:
                return found
            values = [(str(key), bytes(value)) for key, value in page]
        if not values:
            return found
        for name, text in values:
            last = name
            # Hosts write here.
            if _HOST_NAME.fullmatch(name):
                with contextlib.suppress(UnicodeDecodeError):
                    found[name] = text[:_BEAT_BYTES].decode()


# -- copying -----------------------------------------------------------------------------------


def _extents(image: Any) -> list[tuple[int, int]]:
    """Return where an open image or snapshot may hold data, its parent's included."""
    found: list[tuple[int, int]] = []

    def see(offset: int, length: int, exists: bool) -> None:
        if exists:
            found.append((offset, length))

    image.diff_iterate(0, image.size(), None, see, include_parent=True, whole_object=True)
    return sorted(found)


def _filled(data: bytes, size: int = qcow2.CLUSTER) -> Iterator[tuple[int, int]]:
    """Yield begin and end of the parts of some data that hold anything but zeros."""
    zeros = bytes(size)
    began = None
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        if piece == zeros[: len(piece)]:
            if began is not None:
                yield began, at
            began = None
        elif began is None:
            began = at
    if began is not None:
        yield began, len(data)


def _copy(
    read: Callable[[int, int], bytes],
    extents: list[tuple[int, int]],
    write: Callable[[bytes, int], object],
) -> None:
    """Copy what holds data; of the rest nothing is written."""
    total, done = sum(length for _, length in extents), 0
    for offset, length in extents:
        for at in range(offset, offset + length, CHUNK):
            size = min(CHUNK, offset + length - at)
            data = read(at, size)
            for begin, end in _filled(data):
                write(data[begin:end], at + begin)
            done += size
            moving(done, total)


def _clusters(image: Any) -> list[int]:
    """Return the numbers of the clusters of an image that hold data."""
    found: list[int] = []

    def note(data: bytes, offset: int) -> None:
        first = offset // qcow2.CLUSTER
        found.extend(range(first, first + -(-len(data) // qcow2.CLUSTER)))

    _copy(image.read, _extents(image), note)
    return found


def _file_of(image: Any) -> Iterator[bytes]:
    """Yield the file that people get of an image."""
    size_bytes = image.size()
    clusters = _clusters(image)
    total = len(clusters) * qcow2.CLUSTER

    done = 0

    def read(number: int) -> bytes:
        nonlocal done
        at = number * qcow2.CLUSTER
        done += qcow2.CLUSTER
        if done % CHUNK < qcow2.CLUSTER:
            moving(done, total)
        data: bytes = image.read(at, min(qcow2.CLUSTER, size_bytes - at))
        return data

    return qcow2.emit(size_bytes, clusters, read)


# -- images ------------------------------------------------------------------------------------


def image_info(pool: Pool, *, image_id: str) -> dict[str, Any]:
    return _facts(image_id, pool.image(image_id))


def _facts(image_id: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "image_id": image_id,
        **{name: entry[name] for name in ("virtual_bytes", "stored_bytes", "sha256")},
    }


def list_images(pool: Pool) -> list[dict[str, Any]]:
    return [_facts(key, value) for key, value in sorted(pool.entries(IMAGES).items())]


def import_image(pool: Pool, *, image_id: str, path: str, size_bytes: int) -> dict[str, Any]:
    """Make the raw file an image."""
    # Path.open cannot refuse a link.
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0) as file:  # noqa: PTH123

        def read(offset: int, length: int) -> bytes:
            data = os.pread(file.fileno(), length, offset)
            return data.ljust(length, b"\0")

        return _make_image(pool, image_id, read, _holes(file.fileno(), size_bytes), size_bytes)


def _holes(descriptor: int, size_bytes: int) -> list[tuple[int, int]]:
    """Return where a sparse file holds data."""
    found: list[tuple[int, int]] = []
    end = 0
    while end < size_bytes:
        try:
            begin = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        end = min(size_bytes, os.lseek(descriptor, begin, os.SEEK_HOLE))
        # At whole clusters, as they are looked at for zeros.
        begin -= begin % qcow2.CLUSTER
        end = min(size_bytes, -(-end // qcow2.CLUSTER) * qcow2.CLUSTER)
        found.append((begin, end - begin))
    return found


def _make_image(
    pool: Pool,
    image_id: str,
    read: Callable[[int, int], bytes],
    extents: list[tuple[int, int]],
    size_bytes: int,
) -> dict[str, Any]:
    with pool.made("image", image_id, size_bytes) as (name, image):
        _copy(read, extents, image.write)
        image.flush()
        image.create_snap(BASE)
        image.protect_snap(BASE)
        digest, stored_bytes = hashlib.sha256(), 0
        with pool.open(name, snapshot=BASE, read_only=True) as frozen:
            for part in _file_of(frozen):
                digest.update(part)
                stored_bytes += len(part)
        confirm()
        entry = {
            "image": name,
            "virtual_bytes": size_bytes,
            "stored_bytes": stored_bytes,
            "sha256": digest.hexdigest(),
        }
        pool.write(IMAGES, image_id, entry)
    return _facts(image_id, entry)


def image_from_volume(
    pool: Pool, *, image_id: str, volume_id: str, snapshot: str | None
) -> dict[str, Any]:
    with _source(pool, volume_id, snapshot) as (source, size_bytes):
        return _make_image(pool, image_id, source.read, _extents(source), size_bytes)


@contextlib.contextmanager
def _source(pool: Pool, volume_id: str, snapshot: str | None) -> Iterator[tuple[Any, int]]:
    """Open what is to be copied, and return the size of the copy: the volume's present one."""
    if snapshot is None:
        name, _ = pool.settled(volume_id)
    else:
        entry = pool.volume(volume_id)
        if entry.get("damaged"):
            raise VolumeDamaged(f"A check of the volume {volume_id} found errors.")
        name = str(entry["image"])
        _require_snapshot(pool, name, volume_id, snapshot)
    if found := _errors(pool, name, None if snapshot is None else (snapshot,)):
        raise VolumeDamaged(f"The volume {volume_id} cannot be copied: {found} errors in its maps.")
    with pool.open(name, read_only=True) as volume:
        size_bytes = volume.size()
    with pool.open(name, snapshot=snapshot, read_only=True) as source:
        yield source, size_bytes


def export_image(pool: Pool, *, image_id: str, target: str) -> None:
    entry = pool.image(image_id)
    with (
        pool.open(entry["image"], snapshot=BASE, read_only=True) as image,
        Path(target).open("xb") as file,
    ):
        file.writelines(_file_of(image))
        file.flush()
        os.fsync(file.fileno())


def delete_image(pool: Pool, *, image_id: str, delay_s: float) -> None:
    entry = pool.entry(IMAGES, image_id)
    if entry is None:
        return
    name = str(entry["image"])
    with contextlib.suppress(VolumeDamaged), pool.open(name, snapshot=BASE, read_only=True) as one:
        # Others were deleted, or left by killed calls; the trash keeps what they rest on.
        living = {entry["image"] for entry in pool.entries(VOLUMES).values()}
        users = sum(child["image"] in living for child in one.list_children2())
        if users:
            raise ImageBusy(f"{users} volumes rest on image {image_id}.")
    confirm()
    pool.forget(IMAGES, image_id)
    pool.trash(name, delay_s)


# -- volumes -----------------------------------------------------------------------------------


def create_volume(pool: Pool, *, volume_id: str, size_bytes: int, image_id: str | None) -> None:
    if pool.entry(VOLUMES, volume_id) is None:
        _make_volume(pool, volume_id, size_bytes, image_id)
        return
    entry = pool.volume(volume_id)
    with pool.open(entry["image"], read_only=True) as image:
        now = image.size()
    if now < size_bytes:
        resize_volume(pool, volume_id=volume_id, size_bytes=size_bytes)


def rebuild_volume(
    pool: Pool, *, volume_id: str, size_bytes: int, image_id: str, delay_s: float
) -> None:
    old = pool.entry(VOLUMES, volume_id)
    if old is not None:
        pool.require_idle(old["image"])
    _make_volume(pool, volume_id, size_bytes, image_id)
    if old is not None:
        pool.trash(old["image"], delay_s)


def _make_volume(pool: Pool, volume_id: str, size_bytes: int, image_id: str | None) -> None:
    """Make a volume, or let a fresh one take the place of one that is there."""
    if image_id is None:
        with pool.made("volume", volume_id, size_bytes) as (name, _image):
            confirm()
            pool.write(VOLUMES, volume_id, {"image": name})
        return
    found = pool.image(image_id)
    if found["virtual_bytes"] > size_bytes:
        raise ShrinkRefused("The image is larger than the volume.")
    name = _new_name("volume", volume_id)
    pool.rbd.clone(pool.io, found["image"], BASE, pool.io, name, features=_FEATURES)
    with pool.open(name) as image:
        if image.size() < size_bytes:
            image.resize(size_bytes)
        confirm()
        # Until now the image may have been deleted: its snapshot bears this clone, no list it.
        pool.image(image_id)
        pool.write(VOLUMES, volume_id, {"image": name})


def copy_volume(pool: Pool, *, volume_id: str, source_volume_id: str, snapshot: str | None) -> None:
    """Make an independent volume of another, or of one of its snapshots."""
    if pool.entry(VOLUMES, volume_id) is not None:
        return
    with (
        _source(pool, source_volume_id, snapshot) as (source, size_bytes),
        pool.made("volume", volume_id, size_bytes) as (name, image),
    ):
        _copy(source.read, _extents(source), image.write)
        image.flush()
        confirm()
        pool.write(VOLUMES, volume_id, {"image": name})


def resize_volume(pool: Pool, *, volume_id: str, size_bytes: int) -> None:
    entry = pool.volume(volume_id)
    with pool.open(entry["image"], read_only=True) as image:
        now = image.size()
    if size_bytes < now:
        raise ShrinkRefused("A volume can only grow.")
    if size_bytes > now:
        name, _ = pool.settled(volume_id)
        with pool.open(name) as image:
            confirm()
            image.resize(size_bytes)


def delete_volume(pool: Pool, *, volume_id: str, delay_s: float) -> None:
    entry = pool.entry(VOLUMES, volume_id)
    if entry is None:
        return
    pool.require_idle(entry["image"])
    confirm()
    pool.forget(VOLUMES, volume_id)
    pool.trash(entry["image"], delay_s)


def volume_info(pool: Pool, *, volume_id: str) -> dict[str, Any]:
    return _volume_info(pool, volume_id, pool.volume(volume_id))


def _volume_info(pool: Pool, volume_id: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    with pool.open(entry["image"], read_only=True) as image:
        parent = None
        with contextlib.suppress(rbd.ImageNotFound):
            parent = image.parent_info()[1]
        size_bytes = image.size()
        return {
            "volume_id": volume_id,
            "size_bytes": size_bytes,
            "stored_bytes": _stored(image),
            "image_id": None if parent is None else str(parent).split(".")[1],
        }


def _stored(image: Any) -> int:
    """Return how much an open image and its snapshots hold by themselves, in bytes."""
    total = 0

    def see(_offset: int, length: int, exists: bool) -> None:
        nonlocal total
        total += length * exists

    before = None
    for name in [*_by_age(image), None]:
        image.set_snap(name)
        image.diff_iterate(0, image.size(), before, see, include_parent=False, whole_object=True)
        before = name
    return total


def _by_age(image: Any) -> list[str]:
    return [one["name"] for one in sorted(image.list_snaps(), key=lambda one: int(one["id"]))]


def list_volumes(pool: Pool) -> list[dict[str, Any]]:
    found = []
    entries = sorted(pool.entries(VOLUMES).items())
    for number, (volume_id, entry) in enumerate(entries):
        try:
            found.append(_volume_info(pool, volume_id, entry))
        except (VolumeDamaged, rbd.ImageNotFound):
            # Deleted meanwhile, or its RBD image is not there.
            if pool.entry(VOLUMES, volume_id) is not None:
                found.append(
                    {
                        "volume_id": volume_id,
                        "size_bytes": 0,
                        "stored_bytes": 0,
                        "image_id": None,
                    }
                )
        moving(number + 1, len(entries))
    return found


def find_volume(pool: Pool, *, volume_id: str) -> str | None:
    """Return the RBD image of a volume, None where there is none."""
    entry = pool.entry(VOLUMES, volume_id)
    return None if entry is None else str(entry["image"])


def prepare_volume(pool: Pool, *, volume_id: str) -> None:
    entry = pool.volume(volume_id)
    if entry.get("damaged") or "rolling" in entry:
        pool.settled(volume_id)
        return
    with pool.open(entry["image"], read_only=True):
        # It is there, and what it rests on.
        pass


def require_volume(pool: Pool, *, volume_id: str) -> None:
    pool.volume(volume_id)


def in_doubt(pool: Pool, *, volume_id: str) -> bool:
    entry = pool.entry(VOLUMES, volume_id) or {}
    return bool(entry.get("damaged")) or "rolling" in entry


# -- checking ----------------------------------------------------------------------------------


def check_volume(pool: Pool, *, volume_id: str) -> dict[str, int]:
    """Return the number of maps with errors, and of RBD images that are missing.

    A volume without either is trusted again.
    """
    entry = pool.volume(volume_id)
    name = str(entry["image"])
    pool.require_idle(name)
    errors = missing = 0
    try:
        errors = _errors(pool, name, None)
    except ImageGone:
        # What is brought back may be of another time.
        missing = 1
    report = {"errors": errors, "missing": missing}
    if errors or missing:
        confirm()
        pool.write(VOLUMES, volume_id, {**entry, "damaged": True})
        return report
    if "rolling" in entry:
        pool.roll(volume_id, entry)
    elif entry.get("damaged"):
        confirm()
        pool.write(VOLUMES, volume_id, {"image": name})
    return report


def repair_volume(pool: Pool, *, volume_id: str, everything: bool) -> dict[str, int]:
    """Make the maps anew from the objects that are there; returns what `check_volume` finds then.

    Nothing is there to make anew of an RBD image that is missing.
    """
    entry = pool.volume(volume_id)
    name = str(entry["image"])
    pool.require_idle(name)
    if everything:
        confirm()
        pool.write(VOLUMES, volume_id, {**entry, "damaged": True})
        with contextlib.suppress(ImageGone):
            with pool.open(name, read_only=True) as image:
                snapshots = _by_age(image)
            for snapshot in [*snapshots, None]:
                _rbd(pool, "object-map", "rebuild", _spec(pool, name, snapshot))
    return check_volume(pool, volume_id=volume_id)


def _spec(pool: Pool, name: str, snapshot: str | None) -> str:
    return f"{pool.name}/{name}" + ("" if snapshot is None else f"@{snapshot}")


def _errors(pool: Pool, name: str, snapshots: tuple[str, ...] | None) -> int:
    """Return how many maps of an image do not tell which objects there are.

    What has no object is read as zeros, or as what the image rests on. None means the image itself
    with all its snapshots. One that somebody writes to changes meanwhile, and is left out.
    """
    with pool.open(name, read_only=True) as image:
        known = _by_age(image)
    wanted: list[str | None] = [*known, None] if snapshots is None else [*snapshots]
    found = 0
    for snapshot in wanted:
        if snapshot is None and pool.users(name):
            continue
        _rbd(pool, "object-map", "check", _spec(pool, name, snapshot))
        with pool.open(name, snapshot=snapshot, read_only=True) as image:
            # What it finds is that a map is wrong, which it notes.
            found += bool(image.flags() & rbd.RBD_FLAG_OBJECT_MAP_INVALID)
    return found


def _rbd(pool: Pool, *words: str) -> None:
    """Run the command for what the library does not offer to Python."""
    lines = ["[global]", *(f"{name} = {value}" for name, value in pool.settings.items())]
    # In memory: the key is on no disk and in no list of processes.
    handle = os.memfd_create("ceph.conf")
    try:
        os.write(handle, "\n".join(lines).encode() + b"\n")
        with subprocess.Popen(
            [
                "setpriv",
                "--pdeathsig",
                "KILL",
                "--",
                "rbd",
                "--conf",
                f"/proc/self/fd/{handle}",
                "--id",
                pool.user,
                *words,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(handle,),
        ) as process:
            assert process.stderr is not None
            last = b""
            while part := os.read(process.stderr.fileno(), 4096):
                last = (last + part)[-2000:]
                # It tells how far it is, a hundred times.
                for percent in _PERCENT.findall(last):
                    moving(int(percent), 100)
    finally:
        os.close(handle)
    if process.returncode == 0:
        return
    kind = _ERRORS.get(process.returncode, StorageError)
    text = last.decode(errors="replace").replace("\r", "\n").strip().splitlines()
    raise kind(f"rbd {words[0]} {words[1]} failed ({process.returncode}): {(text or [''])[-1]}")


# -- snapshots ---------------------------------------------------------------------------------


def create_snapshot(pool: Pool, *, volume_id: str, snapshot: str) -> None:
    """Keep the present content, also of a volume that a domain has open."""
    entry = pool.volume(volume_id)
    if entry.get("damaged") or "rolling" in entry:
        pool.settled(volume_id)
    with pool.open(entry["image"]) as image:
        if snapshot in _by_age(image):
            return
        confirm()
        with contextlib.suppress(rbd.ImageExists):
            image.create_snap(snapshot)


def delete_snapshot(pool: Pool, *, volume_id: str, snapshot: str) -> None:
    entry = pool.entry(VOLUMES, volume_id)
    if entry is None:
        return
    if entry.get("rolling", {}).get("snapshot") == snapshot:
        # The volume is half of it.
        pool.settled(volume_id)
    with pool.open(entry["image"]) as image:
        confirm()
        with contextlib.suppress(rbd.ImageNotFound):
            image.remove_snap(snapshot)


def rollback_snapshot(pool: Pool, *, volume_id: str, snapshot: str) -> None:
    entry = pool.volume(volume_id)
    name = str(entry["image"])
    if entry.get("damaged"):
        raise VolumeDamaged(f"A check of the volume {volume_id} found errors.")
    pool.require_idle(name)
    _require_snapshot(pool, name, volume_id, snapshot)
    with pool.open(name, read_only=True) as image:
        size_bytes = image.size()
    # Another one may not have ended: its content is not wanted any more, the size is.
    before = int(entry.get("rolling", {}).get("size_bytes", 0))
    rolling = {"snapshot": snapshot, "size_bytes": max(size_bytes, before)}
    entry = {"image": name, "rolling": rolling}
    confirm()
    # From here on it has happened: whoever comes next does the rest first.
    pool.write(VOLUMES, volume_id, entry)
    pool.roll(volume_id, entry)


def list_snapshots(pool: Pool, *, volume_id: str) -> list[dict[str, Any]]:
    entry = pool.volume(volume_id)
    with pool.open(entry["image"], read_only=True) as image:
        return [
            {
                "name": one["name"],
                "size_bytes": int(one["size"]),
                "created_at": _utc(image.get_snap_timestamp(one["id"])).isoformat(),
            }
            for one in sorted(image.list_snaps(), key=lambda one: int(one["id"]))
        ]


def _utc(moment: datetime) -> datetime:
    # The library returns UTC without saying so.
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _require_snapshot(pool: Pool, name: str, volume_id: str, snapshot: str) -> None:
    with pool.open(name, read_only=True) as image:
        if snapshot not in _by_age(image):
            raise SnapshotMissing(f"Volume {volume_id} has no snapshot {snapshot}.")


# -- seeds -------------------------------------------------------------------------------------


def write_seed(pool: Pool, *, vm_id: str, path: str) -> None:
    content = Path(path).read_bytes()
    if len(content) > SEED_BYTES:
        raise StorageError(f"The seed of {vm_id} has {len(content)} bytes, at most {SEED_BYTES}.")
    name = f"seed.{vm_id}"
    for _ in range(2):
        with contextlib.suppress(rbd.ImageExists):
            pool.rbd.create(pool.io, name, SEED_BYTES, order=22, old_format=False, features=1)
        try:
            image = rbd.Image(pool.io, name)
            break
        except rbd.ImageNotFound:
            # Its making was killed half-way.
            pool.rbd.remove(pool.io, name)
    else:
        raise StorageError(f"The seed of {vm_id} cannot be made.")
    with contextlib.closing(image):
        confirm()
        image.write(content.ljust(SEED_BYTES, b"\0"), 0)
        image.flush()


def delete_seed(pool: Pool, *, vm_id: str) -> None:
    with contextlib.suppress(rbd.ImageNotFound):
        pool.rbd.remove(pool.io, f"seed.{vm_id}")


# -- housekeeping ------------------------------------------------------------------------------


def sweep_temporary(
    pool: Pool, *, older_than_s: float, purge_s: float, delay_s: float
) -> list[str]:
    """Put into the trash what killed calls left, and delete what was there for long enough."""
    removed = []
    # Before the lists are read: what is made and named meanwhile is not among these.
    names = [name for name in pool.rbd.list(pool.io) if _OURS.fullmatch(name)]
    used = _in_lists(pool)
    broken = pool.entries(BROKEN)
    for name in names:
        if name in used or not _abandoned(pool, name, older_than_s, broken):
            continue
        # Who names one has it open until then, so this is the last word. It can still be fetched
        # back: also what an operator has fetched from the trash and not named yet.
        if name in _in_lists(pool):
            continue
        confirm()
        if pool.trash(name, delay_s):
            removed.append(name)
    for name in broken:
        # Whole by now, or removed.
        pool.forget(BROKEN, name)
    return _purge(pool, removed, purge_s)


def _in_lists(pool: Pool) -> set[str]:
    """The RBD images that the lists now say to be a volume's or an image's."""
    return {
        str(entry["image"])
        for register in (VOLUMES, IMAGES)
        for entry in pool.entries(register).values()
    }


def _abandoned(pool: Pool, name: str, older_than_s: float, broken: dict[str, float]) -> bool:
    """Whether the call that made an RBD image is over.

    Takes from `broken` what stays so: a name of which there is no more than the name yet.
    """
    try:
        with pool.open(name, read_only=True) as image:
            if list(image.watchers_list()):
                return False
            age = datetime.now(UTC) - _utc(image.create_timestamp())
    except ImageGone:
        # Its making was killed so early that there is only its name, or has just begun.
        if _is_broken_since(pool, name, older_than_s, broken.get(name)):
            confirm()
            with contextlib.suppress(rbd.ImageNotFound):
                pool.rbd.remove(pool.io, name)
        else:
            broken.pop(name, None)
        return False
    return age.total_seconds() >= older_than_s


def _is_broken_since(pool: Pool, name: str, older_than_s: float, first: float | None) -> bool:
    """Whether a sweep saw an RBD image without content so long ago; one of now is remembered.

    Such a name has no age of its own.
    """
    now = time.time()
    if first is None:
        first = now
        try:
            pool.write(BROKEN, name, now)
        except rados.Error as error:
            if _ERRORS.get(_number(error)) is not StorageFull:
                raise
    return now - first >= older_than_s


def _purge(pool: Pool, removed: list[str], purge_s: float) -> list[str]:
    """Delete from the trash what is ours and due: volumes before the images they rest on.

    Others wait for this sweep, so what takes longer than ``purge_s`` is broken off, and goes on
    with the next one.
    """
    until = time.monotonic() + purge_s

    def progress(done: int, total: int) -> None:
        moving(done, total)
        if time.monotonic() > until:
            # Nothing else ends it. What is left of the image stays in the trash.
            say(ok=removed)
            os._exit(0)

    due = [
        one
        for one in pool.rbd.trash_list(pool.io)
        if _OURS.fullmatch(one["name"]) and _utc(one["deferment_end_time"]) <= datetime.now(UTC)
    ]
    for one in sorted(due, key=lambda one: not one["name"].startswith("volume.")):
        if time.monotonic() > until:
            break
        confirm()
        try:
            _empty(pool, one["id"])
            pool.rbd.trash_remove(pool.io, one["id"], on_progress=progress)
        except (rbd.ImageBusy, rbd.ImageHasSnapshots):
            # Something that is not due yet rests on it, or a killed client still seems to use it.
            continue
        except rbd.ImageNotFound:
            continue
        removed.append(one["name"])
    return removed


def _empty(pool: Pool, image_id: str) -> None:
    """Remove the snapshots of an image in the trash. Raises rbd.ImageBusy."""
    with contextlib.closing(rbd.Image(pool.io, image_id=image_id)) as image:
        for name in _by_age(image):
            if image.is_protected_snap(name):
                image.unprotect_snap(name)
            image.remove_snap(name)


def shut_out(pool: Pool, *, volume_id: str) -> list[str]:
    """Let nobody who has the volume open now write to the pool any more; returns who that was."""
    entry = pool.entry(VOLUMES, volume_id)
    if entry is None:
        return []
    users = pool.users(entry["image"])
    for address in users:
        confirm()
        pool.cluster.blocklist_add(address, 3600)
    if users:
        # The monitors know it now, and this client. An OSD hears of it when it is asked.
        pool.cluster.wait_for_latest_osdmap()
        _ask_parts(pool, entry["image"])
    return users


def _ask_parts(pool: Pool, name: str) -> None:
    """Ask for objects of an RBD image: an OSD answers with no older map than whoever asks has.

    Of an image of more than 4 GiB some are asked for, spread over it, which reaches nearly all
    placement groups. Of the others it holds from the first request of the volume's next user.
    """
    with contextlib.suppress(VolumeDamaged), pool.open(name, read_only=True) as image:
        prefix, count = image.block_name_prefix(), image.stat()["num_objs"]
        numbers = range(0, count, max(1, -(-count // _ASKED)))
        asked = [pool.io.aio_stat(f"{prefix}.{one:016x}", _heard) for one in numbers]
        for one in asked:
            one.wait_for_complete()
        for one in asked:
            result = one.get_return_value()
            # Nothing was written there, which is an answer too.
            if result not in (0, -errno.ENOENT):
                raise rados.OSError("An OSD did not answer.", errno=-result)


def _heard(_completion: object, _size: int, _changed: object) -> None:
    """What the object is like does not matter."""


CALLS: Mapping[str, Callable[..., Any]] = {
    call.__name__: call
    for call in (
        capacity, check_volume, copy_volume, create_snapshot, create_volume, delete_image,
        delete_seed, delete_snapshot, delete_volume, export_image, find_volume, heartbeats,
        image_from_volume, image_info, import_image, in_doubt, list_images, list_snapshots,
        list_volumes, look, mark, prepare_volume, rebuild_volume, repair_volume, require_volume,
        resize_volume, rollback_snapshot, shut_out, sweep_temporary, try_write, volume_info,
        write_seed,
    )
}  # fmt: skip


def _named(work: Callable[[], T]) -> T:
    """Do the work; what the library says has a name then."""
    try:
        return work()
    except (rados.Error, rbd.Error) as error:
        kind = _ERRORS.get(_number(error), StorageError)
        raise kind(f"Ceph: {error}.") from error


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    if rados is None:
        say(
            error=StorageUnavailable.code,
            message="The library of Ceph is missing: install python3-rbd and python3-rados.",
        )
        return
    try:
        pool = _named(partial(Pool, asked))
        if asked["marker"]:
            _named(partial(require_marker, pool, asked["marker"]))
        answer = _named(partial(CALLS[asked["call"]], pool, **asked["words"]))
    except SystemExit:
        # What was open is closed by now.
        os._exit(1)
    except StorageError as error:
        say(error=error.code, message=error.message)
    except FileExistsError as error:
        say(error=StorageError.code, message=f"{error.filename} is there already.")
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        say(error=StorageFull.code if full else StorageError.code, message=f"{error.strerror}.")
    else:
        say(ok=answer)
    # Without the library's own end, which waits for a cluster that is away.
    os._exit(0)


if __name__ == "__main__":
    main()
