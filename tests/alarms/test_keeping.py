"""The sweeper keeps the store in shape, and an outage of the store stops none of its chores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

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
