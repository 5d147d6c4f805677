"""What every template of the console sees."""

from typing import Any

from django.http import HttpRequest


def console(request: HttpRequest) -> dict[str, Any]:
    """Return the frame's context."""
    return {"actor": getattr(request, "actor", None)}
