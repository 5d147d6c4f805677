"""The websocket server of the VNC proxy: uvicorn, set up so that no session can eat the memory."""

import os
import socket
import sys
from typing import Any, Final

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from compute.vnc.screen import keep_watch

# glibc gives memory back to the kernel whenever the top of the heap is free, and a stream of
# screen updates frees it thousands of times a second. These keep the few megabytes in hand:
# about a tenth of the processor time of the process.
MALLOC_ENVIRONMENT: Final = {
    "MALLOC_TRIM_THRESHOLD_": str(512 * 1024 * 1024),
    "MALLOC_MMAP_THRESHOLD_": str(512 * 1024 * 1024),
}
# A viewer sends keys, requests and now and then a clipboard.
MAX_MESSAGE_BYTES: Final = 1024 * 1024
# Bounds what the kernel takes for a slow browser, and with it how old the picture gets.
SEND_BUFFER_BYTES: Final = 512 * 1024
# A ping waits behind what is in the send buffer, so that its bound is not that of the network.
PING_INTERVAL_S: Final = 20.0
PING_TIMEOUT_S: Final = 40.0
DEAD_PEER_TIMEOUT_S: Final = 60
_MAX_UNSENT_BYTES: Final = 1024 * 1024


class BoundedWebSocketProtocol(WebSocketsSansIOProtocol):
    """Answers pings only for peers that read: the answers bypass the flow control."""

    def handle_ping(self) -> None:
        """Answer a ping, or drop a peer that sends them without reading."""
        if self.transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
            self.transport.abort()
            return
        super().handle_ping()


def listening_socket(address: str, port: int) -> socket.socket:
    """Return a listening socket whose options the accepted connections inherit."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    keep_watch(sock, timeout_s=DEAD_PEER_TIMEOUT_S)
    sock.bind((address, port))
    sock.set_inheritable(True)
    return sock


def with_malloc_environment() -> None:
    """Start this program again with the allocator's settings: libc reads them at start only."""
    if all(os.environ.get(key) == value for key, value in MALLOC_ENVIRONMENT.items()):
        return
    os.environ.update(MALLOC_ENVIRONMENT)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (the same program)


def make_server(app: Any) -> uvicorn.Server:
    """Return the server of the proxy, for ``run(sockets=[...])``."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http="h11",
            ws=BoundedWebSocketProtocol,
            ws_per_message_deflate=False,
            ws_max_size=MAX_MESSAGE_BYTES,
            ws_ping_interval=PING_INTERVAL_S,
            ws_ping_timeout=PING_TIMEOUT_S,
            lifespan="on",
            # uvicorn logs the whole address of each websocket, ticket included, at INFO.
            log_level="warning",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
    )


def run(app: Any, sock: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    make_server(app).run(sockets=[sock])
