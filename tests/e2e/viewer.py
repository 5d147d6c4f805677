"""A VNC viewer as a program: logs in, asks for a picture, tells what it saw and hangs up.

    python -m tests.e2e.viewer ADDRESS PORT PASSWORD

It prints the name of the screen and the bytes of the picture's first rectangle; a refusal ends it
with 1 and the reason.
"""

from __future__ import annotations

import asyncio
import sys

from compute.vnc import rfb


class Viewer:
    """The ends that the handshake wants, over a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.readexactly = reader.readexactly

    async def write(self, data: bytes, /) -> None:
        """Send all of it."""
        self.writer.write(data)
        await self.writer.drain()


async def view(address: str, port: int, password: str) -> str:
    """Return name and picture; OSError, ProtocolError or IncompleteReadError when refused."""
    viewer = Viewer(*await asyncio.open_connection(address, port))
    await rfb.pass_security(viewer, viewer, password=password)
    await viewer.write(b"\1")  # share the screen with others
    head = await viewer.readexactly(24)
    width, height = int.from_bytes(head[:2], "big"), int.from_bytes(head[2:4], "big")
    name = (await viewer.readexactly(int.from_bytes(head[20:24], "big"))).decode()
    await viewer.write(b"\2\0\0\1\0\0\0\0")  # plain pixels only
    area = bytes(4) + width.to_bytes(2, "big") + height.to_bytes(2, "big")
    await viewer.write(b"\3\0" + area)
    update = await viewer.readexactly(16)
    assert update[0] == 0, update
    pixels = int.from_bytes(update[8:10], "big") * int.from_bytes(update[10:12], "big")
    picture = await viewer.readexactly(pixels * head[4] // 8)
    # Without a word, as a machine that is switched off.
    viewer.writer.transport.abort()
    return f"{name} {len(picture)}"


async def main(address: str, port: str, password: str) -> int:
    """Look once; the exit status."""
    try:
        async with asyncio.timeout(60):
            print(await view(address, int(port), password))
    except (OSError, TimeoutError, rfb.ProtocolError, asyncio.IncompleteReadError) as error:
        print(f"{type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
