"""Files on their way into the platform or out of it: uploads, downloads in progress, exports."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from scloud.lib.errors import InvalidInput

KEEP_S = 24 * 3600.0


@dataclass(frozen=True)
class Staged:
    """An upload that is complete."""

    path: Path
    size_bytes: int
    sha256: str


def folder() -> Path:
    """Return where staged files lie; made if it is missing."""
    place = Path(settings.MEDIA_ROOT) / "images"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


def exports() -> Path:
    """Return where files for download lie; made if it is missing."""
    place = Path(settings.MEDIA_ROOT) / "exports"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


def max_file_bytes() -> int:
    """Return how large an image's file may be."""
    return int(settings.SCLOUD_IMAGE_MAX_FILE_GIB) * 1024**3


def stage(chunks: Iterable[bytes]) -> Staged:
    """Write an upload to the disk while it comes in, and return it with its checksum.

    Raises InvalidInput (``upload_too_large``); nothing is left then.
    """
    part = folder() / f"upload-{secrets.token_hex(12)}.part"
    digest, size, limit = hashlib.sha256(), 0, max_file_bytes()
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise InvalidInput(
                        f"The file is larger than the {limit // 1024**3} GB allowed.",
                        code="upload_too_large",
                        field="file",
                        numbers={"max_bytes": limit},
                    )
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        whole = part.with_suffix(".image")
        part.rename(whole)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return Staged(whole, size, digest.hexdigest())


def check_staged(path: Path) -> Path:
    """Return the path; InvalidInput unless it is a complete upload of :func:`stage`."""
    place = folder()
    if (
        path.parent.resolve() != place.resolve()
        or path.is_symlink()
        or not path.is_file()
        or not (path.name.startswith("upload-") and path.suffix == ".image")
    ):
        raise InvalidInput(
            "There is no such upload.",
            code="upload_missing",
            field="file",
            remedy="Upload the file again.",
        )
    return path


def sweep(keep: frozenset[str]) -> int:
    """Remove files that nobody came back for within a day, but for the names in ``keep``."""
    removed = 0
    for place in (folder(), exports()):
        for path in place.iterdir():
            if path.name not in keep and time.time() - path.stat().st_mtime > KEEP_S:
                path.unlink(missing_ok=True)
                removed += 1
    return removed
