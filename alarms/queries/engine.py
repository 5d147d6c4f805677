"""The metrics store of this installation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import Any

import psycopg
from django.conf import settings
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)

from alarms.models import MetricSettings
from alarms.store.base import MetricsStore, Retention, StoreRefused, StoreUnavailable
from alarms.store.opening import open_store


@contextmanager
def django_connection() -> Iterator[psycopg.Connection[Any]]:
    """A transaction on Django's connection, or a part of the one that is open."""
    try:
        with transaction.atomic():
            connection.ensure_connection()
            plain: psycopg.Connection[Any] = connection.connection
            yield plain
    except (OperationalError, InterfaceError) as error:
        raise StoreUnavailable(f"PostgreSQL did not answer: {error}") from error
    except (DataError, IntegrityError) as error:
        raise StoreRefused(f"PostgreSQL refused: {error}") from error
    except DatabaseError as error:
        # As in the store: it is not for what is in the rows.
        raise StoreUnavailable(f"PostgreSQL refused: {error}") from error
    except psycopg.Error:
        # Raised past Django, which therefore does not know that its connection may be broken.
        if not connection.in_atomic_block and not connection.is_usable():
            connection.close()
        raise


@lru_cache(maxsize=4)
def _opened(where: str) -> MetricsStore:
    return open_store(where, connect=django_connection)


def metrics_store() -> MetricsStore:
    """Return the engine that the settings name; ValueError for a name of none."""
    return _opened(settings.SCLOUD_METRICS_STORE)


def retention() -> Retention:
    """Return how long each resolution is kept, as administrators have set it."""
    row = MetricSettings.load()
    return Retention(
        raw=timedelta(hours=row.samples_keep_h),
        five_minutes=timedelta(days=row.five_minutes_keep_days),
        hours=timedelta(days=row.hours_keep_days),
    )
