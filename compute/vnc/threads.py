"""Threads for what blocks, so that the streams never wait for the database or a host."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Final, TypeVar

from django.db import close_old_connections

T = TypeVar("T")

# Each of them keeps a database connection while it is busy.
_database: Final = ThreadPoolExecutor(max_workers=4, thread_name_prefix="vnc-db")
# Apart from the others: a host that hangs takes its thread along for the length of a timeout,
# and must not keep the rights of other sessions from being checked.
_hosts: Final = ThreadPoolExecutor(max_workers=16, thread_name_prefix="vnc-host")


async def _run_in(pool: Executor, function: Callable[[], T]) -> T:
    def run() -> T:
        close_old_connections()
        try:
            return function()
        finally:
            close_old_connections()

    return await asyncio.get_running_loop().run_in_executor(pool, run)


async def in_database_thread(function: Callable[[], T]) -> T:
    """Run blocking ORM code beside the event loop."""
    return await _run_in(_database, function)


async def in_host_thread(function: Callable[[], T]) -> T:
    """Run blocking questions to a host beside the event loop."""
    return await _run_in(_hosts, function)
