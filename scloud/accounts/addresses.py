"""E-mail addresses that people type."""

from typing import Final

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.translation import gettext as _

from scloud.lib.errors import InvalidInput
from scloud.tenancy.models import canonical_email

LONGEST_EMAIL: Final = 254


def checked_email(text: str) -> str:
    """Return an address as it is kept. Raises InvalidInput (``email_invalid``)."""
    cleaned = canonical_email(text)
    if not _is_email(cleaned):
        raise InvalidInput(_("This is not an e-mail address."), code="email_invalid", field="email")
    return cleaned


def _is_email(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return len(text) <= LONGEST_EMAIL and "\x00" not in text
