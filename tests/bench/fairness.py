"""How long one tenant's job waits while another tenant has queued all that gets stuck."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from tests.bench import installation
from tests.bench.rows import Row, p95, spread

if TYPE_CHECKING:
    from scloud.tenancy.models import Tenant

GOAL_S = 1.0
STUCK_JOBS, DRIPPING_JOBS = 50, 20
SETTLE_S = 10.0


def run(quick: bool) -> list[Row]:
    """Let one tenant queue what never ends, and measure the other one's starts."""
    installation.database()
    from scloud.tenancy.models import Tenant
    from scloud.tenancy.scoping import scopes_disabled
    from tests.bench import jobs

    starts = 10 if quick else 100
    python = str(installation.ROOT / ".venv" / "bin" / "python")
    with (
        dripping_server() as url,
        installation.process(python, "manage.py", "worker", settings="tests.bench.settings"),
        # It wakes the jobs that wait, and costs what it costs.
        installation.process(python, "manage.py", "sweeper", settings="tests.bench.settings"),
        scopes_disabled(),
    ):
        greedy, modest = (Tenant.objects.create(name=name) for name in ("Greedy", "Modest"))
        for _ in range(jobs.WARM_UP):
            jobs.latency_s(timeout_s=60)
        stuff(greedy, url)
        time.sleep(SETTLE_S)
        waits = []
        for _ in range(starts):
            time.sleep(random.uniform(0.02, 0.4))
            waits.append(jobs.latency_s(tenant=modest))
        rounds = wakes(greedy)
    return [
        Row(
            f"Job start of a tenant while another one has {STUCK_JOBS} jobs that wait and "
            f"{DRIPPING_JOBS} dripping downloads ({starts} jobs)",
            f"every one < {GOAL_S:.0f} s",
            f"{spread(waits)}, p95 {1000 * p95(waits):.0f} ms, slowest {1000 * max(waits):.0f} ms",
            max(waits) < GOAL_S,
        ),
        Row(
            "Wake-ups of a job that waits",
            "none set",
            f"{rounds:.1f} on average meanwhile",
            None,
        ),
    ]


def stuff(tenant: object, url: str) -> None:
    """Queue what gets stuck."""
    from scloud.jobs import service
    from tests.bench.tick.handler import DRIPPING, STUCK

    for kind, count in ((STUCK, STUCK_JOBS), (DRIPPING, DRIPPING_JOBS)):
        for _ in range(count):
            service.enqueue(
                kind=kind,
                tenant=tenant,  # type: ignore[arg-type]  # imported where Django is set up
                title="Stuck",
                target_kind="bench",
                target_id=uuid4().hex,
                payload={"url": url},
                deadline_s=3600,
            )


def wakes(tenant: Tenant) -> float:
    """Return how often the waiting jobs were looked at, on average; all must have had a turn."""
    from scloud.jobs.models import Job
    from tests.bench.tick.handler import STUCK

    attempts = list(Job.objects.filter(tenant=tenant, kind=STUCK).values_list("attempt", flat=True))
    if len(attempts) != STUCK_JOBS or min(attempts) == 0:
        raise AssertionError(f"not all of the jobs wait: {sorted(attempts)}")
    return sum(attempts) / len(attempts)


@contextmanager
def dripping_server() -> Iterator[str]:
    """Serve a file a byte a second; the URL."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def drip(peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not over.wait(1.0):
                peer.sendall(b"x")

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=drip, args=(peer,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/image"
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
