"""What calls of a pool on Ceph have on this machine, for which no cluster is needed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from compute.storage.base import StorageRef
from compute.storage.rbd import calling, driver
from compute.storage.rbd.driver import RbdStorage

SECRET = "$6$salt$hash-of-a-password"

# The seed is written, and then nothing more is done by this process, not even tidying up.
KILLED = """
import os, sys
from pathlib import Path
from compute.storage.base import StorageRef
from compute.storage.rbd import driver

def die(folder, files):
    (folder / "user-data").write_text(files["user-data"])
    os.kill(os.getpid(), 9)

driver.make_iso = die
options = (("monitors", "192.0.2.1:6789"), ("scratch", sys.argv[1]))
driver.RbdStorage(StorageRef("rbd", "vms", options)).write_seed("vm-1", {"user-data": sys.argv[2]})
"""


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RbdStorage:
    """The driver, with a cluster that has nothing to say."""

    def call(_cluster: calling.Cluster, _name: str, *_words: object, **_more: object) -> list[str]:
        return []

    def make(folder: Path, files: Mapping[str, str]) -> Path:
        made = folder / "seed.iso"
        made.write_text(str(files))
        return made

    monkeypatch.setattr(calling.Cluster, "call", call)
    monkeypatch.setattr(driver, "make_iso", make)
    options = (("monitors", "192.0.2.1:6789"), ("scratch", str(tmp_path)))
    return RbdStorage(StorageRef("rbd", "vms", options))


def left_in(folder: Path) -> list[str]:
    """What calls left there."""
    return sorted(path.name for path in folder.iterdir())


def grow_old(folder: Path, age_s: float) -> None:
    """Let the only thing in a folder be that old."""
    (path,) = folder.iterdir()
    then = path.stat().st_mtime - age_s
    os.utime(path, (then, then))


@pytest.fixture
def killed(tmp_path: Path) -> str:
    """The name of what a call left that was killed while it made a seed."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), SECRET], check=False)
    assert done.returncode == -9
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o700
    assert SECRET in (path / "user-data").read_text()
    return path.name


def test_the_next_call_removes_a_seed_whose_making_was_killed(
    pool: RbdStorage, killed: str, tmp_path: Path
) -> None:
    grow_old(tmp_path, 120)
    pool.write_seed("vm-2", {})
    assert left_in(tmp_path) == []


def test_the_sweep_removes_one_where_no_call_comes(
    pool: RbdStorage, killed: str, tmp_path: Path
) -> None:
    assert pool.sweep_temporary(older_than_s=3600) == ()
    assert left_in(tmp_path) == [killed]
    grow_old(tmp_path, 3601)
    assert pool.sweep_temporary(older_than_s=3600) == (killed,)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("age_s", "is_locked", "stays"),
    [(1, False, True), (1, True, True), (120, True, True), (120, False, False)],
)
def test_no_call_takes_away_the_folder_of_another(
    pool: RbdStorage, tmp_path: Path, age_s: float, is_locked: bool, stays: bool
) -> None:
    """Also not of one that has made its folder and not locked it yet."""
    other = tmp_path / "scloud-call.other"
    other.mkdir()
    with contextlib.ExitStack() as locks:
        if is_locked:
            lock = locks.enter_context((other / "lock").open("wb"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        grow_old(tmp_path, age_s)
        pool.write_seed("vm-1", {})
    assert left_in(tmp_path) == (["scloud-call.other"] if stays else [])
