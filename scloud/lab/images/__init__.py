"""Guest images built from Debian packages and kept in the cache.

``mini`` is a kernel with busybox, the guest agent and dropbear, for most tests; ``debian`` is a
real Debian with cloud-init, ``debian-nm`` the same with NetworkManager. An image is found again by
the hash of everything it is made by.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from scloud.lab.images import debian, debian_nm, mini
from scloud.lab.plan import LabError, cache_root
from scloud.lab.shell import run, say

RECIPES = {"mini": mini, "debian": debian, "debian-nm": debian_nm}


def _path(name: str) -> Path:
    recipe = RECIPES.get(name)
    if recipe is None:
        raise LabError(f"there is no image {name!r}: {', '.join(RECIPES)}")
    return cache_root() / "images" / f"{name}-{recipe.recipe_hash()}.qcow2"


def built() -> dict[str, str | None]:
    """Path of each image that is in the cache; None for those that are not built yet."""
    paths = {name: _path(name) for name in RECIPES}
    return {name: str(path) if path.exists() else None for name, path in paths.items()}


def ensure(name: str) -> Path:
    """The image ``name``, one of ``RECIPES``, built first when it is not in the cache.

    A compressed qcow2 without a backing file. Needs root and, to build, the package archive.
    LabError when the image is unknown or cannot be built.
    """
    path = _path(name)
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():  # somebody else built it while we waited
            return path
        if os.geteuid() != 0:
            raise LabError(f"building image {name} needs root")
        say(f"building image {name} from packages: {RECIPES[name].DURATION}")
        with tempfile.TemporaryDirectory(prefix=f"scloud-{name}-", dir=path.parent) as work:
            raw = Path(work) / "disk.raw"
            RECIPES[name].build(Path(work), raw)
            done = Path(work) / "disk.qcow2"
            run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", raw, done, timeout_s=600)
            done.rename(path)
        for old in path.parent.glob(f"{name}-*.qcow2"):
            if old != path and old.stat().st_nlink == 1:
                say(f"  older build kept: {old}")
    return path
