"""The proxy as it is in production, in a thread, with a screen of the test behind it."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from django.conf import settings as django_settings
from django.db import connection, connections
from django.test import Client
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from compute.models import VM
from compute.vnc import asgi, rfb
from compute.vnc.server import BoundedWebSocketProtocol, listening_socket, make_server
from tests.compute.vnc.screens import SERVER_INIT, Screen


@pytest.fixture(scope="session")
def unpooled(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Threads close their database connections, or the test database cannot be dropped."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)
        yield
        # A request that a closing browser left behind may still be answered.
        with django_db_blocker.unblock():
            until = time.monotonic() + 10
            while others := _other_sessions():
                assert time.monotonic() < until, others
                time.sleep(0.1)


def _other_sessions() -> list[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT state, query FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return list(cursor.fetchall())


@pytest.fixture(autouse=True)
def _uncollected_static_files(settings: Any) -> None:
    """Whitenoise looks for files when they are asked for: tests collect none beforehand."""
    settings.WHITENOISE_AUTOREFRESH = True


@dataclass
class Site:
    """A running proxy and the screen behind it."""

    port: int
    screen: Screen
    application: asgi.Application
    loop: asyncio.AbstractEventLoop
    server: uvicorn.Server
    connections: ExitStack = field(default_factory=ExitStack)

    def dial(self, browser: Client, path: str, *, origin: str | None = None) -> ClientConnection:
        """Open a websocket with the cookies of a browser."""
        cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in browser.cookies.items())
        return self.connections.enter_context(
            connect(
                f"ws://127.0.0.1:{self.port}{path}",
                additional_headers={"Cookie": cookie},
                origin=Origin(origin or "http://localhost:8000"),
                compression=None,
                max_size=None,
                open_timeout=10,
            )
        )

    def break_connections(self) -> None:
        """Drop all websockets without a word, as a network does."""

        def abort() -> None:
            for protocol in self.server.server_state.connections:
                if isinstance(protocol, BoundedWebSocketProtocol):
                    protocol.transport.abort()

        self.on_loop(abort)

    def on_loop(self, function: Callable[[], Any]) -> None:
        """Do something in the proxy's thread."""
        done = threading.Event()

        def run() -> None:
            function()
            done.set()

        self.loop.call_soon_threadsafe(run)
        assert done.wait(5)


def log_in(socket: ClientConnection) -> None:
    """Go through RFB until the screen is on."""
    assert socket.recv(5) == rfb.VERSION
    socket.send(rfb.VERSION)
    assert socket.recv(5) == bytes([1, rfb.SECURITY_NONE])
    socket.send(bytes([rfb.SECURITY_NONE]))
    assert socket.recv(5) == bytes(4)
    socket.send(b"\1")
    assert socket.recv(5) == SERVER_INIT


@pytest.fixture
def site(transactional_db: None, unpooled: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Start proxy and screen; stop both afterwards."""
    screen = Screen()
    monkeypatch.setattr(asgi, "prepare", screen.prepare)
    application = asgi.Application()
    sock = listening_socket("127.0.0.1", 0)
    server = make_server(application)
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        echo = await asyncio.start_server(screen.handle, "127.0.0.1", 0)
        screen.port = echo.sockets[0].getsockname()[1]
        await server.serve(sockets=[sock])
        screen.close_all()
        echo.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    until = time.monotonic() + 10
    while not server.started and time.monotonic() < until:
        time.sleep(0.02)
    assert server.started
    running = Site(sock.getsockname()[1], screen, application, loops[0], server)
    yield running
    running.connections.close()
    server.should_exit = True
    thread.join(15)
    assert not thread.is_alive()


@pytest.fixture
def ticket_path(console: Client, vm: VM) -> Callable[[], str]:
    """Return a function that asks the console for a ticket, as the page does."""

    def ask() -> str:
        answer = console.post(f"/vms/{vm.pk}/screen/ticket")
        assert answer.status_code == 200, answer.content
        url: str = answer.json()["url"]
        # The test client calls the console "testserver".
        assert url.startswith(django_settings.SCLOUD_VNC_PUBLIC_URL)
        return url.removeprefix(django_settings.SCLOUD_VNC_PUBLIC_URL)

    return ask
