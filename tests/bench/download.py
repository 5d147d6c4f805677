"""The download of a hundred thousand rows as a workbook, from the console's real server."""

from __future__ import annotations

import http.client
import json
import tempfile
import time
import zipfile
from pathlib import Path
from typing import IO

from tests.bench import installation
from tests.bench.rows import Row, seconds

GOAL_S = 30.0
GOAL_MB = 150.0


def run(quick: bool) -> list[Row]:
    """Download the list of VMs from the console's server: time, memory and rows."""
    installation.database()
    from django.conf import settings
    from django.test import Client

    from tests.bench import bulk

    count = 2_000 if quick else 100_000
    installation.say(f"seeding {count} VMs")
    crowd = bulk.crowd(count)
    browser = Client(SERVER_NAME="localhost")
    browser.force_login(crowd.user)
    cookie = f"{settings.SESSION_COOKIE_NAME}={browser.cookies[settings.SESSION_COOKIE_NAME].value}"
    port = installation.stack().console_port
    python = str(installation.ROOT / ".venv" / "bin" / "python")
    with (
        installation.process(
            python, "-m", "scloud.serve", "--listen", f"127.0.0.1:{port}"
        ) as server,
        tempfile.TemporaryFile() as file,
    ):
        await_page(port, cookie)
        before_mb = peak_mb(server.pid)
        installation.say("downloading")
        took_s = fetch(port, cookie, file)
        after_mb = peak_mb(server.pid)
        size_mb = file.tell() / 1e6
        found = rows_in(file)
    assert found == count + 1, f"{found} rows instead of {count} and the heading"
    return [
        Row(
            f"Download of {count} rows as .xlsx: time",
            f"<= {seconds(GOAL_S)}",
            f"{seconds(took_s)}, {size_mb:.1f} MB",
            took_s <= GOAL_S,
        ),
        Row(
            f"Download of {count} rows: growth of the console process's peak memory",
            f"<= {GOAL_MB:.0f} MB",
            f"{after_mb - before_mb:.0f} MB, from {before_mb:.0f} MB",
            after_mb - before_mb <= GOAL_MB,
        ),
    ]


def _get(port: int, cookie: str, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("localhost", port, timeout=120)
    connection.request("GET", path, headers={"Cookie": cookie})
    return connection.getresponse()


def await_page(port: int, cookie: str, timeout_s: float = 60) -> None:
    """Wait until the list itself answers: the server has loaded everything then."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            answer = _get(port, cookie, "/vms/")
            body = answer.read()
            assert answer.status == 200, answer.status
            assert b"node-" in body
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)


def fetch(port: int, cookie: str, file: IO[bytes]) -> float:
    """Download the workbook into a file as the console's page does; return the seconds it took."""
    began = time.perf_counter()
    answer = _get(port, cookie, "/vms/?export=xlsx&progress=1")
    assert answer.status == 200, answer.status
    while "file" not in (line := json.loads(answer.readline())):
        assert "error" not in line, line
    while piece := answer.read(64 * 1024):
        file.write(piece)
    return time.perf_counter() - began


def rows_in(file: IO[bytes]) -> int:
    """Count the rows of the sheet."""
    found, tail = 0, b""
    with zipfile.ZipFile(file) as book, book.open("xl/worksheets/sheet1.xml") as sheet:
        while piece := sheet.read(1024 * 1024):
            text = tail + piece
            # Up to the last whole tag, so that none is cut in two or counted twice.
            cut = text.rfind(b">") + 1
            found += text[:cut].count(b"<row ")
            tail = text[cut:]
    return found


def peak_mb(pid: int) -> float:
    """Return the most memory that a process has had resident so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"the kernel tells no peak of process {pid}")
