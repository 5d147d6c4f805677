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
from django.utils.translation import gettext as _

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


class Stage:
    """A file on its way in, written once, where it stays until it is imported."""

    def __init__(self) -> None:
        self._part = folder() / f"upload-{secrets.token_hex(12)}.part"
        self._digest, self.size_bytes, self._limit = hashlib.sha256(), 0, max_file_bytes()
        handle = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(handle, "wb")

    def write(self, chunk: bytes) -> None:
        """Add to it. Raises InvalidInput (``upload_too_large``)."""
        self.size_bytes += len(chunk)
        if self.size_bytes > self._limit:
            raise InvalidInput(
                _("The file is larger than the %(gib)d GB allowed.")
                % {"gib": self._limit // 1024**3},
                code="upload_too_large",
                field="file",
                numbers={"max_bytes": self._limit},
            )
        self._digest.update(chunk)
        self._file.write(chunk)

    def finish(self) -> Staged:
        """Make it a complete upload."""
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        whole = self._part.with_suffix(".image")
        self._part.rename(whole)
        return Staged(whole, self.size_bytes, self._digest.hexdigest())

    def discard(self) -> None:
        """Leave nothing of it."""
        self._file.close()
        self._part.unlink(missing_ok=True)


def stage(chunks: Iterable[bytes]) -> Staged:
    """Write an upload to the disk while it comes in, and return it with its checksum.

    Raises InvalidInput (``upload_too_large``); nothing is left then.
    """
    place = Stage()
    try:
        for chunk in chunks:
            place.write(chunk)
        return place.finish()
    except BaseException:
        place.discard()
        raise


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
