"""The inside of OpenSSH public keys: every field has the length that its kind asks for.

Formats: RFC 4253 section 6.6 (RSA), RFC 5656 section 3.1 (ECDSA), RFC 8709 section 4 (Ed25519),
and OpenSSH's PROTOCOL.u2f for keys on security tokens.
"""

import base64
import binascii
import hashlib
import struct
from typing import Final

RSA_MIN_BITS: Final = 1024
RSA_MAX_BITS: Final = 16_384
_POINTS: Final = {"nistp256": 65, "nistp384": 97, "nistp521": 133}


class CutOffError(ValueError):
    """The key ends before its last field does."""


class _Reader:
    """Reads length-prefixed strings one after the other."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def string(self) -> bytes:
        if len(self._raw) < 4:
            raise CutOffError("the length of a field is missing")
        (length,) = struct.unpack(">I", self._raw[:4])
        if len(self._raw) < 4 + length:
            raise CutOffError(f"a field of {length} bytes has {len(self._raw) - 4}")
        found, self._raw = self._raw[4 : 4 + length], self._raw[4 + length :]
        return found

    def number(self) -> int:
        """A positive multiple-precision integer without needless zeros in front."""
        raw = self.string()
        if not raw or raw[0] & 0x80 or (raw[0] == 0 and (len(raw) == 1 or not raw[1] & 0x80)):
            raise ValueError("not a positive number")
        return int.from_bytes(raw, "big")

    def end(self) -> None:
        if self._raw:
            raise ValueError(f"{len(self._raw)} bytes too many")


def _rsa(reader: _Reader) -> None:
    exponent, modulus = reader.number(), reader.number()
    if exponent < 3 or exponent % 2 == 0:
        raise ValueError("not an exponent")
    if not RSA_MIN_BITS <= modulus.bit_length() <= RSA_MAX_BITS:
        raise ValueError(f"a modulus of {modulus.bit_length()} bits")


def _ed25519(reader: _Reader) -> None:
    if len(reader.string()) != 32:
        raise ValueError("not 32 bytes")


def _ecdsa(curve: str, reader: _Reader) -> None:
    if reader.string() != curve.encode():
        raise ValueError("another curve than the type says")
    point = reader.string()
    if len(point) != _POINTS[curve] or point[:1] != b"\x04":
        raise ValueError("not a point of the curve")


def _read(kind: str, reader: _Reader) -> None:
    if kind == "ssh-rsa":
        _rsa(reader)
    elif kind in ("ssh-ed25519", "sk-ssh-ed25519@openssh.com"):
        _ed25519(reader)
    elif kind == "sk-ecdsa-sha2-nistp256@openssh.com":
        _ecdsa("nistp256", reader)
    else:
        _ecdsa(kind.removeprefix("ecdsa-sha2-"), reader)
    if kind.startswith("sk-") and not reader.string():
        raise ValueError("no application")


TYPES: Final = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        *(f"ecdsa-sha2-{curve}" for curve in _POINTS),
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)


def check(kind: str, body: str) -> None:
    """Raise CutOffError or ValueError unless ``body`` is the base64 of a whole key of a kind."""
    damaged = False
    try:
        raw = base64.b64decode(body, validate=True)
    except binascii.Error as error:
        if len(body.rstrip("=")) % 4 == 0 or not body.rstrip("=").isascii():
            raise ValueError("not base64") from error
        # Whatever whole bytes there are tell whether only the end is missing.
        damaged = True
        try:
            whole = body.rstrip("=")
            raw = base64.b64decode(whole[: len(whole) // 4 * 4], validate=True)
        except binascii.Error:
            raise ValueError("not base64") from error
    reader = _Reader(raw)
    if reader.string() != kind.encode():
        raise ValueError("another type inside")
    _read(kind, reader)
    reader.end()
    if damaged:
        raise ValueError("not base64")


def identity(key: str) -> str:
    """Return type and body of a valid key without its comment: what tells keys apart."""
    return " ".join(key.split()[:2])


def fingerprint(key: str) -> str:
    """Return what ``ssh-keygen -l`` shows of a valid key: ``SHA256:`` and 43 characters."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
