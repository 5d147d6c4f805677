"""Pictures of screens become PNG, and nothing that a guest chooses takes more than its share."""

import struct
import zlib

import pytest

from compute.hypervisor import picture
from compute.hypervisor.base import Screenshot
from compute.hypervisor.picture import png_of

PIXMAP = "image/x-portable-pixmap"
HUGE_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 60000, 60000) + b"x" * 9


def pixels_of(png: bytes) -> tuple[int, int, bytes]:
    """Read a PNG as its specification says: chunks with sums, lines without filters."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, chunks = 8, {}
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        name, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        (told,) = struct.unpack(">I", png[at + 8 + length : at + 12 + length])
        assert told == zlib.crc32(name + data)
        chunks[name] = data
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *kind = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert kind == [8, 2, 0, 0, 0]
    raw = zlib.decompress(chunks[b"IDAT"])
    lines = [raw[n * (width * 3 + 1) :][: width * 3 + 1] for n in range(height)]
    assert all(line[0] == 0 for line in lines)
    return width, height, b"".join(line[1:] for line in lines)


def test_a_pixmap_becomes_the_same_picture() -> None:
    # The first pixels look like white space and like the header: they are pixels all the same.
    pixels = b"\n \t255" + bytes(range(6 * 3))
    made = png_of(Screenshot(PIXMAP, b"P6\n4 2\n255\n" + pixels))
    assert pixels_of(made) == (4, 2, pixels)


def test_a_picture_that_is_png_already_is_passed_on() -> None:
    png = png_of(Screenshot(PIXMAP, b"P6\n1 1\n255\nabc"))
    assert png_of(Screenshot("image/png", png)) == png


def test_a_picture_that_is_too_large_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second pixel of every second line, also where their number is odd."""
    monkeypatch.setattr(picture, "MAX_PNG_BYTES", 85)
    pixels = bytes(
        value for y in range(5) for x in range(5) for value in (x * 50, y * 50, (x ^ y) * 7)
    )
    width, height, found = pixels_of(png_of(Screenshot(PIXMAP, b"P6\n5 5\n255\n" + pixels)))
    assert (width, height) == (2, 2)
    assert [found[n : n + 2] for n in range(0, 12, 3)] == [
        bytes((0, 0)),
        bytes((200, 0)),
        bytes((0, 200)),
        bytes((200, 200)),
    ]


@pytest.mark.parametrize(
    ("mime_type", "content"),
    [
        (PIXMAP, b""),
        (PIXMAP, b"P5\n1 1\n255\na"),
        (PIXMAP, b"P6\nx 1\n255\nabc"),
        (PIXMAP, b"P6\n1 1\n65535\nabcdef"),
        (PIXMAP, b"P6\n2 2\n255\nabc"),
        (PIXMAP, b"P6\n0 1\n255\n"),
        (PIXMAP, b"P6\n99999 1\n255\nabc"),
        (PIXMAP, b"P6\n8192 8192\n255\nabc"),
        ("image/png", b"<svg onload=alert(1)>"),
        (
            "image/png",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 60000, 60000) + b"x" * 9,
        ),
        ("image/png", b""),
    ],
)
def test_what_is_no_picture_is_refused(mime_type: str, content: bytes) -> None:
    with pytest.raises(ValueError):
        png_of(Screenshot(mime_type, content))


def test_a_png_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    png = png_of(Screenshot(PIXMAP, b"P6\n1 1\n255\nabc"))
    monkeypatch.setattr(picture, "MAX_PNG_BYTES", len(png) - 1)
    with pytest.raises(ValueError, match="too large"):
        png_of(Screenshot("image/png", png))
