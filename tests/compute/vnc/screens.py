"""A small RFB server that stands where QEMU's would, and the ends of connections to it."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

from compute.vnc import rfb
from compute.vnc.screen import Endpoint

SERVER_INIT = (
    (64).to_bytes(2, "big")
    + (48).to_bytes(2, "big")
    + bytes([32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0])
    + (4).to_bytes(4, "big")
    + b"test"
)


class Screen:
    """Asks for the password of the moment like QEMU does, then echoes or floods."""

    def __init__(self) -> None:
        self.password = ""
        self.received = bytearray()
        self.sent = 0
        self.sessions = 0
        self.flood = False
        self.silent = False
        self.offers = bytes([1, rfb.SECURITY_VNC])
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.silent:
            await reader.read(1)
            return
        writer.write(rfb.VERSION)
        await reader.readexactly(12)
        writer.write(self.offers)
        await reader.readexactly(1)
        challenge = os.urandom(16)
        writer.write(challenge)
        answer = await reader.readexactly(16)
        if not self.password or answer != rfb.answer_challenge(self.password, challenge):
            writer.write((1).to_bytes(4, "big") + (2).to_bytes(4, "big") + b"no")
            return
        writer.write(bytes(4))
        await reader.readexactly(1)
        self.sessions += 1
        writer.write(SERVER_INIT)
        if self.flood:
            block = bytes(64 * 1024)
            while True:
                writer.write(block)
                self.sent += len(block)
                await writer.drain()
        while data := await reader.read(65536):
            self.received += data
            writer.write(data)
            await writer.drain()

    def close_all(self) -> None:
        """Do what QEMU does when its VM stops."""
        for writer in self._writers:
            writer.close()

    async def prepare(self, vm_id: str) -> Endpoint:
        """Stand in for the question to the host."""
        self.password = rfb.new_password()
        return Endpoint(address="127.0.0.1", port=self.port, password=self.password)


@contextlib.asynccontextmanager
async def running_screen(**attributes: Any) -> AsyncIterator[Screen]:
    """A screen that listens on a port of the loopback."""
    screen = Screen()
    for name, value in attributes.items():
        setattr(screen, name, value)
    server = await asyncio.start_server(screen.handle, "127.0.0.1", 0)
    screen.port = server.sockets[0].getsockname()[1]
    try:
        yield screen
    finally:
        server.close()
        screen.close_all()
        await asyncio.sleep(0)
