"""Wait for the database in every way that a process does, and tell when each wait ended.

Prints ``ready``, then a line ``<name> <seconds since the epoch>`` for each wait that ended.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Run all waits of one process."""
    import django

    django.setup()
    import psycopg
    from django.db import DatabaseError, InterfaceError, close_old_connections, connection

    from compute.vnc import news
    from scloud.web import listener

    go = threading.Event()
    ready: list[str] = []
    telling = threading.Lock()

    def tell(name: str) -> None:
        # Waits end together, and print writes a line in pieces.
        with telling:
            print(name, time.time(), flush=True)

    def query() -> None:
        """A statement on a connection that was in use a moment ago."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            ready.append("query")
            go.wait()
            cursor.execute("SELECT 1")

    def request() -> None:
        """A request: the kept connection is checked, found dead, and a new one is tried."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        ready.append("request")
        go.wait()
        close_old_connections()
        setattr(connection, "health_check_done", False)  # noqa: B010  # not in the stubs
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")

    def answer() -> None:
        """An answer that was on its way when the network was cut."""
        with connection.cursor() as cursor:
            ready.append("answer")
            cursor.execute("SELECT pg_sleep(9)")
            cursor.execute("SELECT 1")

    def connect() -> None:
        """A first connection."""
        ready.append("connect")
        go.wait()
        connection.ensure_connection()

    def locked() -> None:
        """A transaction that is open when it happens."""
        from django.db import transaction

        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(pg_backend_pid())")
            ready.append("locked")
            go.wait()
            cursor.execute("SELECT 1")

    def waiting(name: str, wait: Callable[[], None]) -> None:
        try:
            wait()
        except (DatabaseError, InterfaceError):
            tell(name)

    def listening(name: str, parameters: dict[str, Any]) -> None:
        async def listen() -> None:
            async with await psycopg.AsyncConnection.connect(**parameters, autocommit=True) as link:
                await link.execute("LISTEN anything")
                ready.append(name)
                async for _ in link.notifies():
                    pass

        try:
            asyncio.run(listen())
        except psycopg.Error:
            tell(name)

    waits = {"query": query, "request": request, "answer": answer, "connect": connect}
    waits["locked"] = locked
    threads = [
        threading.Thread(target=waiting, args=(name, wait), daemon=True)
        for name, wait in waits.items()
    ]
    for name, parameters in (
        ("events", news.connection_parameters()),
        ("pages", listener.connection_options()),
    ):
        threads.append(threading.Thread(target=listening, args=(name, parameters), daemon=True))
    for thread in threads:
        thread.start()
    while len(ready) < len(threads):
        time.sleep(0.05)
    print("ready", flush=True)
    input()
    go.set()
    for thread in threads:
        thread.join(60)


if __name__ == "__main__":
    main()
