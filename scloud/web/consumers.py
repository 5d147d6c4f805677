"""The websocket of a page: events of its tenant, for as long as the session is valid."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from scloud.lib.outage import outage_of
from scloud.tenancy import sessions
from scloud.tenancy.models import User
from scloud.web import listener

log = logging.getLogger(__name__)

SIGNED_OUT = 4401
TOO_MANY: Final = 4429
# RFC 6455's registry: the server is overloaded or away, try again later.
TRY_AGAIN_LATER: Final = 1013
POLICY: Final = 1008
CHECK_S = 30.0
# Pages that one person may have open at once, in one console process.
MAX_PER_USER: Final = 20
# The first page of a process waits so long for the database's notifications.
HEARD_WITHIN_S: Final = 3.0
# Pages send nothing; a few messages are forgiven.
MAX_MESSAGES: Final = 10

_open: Counter[int] = Counter()


def still_valid(user_id: int, tenant_id: str, session_key: str | None) -> bool:
    """Tell whether the session is still valid and its user still belongs to the tenant."""
    user = sessions.user_of(session_key)
    return user is not None and (user.pk, user.tenant_id) == (user_id, tenant_id)


class Guarded:
    """Answers a websocket that opens while the database is away: come back later."""

    def __init__(self, application: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        accepted = False

        async def watched(message: Any) -> None:
            nonlocal accepted
            accepted = accepted or message["type"] == "websocket.accept"
            await send(message)

        try:
            await self._application(scope, receive, watched)
        except Exception as error:
            outage = outage_of(error)
            if outage is None:
                raise
            log.warning("a websocket was turned away: %s", outage.message)
            with contextlib.suppress(OSError):
                if not accepted:
                    # Only an open websocket can be told why it is closed.
                    await send({"type": "websocket.accept"})
                await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})


class EventsConsumer(AsyncJsonWebsocketConsumer):
    """Only for signed-in users of a tenant; only their tenant's events; nothing is received."""

    groups_joined: tuple[str, ...] = ()
    watch: "asyncio.Task[None] | None" = None
    counted: int | None = None
    received = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one page; however that ends, it no longer counts."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self.counted is not None:
                _open[self.counted] -= 1
                if not _open[self.counted]:
                    del _open[self.counted]

    async def connect(self) -> None:
        """Join the tenant's group, or say that nobody is signed in.

        Only then the page is told that it is live: what happens from now on reaches it.
        """
        # Channels keeps anything there: a user, an anonymous one, nothing.
        user: Any = self.scope.get("user")
        session_key = getattr(self.scope.get("session"), "session_key", None)
        if (
            not isinstance(user, User)
            or user.tenant_id is None
            or not await database_sync_to_async(still_valid)(user.pk, user.tenant_id, session_key)
        ):
            await self._refuse(SIGNED_OUT)
            return
        if _open[user.pk] >= MAX_PER_USER:
            await self._refuse(TOO_MANY)
            return
        self.counted = user.pk
        _open[user.pk] += 1
        listener.ensure_listening()
        self.groups_joined = (listener.group_of(user.tenant_id), listener.EVERYBODY)
        for group in self.groups_joined:
            await self.channel_layer.group_add(group, self.channel_name)
        await listener.heard(HEARD_WITHIN_S)
        await self.accept()
        self.watch = asyncio.create_task(self._watch_session(user.pk, user.tenant_id, session_key))

    async def _refuse(self, code: int) -> None:
        # Only an open websocket can be told why it is closed.
        await self.accept()
        await self.close(code=code)

    async def disconnect(self, code: int) -> None:
        if self.watch is not None:
            self.watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.watch
        for group in self.groups_joined:
            await self.channel_layer.group_discard(group, self.channel_name)

    async def receive(
        self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any
    ) -> None:
        """Ignore what pages send, unread: the socket carries events in one direction."""
        self.received += 1
        if self.received > MAX_MESSAGES:
            await self.close(code=POLICY)

    async def page_event(self, message: dict[str, Any]) -> None:
        await self.send_json(message["event"])

    async def _watch_session(self, user_id: int, tenant_id: str, session_key: str | None) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                valid = await database_sync_to_async(still_valid)(user_id, tenant_id, session_key)
            except Exception as error:
                if outage_of(error) is None:
                    raise
                # Events come from the database too: the page comes back when it does.
                self.watch = None
                await self.close(code=TRY_AGAIN_LATER)
                return
            if not valid:
                self.watch = None
                await self.close(code=SIGNED_OUT)
                return
