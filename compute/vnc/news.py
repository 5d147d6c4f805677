"""Listening to the platform's events: PostgreSQL's NOTIFY on a connection of its own."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg
from django.db import connections

from scloud.lib.backoff import Backoff, Said

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 15.0
said = Said(log)


def connection_parameters() -> dict[str, Any]:
    """Return how Django reaches the default database, for a connection beside it."""
    parameters = connections["default"].get_connection_params()
    # What is Django's own and no parameter of a connection.
    ours = ("cursor_factory", "context", "prepare_threshold", "client_encoding")
    return {key: value for key, value in parameters.items() if key not in ours and value}


async def listen(
    channels: Sequence[str],
    heard: Callable[[str, dict[str, Any]], None],
    *,
    connected: Callable[[], None] | None = None,
) -> None:
    """Call ``heard(channel, payload)`` for every notification, until cancelled.

    A lost connection is made anew; ``connected`` is called each time, for what was missed
    meanwhile. A payload that is no JSON object arrives as an empty one.
    """
    backoff = Backoff(first_s=RETRY_S, ceiling_s=LAST_RETRY_S)
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                **connection_parameters(), autocommit=True
            ) as connection:
                for channel in channels:
                    await connection.execute(
                        psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel))
                    )
                backoff.worked()
                said.over("events", "the connection for events is back")
                if connected is not None:
                    connected()
                async for notification in connection.notifies():
                    heard(notification.channel, _payload(notification.payload))
        except (psycopg.Error, OSError) as error:
            said.say("events", "lost", logging.WARNING, "lost the connection for events: %s", error)
        await asyncio.sleep(backoff.failed())


def _payload(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
