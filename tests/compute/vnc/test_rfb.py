"""The security handshake in both directions, and telling input from requests."""

import asyncio
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.vnc import rfb


class Pipe:
    """What one side writes, the other side reads."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()

    async def readexactly(self, n: int, /) -> bytes:
        return await self.reader.readexactly(n)

    async def write(self, data: bytes, /) -> None:
        self.reader.feed_data(data)


def test_the_challenge_is_answered_with_des_of_a_key_with_reversed_bits() -> None:
    # A published known-answer pair of DES, with the bits of each key byte turned around.
    key = bytes.fromhex("133457799bbcdff1")
    password = bytes(int(f"{byte:08b}"[::-1], 2) for byte in key).decode("latin-1")
    block = bytes.fromhex("0123456789abcdef")
    assert rfb.answer_challenge(password, block * 2) == bytes.fromhex("85e813540f0ab405") * 2


def test_only_the_first_eight_characters_of_a_password_count() -> None:
    challenge = bytes(range(16))
    assert rfb.answer_challenge("12345678", challenge) == rfb.answer_challenge(
        "123456789", challenge
    )
    assert rfb.answer_challenge("1234567", challenge) != rfb.answer_challenge("12345678", challenge)


def test_new_passwords_are_eight_letters_and_digits_and_differ() -> None:
    passwords = {rfb.new_password() for _ in range(200)}
    assert len(passwords) == 200
    assert all(len(word) == 8 and word.isalnum() for word in passwords)


async def _both(version: bytes, *, password: str | None, answer_with: str | None) -> None:
    """Run our server side against a viewer of some version."""
    to_viewer, to_server = Pipe(), Pipe()

    async def viewer() -> None:
        assert await to_viewer.readexactly(12) == rfb.VERSION
        await to_server.write(version)
        minor = int(version[8:11])
        expected = rfb.SECURITY_NONE if password is None else rfb.SECURITY_VNC
        if minor < 7:
            assert int.from_bytes(await to_viewer.readexactly(4), "big") == expected
        else:
            assert await to_viewer.readexactly(2) == bytes([1, expected])
            await to_server.write(bytes([expected]))
        if answer_with is not None:
            challenge = await to_viewer.readexactly(16)
            await to_server.write(rfb.answer_challenge(answer_with, challenge))
        if answer_with is not None or minor >= 8:
            result = int.from_bytes(await to_viewer.readexactly(4), "big")
            assert result == (0 if answer_with == password else 1)
            if result and minor >= 8:
                length = int.from_bytes(await to_viewer.readexactly(4), "big")
                assert b"password" in await to_viewer.readexactly(length)

    async with asyncio.timeout(5):
        served, seen = await asyncio.gather(
            rfb.serve_security(to_server, to_viewer, password=password),
            viewer(),
            return_exceptions=True,
        )
        if isinstance(seen, BaseException):
            raise seen
        if isinstance(served, BaseException):
            raise served


@pytest.mark.parametrize("version", [b"RFB 003.003\n", b"RFB 003.007\n", b"RFB 003.008\n"])
def test_viewers_of_every_version_get_in_with_the_password(version: bytes) -> None:
    asyncio.run(_both(version, password="secret99", answer_with="secret99"))


@pytest.mark.parametrize("version", [b"RFB 003.003\n", b"RFB 003.007\n", b"RFB 003.008\n"])
def test_viewers_of_every_version_get_in_where_none_is_asked(version: bytes) -> None:
    asyncio.run(_both(version, password=None, answer_with=None))


@pytest.mark.parametrize("version", [b"RFB 003.003\n", b"RFB 003.007\n", b"RFB 003.008\n"])
def test_a_wrong_password_is_refused_and_told(version: bytes) -> None:
    with pytest.raises(rfb.WrongPassword):
        asyncio.run(_both(version, password="secret99", answer_with="secret98"))


@pytest.mark.parametrize(
    "greeting", [b"GET / HTTP/1.", b"RFB 003.00x\n", b"RFB 002.000\n", b"\0" * 12]
)
def test_something_else_than_rfb_is_refused(greeting: bytes) -> None:
    async def talk() -> None:
        to_server, to_viewer = Pipe(), Pipe()
        await to_server.write(greeting)
        await rfb.serve_security(to_server, to_viewer, password="secret99")

    with pytest.raises(rfb.ProtocolError):
        asyncio.run(talk())


def test_a_viewer_cannot_choose_a_type_that_was_not_offered() -> None:
    async def talk() -> None:
        to_server, to_viewer = Pipe(), Pipe()
        await to_server.write(rfb.VERSION + bytes([rfb.SECURITY_NONE]))
        await rfb.serve_security(to_server, to_viewer, password="secret99")

    with pytest.raises(rfb.ProtocolError, match="security type 1"):
        asyncio.run(talk())


def test_our_two_sides_understand_each_other() -> None:
    async def talk() -> None:
        to_server, to_viewer = Pipe(), Pipe()
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            group.create_task(rfb.serve_security(to_server, to_viewer, password="secret99"))
            await rfb.pass_security(to_viewer, to_server, password="secret99")

    asyncio.run(talk())


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (rfb.VERSION + bytes([1, rfb.SECURITY_NONE]), "no VNC authentication"),
        (rfb.VERSION + bytes([0, 0, 0, 0, 4]) + b"busy", "busy"),
        (rfb.VERSION + bytes([0]) + b"\xff\xff\xff\xff", "too long"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "greeting"),
    ],
)
def test_a_server_that_does_not_ask_for_a_password_is_not_used(said: bytes, reason: str) -> None:
    async def talk() -> None:
        to_server, to_viewer = Pipe(), Pipe()
        await to_viewer.write(said)
        await rfb.pass_security(to_viewer, to_server, password="secret99")

    with pytest.raises(rfb.ProtocolError, match=reason):
        asyncio.run(talk())


SET_PIXEL_FORMAT = bytes([0]) + bytes(19)
SET_ENCODINGS = bytes([2, 0, 0, 3]) + bytes(12)
UPDATE_REQUEST = bytes([3, 1]) + bytes(8)
KEY = bytes([4, 1, 0, 0, 0, 0, 0, 65])
POINTER = bytes([5, 0, 0, 1, 0, 1])
CUT_TEXT = bytes([6, 0, 0, 0, 0, 0, 0, 5]) + b"hello"
EXTENDED_CUT_TEXT = bytes([6, 0, 0, 0]) + (-4).to_bytes(4, "big", signed=True) + bytes(4)
QEMU_KEY = bytes([255, 0, 0, 1]) + bytes(8)
QEMU_AUDIO_ON = bytes([255, 1, 0, 0])
QEMU_AUDIO_FORMAT = bytes([255, 1, 0, 2]) + bytes(6)
CONTINUOUS = bytes([150, 1]) + bytes(8)
FENCE = bytes([248, 0, 0, 0, 0, 0, 0, 0, 5]) + b"fence"
DESKTOP_SIZE = bytes([251, 0, 0, 0, 0, 0, 1, 0]) + bytes(16)
QUIET = [
    SET_PIXEL_FORMAT,
    SET_ENCODINGS,
    UPDATE_REQUEST,
    QEMU_AUDIO_ON,
    QEMU_AUDIO_FORMAT,
    CONTINUOUS,
    FENCE,
    DESKTOP_SIZE,
]
INPUT = [KEY, POINTER, CUT_TEXT, EXTENDED_CUT_TEXT, QEMU_KEY]


def feed(watcher: rfb.InputWatcher, stream: bytes, cuts: list[int]) -> bool:
    """Feed a stream in pieces."""
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    # All pieces are fed, whatever the first ones gave.
    answers = [watcher.feed(stream[a:b]) for a, b in itertools.pairwise(edges)]
    return any(answers)


@given(
    messages=st.lists(st.sampled_from(QUIET), max_size=30),
    cuts=st.lists(st.integers(min_value=0), max_size=20),
)
def test_what_a_viewer_sends_by_itself_is_no_input(messages: list[bytes], cuts: list[int]) -> None:
    assert not feed(rfb.InputWatcher(skip_bytes=1), b"\1" + b"".join(messages), cuts)


@given(
    before=st.lists(st.sampled_from(QUIET), max_size=20),
    one=st.sampled_from(INPUT),
    after=st.lists(st.sampled_from(QUIET), max_size=20),
    cuts=st.lists(st.integers(min_value=0), max_size=20),
)
def test_keys_pointer_and_clipboard_are_input_however_they_arrive(
    before: list[bytes], one: bytes, after: list[bytes], cuts: list[int]
) -> None:
    stream = b"\1" + b"".join([*before, one, *after])
    watcher = rfb.InputWatcher(skip_bytes=1)
    assert feed(watcher, stream, cuts)
    # And it has not lost its place: what follows is told apart as before.
    assert not watcher.feed(UPDATE_REQUEST)
    assert watcher.feed(KEY)


def test_after_a_message_of_unknown_kind_every_byte_counts_as_input() -> None:
    watcher = rfb.InputWatcher()
    assert watcher.feed(bytes([77]))
    assert watcher.feed(UPDATE_REQUEST)
    assert not watcher.feed(b"")


def test_watching_keeps_no_more_than_the_head_of_a_message() -> None:
    watcher = rfb.InputWatcher()
    watcher.feed(bytes([6, 0, 0, 0]) + (2**31 - 1).to_bytes(4, "big"))
    generator = random.Random(1)
    for _ in range(100):
        watcher.feed(generator.randbytes(10_000))
    assert len(watcher._head) < 16
