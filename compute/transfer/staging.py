"""Files on their way into the platform or out of it: uploads, downloads in progress, exports."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from compute.models import Image
from scloud.lib.errors import InvalidInput, QuotaExceeded

KEEP_S = 24 * 3600.0
LOOK_EVERY_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class Staged:
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


def scratch() -> Path:
    """Return where drivers unpack what they import; made if it is missing."""
    place = Path(settings.MEDIA_ROOT) / "scratch"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


def max_file_bytes() -> int:
    """Return how large an image's file may be."""
    return int(settings.SCLOUD_IMAGE_MAX_FILE_GIB) * 1024**3


class Stage:
    """A file on its way in, written once, where it stays until it is imported.

    ``owner`` is the id of the tenant whose it is. The uploads of an owner that wait, but for the
    names in ``imported``, are limited in number and together to the size of the largest file
    allowed. Raises QuotaExceeded (``uploads_waiting``); nothing is left then.
    """

    def __init__(self, owner: str = "", imported: frozenset[str] = frozenset()) -> None:
        mark = f"{owner}." if owner else ""
        self._owner, self._imported, self._looked_at = owner, imported, 0
        self._part = folder() / f"upload-{mark}{secrets.token_hex(12)}.part"
        self._digest, self.size_bytes, self._limit = hashlib.sha256(), 0, max_file_bytes()
        handle = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(handle, "wb")
        try:
            # Others may come in at the same time: all are seen once each has its file.
            self._check_waiting()
        except BaseException:
            self.discard()
            raise

    def _check_waiting(self) -> None:
        if not self._owner:
            return
        # The size of the own file lacks what the system has not been given yet.
        found = {**waiting(self._owner), self._part.name: self.size_bytes}
        sizes = [size for name, size in found.items() if name not in self._imported]
        most, most_bytes = int(settings.SCLOUD_UPLOADS_WAITING), self._limit
        if len(sizes) > most or sum(sizes) > most_bytes:
            raise QuotaExceeded(
                _("%(count)d uploads (%(size)d GB) wait; %(most)d (%(most_size)d GB) are allowed.")
                % {
                    "count": len(sizes) - 1,
                    "size": -(-sum(sizes) // 1024**3),
                    "most": most,
                    "most_size": most_bytes // 1024**3,
                },
                code="uploads_waiting",
                field="file",
                remedy=_(
                    "Import them first. Uploads that are not imported are deleted after one day."
                ),
                numbers={"waiting": len(sizes) - 1, "limit": most, "max_bytes": most_bytes},
            )

    def write(self, chunk: bytes) -> None:
        """Add to it. Raises InvalidInput (``upload_too_large``), QuotaExceeded."""
        self.size_bytes += len(chunk)
        if self.size_bytes - self._looked_at > LOOK_EVERY_BYTES:
            self._looked_at = self.size_bytes
            self._check_waiting()
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
        self._file.close()
        self._part.unlink(missing_ok=True)


def waiting(owner: str) -> dict[str, int]:
    """Return the uploads of an owner, complete or coming in, with their bytes, by name."""
    found = {}
    for path in folder().glob(f"upload-{owner}.*"):
        with contextlib.suppress(FileNotFoundError):
            found[path.name] = path.stat().st_size
    return found


def stage(
    chunks: Iterable[bytes], *, owner: str = "", imported: frozenset[str] = frozenset()
) -> Staged:
    """Write an upload to the disk while it comes in, and return it with its checksum.

    ``owner`` and ``imported`` as for :class:`Stage`. Raises InvalidInput (``upload_too_large``),
    QuotaExceeded; nothing is left then.
    """
    place = Stage(owner, imported)
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
            _("There is no such upload."),
            code="upload_missing",
            field="file",
            remedy=_("Upload the file again."),
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


def file_of(image: Image) -> Path:
    """Return where the file lies that is imported: the upload, or what is downloaded."""
    if image.import_source.startswith("/"):
        return Path(image.import_source)
    return folder() / f"{image.pk}.download"


def export_path(image: Image) -> Path:
    """Return where the file for download lies once the job is done; it stays for a day."""
    return exports() / f"{image.pk}.qcow2"


def export_part(image: Image) -> Path:
    """Return where that file lies while it is being made."""
    return export_path(image).with_suffix(".part")
