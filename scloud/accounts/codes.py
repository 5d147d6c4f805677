"""Codes in mails that prove who reads them. They are in no table: each is signed.

A code is good for half an hour and as long as password and address of its user are what they were,
so it is good once. One for a forgotten password ends with a sign-in too: it is not needed any more.
"""

from typing import Final

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.utils.encoding import force_bytes
from django.utils.http import (
    base36_to_int,
    int_to_base36,
    urlsafe_base64_decode,
    urlsafe_base64_encode,
)

from scloud.tenancy.models import User


class _Resets(PasswordResetTokenGenerator):
    key_salt = "scloud.accounts.codes.reset"


class _Addresses(PasswordResetTokenGenerator):
    """Codes for one new address."""

    def __init__(self, email: str) -> None:
        super().__init__()
        self.key_salt = f"scloud.accounts.codes.address {email}"

    def _make_hash_value(self, user: AbstractBaseUser, timestamp: int) -> str:
        # Without the last sign-in: the link asks those to sign in who are not signed in any more.
        assert isinstance(user, User)
        return f"{user.pk} {user.password} {user.email} {timestamp}"


_RESETS: Final = _Resets()
#: No key of a row has more digits.
_LONGEST_KEY: Final = 13


def reset_code(user: User) -> str:
    """Return a code with which a forgotten password is replaced."""
    return f"{int_to_base36(user.pk)}-{_RESETS.make_token(user)}"


def user_of_reset(code: str) -> User | None:
    """Return whose password a code replaces; None for a code that is wrong, old or used."""
    key, _, token = code.partition("-")
    try:
        pk = base36_to_int(key) if len(key) <= _LONGEST_KEY else 0
    except ValueError:
        return None
    user = User.objects.select_related("tenant").filter(pk=pk).first() if pk < 2**63 else None
    return user if may_reset(user) and _RESETS.check_token(user, token) else None


def may_reset(user: User | None) -> bool:
    """Tell whether a mail may replace somebody's password.

    Not that of an administrator of the platform: a mailbox would open every tenant. Nor is one made
    for who has none: whoever leaves the identity provider has to be out.
    """
    if user is None or user.is_staff or not user.is_active or not user.has_usable_password():
        return False
    return user.tenant is not None and user.tenant.is_active


def address_code(user: User, email: str) -> str:
    """Return a code that proves that the user reads what is sent to a new address."""
    return f"{urlsafe_base64_encode(force_bytes(email))}.{_Addresses(email).make_token(user)}"


def address_of(code: str, user: User) -> str | None:
    """Return the new address of a user's code; None for a code that is wrong, old or used."""
    encoded, _, token = code.partition(".")
    try:
        email = urlsafe_base64_decode(encoded).decode()
    except ValueError:
        return None
    return email if _Addresses(email).check_token(user, token) else None
