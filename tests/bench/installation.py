"""The installation that is measured: a stack of its own on lab ``bench``, made when first needed.

The benchmark's own process opens the same database with the same settings as the product's
processes, so that it can begin work and read outcomes without a request in between.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from scloud.lab import kvm
from scloud.lab import region as regions
from scloud.lab import stack as stacks
from scloud.lab.plan import lab_named
from tests.e2e.client import Api

ROOT = Path(__file__).resolve().parents[2]
PORT = int(os.environ.get("SCLOUD_BENCH_PORT", "19000"))
LAB_INDEX = 23
_SECRET_KEY = secrets.token_urlsafe(48)
_touched: set[str] = set()


def say(words: str) -> None:
    """Tell what is being done."""
    print(f"    {words}", flush=True)


@functools.cache
def stack() -> stacks.Stack:
    """Return the stack; nothing is started by asking for it."""
    return stacks.Stack(
        lab=lab_named("bench", LAB_INDEX, 2),
        state=ROOT / ".scloud" / f"bench-{PORT}",
        console_port=PORT,
        vnc_port=PORT + 1,
        postgres_port=PORT + 2,
        # As in production: a commit that is answered is on the medium.
        durable=True,
        settings=(
            ("SCLOUD_SECRET_KEY", _SECRET_KEY),
            # The limit of requests is not what is measured.
            ("SCLOUD_API_REQUESTS_PER_MINUTE", "100000"),
        ),
    )


def _open_django() -> None:
    """Set Django up in this process, on the stack's database."""
    os.environ.update(
        {
            "DATABASE_URL": stack().cluster.url,
            "DJANGO_SETTINGS_MODULE": "tests.bench.settings",
            "SCLOUD_PKI_DIR": str(stack().lab.pki),
            **dict(stack().settings),
        }
    )
    import django

    django.setup()


@functools.cache
def whole() -> stacks.Stack:
    """Bring the whole product up on real hosts, from nothing."""
    _touched.update(("lab", "database"))
    stacks.stop_processes(stack())
    stack().cluster.wipe()
    regions.up(stack().lab, fresh=True)
    stacks.up(stack(), image_names=("mini",))
    _open_django()
    return stack()


@functools.cache
def api() -> Api:
    """Return the API of the whole product with a key of the demo tenant."""
    email = stacks.logins(whole())["email"]
    return Api(whole().url, whole().manage("issue_api_key", email, quiet=True).strip())


@functools.cache
def facts() -> dict[str, Any]:
    """Return what the lab told the installation about itself."""
    found: dict[str, Any] = json.loads((whole().run / "region.json").read_text())
    return found


def database() -> None:
    """Give an empty database with the product's tables, and no process that works on it."""
    if "database" not in _touched:
        stack().cluster.wipe()
    _touched.add("database")
    stacks.stop_processes(stack())
    stack().cluster.up()
    _open_django()
    from django.db import connection

    connection.close()
    _begin_anew()
    stack().manage("collectstatic", "--noinput", "--verbosity", "0")


def _begin_anew() -> None:
    """Replace the database by an empty one: a copy of one that was migrated once.

    The books cannot be emptied: their triggers refuse DELETE and TRUNCATE to everybody.
    """
    url = stack().cluster.url
    server, _, name = url.rpartition("/")
    ours, empty = sql.Identifier(name), sql.Identifier(f"{name}_empty")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as plain:
        plain.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(ours))
        there = plain.execute(
            "SELECT 1 FROM pg_database WHERE datname = %s", [f"{name}_empty"]
        ).fetchone()
        if there is None:
            plain.execute(sql.SQL("CREATE DATABASE {}").format(ours))
            stack().manage("migrate", "--verbosity", "0")
            plain.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(ours, empty))
        plain.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(ours, empty))


@contextmanager
def process(*command: str, settings: str = "scloud.settings") -> Iterator[subprocess.Popen[bytes]]:
    """Run one process of the product, and end it with what it started."""
    log = stack().logs / f"{Path(command[0]).name}-alone.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        started = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**stack().environment(), "DJANGO_SETTINGS_MODULE": settings},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(started.pid, 9)
                started.wait()


def emulation() -> str:
    """Tell how guests run on this machine: KVM or TCG. Remembered by the lab until a reboot."""
    return "KVM" if kvm.works() else "TCG"


def take_away() -> None:
    """Stop and delete everything that was made."""
    if not _touched:
        return
    stacks.stop_processes(stack())
    if "lab" in _touched:
        regions.down(stack().lab, wipe=True)
    stack().cluster.wipe()
    shutil.rmtree(stack().state, ignore_errors=True)
