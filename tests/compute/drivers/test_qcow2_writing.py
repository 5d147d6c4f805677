"""Files that are made of an image's content: sound, complete, and the same each time."""

import subprocess
from pathlib import Path

import pytest

from compute.storage.rbd.qcow2 import CLUSTER, emit

MIB = 1024**2
GIB = 1024 * MIB


@pytest.mark.parametrize(
    ("size_bytes", "clusters"),
    [
        (512, [0]),
        (4 * MIB, []),
        (64 * MIB, [0, 1, 7, 1023]),
        # Over the end of the first L2 table, with an end inside a cluster.
        (5 * GIB + 512, [8191, 8192, 16384 * 2, 5 * 16384]),
        # As many as need more than one block of reference counts.
        (3 * GIB, list(range(40_000))),
    ],
)
def test_qemu_reads_what_was_meant(tmp_path: Path, size_bytes: int, clusters: list[int]) -> None:
    def read(number: int) -> bytes:
        return bytes([number % 251 + 1]) * min(CLUSTER, size_bytes - number * CLUSTER)

    made, raw = tmp_path / "made.qcow2", tmp_path / "wanted.raw"
    with made.open("wb") as file:
        file.writelines(emit(size_bytes, clusters, read))
    with raw.open("wb") as file:
        file.truncate(size_bytes)
        for number in clusters:
            file.seek(number * CLUSTER)
            file.write(read(number))
    subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", made], check=True)
    subprocess.run(["qemu-img", "compare", "-q", "-f", "qcow2", "-F", "raw", made, raw], check=True)
    assert b"".join(emit(size_bytes, clusters, read)) == made.read_bytes()
