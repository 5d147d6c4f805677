"""Guest images built from Debian packages and kept in the cache."""

from __future__ import annotations

from pathlib import Path

from scloud.lab.plan import LabError


def built() -> dict[str, str | None]:
    """Path of each image that is in the cache; None for those that are not built yet."""
    return {}


def ensure(name: str) -> Path:
    """The image ``name`` (``mini`` or ``debian``), built first when it is not in the cache."""
    raise LabError(f"there is no image {name!r}")
