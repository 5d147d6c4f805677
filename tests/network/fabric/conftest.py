"""The fabrics under test: the one in memory, and OVN on databases of the test's own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from network.fabric import fake, ovn
from network.fabric.base import Fabric
from scloud.lab import region
from scloud.lab.plan import Lab
from tests.network.fabric.site import Site

SCHEMAS = Path("/usr/share/ovn")


@dataclass
class Databases:
    """A northbound and a southbound database server, and northd between them."""

    folder: Path
    pids: dict[str, int]

    @property
    def nb(self) -> str:
        return f"unix:{self.folder}/nb.sock"

    @property
    def sb(self) -> str:
        return f"unix:{self.folder}/sb.sock"

    def nbctl(self, *args: str) -> str:
        """Look at the database, or meddle with it, from outside the product."""
        done = subprocess.run(
            ["ovn-nbctl", f"--db={self.nb}", *args], capture_output=True, text=True, check=True
        )
        return done.stdout

    def start_server(self, name: str) -> None:
        self._daemon(
            name,
            "ovsdb-server",
            f"{self.folder}/{name}.db",
            f"--remote=punix:{self.folder}/{name}.sock",
        )

    def start_northd(self) -> None:
        self._daemon("northd", "ovn-northd", f"--ovnnb-db={self.nb}", f"--ovnsb-db={self.sb}")

    def _daemon(self, name: str, *command: str) -> None:
        pidfile = self.folder / f"{name}.pid"
        subprocess.run(
            [
                *command,
                "--detach",
                "--no-chdir",
                f"--pidfile={pidfile}",
                f"--unixctl={self.folder}/{name}.ctl",
                f"--log-file={self.folder}/{name}.log",
                "-vconsole:off",
            ],
            check=True,
        )
        self.pids[name] = int(pidfile.read_text())

    def signal(self, name: str, number: int) -> None:
        os.kill(self.pids[name], number)

    def stop(self, name: str) -> None:
        pid = self.pids.pop(name)
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists() and b"Z" not in _state(pid):
            time.sleep(0.01)


def _state(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return b"Z"


def dump(databases: Databases) -> dict[str, Any]:
    """The whole northbound database, the UUIDs of its rows included, by table."""
    said = subprocess.run(
        ["ovsdb-client", "--format=json", "dump", databases.nb, "OVN_Northbound"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = {}
    for line in said.splitlines():
        table = json.loads(line)
        rows = [
            {name: _in_order(value) for name, value in zip(table["headings"], row, strict=True)}
            for row in table["data"]
        ]
        found[table["caption"]] = sorted(rows, key=lambda row: str(row["_uuid"]))
    return found


def _in_order(value: Any) -> Any:
    """Sets and maps have no order."""
    if isinstance(value, list) and len(value) == 2 and value[0] in ("set", "map"):
        return [value[0], sorted(value[1], key=str)]
    return value


@contextmanager
def running(*, northd: bool) -> Iterator[Databases]:
    """Databases of one's own."""
    # A socket's path has at most 107 bytes, which pytest's folders can exceed.
    folder = Path(tempfile.mkdtemp(prefix="ovndb"))
    found = Databases(folder, {})
    for name in ("nb", "sb"):
        schema = SCHEMAS / f"ovn-{name}.ovsschema"
        subprocess.run(["ovsdb-tool", "create", folder / f"{name}.db", schema], check=True)
        found.start_server(name)
    if northd:
        found.start_northd()
    try:
        yield found
    finally:
        for name in list(found.pids):
            found.stop(name)
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """Servers for the whole session; tests keep apart by ids and owners of their own."""
    with running(northd=True) as found:
        yield found


@pytest.fixture
def own_databases() -> Iterator[Databases]:
    """Servers that a test may stop and break."""
    with running(northd=False) as found:
        yield found


Opener = Callable[[str], Fabric]


@pytest.fixture(params=["fake", pytest.param("ovn", marks=pytest.mark.lab)])
def open_fabric(request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Opens a fabric for an owner; several calls reach the same one."""
    opened: list[Fabric] = []
    if request.param == "fake":
        world = fake.World()

        def opener(owner: str) -> Fabric:
            return fake.FakeFabric(world, owner)
    else:
        servers: Databases = request.getfixturevalue("databases")

        def opener(owner: str) -> Fabric:
            opened.append(ovn.connect(servers.nb, owner=owner, sb=servers.sb, timeout_s=5))
            return opened[-1]

    yield opener
    for fabric in opened:
        fabric.close()


#: Registers a chassis by its host name, and lets it answer a number.
Answer = Callable[[str, int], None]


@pytest.fixture
def answer(request: pytest.FixtureRequest, open_fabric: Opener) -> Answer:
    """What a host's ovn-controller would write; the host of a new name is registered first."""
    fabric = open_fabric("anybody")
    if isinstance(fabric, fake.FakeFabric):
        world = fabric.world

        def in_memory(hostname: str, number: int) -> None:
            world.deaf.add(hostname)
            world.chassis[hostname] = number

        return in_memory
    servers: Databases = request.getfixturevalue("databases")
    rows: dict[str, str] = {}

    def sbctl(*args: str) -> str:
        command = ["ovn-sbctl", f"--db={servers.sb}", *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def in_ovn(hostname: str, number: int) -> None:
        if hostname not in rows:
            name = f"id-of-{hostname}"
            sbctl("chassis-add", name, "geneve", f"127.0.1.{len(rows) + 1}")
            sbctl("set", "Chassis", name, f"hostname={hostname}")
            chassis = sbctl("--bare", "--columns=_uuid", "find", "Chassis", f"name={name}")
            rows[hostname] = sbctl(
                "create", "Chassis_Private", f"name={name}", f"chassis={chassis}"
            )
        sbctl("set", "Chassis_Private", rows[hostname], f"nb_cfg={number}")

    return in_ovn


@pytest.fixture(scope="module")
def fabric(lab: Lab) -> Iterator[Fabric]:
    facts = region.status(lab)["ovn"]
    found = ovn.connect(facts["nb"], owner=f"test-{uuid.uuid4()}", sb=facts["sb"])
    yield found
    found.close()


@pytest.fixture
def site(fabric: Fabric, lab: Lab) -> Iterator[Site]:
    found = Site(fabric, lab)
    yield found
    found.clear()
