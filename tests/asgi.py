"""Requests to the application of the console's process, as its server calls it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from django.core.signals import request_finished
from django.db import close_old_connections, connections

from scloud.asgi import application


async def answered(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request; nothing that the test has set for itself (a tenant's scope) goes along."""
    request = application(scope, receive, send)
    await asyncio.create_task(request, context=contextvars.Context())


def ask(method: str, path: str, **given: Any) -> httpx.Response:
    """Send one request; the arguments are those of ``httpx.AsyncClient.request``."""

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app=answered, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            return await client.request(method, path, **given)

    with connections_end_with_requests():
        return asyncio.run(run())


@contextmanager
def connections_end_with_requests() -> Iterator[None]:
    """Close the connection of each request in its thread, which ends with it."""
    request_finished.disconnect(close_old_connections)
    request_finished.connect(_close_all)
    try:
        yield
    finally:
        request_finished.disconnect(_close_all)
        request_finished.connect(close_old_connections)


def _close_all(**_given: Any) -> None:
    connections.close_all()
