"""Tags of resources: words, or keys with values, by which tenants sort what they have."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext as _

from scloud.lib.errors import InvalidInput
from scloud.lib.text import composed, is_name

MAX_TAGS = 20
TAG_KEY_MAX, TAG_VALUE_MAX = 30, 29


def check_tags(tags: Sequence[str], *, field: str = "tags") -> list[str]:
    """Return the tags without repetition; each is ``word`` or ``key=value``."""
    unique = list(dict.fromkeys(composed(tag.strip()) for tag in tags if tag.strip()))
    if len(unique) > MAX_TAGS:
        raise InvalidInput(
            _("At most %(limit)s tags.") % {"limit": MAX_TAGS},
            code="too_many_tags",
            field=field,
            numbers={"max": MAX_TAGS, "asked": len(unique)},
        )
    for tag in unique:
        if not _is_tag(tag):
            raise InvalidInput(
                _("A tag is a word or key=value of letters, digits and - _ ."),
                code="tag_invalid",
                field=field,
            )
    return unique


def _is_tag(tag: str) -> bool:
    key, equals, value = tag.partition("=")
    plain = value.replace("/", "-").replace(" ", "-")
    return is_name(key, longest=TAG_KEY_MAX) and (
        not equals or not value or is_name(plain, longest=TAG_VALUE_MAX)
    )
