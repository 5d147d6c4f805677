"""How large the body of a request may be, and which ones are read while they come in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest
from django.urls import Resolver404, resolve

# Forms and JSON; held in memory while the request runs.
DEFAULT_MAX_BYTES: Final = 2_621_440
# What a form around a file may add to it.
FORM_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class BodyRule:
    """What a view takes; views carry it as the attribute ``body_rule``.

    ``max_bytes`` is asked anew for each request. With ``streamed_type`` a body of that content
    type is handed to the view while it comes in, so that nobody's bytes are taken before the view
    has looked at who sends them; ``handler`` makes the upload handler for the files of a form.
    ``staff`` says that the view is for the platform's administrators.
    """

    max_bytes: Callable[[], int]
    streamed_type: str = ""
    handler: Callable[[HttpRequest], FileUploadHandler] | None = None
    staff: bool = False

    def streams(self, content_type: str) -> bool:
        """Whether a body of this content type is read while it comes in."""
        kind = content_type.split(";")[0].strip().lower()
        return bool(self.streamed_type) and kind == self.streamed_type


DEFAULT_RULE: Final = BodyRule(lambda: DEFAULT_MAX_BYTES)


def rule_of(function: Callable[..., Any], method: str) -> BodyRule:
    view = getattr(function, "view_class", None) or getattr(function, "cls", None)
    name = getattr(function, "actions", {}).get(method.lower(), method.lower())
    for owner in (getattr(view, name, None), view, function):
        found = getattr(owner, "body_rule", None)
        if isinstance(found, BodyRule):
            return found
    return DEFAULT_RULE


def rule_for(path: str, method: str) -> BodyRule:
    try:
        return rule_of(resolve(path).func, method)
    except Resolver404:
        return DEFAULT_RULE
