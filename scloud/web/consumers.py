"""The websocket of a page: events of its tenant, for as long as the session lives."""

import asyncio
import contextlib
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.sessions.backends.db import SessionStore
from django.utils import timezone

from scloud.tenancy.middleware import SEEN_KEY
from scloud.tenancy.models import PlatformSettings, User
from scloud.web import listener

SIGNED_OUT = 4401
CHECK_S = 30.0


def still_valid(user_id: int, session_key: str | None) -> bool:
    """Tell whether the session still exists, is not idle too long, and its user is active."""
    if not session_key:
        return False
    session = SessionStore(session_key).load()
    if str(session.get("_auth_user_id", "")) != str(user_id):
        return False
    seen = session.get(SEEN_KEY)
    idle_s = PlatformSettings.load().idle_logout_min * 60
    if seen is not None and timezone.now().timestamp() - float(seen) > idle_s:
        return False
    return User.objects.filter(pk=user_id, is_active=True, tenant__is_active=True).exists()


class EventsConsumer(AsyncJsonWebsocketConsumer):
    """Only for signed-in users of a tenant; only their tenant's events; nothing is received."""

    groups_joined: tuple[str, ...] = ()
    watch: "asyncio.Task[None] | None" = None

    async def connect(self) -> None:
        """Join the tenant's group, or say that nobody is signed in."""
        await self.accept()
        # Channels keeps anything there: a user, an anonymous one, nothing.
        user: Any = self.scope.get("user")
        if not isinstance(user, User) or user.tenant_id is None:
            await self.close(code=SIGNED_OUT)
            return
        listener.ensure_listening()
        self.groups_joined = (listener.group_of(user.tenant_id), listener.EVERYBODY)
        for group in self.groups_joined:
            await self.channel_layer.group_add(group, self.channel_name)
        session_key = getattr(self.scope.get("session"), "session_key", None)
        self.watch = asyncio.create_task(self._watch_session(user.pk, session_key))

    async def disconnect(self, code: int) -> None:
        """Leave the groups."""
        if self.watch is not None:
            self.watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.watch
        for group in self.groups_joined:
            await self.channel_layer.group_discard(group, self.channel_name)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Ignore what pages send: the socket carries events in one direction."""

    async def page_event(self, message: dict[str, Any]) -> None:
        """Pass an event of the group to the page."""
        await self.send_json(message["event"])

    async def _watch_session(self, user_id: int, session_key: str | None) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            if not await database_sync_to_async(still_valid)(user_id, session_key):
                self.watch = None
                await self.close(code=SIGNED_OUT)
                return
