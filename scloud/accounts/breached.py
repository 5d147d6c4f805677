"""Refusing passwords that were seen in data breaches, by a list that the operator keeps.

The list is a file of SHA-1 digests in hexadecimal, one a line and in ascending order, each with
``:`` and a count or without: the form in which the public corpora of breached passwords are
offered, ordered by hash. It is read where it lies, by binary search, some 35 short reads of a file
of 40 GB; no password and no part of one leaves the machine.
"""

import hashlib
import logging
import os
import re
from pathlib import Path
from typing import BinaryIO, Final

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

log = logging.getLogger(__name__)

_DIGITS: Final = 40
#: A line of the list.
LINE: Final = re.compile(rb"[0-9A-Fa-f]{40}(:[0-9]+)?\r?\n?")


class BreachedPasswordValidator:
    """A rule of Django's for new passwords; without a list it refuses nothing."""

    def validate(self, password: str, user: AbstractBaseUser | None = None) -> None:
        """Raise ValidationError (``password_breached``) for a password on the list."""
        path: Path | None = settings.SCLOUD_BREACHED_PASSWORDS
        if path is None:
            return
        digest = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest()
        try:
            with path.open("rb") as file:
                found = holds(file, digest)
        except OSError:
            # The other rules hold; nobody must be kept from changing a password.
            log.exception("The list of breached passwords cannot be read")
            return
        if found:
            raise ValidationError(
                _("This password has appeared in a data breach. Choose another one."),
                code="password_breached",
            )

    def get_help_text(self) -> str:
        return _("Your password cannot be one that has appeared in a data breach.")


def holds(file: BinaryIO, digest: str) -> bool:
    """Tell whether a list has a line with a digest of 40 hexadecimal digits, in any case."""
    wanted = digest.upper().encode()
    # The line begins at or after ``low`` and before ``high``, if there is one.
    low, high = 0, file.seek(0, os.SEEK_END)
    while low < high:
        middle = (low + high) // 2
        start = _line_from(file, middle)
        if start >= high:
            high = middle
            continue
        found = file.readline()[:_DIGITS].upper()
        if found == wanted:
            return True
        if found < wanted:
            low = file.tell()
        else:
            high = middle
    return False


def _line_from(file: BinaryIO, place: int) -> int:
    """Go to the first line that begins at or after a place; return where that is."""
    file.seek(max(place - 1, 0))
    if place:
        file.readline()
    return file.tell()
