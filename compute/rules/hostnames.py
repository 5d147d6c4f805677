"""What a guest calls itself."""

from __future__ import annotations


def hostname_for(name: str, vm_id: str) -> str:
    """Return the host name of a guest whose VM has this name; the id where the name has none.

    Letters, digits and hyphens, as RFC 1123 section 2.1 allows; ``_`` and ``.`` become hyphens.
    """
    cleaned = name.lower().replace("_", "-").replace(".", "-").strip("-")
    if cleaned and cleaned.isascii() and all(char.isalnum() or char == "-" for char in cleaned):
        return cleaned
    return vm_id
