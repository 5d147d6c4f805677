"""What machines ask of the console, and how a trace goes through it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from django.utils import timezone

from scloud.audit.models import Operation
from scloud.jobs import bell, health, periodic, workers
from scloud.jobs.models import Heartbeat, Job, WorkerHost
from scloud.jobs.periodic import Lane
from scloud.lib.shared import Shared
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scopes_disabled
from scloud.web import probes
from tests.browser import free_port

WEEK = timedelta(days=7, seconds=1)
GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def chores(monkeypatch: pytest.MonkeyPatch) -> None:
    """No chores but those of the tests."""
    monkeypatch.setattr(periodic, "_chores", {})


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look within the test's own transaction."""
    monkeypatch.setattr(probes._ready, "get", probes.look)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The wake-ups that were sent."""
    found: list[str] = []
    monkeypatch.setattr(health, "wake_up", found.append)
    return found


def long_ago() -> Any:
    return timezone.now() - health.SEEN_LATELY - timedelta(seconds=1)


def test_alive_asks_nobody(client: Client) -> None:
    # Without the database: the test has none. No name, no TLS, and any cookie.
    client.cookies["scloud_session"] = "whatever"
    answer = client.get("/healthz", headers={"Host": "10.0.0.7:8000"})
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})
    assert answer["Cache-Control"] == "no-store"
    assert client.head("/healthz").content == b""
    assert client.post("/healthz").status_code == 405


@pytest.mark.django_db
@pytest.mark.usefixtures("inline", "chores")
def test_ready_when_all_that_stands_behind_was_seen(client: Client, called: list[str]) -> None:
    periodic.register("books", 10, lambda: None, Lane.BOOKS)
    health.register_beats()

    def checks(status: int) -> dict[str, str]:
        answer = client.get("/readyz")
        assert answer.status_code == status
        found: dict[str, str] = answer.json()["checks"]
        return found

    away = {"worker": "not seen lately", "sweeper": "not seen lately"}
    assert checks(503) == {"database": "ok", "migrations": "ok", **away}

    # The sweeper goes round, and calls the workers, once; one of them answers.
    for lane in periodic.lanes():
        periodic.run_due(lane)
    assert called == [workers.CALL]
    assert set(Heartbeat.objects.values_list("name", flat=True)) == {
        "sweeper/books",
        "sweeper/call",
        "sweeper/wake-ups",
    }
    assert not health.call_workers()
    assert checks(503)["sweeper"] == "ok"
    workers.announce(called=True)
    WorkerHost.objects.update(seen_at=long_ago())
    # A process that has told of itself a moment ago tells again when it is called.
    assert bell.ring(workers.CALL) == "not due"
    assert set(checks(200).values()) == {"ok"}
    assert not health.call_workers()

    # Nobody answers for long: called again, but not without end.
    WorkerHost.objects.update(seen_at=long_ago())
    Heartbeat.objects.filter(name=health.CALLED).update(seen_at=long_ago())
    assert [health.call_workers(), health.call_workers()] == [True, False]
    assert checks(503)["worker"] == "not seen lately"

    # Only the lane that waits for nothing tells whether there is a sweeper.
    Heartbeat.objects.filter(name="sweeper/books").update(seen_at=long_ago())
    assert checks(503)["sweeper"] == "ok"
    Heartbeat.objects.update(seen_at=long_ago())
    assert checks(503)["sweeper"] == "not seen lately"

    # Machines and lanes that are no more are forgotten.
    Heartbeat.objects.filter(name="sweeper/books").update(seen_at=timezone.now() - WEEK)
    WorkerHost.objects.update(seen_at=timezone.now() - WEEK)
    assert health.forget_old_beats() == 2
    assert Heartbeat.objects.count() == 2

    # A release that is newer than the tables; what it lacks is not told to everybody.
    MigrationRecorder(connection).record_unapplied("jobs", "0005_trace_and_heartbeat")
    assert health.missing_migrations() == ["jobs.0005_trace_and_heartbeat"]
    assert checks(503) == {"database": "ok", "migrations": "some are missing"}


def test_the_migrations_of_this_release_are_those_that_django_finds() -> None:
    loader = MigrationLoader(None, ignore_no_migrations=True)
    assert health._known_migrations() == set(loader.disk_migrations)


@pytest.mark.django_db
def test_a_worker_whose_slots_are_all_busy_is_there(make_job: Callable[..., Job]) -> None:
    job = make_job(status="running", lease_until=timezone.now() + timedelta(seconds=10))
    assert health.workers_seen()
    with scopes_disabled():
        Job.objects.filter(pk=job.pk).update(lease_until=long_ago())
    assert not health.workers_seen()


@contextmanager
def _server_at(port: int) -> Iterator[None]:
    """Point this process at another database server."""
    connection.close()
    before = dict(connection.settings_dict)
    connection.settings_dict.update(HOST="127.0.0.1", PORT=str(port))
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(before)


@pytest.mark.django_db(transaction=True)
def test_ready_waits_for_no_database(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> tuple[int, str, float]:
        monkeypatch.setattr(
            probes, "_ready", Shared(probes._look, keep_s=0, patience_s=0.9, name="readiness")
        )
        began = time.monotonic()
        answer = client.get("/readyz")
        return answer.status_code, answer.json()["checks"]["database"], time.monotonic() - began

    assert ask()[:2] == (503, "ok")
    with _server_at(free_port()):
        assert ask()[:2] == (503, "did not answer")
    with socket.create_server(("127.0.0.1", 0)) as silent, _server_at(silent.getsockname()[1]):
        status, words, took_s = ask()
    assert (status, words) == (503, "did not answer in time")
    assert took_s < 2
    assert ask()[:2] == (503, "ok")


@pytest.mark.django_db
def test_a_trace_goes_from_request_to_answer_log_and_job(
    user: User, console: Client, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SCLOUD_ACCESS_LOG = True
    with caplog.at_level("INFO", logger="scloud.access"):
        answer = console.post(
            "/api/v1/api-keys",
            json.dumps({"name": "probe"}),
            content_type="application/json",
            headers={"traceparent": GIVEN},
        )
    assert answer.status_code == 201
    version, trace_id, span_id, flags = answer["traceresponse"].split("-")
    assert (version, trace_id, flags) == ("00", GIVEN.split("-")[1], "01")
    assert span_id != GIVEN.split("-")[2]
    with scopes_disabled():
        assert Operation.objects.latest("pk").request_id == answer["X-Request-Id"]
    (line,) = [record for record in caplog.records if record.name == "scloud.access"]
    assert line.getMessage().startswith("POST /api/v1/api-keys 201 ")
    caplog.clear()
    with caplog.at_level("INFO", logger="scloud.access"):
        other = console.get("/operations/?q=secret", headers={"traceparent": "no trace"})
    assert [record.getMessage().split(" ")[:3] for record in caplog.records] == [
        ["GET", "/operations/", "200"]
    ]
    assert other["X-Request-Id"] != answer["X-Request-Id"]
    assert other["traceresponse"].split("-")[1] != trace_id
