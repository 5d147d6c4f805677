"""Listening to the platform's events: PostgreSQL's NOTIFY on a connection of its own."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import psycopg
from django.db import connections

log = logging.getLogger(__name__)

RETRY_S: Final = 2.0


def connection_parameters() -> dict[str, Any]:
    """Return how Django reaches the default database, for a connection beside it."""
    parameters = connections["default"].get_connection_params()
    wanted = ("dbname", "user", "password", "host", "port", "sslmode", "connect_timeout")
    return {key: parameters[key] for key in wanted if parameters.get(key)}


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
    while True:
        try:
            async with await psycopg.AsyncConnection.connect(
                **connection_parameters(), autocommit=True
            ) as connection:
                for channel in channels:
                    await connection.execute(
                        psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel))
                    )
                if connected is not None:
                    connected()
                async for notification in connection.notifies():
                    heard(notification.channel, _payload(notification.payload))
        except (psycopg.Error, OSError) as error:
            log.warning("lost the connection for events: %s", error)
        await asyncio.sleep(RETRY_S)


def _payload(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
