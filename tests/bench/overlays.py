"""Snapshot and rollback of volumes of overlays by size, and reads by the depth of their chain.

Sizes are mapped sizes: the tables of a volume of which everything was written once. Its data are
holes, which takes no space and changes nothing for snapshots. No domain is involved.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from compute.storage.base import FileSource
from compute.storage.dir import DirectoryStorage
from tests.bench.rows import Row, p50, spread

GOAL_S = 0.5
SIZES_GIB = (1, 100, 1024)
DEPTHS = (1, 5, 10)
READS = 20_000
READ_BYTES = 4096


@contextmanager
def pool() -> Iterator[tuple[DirectoryStorage, Path]]:
    """An empty pool that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="scloud-bench-", dir="/var/tmp") as folder:
        yield DirectoryStorage(Path(folder), overlays=True), Path(folder)


def run(quick: bool) -> list[Row]:
    """Measure both."""
    rows: list[Row] = []
    rounds = 3 if quick else 10
    for size_gib in SIZES_GIB[:2] if quick else SIZES_GIB:
        rows += at_size(size_gib, rounds)
    return rows + at_depths(3 if quick else 7)


def at_size(size_gib: int, rounds: int) -> list[Row]:
    """Take, roll back to and delete snapshots of a mapped volume."""
    with pool() as (storage, root):
        storage.create_volume("disk", size_gib=size_gib)
        mapped(root / "volumes/disk.qcow2", size_gib)
        took: dict[str, list[float]] = {"snapshot": [], "rollback": [], "deletion": []}
        for number in range(rounds):
            name = f"s{number}"
            for what, call in (
                ("snapshot", storage.create_snapshot),
                ("rollback", storage.rollback_snapshot),
                ("deletion", storage.delete_snapshot),
            ):
                took[what].append(timed(partial(call, "disk", name)))
            storage.tidy_volume("disk")
    return [
        Row(
            f"Overlays, {size_gib} GB mapped: {what} by the storage ({rounds} times)",
            f"slowest <= {GOAL_S:g} s",
            spread(values),
            max(values) <= GOAL_S,
        )
        for what, values in took.items()
    ]


def at_depths(rounds: int) -> list[Row]:
    """Read at random through chains of several files, each of which holds a part of the data."""
    with pool() as (storage, _root):
        storage.create_volume("disk", size_gib=1)
        deepest = max(DEPTHS)
        files = []
        for depth in range(1, deepest + 1):
            source = storage.disk_source("disk")
            assert isinstance(source, FileSource)
            files.append(Path(source.path))
            write(files[-1], depth, deepest)
            if depth < deepest:
                storage.create_snapshot("disk", f"s{depth}")
        took: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
        for _ in range(rounds):
            for depth in DEPTHS:
                took[depth].append(read(files[depth - 1]))
    base = p50(took[DEPTHS[0]])
    return [
        Row(
            f"Overlays, chain of {depth}: {READS} random reads of 4 KB, 1 GB volume",
            "none set",
            f"{spread(values)}; {p50(values) / base:.2f} x one file",
            None,
        )
        for depth, values in took.items()
    ]


def mapped(path: Path, size_gib: int) -> None:
    """Give a volume the tables that it has when all of it was written."""
    words = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata"]
    subprocess.run([*words, path, f"{size_gib}G"], check=True)


def write(path: Path, depth: int, deepest: int) -> None:
    """Write every ``deepest``-th MiB, so that a chain's data are spread over all of its files."""
    if depth == 1:
        commands = ["write -P 1 0 1G"]
    else:
        commands = [f"write -P {depth} {at}M 1M" for at in range(depth, 1024, deepest)]
    words = [word for command in commands for word in ("-c", command)]
    subprocess.run(["qemu-io", "-f", "qcow2", *words, path], check=True, capture_output=True)


def read(path: Path) -> float:
    """Return the seconds that random reads take through the file and what it rests on."""
    # An odd step visits all places in an order that no read-ahead knows.
    options = ["-c", str(READS), "-s", str(READ_BYTES), "-S", str(READ_BYTES * 7919), "-d", "16"]
    began = time.perf_counter()
    subprocess.run(
        ["qemu-img", "bench", "-U", "-f", "qcow2", *options, path], check=True, capture_output=True
    )
    return time.perf_counter() - began


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
