"""Icons: SVG drawings of the Tabler set, from the sprite of the static files or inline."""

import re
from functools import cache, lru_cache
from pathlib import Path
from xml.etree import ElementTree

from django.conf import settings
from django.contrib.staticfiles import finders
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

OUTLINE = Path(settings.BASE_DIR) / "node_modules/@tabler/icons/icons/outline"
SPRITE = "vendor/icons.svg"
_NAME = re.compile(r"\A[a-z0-9-]{1,60}\Z")
_SVG = "{http://www.w3.org/2000/svg}"
_DRAWN = {"path", "circle", "rect", "line", "polyline", "polygon", "ellipse"}


@lru_cache(maxsize=2048)
def drawing(name: str) -> str:
    """Return the inner SVG of an icon. Raises ValueError for a name that is not in the set."""
    if not _NAME.match(name):
        raise ValueError(f"not an icon name: {name!r}")
    path = OUTLINE / f"{name}.svg"
    if not path.is_file():
        raise ValueError(f"the icon set has no {name!r}")
    # The files are part of a locked npm package, not input from outside.
    root = ElementTree.fromstring(path.read_text())  # noqa: S314 (trusted file, see above)
    parts = []
    for element in root:
        tag = element.tag.removeprefix(_SVG)
        if tag not in _DRAWN or element.get("stroke") == "none":
            continue
        attributes = "".join(f' {key}="{value}"' for key, value in element.items())
        parts.append(f"<{tag}{attributes}/>")
    return "".join(parts)


@cache
def sprite_names() -> frozenset[str]:
    """Return the icons that the built sprite holds; none when it has not been built."""
    found = finders.find(SPRITE)
    if not found:
        return frozenset()
    return frozenset(re.findall(r'<symbol id="([a-z0-9-]+)"', Path(str(found)).read_text()))


@lru_cache(maxsize=2048)
def icon(name: str, css_class: str = "") -> SafeString:
    """Return an ``<svg>`` that is hidden from screen readers: text stands beside every icon."""
    classes = f"icon {css_class}".strip()
    if name in sprite_names():
        return format_html(
            '<svg class="{}" viewBox="0 0 24 24" aria-hidden="true"><use href="{}#{}"></use></svg>',
            classes,
            static(SPRITE),
            name,
        )
    return format_html(
        '<svg class="{}" viewBox="0 0 24 24" aria-hidden="true">{}</svg>',
        classes,
        mark_safe(drawing(name)),  # noqa: S308 (drawing() builds it from the locked icon set)
    )
