"""Files in a directory pool: their names, how they get their place, and who has them open."""

import contextlib
import errno
import fcntl
import os
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from compute.storage import qcow2
from compute.storage.base import (
    StorageError,
    StorageFaulty,
    StorageFull,
    StorageReadOnly,
    StorageStale,
    StorageTimeout,
    StorageUnavailable,
)
from scloud.lib import lease

LOCK_TIMEOUT_S = 30.0
BUSY = "The volume is in use by a running VM."

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_F_OFD_GETLK = 36
_F_OFD_SETLK = 37
_FLOCK = struct.Struct("hhqqi4x")
# QEMU marks what it does with a file by locks on single bytes, which hold across hosts: from 100 on
# what it uses, from 200 on what it lets nobody else use (block/file-posix.c).
_QEMUS_BYTES = (100, 200)
_WRITES, _RESIZES = (101, 1), (103, 1)


def is_id(name: str) -> bool:
    """Tell whether a name is one that we give; others in a pool are somebody else's."""
    return _ID.fullmatch(name) is not None


def checked(name: str) -> str:
    """Names become paths and arguments: nothing but ids gets through."""
    if not is_id(name):
        raise ValueError(f"{name!r} is not an id.")
    return name


def header_of(path: Path) -> qcow2.Qcow2Header:
    """Return a file's header. Raises FileNotFoundError, ImageRefused."""
    with path.open("rb") as file:
        return qcow2.read_header(file)


def publish(made: Path, place: Path) -> None:
    """Put a finished file in its place: on the medium first, then visible, both for good."""
    sync_file(made)
    # What took hours to make is not put in the place of what another worker made meanwhile.
    lease.confirm()
    made.rename(place)
    sync_folder(place.parent)


def sync_file(path: Path) -> None:
    """Bring a file's content to the medium."""
    with named_errors(), path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Bring a folder's names to the medium."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_NAMES: dict[int, tuple[type[StorageError], str]] = {
    errno.ENOSPC: (StorageFull, "The storage pool is full."),
    errno.EDQUOT: (StorageFull, "The storage pool is full."),
    errno.EROFS: (StorageReadOnly, "The storage pool is read-only."),
    errno.EIO: (StorageFaulty, "The storage pool's medium reports an error."),
    errno.ESTALE: (StorageStale, "The storage pool has to be mounted anew (stale file handle)."),
    # A server that went away: NFS mounted "soft", file systems in user space.
    errno.ETIMEDOUT: (StorageUnavailable, "The storage pool's server does not answer."),
    errno.EHOSTDOWN: (StorageUnavailable, "The storage pool's server does not answer."),
    errno.ENOTCONN: (StorageUnavailable, "The storage pool's server is not connected."),
}


@contextlib.contextmanager
def named_errors() -> Iterator[None]:
    """What a medium says has names of its own: full, read-only, stale, out of order, away."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NAMES:
            raise
        kind, words = _NAMES[error.errno]
        raise kind(words) from error


# -- locks ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(
    path: Path, *, exclusive: bool, what: str, wait_s: float = LOCK_TIMEOUT_S
) -> Iterator[None]:
    """Hold a lock that ends with the process. Raises StorageTimeout after ``wait_s`` seconds."""
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    deadline = time.monotonic() + wait_s
    with path.open("ab") as lock:
        while True:
            try:
                fcntl.flock(lock, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise StorageTimeout(f"{what} is locked.") from error
                time.sleep(0.05)
        yield


def is_open(path: Path) -> bool:
    """Tell whether a QEMU program has the file open. Raises FileNotFoundError."""
    return _marked(path, _QEMUS_BYTES)


def is_written(path: Path) -> bool:
    """Tell whether a QEMU program writes to the file. Raises FileNotFoundError."""
    return _marked(path, _WRITES) or _marked(path, _RESIZES)


def _marked(path: Path, span: tuple[int, int]) -> bool:
    with path.open("rb+") as file:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, *span, 0)
        answer = fcntl.fcntl(file, _F_OFD_GETLK, asked)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


@contextlib.contextmanager
def kept_from_qemu(path: Path) -> Iterator[bool]:
    """Let no QEMU program open the file meanwhile; False when one has it open."""
    with path.open("rb+") as file:
        try:
            span = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, *_QEMUS_BYTES, 0)
            fcntl.fcntl(file, _F_OFD_SETLK, span)
        except (BlockingIOError, PermissionError):
            yield False
        else:
            yield True


def age_s(path: Path) -> float:
    """Return how long ago the path was changed, in seconds; 0 for one that is not there."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def abandoned(folder: Path, older_than_s: float) -> bool:
    """Whether the call that made the folder is over."""
    if age_s(folder) <= older_than_s:
        return False
    try:
        with (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True
