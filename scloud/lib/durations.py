"""Durations as people write and read them: ``2 d 4 h``, ``90 min``."""

import re
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

_SECONDS: Final = {"d": 86_400, "h": 3600, "min": 60, "s": 1}
_PART: Final = re.compile(r"([0-9]{1,9})\s*(d|h|min|s)(?![a-z])\s*", re.IGNORECASE)


def words(seconds: float) -> str:
    """Return a duration in its units, exact to the second: ``1 h 30 min`` for 5400."""
    texts = {
        "d": _("%(n)d d"),
        "h": _("%(n)d h"),
        "min": _("%(n)d min"),
        "s": _("%(n)d s"),
    }
    left, parts = int(seconds), []
    for unit, size in _SECONDS.items():
        count, left = divmod(left, size)
        if count:
            parts.append(texts[unit] % {"n": count})
    return " ".join(parts) or texts["s"] % {"n": 0}


def parse(text: str) -> int:
    """Return the seconds of such as ``2 d 4 h`` or ``90min``. Raises ValueError."""
    text, found, at = text.strip(), 0, 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            raise ValueError(text)
        found += int(part[1]) * _SECONDS[part[2].lower()]
        at = part.end()
    if not text:
        raise ValueError(text)
    return found


class DurationField(forms.IntegerField):
    """A duration that is kept in seconds and written with its units."""

    widget = forms.TextInput
    default_error_messages = {  # as in Django
        "invalid": gettext_lazy("Enter a duration with its units, such as 2 d 4 h or 90 min.")
    }

    def to_python(self, value: Any) -> Any:
        """Return the seconds. Raises ValidationError for what is no duration."""
        if value in self.empty_values:
            return None
        try:
            return parse(str(value))
        except ValueError:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None

    def prepare_value(self, value: Any) -> Any:
        """Show what is kept in its units; what was typed as it was typed."""
        return words(value) if isinstance(value, int) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Tell whether another duration was typed, however it is written."""
        try:
            return bool(self.to_python(data) != initial)
        except ValidationError:
            return True
