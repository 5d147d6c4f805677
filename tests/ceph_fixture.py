"""A Ceph cluster for tests: one per run, emptied for each test that asks for it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from compute.storage.base import RbdSource, StorageRef
from compute.storage.opening import open_storage
from compute.storage.rbd.driver import RbdStorage
from scloud.lab.ceph import POOL, USER, Cluster
from scloud.lab.shell import run


def free_port() -> int:
    """A port of this machine that nobody uses, nor the one after it."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@pytest.fixture(scope="session")
def ceph_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster, with whatever other tests left in it."""
    cluster = Cluster(tmp_path_factory.mktemp("ceph") / "cluster", "127.0.0.1", free_port())
    cluster.up()
    yield cluster
    cluster.wipe()


@dataclass(frozen=True)
class CephWorld:
    """An empty pool of a cluster, its driver, and what a guest or an operator would do to it."""

    cluster: Cluster
    scratch: Path

    def ref(self, *, marker: str = "", pool_id: str = "", secret: str | None = None) -> StorageRef:
        """What names the pool."""
        return StorageRef(
            "rbd",
            POOL,
            (
                ("monitors", self.cluster.monitors),
                ("user", USER),
                ("secret_uuid", "5c10d000-0000-4000-a000-0000000000ce"),
                ("scratch", str(self.scratch)),
            ),
            pool_id=pool_id,
            marker=marker,
            secret=self.cluster.key() if secret is None else secret,
        )

    def open(self, *, marker: str = "", pool_id: str = "") -> RbdStorage:
        """The driver."""
        storage = open_storage(self.ref(marker=marker, pool_id=pool_id))
        assert isinstance(storage, RbdStorage)
        return storage

    def url(self, volume_id: str) -> str:
        """What QEMU's tools call the volume."""
        source = self.open().disk_source(volume_id)
        assert isinstance(source, RbdSource)
        return f"rbd:{POOL}/{source.image}:id=admin:conf={self.cluster.configuration}"

    def qemu_io(self, volume_id: str, *commands: str) -> str:
        """Read or write as a guest would."""
        words = [word for command in commands for word in ("-c", command)]
        result = subprocess.run(
            ["qemu-io", "-f", "raw", *words, self.url(volume_id)],
            capture_output=True,
            text=True,
        )
        # Another content than expected is an answer too.
        if result.returncode and "verification failed" not in result.stdout:
            raise AssertionError(result.stderr + result.stdout)
        return result.stdout

    def write(self, volume_id: str, byte: int) -> None:
        """Fill the first MiB."""
        self.qemu_io(volume_id, f"write -P {byte} 0 1M")

    def holds(self, volume_id: str, byte: int) -> bool:
        """Whether the first MiB is made of that byte."""
        said = self.qemu_io(volume_id, f"read -P {byte} 0 1M")
        return "verification failed" not in said

    def beat(self, host: str, text: str) -> None:
        """What a host does to say that it lives."""
        self.rados("setomapval", "scloud.heartbeats", host, text)

    def rados(self, *words: str | Path) -> str:
        """Run the command on the pool."""
        return run("rados", "--conf", self.cluster.configuration, "--pool", POOL, *words)

    def rbd(self, *words: str | Path) -> str:
        """Run the command on the pool."""
        return run("rbd", "--conf", self.cluster.configuration, "--pool", POOL, *words)

    def object_map(self, image: str) -> str:
        """The object that says which objects an RBD image has."""
        facts = [line.split() for line in self.rbd("info", image).splitlines()]
        (image_id,) = (words[1] for words in facts if words[:1] == ["id:"])
        return f"rbd_object_map.{image_id}"

    def damage(self, volume_id: str) -> None:
        """Make its map say that nothing was ever written to it."""
        source = self.open().disk_source(volume_id)
        assert isinstance(source, RbdSource)
        size_gib = self.open().volume_info(volume_id).size_gib
        self.rbd("create", "--size", f"{size_gib}G", "empty")
        map_file = self.scratch / "map"
        self.rados("get", self.object_map("empty"), map_file)
        self.rados("put", self.object_map(source.image), map_file)
        self.rbd("rm", "--no-progress", "empty")

    def renew(self) -> None:
        """Make the pool anew: what is purged keeps the bytes of its snapshots, without a name."""
        self.cluster.ceph("config", "set", "mon", "mon_allow_pool_delete", "true")
        self.cluster.ceph("osd", "pool", "rm", POOL, POOL, "--yes-i-really-really-mean-it")
        self.cluster.ceph("osd", "pool", "create", POOL, "8", "8")
        run("rbd", "--conf", self.cluster.configuration, "pool", "init", "--force", POOL)

    def images(self) -> list[str]:
        """The RBD images that are there."""
        return sorted(self.rbd("ls").split())


@pytest.fixture
def ceph(ceph_cluster: Cluster, tmp_path: Path) -> CephWorld:
    """An empty pool."""
    world = CephWorld(ceph_cluster, tmp_path)
    ceph_cluster.up()
    world.rados("purge", POOL, "--yes-i-really-really-mean-it")
    run("rbd", "--conf", ceph_cluster.configuration, "pool", "init", "--force", POOL)
    return world
