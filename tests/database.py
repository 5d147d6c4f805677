"""The database of a test run: migrated once, copied for each worker.

A template holds the migrated schema. Its name ends in a digest of the migrations, so that a
changed migration makes a new one and runs after the first begin at once. Each pytest-xdist worker
tests on a copy of its own, which it drops at the end. With ``SCLOUD_TEST_DB_KEEP`` a copy stays for
the next run of the same name, unless a test may have committed to it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.core.management.commands import flush
from django.db import connection
from django.db.backends.postgresql.operations import DatabaseOperations
from psycopg import sql
from pytest_django import DjangoDbBlocker

# Held while a template is looked for or made: the workers of a run start together.
LOCK = 0x5C10_7E57

Cursor = psycopg.Cursor[tuple[Any, ...]]


def migrations_digest() -> str:
    """Return a digest of all that decides what ``migrate`` makes."""
    digest = hashlib.sha256()
    for distribution in ("django", "django-q2"):
        digest.update(f"{distribution}={metadata.version(distribution)};".encode())
    digest.update(";".join(settings.INSTALLED_APPS).encode())
    root = Path(settings.BASE_DIR)
    for config in apps.get_app_configs():
        place = Path(config.path)
        if place.is_relative_to(root) and ".venv" not in place.parts:
            for file in sorted(place.glob("migrations/*.py")):
                digest.update(f"{config.label}/{file.name}".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _execute(cursor: Cursor, statement: str, *names: str) -> None:
    cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextmanager
def _server() -> Iterator[Cursor]:
    """A cursor on the server, outside of every test database and every transaction."""
    given = connection.settings_dict
    with psycopg.connect(
        host=given["HOST"],
        port=given["PORT"] or None,
        user=given["USER"],
        password=given["PASSWORD"] or None,
        dbname="postgres",
        autocommit=True,
    ) as plain:
        yield plain.cursor()


def _use(name: str) -> None:
    connection.close()
    settings.DATABASES["default"]["NAME"] = name
    connection.settings_dict["NAME"] = name


def make_template(name_of_tests: str) -> str:
    """Return the name of the template, made by ``migrate`` if it is not there yet."""
    prefix = f"{name_of_tests}_template_"
    name = prefix + migrations_digest()
    with _server() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        cursor.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [prefix])
        found = {str(row[0]) for row in cursor.fetchall()}
        if name in found:
            return name
        for stale in found:
            _execute(cursor, "DROP DATABASE IF EXISTS {} WITH (FORCE)", stale)
        half = f"{name}_half"
        _execute(cursor, "CREATE DATABASE {}", half)
        _use(half)
        call_command("migrate", verbosity=0, interactive=False)
        connection.close()
        # Whoever finds it under its name finds it whole.
        _execute(cursor, "ALTER DATABASE {} RENAME TO {}", half, name)
    return name


def _comment(cursor: Cursor, name: str, text: str) -> None:
    statement = sql.SQL("COMMENT ON DATABASE {} IS {}")
    cursor.execute(statement.format(sql.Identifier(name), sql.Literal(text)))


def _is_unused(cursor: Cursor, name: str, template: str) -> bool:
    """Whether a kept copy of the template is there, as a run left it that committed nothing."""
    cursor.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [name]
    )
    row = cursor.fetchone()
    return row is not None and row[0] == template


def _commits(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("django_db")
    fixtures = {"transactional_db", "live_server", "django_db_reset_sequences"}
    return bool(
        (marker is not None and (marker.args or marker.kwargs.get("transaction")))
        or fixtures.intersection(getattr(item, "fixturenames", ()))
    )


@pytest.fixture(scope="session")
def django_db_setup(
    request: pytest.FixtureRequest,
    django_test_environment: None,
    django_db_blocker: DjangoDbBlocker,
    django_db_modify_db_settings: None,
) -> Iterator[None]:
    """Test on a copy of the template; pytest-django's own fixture migrates in each worker."""
    worker = getattr(request.config, "workerinput", {}).get("workerid", "")
    mine = str(connection.settings_dict["TEST"]["NAME"])
    before = str(connection.settings_dict["NAME"])
    with django_db_blocker.unblock():
        template = make_template(mine.removesuffix(f"_{worker}"))
        with _server() as cursor:
            if not _is_unused(cursor, mine, template):
                # Left behind by a run that was killed.
                _execute(cursor, "DROP DATABASE IF EXISTS {} WITH (FORCE)", mine)
                _execute(cursor, "CREATE DATABASE {} TEMPLATE {}", mine, template)
            _comment(cursor, mine, "in use")
        _use(mine)
    yield
    keep = "SCLOUD_TEST_DB_KEEP" in os.environ and not any(map(_commits, request.session.items))
    with django_db_blocker.unblock():
        _use(before)
        with _server() as cursor:
            if keep:
                _comment(cursor, mine, template)
                return
            # By force: threads that the product keeps may still hold a connection.
            _execute(cursor, "DROP DATABASE {} WITH (FORCE)", mine)


# What migrate fills, after all tables are made. No test writes there, so it stays.
FILLED_BY_MIGRATE = {"django_content_type", "auth_permission"}


@pytest.fixture(scope="session", autouse=True)
def _flush_what_was_written() -> Iterator[None]:
    """Let tests that commit empty the tables that hold rows, those that refuse it as well.

    The triggers fire in everything that a test does; only Django's flush between tests runs as a
    replica does, without them. To truncate all tables and fill those of migrate anew takes longer
    than most of these tests.
    """

    def sql_flush(self: DatabaseOperations, style: Any, tables: list[str], **kwargs: Any) -> Any:
        names = sorted(set(tables) - FILLED_BY_MIGRATE)
        looks = (
            sql.SQL("(SELECT {} FROM {} LIMIT 1)").format(sql.Literal(name), sql.Identifier(name))
            for name in names
        )
        with self.connection.cursor() as cursor:
            cursor.execute(sql.SQL(" UNION ALL ").join(looks))
            held = [self.quote_name(name) for (name,) in cursor.fetchall()]
        if not held:
            return []
        guards_off = "SET LOCAL session_replication_role = replica;"
        return [guards_off, *(f"DELETE FROM {name};" for name in held)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "sql_flush", sql_flush)
        patch.setattr(flush, "emit_post_migrate_signal", lambda *_args: None)
        yield
