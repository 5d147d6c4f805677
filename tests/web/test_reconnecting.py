"""Listeners whose database is away come back less and less often, and say so once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import psycopg
import pytest

from compute.vnc import news
from scloud.web import listener


class Enough(Exception):
    """Ends an endless loop."""


@pytest.mark.parametrize(
    ("module", "listen"),
    [
        (listener, listener.listen),
        (news, lambda: news.listen(["x"], lambda channel, payload: None)),
    ],
)
def test_a_listener_backs_off(
    module: Any,
    listen: Callable[[], Coroutine[Any, Any, None]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: Any,
) -> None:
    waits: list[float] = []

    async def away(*given: Any, **named: Any) -> Any:
        raise psycopg.OperationalError("away")

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 12:
            raise Enough

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", away)
    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    monkeypatch.setattr(module.said, "_last", {})
    with pytest.raises(Enough):
        asyncio.run(listen())
    assert waits[0] <= 1.2
    assert waits[2] > 1.6 * waits[0]
    assert 0.8 * module.LAST_RETRY_S <= waits[-1] <= 1.2 * module.LAST_RETRY_S
    assert len([row for row in caplog.records if "away" in row.getMessage()]) == 1
