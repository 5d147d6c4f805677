"""The signs of operating systems: drawn here, letters on a ground, no logo of anybody."""

from __future__ import annotations

from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

# What a distribution is called, its letters, and the number of the colour (``--line-…`` of the
# tokens); others are grey.
_KNOWN = {
    "almalinux": ("AlmaLinux", "Al", 5),
    "alpine": ("Alpine Linux", "Ap", 5),
    "arch": ("Arch Linux", "Ar", 5),
    "centos": ("CentOS", "C", 3),
    "debian": ("Debian", "D", 4),
    "fedora": ("Fedora", "F", 5),
    "freebsd": ("FreeBSD", "FB", 2),
    "kylin": ("Kylin", "K", 1),
    "mini": ("Mini", "m", 0),
    "opensuse": ("openSUSE", "S", 3),
    "openeuler": ("openEuler", "oE", 1),
    "oracle": ("Oracle Linux", "O", 2),
    "redhat": ("Red Hat Enterprise Linux", "RH", 2),
    "rhel": ("Red Hat Enterprise Linux", "RH", 2),
    "rocky": ("Rocky Linux", "R", 3),
    "suse": ("SUSE Linux Enterprise", "S", 3),
    "ubuntu": ("Ubuntu", "U", 2),
    "windows": ("Windows", "W", 5),
}


def title(distribution: str) -> str:
    """Return what a distribution is called; one that is not known is called as it is written."""
    known = distribution.strip()
    name, _letters, _colour = _KNOWN.get(known.lower(), (known, "", 0))
    return name or _("Other")


def mark(distribution: str) -> SafeString:
    """Return the sign of a distribution; what it stands for is told by the name beside it."""
    known = distribution.strip().lower()
    _name, letters, colour = _KNOWN.get(known, ("", known[:1].upper() or "?", 0))
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
