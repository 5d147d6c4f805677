"""Pictures of screens as browsers take them: PNG, small enough to be kept for some minutes.

A guest chooses the size and every pixel of its screen, so nothing is believed: what is no picture,
or too large, raises ValueError.
"""

import struct
import zlib
from typing import Final

from compute.hypervisor.base import Screenshot

MAX_SIDE: Final = 8192
MAX_PIXELS: Final = 4096 * 4096
MAX_PNG_BYTES: Final = 4 * 1024 * 1024
_PNG: Final = b"\x89PNG\r\n\x1a\n"
# The header of a portable pixmap; comments in it are nothing that QEMU writes.
_HEADER_BYTES: Final = 64
#: A picture that stays too large is halved so often.
_HALVINGS: Final = 4


def png_of(shot: Screenshot) -> bytes:
    """Return the picture as PNG of at most `MAX_PNG_BYTES`. Raises ValueError."""
    if shot.mime_type == "image/png":
        return _checked_png(shot.content)
    width, height, pixels = _pixmap(shot.content)
    for _halving in range(_HALVINGS):
        made = _png(width, height, pixels)
        if len(made) <= MAX_PNG_BYTES:
            return made
        width, height, pixels = _halved(width, height, pixels)
    raise ValueError("The picture of the screen is too large.")


def _checked_size(width: int, height: int) -> None:
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise ValueError(f"A screen of {width} by {height} pixels is not shown.")


def _checked_png(content: bytes) -> bytes:
    if not content.startswith(_PNG) or content[12:16] != b"IHDR" or len(content) < 33:
        raise ValueError("The host sent no picture.")
    width, height = struct.unpack(">II", content[16:24])
    _checked_size(width, height)
    if len(content) > MAX_PNG_BYTES:
        raise ValueError("The picture of the screen is too large.")
    return content


def _pixmap(content: bytes) -> tuple[int, int, bytes]:
    """Width, height and the pixels, three bytes each, of a binary portable pixmap."""
    words = content[:_HEADER_BYTES].split(maxsplit=3)
    if len(words) < 4 or words[0] != b"P6":
        raise ValueError("The host sent no picture.")
    width, height = int(words[1]), int(words[2])
    _checked_size(width, height)
    # One white character ends the header; pixels may look like white ones, too.
    at = 0
    for word in (b"P6", words[1], words[2]):
        at = content.index(word, at) + len(word)
    depth = b"255"
    at = content.index(depth, at) + len(depth) + 1
    pixels = content[at:]
    if len(pixels) != width * height * 3:
        raise ValueError("The host sent a part of a picture.")
    return width, height, pixels


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _png(width: int, height: int, pixels: bytes) -> bytes:
    line = width * 3
    # Each line says by which filter it was written: 0 is none.
    lines = b"".join(b"\x00" + pixels[n * line : (n + 1) * line] for n in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        _PNG
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(lines, 6))
        + _chunk(b"IEND", b"")
    )


def _halved(width: int, height: int, pixels: bytes) -> tuple[int, int, bytes]:
    """The picture of every second pixel of every second line."""
    line, half = width * 3, (width + 1) // 2
    lines = []
    for number in range(0, height, 2):
        row = pixels[number * line : (number + 1) * line]
        kept = bytearray(half * 3)
        for colour in range(3):
            kept[colour::3] = row[colour::6]
        lines.append(bytes(kept))
    return half, len(lines), b"".join(lines)
