"""The private PostgreSQL: created once, safe against kill -9, gone when told."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from scloud.lab.plan import LabError
from scloud.lab.postgres import Cluster

pytestmark = pytest.mark.lab


def free_port() -> int:
    """A TCP port that nobody uses right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster in a directory of its own, up."""
    place = tmp_path_factory.mktemp("pg") / "cluster"
    made = Cluster(port=free_port(), fsync=False, place=place)
    made.up()
    yield made
    made.wipe()


def test_up_is_idempotent_and_the_role_may_create_databases(cluster: Cluster) -> None:
    before = cluster.pid()
    assert cluster.up() == cluster.url
    assert cluster.pid() == before
    with psycopg.connect(cluster.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE another")
        row = connection.execute("SHOW server_encoding").fetchone()
    assert row == ("UTF8",)


def test_what_was_committed_survives_kill_9(cluster: Cluster) -> None:
    with psycopg.connect(cluster.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    cluster.kill()
    assert not cluster.accepts()
    cluster.up()
    with psycopg.connect(cluster.url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_a_foreign_server_on_the_port_is_not_taken_for_ours(
    cluster: Cluster, tmp_path: Path
) -> None:
    other = Cluster(port=cluster.port, place=tmp_path / "other")
    with pytest.raises(LabError, match="taken by another PostgreSQL"):
        other.up()


def test_down_twice_is_fine_and_nothing_is_left(cluster: Cluster) -> None:
    directory = cluster.directory
    cluster.down()
    cluster.down()
    assert not cluster.accepts()
    assert not cluster.sockets.exists()
    cluster.wipe()
    assert not directory.exists()
