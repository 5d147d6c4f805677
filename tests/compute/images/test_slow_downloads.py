"""Servers that are slow on purpose: each read has a limit, and a stall ends a download."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compute.actions import images
from compute.transfer import download
from scloud.jobs import runner
from scloud.jobs.models import Job
from scloud.lib import destinations, outgoing
from scloud.lib.destinations import Destinations, networks
from scloud.lib.errors import HostError
from tests.compute.box import Box
from tests.compute.images.test_tasks import facts

Talk = Callable[[socket.socket, threading.Event], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Talk], str]]:
    """Return a function that serves each connection with the given talk, and returns the port."""
    over = threading.Event()
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(talk: Talk) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                thread = threading.Thread(target=one, args=(peer,), daemon=True)
                threads.append(thread)
                thread.start()

        def one(peer: socket.socket) -> None:
            # The other side may have had enough.
            with peer, contextlib.suppress(OSError):
                talk(peer, over)

        threads.append(threading.Thread(target=accept, daemon=True))
        threads[-1].start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield start
    over.set()
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(10)


def drip(peer: socket.socket, over: threading.Event, content: bytes, every_s: float) -> None:
    """Send a byte at a time."""
    for byte in content:
        if over.wait(every_s):
            return
        peer.sendall(bytes([byte]))


def head(peer: socket.socket, length: int) -> None:
    peer.recv(65536)
    peer.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode())


def fetch(place: str, target: Path, scheme: str = "http", **values: object) -> download.Fetched:
    return download.fetch(
        f"{scheme}://{place}/x",
        target,
        max_bytes=10 * 1024**2,
        destinations=Destinations(
            allowed=networks(["127.0.0.0/8"]), ports=frozenset(range(1, 65536))
        ),
        **values,  # type: ignore[arg-type]  # as the callers give them
    )


def refused_after(place: str, target: Path, scheme: str = "http", **values: object) -> float:
    """Return after how many seconds the download was given up, leaving nothing."""
    began = time.monotonic()
    with pytest.raises(HostError) as error:
        fetch(place, target, scheme, **values)
    assert error.value.code in ("download_failed", "download_stalled")
    assert not target.exists()
    return time.monotonic() - began


def test_a_deadline_holds_for_a_body_that_drips(
    serve: Callable[[Talk], str], tmp_path: Path
) -> None:
    def talk(peer: socket.socket, over: threading.Event) -> None:
        head(peer, 1_000_000)
        drip(peer, over, b"x" * 1_000_000, 0.05)

    assert 0.9 < refused_after(serve(talk), tmp_path / "out", deadline_s=1.0) < 5


def test_headers_that_drip_end(
    serve: Callable[[Talk], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "ANSWER_S", 1.0)

    def talk(peer: socket.socket, over: threading.Event) -> None:
        peer.recv(65536)
        drip(peer, over, b"HTTP/1.1 200 OK\r\nX-Long: " + b"y" * 10_000, 0.05)

    assert 0.9 < refused_after(serve(talk), tmp_path / "out") < 5


def test_a_handshake_that_drips_ends(
    serve: Callable[[Talk], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "ANSWER_S", 1.0)

    def talk(peer: socket.socket, over: threading.Event) -> None:
        # The beginning of a handshake record of 16 KB.
        drip(peer, over, b"\x16\x03\x03\x40\x00" + b"\x02" * 10_000, 0.05)

    assert 0.9 < refused_after(serve(talk), tmp_path / "out", "https") < 5


def test_silence_ends(
    serve: Callable[[Talk], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "READ_TIMEOUT_S", 0.5)

    def talk(peer: socket.socket, over: threading.Event) -> None:
        head(peer, 1000)
        peer.sendall(b"x" * 10)
        over.wait(60)

    assert 0.4 < refused_after(serve(talk), tmp_path / "out") < 5


def test_a_resolver_that_is_silent_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    over = threading.Event()
    monkeypatch.setattr(destinations, "RESOLVE_S", 0.3)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: over.wait(60))
    try:
        began = time.monotonic()
        with pytest.raises(HostError) as error:
            Destinations().resolve("silent.test", 80)
        assert error.value.code == "name_not_resolved"
        assert time.monotonic() - began < 5
    finally:
        over.set()


def test_less_than_the_minimum_is_a_stall_and_more_is_none_however_long_it_takes(
    serve: Callable[[Talk], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "WINDOW_S", 0.4)

    def talk(peer: socket.socket, over: threading.Event) -> None:
        head(peer, 40)
        drip(peer, over, b"x" * 40, 0.04)

    place = serve(talk)
    assert refused_after(place, tmp_path / "out", min_bytes_per_s=1000) < 3
    # Four windows long.
    assert fetch(place, tmp_path / "out", min_bytes_per_s=2).size_bytes == 40


def test_an_answer_that_ends_with_its_connection_is_read_to_its_end(
    serve: Callable[[Talk], str], tmp_path: Path
) -> None:
    def talk(peer: socket.socket, over: threading.Event) -> None:
        peer.recv(65536)
        peer.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        over.wait(0.2)
        peer.sendall(b"x" * 100_000)

    assert fetch(serve(talk), tmp_path / "out").size_bytes == 100_000


def test_a_slow_download_lets_others_have_a_turn_and_goes_on_where_it_was(
    box: Box,
    serve: Callable[[Talk], str],
    tmp_path: Path,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(download, "WINDOW_S", 0.3)
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.SCLOUD_IMPORT_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    settings.SCLOUD_IMPORT_PORTS = range(1, 65536)
    settings.SCLOUD_IMPORT_MIN_KIB_PER_S = 1
    source = tmp_path / "sound.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(source), "1G"], check=True)
    content = source.read_bytes()
    asked: list[int] = []

    def talk(peer: socket.socket, over: threading.Event) -> None:
        lines = peer.recv(65536).decode().splitlines()
        given = dict(line.split(": ", 1) for line in lines[1:] if line)
        start = int(given.get("Range", "bytes=0-")[6:-1])
        assert not start or given["If-Range"] == '"one"'
        asked.append(start)
        status = f"206 Partial\r\nContent-Range: bytes {start}-{len(content) - 1}/{len(content)}"
        peer.sendall(
            f'HTTP/1.1 {status if start else "200 OK"}\r\nETag: "one"\r\n'
            f"Accept-Ranges: bytes\r\nContent-Length: {len(content) - start}\r\n\r\n".encode()
        )
        for at in range(start, len(content), 16384):
            if over.wait(0.1):
                return
            peer.sendall(content[at : at + 16384])

    image = images.import_image_url(
        actor=box.actor, facts=facts(box), url=f"http://{serve(talk)}/x", sha256=None
    )
    job = Job.objects.get(target_id=image.pk)
    assert (job.lane, runner.run(job.pk)) == ("long", "waiting")
    job.refresh_from_db()
    assert job.parked is not None
    assert job.parked["memory"]["partial"]["done_bytes"] > 0
    box.run()
    image.refresh_from_db()
    assert (image.status, image.failure) == ("available", "")
    assert asked[0] == 0
    assert len(asked) > 1
    assert asked == sorted(set(asked))


def test_what_comes_is_reported_before_a_chunk_is_full(
    serve: Callable[[Talk], str], tmp_path: Path
) -> None:
    told: list[tuple[int, int | None]] = []

    def talk(peer: socket.socket, over: threading.Event) -> None:
        head(peer, 30)
        drip(peer, over, b"x" * 30, 0.05)

    fetch(serve(talk), tmp_path / "out", report=lambda done, total: told.append((done, total)))
    assert told
    assert told[0][0] < 30
