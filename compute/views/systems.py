"""The signs of operating systems: drawn here, letters on a ground, no logo of anybody."""

from __future__ import annotations

from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

# Letters, and the number of the colour (``--line-…`` of the tokens); others are grey.
_MARKS = {
    "almalinux": ("Al", 5),
    "alpine": ("Ap", 5),
    "arch": ("Ar", 5),
    "centos": ("C", 3),
    "debian": ("D", 4),
    "fedora": ("F", 5),
    "freebsd": ("FB", 2),
    "kylin": ("K", 1),
    "mini": ("m", 0),
    "opensuse": ("S", 3),
    "openeuler": ("oE", 1),
    "oracle": ("O", 2),
    "redhat": ("RH", 2),
    "rhel": ("RH", 2),
    "rocky": ("R", 3),
    "suse": ("S", 3),
    "ubuntu": ("U", 2),
    "windows": ("W", 5),
}


def mark(distribution: str) -> SafeString:
    """Return the sign of a distribution; what it stands for is told by the name beside it."""
    known = distribution.strip().lower()
    letters, colour = _MARKS.get(known, (known[:1].upper() or "?", 0))
    return format_html(
        '<svg class="os-mark os-mark-{}" viewBox="0 0 18 18" aria-hidden="true">'
        '<rect width="18" height="18" rx="4"></rect><text x="9" y="12.6">{}</text></svg>',
        colour,
        letters,
    )


def named(image: Any) -> SafeString:
    """Return the name of an image behind the sign of its distribution."""
    return format_html(
        '<span class="os-name" title="{}">{}<span class="truncate">{}</span></span>',
        image.name,
        mark(image.distribution),
        image.name,
    )
