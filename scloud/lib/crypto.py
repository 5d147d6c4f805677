"""Encryption of the few secrets that must be kept for a while, and guest password hashes."""

import base64
import hashlib
import hmac
import secrets

from cryptography.fernet import Fernet, MultiFernet

_B64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def box(secret_keys: list[str]) -> MultiFernet:
    """Return the cipher derived from the site's secret keys; the first one encrypts."""
    keys = [
        base64.urlsafe_b64encode(hashlib.sha256(b"scloud.box:" + key.encode()).digest())
        for key in secret_keys
    ]
    return MultiFernet([Fernet(key) for key in keys])


def digest(value: str, secret_key: str) -> str:
    """Return a keyed digest, for tokens that are looked up by value and never shown again."""
    return hmac.new(secret_key.encode(), value.encode(), hashlib.sha256).hexdigest()


def sha512_crypt(password: str, salt: str | None = None, rounds: int = 5000) -> str:
    """Return the ``$6$`` crypt(3) hash of a password.

    The algorithm is "Unix crypt using SHA-256 and SHA-512" by Ulrich Drepper, version 0.6,
    https://www.akkadia.org/drepper/SHA-crypt.txt. Guests know it from ``/etc/shadow``; it is
    written out here because Python 3.13 has no ``crypt`` module any more. 5000 rounds is the
    standard's default and the only count that may be left out of the string.
    """
    if rounds != 5000:
        raise ValueError("only the default of 5000 rounds is supported")
    if salt is None:
        salt = "".join(secrets.choice(_B64) for _ in range(16))
    pw, sa = password.encode(), salt.encode()[:16]
    alt = hashlib.sha512(pw + sa + pw).digest()
    ctx = hashlib.sha512(pw + sa)
    full, rest = divmod(len(pw), 64)
    ctx.update(alt * full + alt[:rest])
    length = len(pw)
    while length:
        ctx.update(alt if length & 1 else pw)
        length >>= 1
    final = ctx.digest()
    dp = hashlib.sha512(pw * len(pw)).digest()
    p = dp * full + dp[:rest]
    ds = hashlib.sha512(sa * (16 + final[0])).digest()
    s = ds[: len(sa)]
    for i in range(rounds):
        ctx = hashlib.sha512(p if i & 1 else final)
        if i % 3:
            ctx.update(s)
        if i % 7:
            ctx.update(p)
        ctx.update(final if i & 1 else p)
        final = ctx.digest()
    out = []
    # The order of the bytes in the text form is a fixed permutation of the standard:
    # triples (a, a+21, a+42) turned by one place each time.
    a, b, c = 0, 21, 42
    for _ in range(21):
        word = (final[a] << 16) | (final[b] << 8) | final[c]
        out.append("".join(_B64[(word >> (6 * n)) & 63] for n in range(4)))
        a, b, c = b + 1, c + 1, a + 1
    word = final[63]
    out.append("".join(_B64[(word >> (6 * n)) & 63] for n in range(2)))
    return f"$6${salt[:16]}${''.join(out)}"
