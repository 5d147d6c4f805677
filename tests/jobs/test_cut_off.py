"""The database's packets are dropped, not refused: nothing hangs, nothing is published twice.

The processes run in a network namespace of their own. It is cut by sending to a link address that
nobody has, so packets vanish without a word, as behind a firewall that drops.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from scloud.jobs import handlers, runner
from scloud.jobs.models import Job
from scloud.tenancy.scoping import scopes_disabled
from tests.jobs.conftest import Script, fresh

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = ("console", "worker", "sweeper", "gateway")

# Long enough that a busy machine renews it in time, and that a worker which is not scheduled for a
# moment is not taken for one that believes too long.
LEASE_S = 10.0

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@dataclass
class Island:
    """A namespace that reaches the database through one link."""

    name: str
    network: str
    port: int = 0
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, module: str, *words: str, process: str) -> subprocess.Popen[str]:
        """Start a program in the namespace, as one of the product's processes."""
        database = connection.settings_dict
        place = f"{database['USER']}:{database['PASSWORD']}@{self.network}.1:{self.port}"
        child = subprocess.Popen(
            ["ip", "netns", "exec", self.name, sys.executable, "-m", module, *words],
            cwd=ROOT,
            env={
                **os.environ,
                "DATABASE_URL": f"postgres://{place}/{database['NAME']}",
                "DJANGO_SETTINGS_MODULE": "scloud.settings",
                "SCLOUD_PROCESS": process,
                "SCLOUD_JOB_LEASE_S": str(LEASE_S),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.children.append(child)
        return child

    def cut(self) -> float:
        """Let every packet vanish from now on; return the time."""
        nowhere = ("lladdr", "02:00:00:00:00:99", "nud", "permanent")
        ip("-n", self.name, "neigh", "replace", f"{self.network}.1", *nowhere, "dev", "inside")
        ip("neigh", "replace", f"{self.network}.2", *nowhere, "dev", f"v{self.name}")
        return time.time()


def relay(listener: socket.socket, over: threading.Event) -> None:
    """Pass on between the island's side and the database, which listens on this machine only."""
    database = connection.settings_dict
    place = (str(database["HOST"]), int(database["PORT"]))

    def pump(one: socket.socket, other: socket.socket) -> None:
        # A side that was killed with an answer unread resets its connection.
        with one, other, contextlib.suppress(ConnectionError):
            while not over.is_set():
                readable, _, _ = select.select([one, other], [], [], 0.2)
                for sock in readable:
                    data = sock.recv(65536)
                    if not data:
                        return
                    (other if sock is one else one).sendall(data)

    while True:
        try:
            peer, _ = listener.accept()
        except OSError:
            return
        threading.Thread(
            target=pump, args=(peer, socket.create_connection(place)), daemon=True
        ).start()


@pytest.fixture
def island() -> Iterator[Island]:
    found = Island(f"cut{os.getpid() % 100_000}", f"10.231.{os.getpid() % 250}")
    over = threading.Event()
    ip("netns", "add", found.name)
    try:
        outside = f"v{found.name}"
        ip("link", "add", outside, "type", "veth", "peer", "name", "inside", "netns", found.name)
        ip("addr", "add", f"{found.network}.1/30", "dev", outside)
        ip("link", "set", outside, "up")
        ip("-n", found.name, "addr", "add", f"{found.network}.2/30", "dev", "inside")
        ip("-n", found.name, "link", "set", "inside", "up")
        ip("-n", found.name, "link", "set", "lo", "up")
        listener = socket.create_server((f"{found.network}.1", 0))
        found.port = listener.getsockname()[1]
        thread = threading.Thread(target=relay, args=(listener, over), daemon=True)
        thread.start()
        yield found
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
    finally:
        over.set()
        for child in found.children:
            child.kill()
            child.communicate()
        ip("netns", "del", found.name)


def line_of(child: subprocess.Popen[str]) -> list[str]:
    assert child.stdout is not None
    line: str = child.stdout.readline()
    return line.split()


def test_a_database_that_became_a_black_hole_hangs_nothing_longer_than_15_s(
    island: Island,
) -> None:
    children = {name: island.run("tests.jobs.cut.waiters", process=name) for name in PROCESSES}
    for child in children.values():
        assert line_of(child) == ["ready"]
    cut_at = island.cut()
    for child in children.values():
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    for name, child in children.items():
        out, _ = child.communicate(timeout=90)
        took = {
            line.split()[0]: float(line.split()[1]) - cut_at for line in out.splitlines() if line
        }
        expected = {"query", "request", "answer", "connect", "locked", "events", "pages"}
        assert set(took) == expected, name
        assert max(took.values()) < 15, (name, took)


def test_a_worker_without_its_database_stops_before_another_one_begins(
    island: Island,
    enqueue: Callable[..., Job],
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
) -> None:
    settings.SCLOUD_JOB_LEASE_S = LEASE_S
    successor = Script()
    monkeypatch.setitem(handlers._handlers, "test.publish", successor)
    job = enqueue(kind="test.publish")
    worker = island.run("tests.jobs.cut.publisher", job.pk, process="worker")
    lines: list[list[str]] = []

    def listen() -> None:
        # All the time, or the worker would wait until somebody reads what it says.
        while line := line_of(worker):
            lines.append(line)

    listener = threading.Thread(target=listen)
    listener.start()
    end = time.monotonic() + 60
    # It has published for a while, and does so up to the moment of the cut.
    while sum(line[0] == "published" for line in list(lines)) < 20:
        assert time.monotonic() < end
        time.sleep(0.05)
    seen = len(lines)
    while not any(line[0] == "published" for line in lines[seen:]):
        assert time.monotonic() < end
        time.sleep(0.01)
    last_seen = max(float(line[1]) for line in list(lines) if line[0] == "published")
    cut_at = island.cut()
    end = time.monotonic() + 60
    with scopes_disabled():
        while runner.claim(job.pk) is None:
            assert time.monotonic() < end
            time.sleep(0.05)
    begun_at = time.time()
    worker.wait(timeout=60)
    listener.join(10)
    assert lines[-1] == ["outcome", "lost"]
    asked = {
        word: [float(line[1]) for line in lines if line[0] == word]
        for word in ("published", "believed")
    }
    done = max(float(line[2]) for line in lines if line[0] == "published")
    # It had published until the cut, and nothing that it asked for afterwards was granted; what had
    # been granted was done before another one began. It believed for a while longer.
    assert last_seen <= max(asked["published"]) <= cut_at
    assert done < begun_at
    assert cut_at < max(asked["believed"]) < begun_at
    assert fresh(job).attempt == 2
