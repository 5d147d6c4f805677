"""The engines that the contract of the metrics store runs over."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from alarms.store.fake import FakeStore
from alarms.store.postgres import PostgresStore
from alarms.store.victoria import VictoriaStore
from tests.alarms.store.rig import Rig, recently

PROGRAM = "victoria-metrics"


def _nothing() -> None:
    """What is written is found at once."""


@contextmanager
def of_the_test() -> Iterator[psycopg.Connection[Any]]:
    """The connection whose transaction is taken back after the test."""
    with transaction.atomic():
        connection.ensure_connection()
        inner: Any = connection.connection
        yield inner


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def victoria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a VictoriaMetrics of this test run, on this machine alone."""
    program = shutil.which(PROGRAM)
    assert program, f"{PROGRAM} is not installed (see tests/packages.txt)"
    place = tmp_path_factory.mktemp("victoria")
    url = f"http://127.0.0.1:{_free_port()}"
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"-storageDataPath={place / 'data'}",
                f"-httpListenAddr={url.removeprefix('http://')}",
                "-dedup.minScrapeInterval=1ms",
                "-search.latencyOffset=0s",
                "-memory.allowedBytes=256MB",
                "-retentionPeriod=1",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            _await(url, process, place / "log")
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)


def _postgres(request: pytest.FixtureRequest) -> Rig:
    request.getfixturevalue("db")
    return Rig("postgres", PostgresStore(of_the_test), _nothing, recently())


def _victoria(request: pytest.FixtureRequest) -> Rig:
    url: str = request.getfixturevalue("victoria")

    def settle() -> None:
        with urllib.request.urlopen(f"{url}/internal/force_flush", timeout=30):
            pass

    one = secrets.token_hex(6)
    return Rig("victoria", VictoriaStore(url), settle, recently(), f"a-{one}", f"b-{one}")


def _rig(request: pytest.FixtureRequest) -> Rig:
    match request.param:
        case "postgres":
            return _postgres(request)
        case "victoria":
            return _victoria(request)
    return Rig("fake", FakeStore(), _nothing, recently())


@pytest.fixture(params=["fake", "postgres", "victoria"])
def rig(request: pytest.FixtureRequest) -> Rig:
    """Each test of the contract runs over every engine."""
    return _rig(request)


@pytest.fixture(params=["fake", "postgres"])
def rolling(request: pytest.FixtureRequest) -> Rig:
    """The engines whose roll-ups and retention are ours."""
    return _rig(request)
