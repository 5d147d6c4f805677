"""The ASGI application of the VNC proxy process. Import it once Django is set up."""

import asyncio
import contextlib
from functools import partial
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.security.websocket import AllowedHostsOriginValidator

from compute.vnc import screens
from compute.vnc.guard import TicketGuard
from compute.vnc.news import listen
from compute.vnc.proxy import Message, Receive, Scope, Send, VncProxy
from compute.vnc.screen import Endpoint, ScreenOpener
from compute.vnc.threads import in_host_thread
from scloud.audit.events import CHANNEL


async def prepare(vm_id: str) -> Endpoint:
    """Ask the host in a thread: libvirt's calls block."""
    return await in_host_thread(partial(screens.prepare, vm_id))


class Application:
    """The proxy behind the console's own checks of origin and session."""

    def __init__(self) -> None:
        self.proxy = VncProxy(TicketGuard(), ScreenOpener(prepare))
        self._checked: Any = AllowedHostsOriginValidator(AuthMiddlewareStack(self.proxy))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve websockets; anything else is answered with a 404."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await self._checked(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        listener = asyncio.create_task(listen([CHANNEL], self.hear, connected=self.check_all))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        listener.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listener
        await send({"type": "lifespan.shutdown.complete"})

    def hear(self, channel: str, event: Message) -> None:
        """Have the sessions checked that an event may concern."""
        if str(event.get("kind", "")).startswith("vm.vnc_"):
            return
        for session in self.proxy.sessions:
            if event.get("resource_id") in (session.vm_id, str(session.grant.user_id)):
                session.recheck.set()

    def check_all(self) -> None:
        """Have all sessions checked: events were missed while the connection was lost."""
        for session in self.proxy.sessions:
            session.recheck.set()
