"""Codes that are used once: of authenticator apps (RFC 6238) and of recovery. No database here."""

import hashlib
import re
import secrets
from datetime import datetime
from typing import Final

import pyotp
from django.utils.crypto import constant_time_compare

#: An app shows another code every so many seconds.
STEP_S: Final = 30
#: Clocks differ, and people type: codes of so many intervals before and after are accepted too.
DRIFT: Final = 1
ISSUER: Final = "SCloud"
# Without letters and digits that look alike.
_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
#: 16 characters of 32 are 80 bits: nobody guesses them, not even from the digest.
_LENGTH: Final = 16
_OF_APP: Final = re.compile(r"[0-9]{6}")


def new_secret() -> str:
    """Return what an app and the platform share: 160 bits, in base 32."""
    return pyotp.random_base32()


def address_of(secret: str, email: str) -> str:
    """Return the ``otpauth://`` address by which an app learns the secret."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def cleaned(code: str) -> str:
    """Return a typed code as it is compared: without spaces and hyphens, in lower case."""
    return re.sub(r"[\s-]", "", code).lower()


def is_of_app(code: str) -> bool:
    """Tell whether a cleaned code can be one of an app."""
    return _OF_APP.fullmatch(code) is not None


def steps_of(secret: str, code: str, at: datetime) -> list[int]:
    """Return the numbers of the intervals around a time whose code this is, oldest first."""
    present = int(at.timestamp()) // STEP_S
    codes = pyotp.HOTP(secret)
    around = range(present - DRIFT, present + DRIFT + 1)
    return [step for step in around if constant_time_compare(codes.at(step), code)]


def new_recovery_code() -> str:
    """Return a recovery code as people write it down: four groups of four characters."""
    code = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    return "-".join(code[at : at + 4] for at in range(0, _LENGTH, 4))


def recovery_digest(user_id: int, code: str) -> str:
    """Return what is kept of a cleaned recovery code: 64 hex digits.

    Without a key of the site: codes are kept for years, and would end with the key.
    """
    return hashlib.sha256(f"scloud.recovery {user_id} {code}".encode()).hexdigest()
