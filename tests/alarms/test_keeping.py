"""The sweeper keeps the store in shape, and an outage of the store stops none of its chores."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from alarms.collecting.buffer import Buffer
from alarms.models import MetricSettings
from alarms.queries import engine
from alarms.registry import check_store
from alarms.store.base import Retention, Sample, SeriesKey, StoreRefused, StoreUnavailable
from alarms.store.fake import FakeStore
from alarms.store.postgres import PostgresStore
from alarms.store.victoria import VictoriaStore
from alarms.sweeps import keeping

KEY = SeriesKey("cpu_usage_ratio")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    made = FakeStore()
    monkeypatch.setattr(keeping, "metrics_store", lambda: made)
    return made


def old_samples(hours: int) -> list[Sample]:
    """One sample per five minutes of some hours that are over."""
    begin = datetime.now(UTC) - timedelta(hours=hours + 1)
    return [
        Sample("tenant-a", "vm-1", begin + timedelta(minutes=5 * number), {KEY: 1.0})
        for number in range(12 * hours)
    ]


@pytest.mark.django_db
def test_all_that_is_due_is_closed(store: FakeStore) -> None:
    store.write(old_samples(48))
    assert keeping.roll_up() > 48 * 12
    assert keeping.roll_up() == 0


@pytest.mark.django_db
def test_a_store_that_is_away_is_tried_again_later(store: FakeStore) -> None:
    store.write(old_samples(1))
    store.faults.away = True
    assert keeping.roll_up() == 0
    assert keeping.prune() == 0
    store.faults.away = False
    assert keeping.roll_up() > 0


@pytest.mark.django_db
def test_samples_are_kept_as_long_as_the_settings_say(store: FakeStore) -> None:
    store.write(old_samples(72))
    keeping.roll_up()
    assert keeping.prune() > 0
    kept = [at for _tenant, _resource, at in store.samples]
    assert min(kept) > datetime.now(UTC) - timedelta(hours=48, minutes=1)
    MetricSettings.objects.create(samples_keep_h=24)
    keeping.prune()
    kept = [at for _tenant, _resource, at in store.samples]
    assert min(kept) > datetime.now(UTC) - timedelta(hours=24, minutes=1)


@pytest.mark.django_db
def test_the_settings_are_the_retention() -> None:
    assert engine.retention() == Retention()
    MetricSettings.objects.create(samples_keep_h=30, five_minutes_keep_days=3, hours_keep_days=500)
    assert engine.retention() == Retention(
        timedelta(hours=30), timedelta(days=3), timedelta(days=500)
    )


# -- which engine ------------------------------------------------------------------------------


def test_the_settings_name_the_engine(settings: Any) -> None:
    assert isinstance(engine.metrics_store(), PostgresStore)
    settings.SCLOUD_METRICS_STORE = "http://127.0.0.1:8428"
    assert isinstance(engine.metrics_store(), VictoriaStore)
    assert check_store() == []


@pytest.mark.parametrize("name", ["victoria", "", "ftp://example.test/", "http://"])
def test_no_process_starts_with_an_engine_that_is_none(settings: Any, name: str) -> None:
    settings.SCLOUD_METRICS_STORE = name
    (problem,) = check_store()
    assert problem.id == "alarms.E001"


# -- Django's connection -----------------------------------------------------------------------


@pytest.fixture
def postgres(db: None) -> PostgresStore:
    return PostgresStore(engine.django_connection)


def test_a_statement_that_fails_is_a_refusal_and_leaves_the_transaction_whole(
    postgres: PostgresStore,
) -> None:
    sample = Sample("tenant-a", "vm-1", datetime.now(UTC), {KEY: 1.0})
    postgres.write([sample])
    years = [
        Sample("tenant-a", "vm-1", sample.at - timedelta(days=400 * n), {KEY: 1.0})
        for n in range(20)
    ]
    with pytest.raises(StoreRefused, match="spread over"):
        postgres.write(years)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM alarms_points_raw")
        assert cursor.fetchone() == (1,)


def test_a_lock_that_is_not_given_is_an_outage(postgres: PostgresStore) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '20ms'")
    many = [Sample("tenant-a", f"vm-{n}", datetime.now(UTC), {KEY: 1.0}) for n in range(20_000)]
    with pytest.raises(StoreUnavailable):
        postgres.write(many)


def test_rows_of_sources_that_were_forgotten_are_written_anew(postgres: PostgresStore) -> None:
    now = datetime.now(UTC)
    postgres.write([Sample("tenant-a", "vm-1", now, {KEY: 1.0})])
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM alarms_source")
    postgres.write([Sample("tenant-a", "vm-1", now + timedelta(seconds=30), {KEY: 2.0})])
    found = postgres.latest("tenant-a", ["vm-1"], since=now)
    assert found["vm-1"].values == {KEY: 2.0}


def test_parts_that_were_dropped_are_made_anew(postgres: PostgresStore) -> None:
    now = datetime.now(UTC)
    postgres.write([Sample("tenant-a", "vm-1", now, {KEY: 1.0})])
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits"
            " WHERE inhparent = 'alarms_points_raw'::regclass"
        )
        for (name,) in cursor.fetchall():
            cursor.execute(f"DROP TABLE {name}")
    postgres.write([Sample("tenant-a", "vm-1", now + timedelta(seconds=30), {KEY: 2.0})])
    found = postgres.latest("tenant-a", ["vm-1"], since=now)
    assert found["vm-1"].values == {KEY: 2.0}


def test_the_newest_sample_follows_a_database_clock_that_was_set_back(
    postgres: PostgresStore,
) -> None:
    now = datetime.now(UTC)
    postgres.write([Sample("tenant-a", "vm-1", now + timedelta(hours=2), {KEY: 1.0})])
    postgres.write([Sample("tenant-a", "vm-1", now, {KEY: 2.0})])
    found = postgres.latest("tenant-a", ["vm-1"], since=now - timedelta(hours=1))
    assert found["vm-1"].values == {KEY: 2.0}


def test_a_number_that_became_another_sources_is_not_written_to(postgres: PostgresStore) -> None:
    now = datetime.now(UTC)
    postgres.write([Sample("tenant-a", "vm-1", now, {KEY: 1.0})])
    # A restored database gives the numbers again that it gave since the backup.
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM alarms_source")
        (number,) = cursor.fetchone()
        cursor.execute("DELETE FROM alarms_source")
        cursor.execute("DELETE FROM alarms_latest")
        cursor.execute(
            "INSERT INTO alarms_source (id, digest, tenant, resource, keys)"
            " OVERRIDING SYSTEM VALUE VALUES (%s, 'x', 'tenant-b', 'vm-2', '{cpu_usage_ratio:}')",
            [number],
        )
    postgres.write([Sample("tenant-a", "vm-1", now + timedelta(seconds=30), {KEY: 2.0})])
    assert postgres.latest("tenant-b", ["vm-2"], since=now) == {}
    assert postgres.latest("tenant-a", ["vm-1"], since=now)["vm-1"].values == {KEY: 2.0}


@pytest.mark.parametrize(
    "trouble",
    [
        "SET LOCAL transaction_read_only = on",
        "ALTER TABLE alarms_points_raw RENAME TO alarms_elsewhere",
    ],
)
def test_what_is_not_for_the_samples_costs_none(postgres: PostgresStore, trouble: str) -> None:
    buffer = Buffer()
    buffer.add([Sample("tenant-a", "vm-1", datetime.now(UTC), {KEY: 1.0})])
    before = transaction.savepoint()
    with connection.cursor() as cursor:
        cursor.execute(trouble)
    with pytest.raises(StoreUnavailable):
        buffer.flush(postgres)
    transaction.savepoint_rollback(before)
    assert (len(buffer), buffer.lost) == (1, 0)
    assert buffer.flush(postgres) == 1


def test_sources_of_which_nothing_is_kept_are_forgotten(postgres: PostgresStore) -> None:
    now = datetime.now(UTC)
    postgres.write([Sample("tenant-a", f"vm-{n}", now, {KEY: 1.0}) for n in range(3)])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE alarms_source SET created_at = now() - interval '500 days'")
        cursor.execute(
            "DELETE FROM alarms_points_raw WHERE source IN"
            " (SELECT id FROM alarms_source WHERE resource IN ('vm-0', 'vm-1'))"
        )
        cursor.execute("DELETE FROM alarms_latest WHERE resource <> 'vm-1'")
    postgres.prune(now, Retention())
    with connection.cursor() as cursor:
        cursor.execute("SELECT resource FROM alarms_source ORDER BY resource")
        assert cursor.fetchall() == [("vm-1",), ("vm-2",)]


def beside() -> psycopg.Connection[Any]:
    """A second connection to the test's database."""
    given = connection.settings_dict
    return psycopg.connect(
        host=given["HOST"],
        port=given["PORT"],
        user=given["USER"],
        password=given["PASSWORD"],
        dbname=given["NAME"],
    )


@pytest.mark.django_db(transaction=True)
def test_dropping_a_part_does_not_wait_for_who_reads_for_long() -> None:
    store = PostgresStore(engine.django_connection)
    old = datetime.now(UTC) - timedelta(days=60)
    store.write([Sample("tenant-a", "vm-1", old, {KEY: 1.0})])
    while store.roll_up(datetime.now(UTC)):
        pass
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '10s'")
        with beside() as reader, reader.transaction():
            reader.execute("SELECT FROM alarms_points_raw, alarms_points_5m")
            began = time.monotonic()
            assert store.prune(datetime.now(UTC), Retention()) == 0
            assert time.monotonic() - began < 8
        assert store.prune(datetime.now(UTC), Retention()) > 0
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET lock_timeout")
            for table in ("alarms_points_raw", "alarms_points_5m", "alarms_points_1h"):
                cursor.execute(f"TRUNCATE {table}")
            cursor.execute("TRUNCATE alarms_source, alarms_latest, alarms_progress")
