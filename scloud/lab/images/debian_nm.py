"""The Debian of ``debian.py`` with NetworkManager, as the CentOS and Rocky family has it."""

from __future__ import annotations

from pathlib import Path

from scloud.lab.images import debian, disk

DURATION = debian.DURATION
PACKAGES = [
    *(name for name in debian.PACKAGES if name not in ("netplan.io", "systemd-resolved")),
    "network-manager",
]


def recipe_hash() -> str:
    """Changes whenever the image would be built differently."""
    return disk.hash_of(Path(__file__), Path(debian.__file__), Path(disk.__file__), debian.FILES)


def build(work: Path, raw: Path) -> None:
    """Build the image in ``work`` and leave the raw disk at ``raw``."""
    debian.build(work, raw, packages=PACKAGES, renderer="network-manager")
