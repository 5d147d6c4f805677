"""How a status is shown: a word, a tone (colour and shape) and whether it is on its way."""

from dataclasses import dataclass
from typing import Literal

from django.utils.functional import Promise

Tone = Literal["ok", "off", "busy", "warn", "error"]


@dataclass(frozen=True)
class StatusView:
    """What people see of a status.

    ``label`` is the word; ``tone`` chooses colour *and* shape: ok (disc), off (ring), busy
    (turning arc), warn (triangle), error (cross on a disc); ``detail`` is a longer reason that
    appears as the title.
    """

    label: str | Promise
    tone: Tone = "off"
    detail: str | Promise = ""

    def __str__(self) -> str:
        return str(self.label)
