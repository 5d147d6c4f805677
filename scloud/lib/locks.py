"""Names for PostgreSQL's advisory locks."""

import hashlib


def advisory_key(text: str) -> int:
    """Return the 64-bit signed number of an advisory lock.

    Two texts with one number would only wait for, or refuse, each other for a moment.
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)
