"""Signed news: HMAC-SHA256 over the time and the bytes of the body.

The header is ``t=<seconds>,v1=<hex>``, with several ``v1`` while a secret is being changed. The
time is a part of what is signed, so an old message cannot be given a new one.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Final

from billing.payments.base import BadNews

TOLERANCE_S: Final = 300
"""How far the time of a message may be from ours, either way."""

MOST_SIGNATURES: Final = 4
_TIME: Final = re.compile(r"t=([0-9]{1,12})")
_MAC: Final = re.compile(r"v1=([0-9a-f]{64})")


def sign(secret: str, body: bytes, seconds: int) -> str:
    """The header of ``body`` sent at ``seconds`` since 1970.

    >>> sign("secret", b"{}", 1700000000)[:15]
    't=1700000000,v1'
    """
    return f"t={seconds},v1={_mac(secret, body, seconds)}"


def verify(secrets: Sequence[str], header: str, body: bytes, now_s: float) -> None:
    """Raise BadNews unless one of ``secrets`` signed exactly ``body`` within the tolerance.

    >>> verify(["old", "new"], sign("new", b"{}", 1700000000), b"{}", 1700000299.0)
    """
    first, *rest = header.split(",")
    stamp = _TIME.fullmatch(first)
    macs = [_MAC.fullmatch(part) for part in rest]
    if stamp is None or not 1 <= len(macs) <= MOST_SIGNATURES or None in macs:
        raise BadNews("signature_malformed")
    seconds = int(stamp[1])
    if abs(now_s - seconds) > TOLERANCE_S:
        raise BadNews("signature_too_old")
    wanted = [_mac(secret, body, seconds) for secret in secrets]
    # All are compared, so that the time does not tell which one was near.
    matches = [
        hmac.compare_digest(found[1], one) for found in macs if found is not None for one in wanted
    ]
    if not any(matches):
        raise BadNews("signature_wrong")


def _mac(secret: str, body: bytes, seconds: int) -> str:
    return hmac.new(secret.encode(), b"%d." % seconds + body, hashlib.sha256).hexdigest()
