"""The file that says which pool a directory is.

    pool.json               the id of the pool and a random token
    pool.<nonce>.new        one that was laid ready: see `lay_ready`

A directory whose medium is not mounted is empty, and without its marker nobody takes it for the
pool. Releases that know no markers leave the files alone.
"""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from compute.storage import files
from compute.storage.base import StorageForeign, StorageUnavailable

NAME = "pool.json"
_READY = "pool.*.new"
_MOST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Look:
    """What a directory shows of its medium; bytes."""

    total_bytes: int
    available_bytes: int
    read_only: bool


def digest_of(token: str) -> str:
    """Return the SHA-256 digest of a marker's token, in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def look(root: Path, marker: str) -> Look:
    """Look at a directory; with a `marker` it has to be the pool with a token of that digest.

    Raises StorageUnavailable where it is not there or not mounted, StorageForeign, and what the
    medium says.
    """
    with files.named_errors():
        try:
            facts = os.statvfs(root)
            if not root.is_dir():
                raise StorageUnavailable("The storage's location is no directory.")
        except FileNotFoundError as error:
            raise StorageUnavailable("The storage directory is not there.") from error
        if marker:
            _require(root, marker)
    return Look(
        total_bytes=facts.f_blocks * facts.f_frsize,
        available_bytes=facts.f_bavail * facts.f_frsize,
        read_only=bool(facts.f_flag & os.ST_RDONLY),
    )


def lay_ready(root: Path, pool_id: str, token: str, *, replace: bool) -> None:
    """Write a marker that holds as soon as `look` is asked for its digest.

    So the digest may be stored between the two, and whoever dies in between has claimed all or
    nothing. Raises StorageForeign where there is a marker already, unless it may be replaced.
    """
    with files.named_errors():
        if not replace and (root / NAME).exists():
            raise StorageForeign(f"The directory is marked already: {_words(root / NAME)}.")
        made = root / f"pool.{secrets.token_hex(8)}.new"
        made.write_text(json.dumps({"pool": pool_id, "token": token}))
        files.sync_file(made)
        files.sync_folder(root)


def require_any(expected: Set[str], there: Set[str]) -> None:
    """Raise StorageUnavailable where nothing of what a pool should hold is there."""
    if not expected & there:
        raise StorageUnavailable(
            f"The storage directory has none of {len(expected)} volumes and images: is it mounted?"
        )


def _require(root: Path, marker: str) -> None:
    if _digest(root / NAME) == marker:
        return
    ready = sorted(root.glob(_READY))
    for path in ready:
        if _digest(path) == marker:
            path.rename(root / NAME)
            files.sync_folder(root)
            for other in ready:
                other.unlink(missing_ok=True)
            return
    # Somebody else may have put it there meanwhile.
    if _digest(root / NAME) == marker:
        return
    if not (root / NAME).exists():
        raise StorageUnavailable("The storage directory has no marker: is it mounted?")
    raise StorageForeign(f"The storage directory is another pool: {_words(root / NAME)}.")


def _digest(path: Path) -> str:
    """Return the digest of a marker's token; of one that is missing or cannot be read, nothing."""
    return digest_of(token) if (token := _read(path).get("token")) else ""


def _words(path: Path) -> str:
    found = _read(path).get("pool")
    return f"its marker names {found!r}" if found else "its marker cannot be read"


def _read(path: Path) -> dict[str, str]:
    with contextlib.suppress(FileNotFoundError, ValueError), path.open("rb") as file:
        found = json.loads(file.read(_MOST_BYTES))
        if isinstance(found, dict):
            return {key: value for key, value in found.items() if isinstance(value, str)}
    return {}
