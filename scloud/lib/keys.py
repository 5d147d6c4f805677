"""The site's keys: a ring of its own for each purpose.

The first key of a ring is used; the others are accepted until ``manage.py rotate_keys`` has brought
everything to the first. A ring comes from the environment, else from a file of the state directory,
which is read again when it changes, so that a rotation needs no restart. Where there is neither,
the key of the sessions serves, as it did before there were rings.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

from cryptography.fernet import MultiFernet
from django.conf import settings

from scloud.lib import crypto


class Purpose(StrEnum):
    """What a ring is for. Sessions, CSRF and the like use Django's ``SECRET_KEY``."""

    SEALING = "sealing"  # secrets that are kept for a while
    QUOTES = "quotes"  # signatures of quoted prices
    DIGESTS = "digests"  # API keys, tickets: what is looked up and never shown again


_read: dict[Path, tuple[tuple[int, int, int], list[str]]] = {}


def ring(purpose: Purpose) -> list[str]:
    """Return the keys of a purpose; the first one is used, the others are accepted."""
    given: list[str] = settings.SCLOUD_KEYS.get(purpose.value) or []
    return given or _in_file(file_of(purpose)) or legacy()


def is_shared(purpose: Purpose) -> bool:
    """Tell whether a purpose has no ring yet and uses the key of the sessions."""
    return not settings.SCLOUD_KEYS.get(purpose.value) and not _in_file(file_of(purpose))


def legacy() -> list[str]:
    """Return the keys that served every purpose before there were rings."""
    return [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]


def box() -> MultiFernet:
    """Return the cipher of sealed secrets."""
    return crypto.box(ring(Purpose.SEALING))


def digest(value: str) -> str:
    """Return the keyed digest of a value, by the first key."""
    return crypto.digest(value, ring(Purpose.DIGESTS)[0])


def digests(value: str) -> list[str]:
    """Return the digests of a value by every accepted key, for looking it up."""
    return [crypto.digest(value, key) for key in ring(Purpose.DIGESTS)]


def fingerprint(key: str) -> str:
    """Return a name of a key that does not tell the key: 16 hex digits."""
    return hmac.new(key.encode(), b"scloud.fingerprint", hashlib.sha256).hexdigest()[:16]


# --- files


def file_of(purpose: Purpose) -> Path:
    """Return where the ring of a purpose is kept, one key per line."""
    return Path(settings.SCLOUD_STATE_DIR) / "keys" / purpose.value


def new_key() -> str:
    """Return a fresh key of 384 bits."""
    return secrets.token_urlsafe(48)


def write(path: Path, keys: Iterable[str]) -> None:
    """Write a ring, whole or not at all, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write("".join(f"{key}\n" for key in keys))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _in_file(path: Path) -> list[str]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return []
    stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
    known = _read.get(path)
    if known is None or known[0] != stamp:
        known = (stamp, [line for line in path.read_text().splitlines() if line])
        _read[path] = known
    return known[1]
