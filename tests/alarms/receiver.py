"""A webhook on this machine, and rounds of what sends messages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from alarms.sweeps import notifying
from scloud.jobs import runner
from scloud.jobs.models import Job, JobStatus
from scloud.tenancy.scoping import scopes_disabled


class Receiver:
    """A webhook on this machine that answers what the test says."""

    def __init__(self) -> None:
        self.status, self.body, self.endless = 200, b"ok", False
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.seen.append((self.path, dict(self.headers), body))
                self.send_response(receiver.status)
                self.end_headers()
                try:
                    self.wfile.write(receiver.body)
                    while receiver.endless:
                        self.wfile.write(b"x" * 65_536)
                except OSError:
                    pass

            def log_message(self, *given: Any) -> None:
                """Nothing on the test's output."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?token=x"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    made = Receiver()
    settings.SCLOUD_IMPORT_PORTS = [made.server.server_port]
    settings.SCLOUD_IMPORT_ALLOWED_NETWORKS = ["127.0.0.1/32"]
    yield made
    made.server.shutdown()
    made.server.server_close()


def run_jobs() -> None:
    """Run every job that is due, once."""
    with scopes_disabled():
        Job.objects.filter(status=JobStatus.QUEUED).update(
            not_before=datetime(2020, 1, 1, tzinfo=UTC)
        )
        due = list(Job.objects.filter(status=JobStatus.QUEUED).values_list("pk", flat=True))
    for pk in due:
        runner.run(pk)


def tell() -> None:
    """One round of the sweep and the workers."""
    notifying.notify()
    run_jobs()
