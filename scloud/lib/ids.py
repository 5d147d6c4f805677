"""Public identifiers: a prefix that names the kind, then nine random letters or digits."""

import secrets

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
LENGTH = 9


def new_id(prefix: str) -> str:
    """Return a fresh id such as ``vm-4k2p09xqa``.

    36**9 is about 1e14: with a million ids the chance that a new one collides is 1e-8, and the
    primary key refuses it then.
    """
    number = secrets.randbelow(len(ALPHABET) ** LENGTH)
    letters = []
    for _ in range(LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[digit])
    return f"{prefix}-" + "".join(letters)
