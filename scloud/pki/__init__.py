"""The platform's own certificate authorities, and who holds what of them. No Django."""

from scloud.pki.holders import (
    HOST_DIRECTORY,
    Holder,
    Kind,
    Pki,
    valid_name,
)
from scloud.pki.store import PkiError

__all__ = ["HOST_DIRECTORY", "Holder", "Kind", "Pki", "PkiError", "valid_name"]
