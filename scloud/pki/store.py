"""Files of the authorities: whole or not there, and keys for nobody but their owner."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

KEY_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644
DIRECTORY_MODE: Final = 0o700


class PkiError(Exception):
    """A certificate cannot be made, found or trusted; the message says what and why."""


def directory(path: Path) -> Path:
    """Have a directory; what is made for it, above it too, is for its owner only."""
    # One by one: the mode counts for the last of several only.
    for missing in [one for one in (path, *path.parents) if not one.exists()][::-1]:
        missing.mkdir(exist_ok=True, mode=DIRECTORY_MODE)
    return path


def write(path: Path, content: bytes, *, mode: int = PUBLIC_MODE) -> None:
    """Put a file in place in one step; whoever reads sees the old one or the new one."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            # Whatever the umask took.
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def read_key(path: Path) -> bytes:
    """Return a private key. PkiError where others than its owner may read it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise PkiError(f"{path} can be read by others: chmod 600 it, or make it anew")
            return file.read()
    except FileNotFoundError as error:
        raise PkiError(f"{path} is not here: this machine cannot issue certificates") from error


def point(link: Path, target: str) -> None:
    """Let a symbolic link lead to ``target``, in one step."""
    new = link.with_name(f".{link.name}.{secrets.token_hex(4)}")
    new.symlink_to(target)
    new.replace(link)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """One process at a time changes what lies below ``root``; the next one waits."""
    directory(root)
    handle = os.open(root / ".lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, KEY_MODE)
    with os.fdopen(handle, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
