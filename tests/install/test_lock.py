"""The install cannot rot: releases that appear after the lock was written change nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.install.newer_index import FROM_SOURCE, NEWER, Index, Locked, read_lock, serving

pytestmark = pytest.mark.install

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "requirements"
SCRIPT = ROOT / "scripts" / "python_env.sh"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Every package of every lock, each with a newer release."""
    made = Index(real_uv=ROOT / ".uv" / "bin" / "uv")
    for lock in sorted(LOCKS.glob("*.txt")):
        for locked in read_lock(lock):
            made.publish(locked)
    made.tools = tmp_path_factory.mktemp("tools") / "uv"
    with serving(made):
        yield made


def run_installer(
    index: Index, folder: Path, lock: str, *, script: str | None = None, pinned: bool = True
) -> dict[str, str]:
    """Run the installer into a new environment; what is there afterwards, name to version."""
    root = folder / "checkout"
    shutil.copytree(ROOT / "scripts", root / "scripts", dirs_exist_ok=True)
    (root / "requirements").mkdir(exist_ok=True)
    for source in LOCKS.glob("*.txt"):
        keep = pinned or source.stem in ("installer", "build")
        index.write_lock(source, root / "requirements" / source.name, pinned=keep)
    if script is not None:
        (root / "scripts" / SCRIPT.name).write_text(script)
    index.fetched.clear()
    done = subprocess.run(
        [root / "scripts" / SCRIPT.name, lock],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHON": sys.executable,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": index.url,  # uv has to follow pip's setting
            "UV_VENV": str(index.tools),
            "UV_CACHE_DIR": str(folder / "cache"),
            "UV_NO_CONFIG": "1",
            "no_proxy": "127.0.0.1",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return installed(root / ".venv")


def site_packages(venv: Path) -> Path:
    (found,) = venv.glob("lib/python3*/site-packages")
    return found


def installed(venv: Path) -> dict[str, str]:
    """Name to version of all that an environment holds."""
    return {
        canonicalize_name(dist.metadata["Name"]): dist.version
        for dist in distributions(path=[str(site_packages(venv))])
    }


def wanted(lock: str) -> dict[str, str]:
    """What the lock names for this interpreter and platform."""
    return {
        locked.name: locked.version
        for locked in read_lock(LOCKS / f"{lock}.txt")
        if locked.wanted_here
    }


def built_with(venv: Path) -> str:
    """Which setuptools built the package that comes as source."""
    (dist,) = distributions(name=FROM_SOURCE, path=[str(site_packages(venv))])
    return dist.metadata["Summary"]


@pytest.mark.parametrize("lock", ["run", "dev"])
def test_newer_releases_of_everything_change_nothing(
    index: Index, tmp_path: Path, lock: str
) -> None:
    found = run_installer(index, tmp_path, lock)
    assert found == wanted(lock)
    assert installed(index.tools)["uv"] == wanted("installer")["uv"]
    setuptools = wanted("build")["setuptools"]
    assert built_with(tmp_path / "checkout" / ".venv") == f"setuptools {setuptools}"
    assert [name for name in index.fetched if NEWER in name] == []
    # Again: there is nothing to do, and what the tests need stays.
    index.fetched.clear()
    assert run_installer(index, tmp_path, "run") == found
    assert index.fetched == []


def test_the_proof_sees_an_installer_that_resolves(index: Index, tmp_path: Path) -> None:
    resolving = SCRIPT.read_text()
    for old, new in [("pip sync", "pip install"), (' --require-hashes \\\n    --build', " --build"),
                     ('"$locks/$lock.txt"\nprintf', '-r "$locks/$lock.txt"\nprintf')]:  # fmt: skip
        assert old in resolving
        resolving = resolving.replace(old, new)
    found = run_installer(index, tmp_path, "run", script=resolving, pinned=False)
    newer = {name for name, version in found.items() if version == NEWER}
    assert newer >= {"openpyxl", "whitenoise", "uvicorn"}


def test_the_proof_sees_a_build_that_resolves(index: Index, tmp_path: Path) -> None:
    free = SCRIPT.read_text()
    option = '--build-constraints "$locks/build.txt" '
    assert option in free
    run_installer(index, tmp_path, "run", script=free.replace(option, ""))
    assert built_with(tmp_path / "checkout" / ".venv") == f"setuptools {NEWER}"


def _named(requirements: list[object], groups: dict[str, list[object]]) -> Iterator[Requirement]:
    for entry in requirements:
        if isinstance(entry, dict):
            yield from _named(groups[entry["include-group"]], groups)
        else:
            yield Requirement(str(entry))


@pytest.mark.parametrize("lock", ["run", "dev", "build", "installer"])
def test_the_locks_hold_what_pyproject_names(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    named = [] if lock in ("build", "installer") else project["project"]["dependencies"]
    named = [*named, *(groups[lock] if lock != "run" else [])]
    locks = {locked.name: locked for locked in read_lock(LOCKS / f"{lock}.txt")}
    for requirement in _named(named, groups):
        found = locks.get(canonicalize_name(requirement.name))
        assert isinstance(found, Locked), f"{requirement} is not locked; run make lock"
        assert requirement.specifier.contains(found.version), f"{requirement}; run make lock"


def test_each_locked_release_has_hashes() -> None:
    for path in LOCKS.glob("*.txt"):
        blocks = path.read_text().replace("\\\n", " ").splitlines()
        for block in blocks:
            if block.strip() and not block.lstrip().startswith("#"):
                assert "--hash=sha256:" in block, f"{path.name}: {block}"


def test_the_environment_that_runs_the_tests_is_the_lock() -> None:
    assert installed(Path(sys.prefix)) == wanted("dev")
