"""One task per web process that hears PostgreSQL's notifications and passes them to the pages."""

import asyncio
import contextlib
import json
import logging
import weakref
from typing import Any

import psycopg
from channels.layers import get_channel_layer
from django.conf import settings

from scloud.audit.events import CHANNEL
from scloud.lib.backoff import Backoff, Said

log = logging.getLogger(__name__)

EVERYBODY = "pages"
FIRST_RETRY_S = 0.5
LAST_RETRY_S = 15.0
said = Said(log)

_heard: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Event]" = (
    weakref.WeakKeyDictionary()
)
_tasks: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[None]]" = (
    weakref.WeakKeyDictionary()
)


def group_of(tenant_id: str) -> str:
    """Return the channel group of a tenant's pages."""
    return f"tenant.{tenant_id}"


def connection_options() -> dict[str, Any]:
    """Return psycopg's parameters for the default database."""
    database = settings.DATABASES["default"]
    names = {
        "dbname": "NAME",
        "user": "USER",
        "password": "PASSWORD",
        "host": "HOST",
        "port": "PORT",
    }
    options = {ours: database.get(theirs) for ours, theirs in names.items() if database.get(theirs)}
    # A listener only reads: without keep-alive it would not notice that the server is gone.
    return {**database.get("OPTIONS", {}), **options}


async def pass_on(payload: str) -> None:
    """Send one notification to the pages of its tenant; nonsense is logged and dropped."""
    try:
        event = json.loads(payload)
        tenant_id = event["tenant"]
        message = {
            key: event.get(key) for key in ("event_id", "kind", "resource_kind", "resource_id")
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        log.warning("A notification on %s is not an event: %.200r", CHANNEL, payload)
        return
    if not isinstance(tenant_id, str):
        return  # the platform's own events concern no tenant's page
    layer = get_channel_layer()
    if layer is not None:
        await layer.group_send(group_of(tenant_id), {"type": "page.event", "event": message})


async def resync() -> None:
    """Tell all pages that events may have been missed."""
    layer = get_channel_layer()
    if layer is not None:
        await layer.group_send(EVERYBODY, {"type": "page.event", "event": {"kind": "resync"}})


async def listen() -> None:
    """Listen for ever; after a lost connection come back and let the pages resync."""
    backoff = Backoff(first_s=FIRST_RETRY_S, ceiling_s=LAST_RETRY_S)
    first = True
    while True:
        try:
            connection = await psycopg.AsyncConnection.connect(
                autocommit=True, **connection_options()
            )
            async with connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                _hearing().set()
                backoff.worked()
                said.over(CHANNEL, "The database's notifications are back")
                if not first:
                    await resync()
                first = False
                async for notification in connection.notifies():
                    await pass_on(notification.payload)
        except (psycopg.Error, OSError) as error:
            first = False
            _hearing().clear()
            said.say(
                CHANNEL, "lost", logging.WARNING, "Lost the database's notifications: %s", error
            )
        await asyncio.sleep(backoff.failed())


def _hearing() -> asyncio.Event:
    """Return what is set while this process's event loop hears the notifications."""
    return _heard.setdefault(asyncio.get_running_loop(), asyncio.Event())


async def heard(limit_s: float) -> None:
    """Wait until notifications are heard, so that a page misses none of those that come later.

    After ``limit_s`` seconds without any it goes on: the pages resync when they are heard again.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await _hearing().wait()


def ensure_listening() -> "asyncio.Task[None]":
    """Start the task of this process's event loop unless it runs."""
    loop = asyncio.get_running_loop()
    task = _tasks.get(loop)
    if task is None or task.done():
        task = loop.create_task(listen(), name="scloud-events")
        _tasks[loop] = task
    return task
