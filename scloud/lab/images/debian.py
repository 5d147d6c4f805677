"""A real Debian 12 with cloud-init, the guest agent and OpenSSH."""

from __future__ import annotations

from pathlib import Path

from scloud.lab.images import disk

DURATION = "some minutes"


def recipe_hash() -> str:
    """Changes whenever the image would be built differently."""
    return disk.hash_of(Path(__file__), Path(disk.__file__))


def build(work: Path, raw: Path) -> None:
    """Build the image in ``work`` and leave the raw disk at ``raw``."""
    raise NotImplementedError
