"""The parts of the RFB protocol (RFC 6143) that a broker between a viewer and QEMU must speak.

Only the security handshake is interpreted, in both directions, and the kinds of the messages that
a viewer sends. Everything after the handshake passes through as it is. No Django, no sockets:
the functions work on anything that reads and writes bytes.
"""

import hmac
import secrets
import string
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

VERSION: Final = b"RFB 003.008\n"
SECURITY_NONE: Final = 1
SECURITY_VNC: Final = 2
SECURITY_VENCRYPT: Final = 19
#: VeNCrypt's subtype: TLS with certificates on both sides, and a VNC password inside.
X509_VNC: Final = 261
_VENCRYPT_VERSION: Final = b"\x00\x02"
CHALLENGE_BYTES: Final = 16
PASSWORD_LENGTH: Final = 8
_MAX_REASON_BYTES: Final = 4096

_ALPHABET: Final = string.ascii_letters + string.digits


class ProtocolError(Exception):
    """The other side does not speak RFB, or not a version or security type that we can use."""


class WrongPassword(ProtocolError):
    """The answer to the challenge does not fit the password."""


class ByteReader(Protocol):
    """Where the bytes of the other side come from."""

    async def readexactly(self, n: int, /) -> bytes:
        """Return exactly ``n`` bytes or raise ``asyncio.IncompleteReadError``."""


class ByteWriter(Protocol):
    """Where the bytes for the other side go."""

    async def write(self, data: bytes, /) -> None:
        """Send all of ``data``; returns when the other side keeps up."""


