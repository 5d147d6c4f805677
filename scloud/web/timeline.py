"""The lines of a time line; templates/components/timeline.html shows them."""

from dataclasses import dataclass
from datetime import datetime

from django.utils.safestring import SafeString


@dataclass(frozen=True)
class Moment:
    """One line: ``css`` is done, active, failed or pending, ``by`` who did it."""

    at: datetime
    icon: str
    css: str
    title: str
    detail: str | SafeString = ""
    by: str = ""