def new_password() -> str:
    """Return a random password of eight letters and digits: RFB looks at no more than eight."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(PASSWORD_LENGTH))


def answer_challenge(password: str, challenge: bytes) -> bytes:
    """Return the 16 bytes that prove the knowledge of the password.

    The scheme is DES in ECB mode with the password as key, where each byte of the key is taken
    with its bits in reverse order. Triple DES with three equal keys is DES.
    """
    key = password.encode("latin-1", "replace")[:8].ljust(8, b"\0")
    reversed_bits = bytes(int(f"{byte:08b}"[::-1], 2) for byte in key)
    cipher = Cipher(TripleDES(reversed_bits * 3), modes.ECB())  # noqa: S305 (RFC 6143, 7.2.2)
    encryptor = cipher.encryptor()
    return encryptor.update(challenge) + encryptor.finalize()


def _parse_version(line: bytes) -> int:
    """Return the minor version to speak (3, 7 or 8) for a greeting."""
    if len(line) != 12 or line[:4] != b"RFB " or line[7:8] != b"." or line[11:] != b"\n":
        raise ProtocolError("the greeting is not that of RFB")
    try:
        major, minor = int(line[4:7]), int(line[8:11])
    except ValueError:
        raise ProtocolError("the greeting is not that of RFB") from None
    if major < 3:
        raise ProtocolError(f"RFB {major}.{minor} is too old")
    if major > 3 or minor >= 8:
        return 8
    # RFC 6143, 7.1.1: any other version is to be treated as 3.3.
    return 7 if minor == 7 else 3


def _reason(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(4, "big") + data


async def _read_reason(reader: ByteReader) -> str:
    length = int.from_bytes(await reader.readexactly(4), "big")
    if length > _MAX_REASON_BYTES:
        raise ProtocolError("the other side refused, with too long a reason")
    return (await reader.readexactly(length)).decode("utf-8", "replace")


async def serve_security(reader: ByteReader, writer: ByteWriter, *, password: str | None) -> None:
    """Take a viewer through the security handshake, as the server.

    With a ``password`` the only type offered is VNC authentication, without one it is *None*:
    then whoever got here must have been authorised by other means. Returns when the viewer may
    send ClientInit.

    Raises:
        WrongPassword: the viewer was told so.
        ProtocolError: the viewer does something else than RFB.
        asyncio.IncompleteReadError: the viewer went away.
    """
    await writer.write(VERSION)
    minor = _parse_version(await reader.readexactly(12))
    offered = SECURITY_NONE if password is None else SECURITY_VNC
    if minor == 3:
        await writer.write(offered.to_bytes(4, "big"))
    else:
        await writer.write(bytes([1, offered]))
        chosen = (await reader.readexactly(1))[0]
        if chosen != offered:
            await writer.write((1).to_bytes(4, "big"))
            if minor == 8:
                await writer.write(_reason("This security type was not offered."))
            raise ProtocolError(f"the viewer chose the security type {chosen}")
    if password is None:
        if minor == 8:
            await writer.write(bytes(4))
        return
    challenge = secrets.token_bytes(CHALLENGE_BYTES)
    await writer.write(challenge)
    answer = await reader.readexactly(CHALLENGE_BYTES)
    if not hmac.compare_digest(answer, answer_challenge(password, challenge)):
        await writer.write((1).to_bytes(4, "big"))
        if minor == 8:
            await writer.write(_reason("The password is wrong."))
        raise WrongPassword("the password is wrong")
    await writer.write(bytes(4))


async def pass_security(
    reader: ByteReader,
    writer: ByteWriter,
    *,
    password: str,
    encrypt: Callable[[], Awaitable[None]] | None = None,
    plain_allowed: bool = True,
) -> None:
    """Go through the security handshake of a server, as the viewer.

    Only VNC authentication is used: a server that lets everybody in is refused, for the
    hypervisor was told to protect the screen and evidently did not. ``encrypt`` turns the
    connection below ``reader`` and ``writer`` into one by TLS; it is called where the server
    offers VeNCrypt with certificates, and the password is then proven inside. Without
    ``plain_allowed`` no other server is used. Returns when ClientInit may be sent.

    Raises:
        WrongPassword: the server did not accept the password.
        ProtocolError: the server does something else than RFB, or offers nothing that is used.
        asyncio.IncompleteReadError: the server went away.
    """
    minor = _parse_version(await reader.readexactly(12))
    await writer.write(b"RFB 003.%03d\n" % minor)
    types: Sequence[int]
    if minor == 3:
        chosen = int.from_bytes(await reader.readexactly(4), "big")
        types = [chosen] if chosen else []
    else:
        types = await reader.readexactly((await reader.readexactly(1))[0])
    if not types:
        raise ProtocolError(f"the server refused: {await _read_reason(reader)}")
    if SECURITY_VENCRYPT in types and minor != 3 and encrypt is not None:
        await writer.write(bytes([SECURITY_VENCRYPT]))
        await _choose_encryption(reader, writer)
        await encrypt()
        await _prove_password(reader, writer, password, minor)
        return
    if not plain_allowed:
        raise ProtocolError(f"the server offers no encryption that can be used but {list(types)}")
    if SECURITY_VNC not in types:
        raise ProtocolError(f"the server offers no VNC authentication but {list(types)}")
    if minor != 3:
        await writer.write(bytes([SECURITY_VNC]))
    await _prove_password(reader, writer, password, minor)


async def _choose_encryption(reader: ByteReader, writer: ByteWriter) -> None:
    """Agree on version and subtype of VeNCrypt; TLS begins afterwards."""
    version = await reader.readexactly(2)
    if version < _VENCRYPT_VERSION:
        raise ProtocolError(f"VeNCrypt {version[0]}.{version[1]} is too old")
    await writer.write(_VENCRYPT_VERSION)
    if (await reader.readexactly(1))[0] != 0:
        raise ProtocolError("the server does not take VeNCrypt 0.2")
    count = (await reader.readexactly(1))[0]
    offered = await reader.readexactly(4 * count)
    subtypes = [int.from_bytes(offered[at : at + 4], "big") for at in range(0, 4 * count, 4)]
    if X509_VNC not in subtypes:
        raise ProtocolError(f"the server offers no password within TLS but {subtypes}")
    await writer.write(X509_VNC.to_bytes(4, "big"))
    if (await reader.readexactly(1))[0] != 1:
        raise ProtocolError("the server does not begin TLS")


async def _prove_password(
    reader: ByteReader, writer: ByteWriter, password: str, minor: int
) -> None:
    challenge = await reader.readexactly(CHALLENGE_BYTES)
    await writer.write(answer_challenge(password, challenge))
    if int.from_bytes(await reader.readexactly(4), "big") != 0:
        reason = await _read_reason(reader) if minor == 8 else "no reason given"
        raise WrongPassword(f"the server did not accept the password: {reason}")


# What a viewer sends: kind -> (bytes that tell the length, function from those to the length).
_FIXED: Final[dict[int, int]] = {
    0: 20,  # SetPixelFormat
    3: 10,  # FramebufferUpdateRequest
    4: 8,  # KeyEvent
    5: 6,  # PointerEvent
    150: 10,  # EnableContinuousUpdates
    250: 4,  # xvp
}


def _cut_text_length(head: bytes) -> int:
    # A negative length marks the extended clipboard; its amount is what follows.
    return 8 + abs(int.from_bytes(head[4:8], "big", signed=True))


def _qemu_length(head: bytes) -> int:
    if head[1] == 0:
        return 12  # extended key event
    if head[1] == 1:
        return 10 if head[2:4] == b"\x00\x02" else 4  # audio: set format, else on/off
    return 0


_VARIABLE: Final[dict[int, tuple[int, Callable[[bytes], int]]]] = {
    2: (4, lambda head: 4 + 4 * int.from_bytes(head[2:4], "big")),  # SetEncodings
    6: (8, _cut_text_length),  # ClientCutText
    248: (9, lambda head: 9 + head[8]),  # ClientFence
    251: (8, lambda head: 8 + 16 * head[6]),  # SetDesktopSize
    255: (4, _qemu_length),
}


class InputWatcher:
    """Tells a person's input from the requests that a viewer sends by itself.

    A viewer asks for updates as long as it is open, so that bytes alone do not say that anybody
    is there. Feed it what the viewer sends after ClientInit; ``feed`` returns True when a key,
    the pointer or the clipboard was among it. It keeps at most one message's head, whatever the
    viewer sends. After a message of unknown kind it cannot know where the next one starts and
    takes every byte for input from then on.
    """

    def __init__(self, *, skip_bytes: int = 0) -> None:
        self._skip = skip_bytes
        self._head = b""
        self._lost = False

    def feed(self, data: bytes) -> bool:
        """Look at the next bytes; True if they carry input."""
        if self._lost:
            return bool(data)
        seen = False
        at = 0
        end = len(data)
        if self._skip:
            at = min(self._skip, end)
            self._skip -= at
        if self._head:
            data = self._head + data[at:]
            at, end = 0, len(data)
            self._head = b""
        while at < end:
            kind = data[at]
            length = _FIXED.get(kind)
            if length is None:
                entry = _VARIABLE.get(kind)
                if entry is None:
                    self._lost = True
                    return True
                needed, measure = entry
                if end - at < needed:
                    self._head = data[at:]
                    return seen
                length = measure(data[at : at + needed])
                if length == 0:
                    self._lost = True
                    return True
            if kind in (4, 5, 6) or (kind == 255 and data[at + 1] == 0):
                seen = True
            if at + length > end:
                self._skip = at + length - end
                return seen
            at += length
        return seen
