"""Holding callers to what the document says a query may carry.

A parameter that nobody reads is a filter that does not filter: ``?staus=stopped`` would list
everything, and the next step of a program may be to delete it. So what the document does not name
is refused, and so is a value that it does not allow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.views import APIView

from scloud.lib.errors import InvalidInput
from scloud.rest import openapi

_WHOLE = re.compile(r"-?[0-9]{1,100}", re.ASCII)
_BOOLEANS = frozenset({"true", "false"})


def check(view: APIView, request: Request) -> None:
    """Raise InvalidInput (``invalid_query``), naming the parameter, if the query is not allowed."""
    sent = request.query_params
    if not sent or not hasattr(view, str(request.method).lower()):
        return
    known = openapi.parameters_of(
        type(view), getattr(view, "action", None) or "", str(request.method)
    )
    for name, values in sent.lists():
        # PostgreSQL cannot hold the character, so nothing sensible can be meant.
        if any("\x00" in value for value in [name, *values]):
            raise _refusal(name.replace("\x00", ""), _("The query has a NUL character."))
        if name not in known:
            raise _refusal(
                name,
                _("There is no parameter %(name)s here.") % {"name": name},
                remedy=_("Known parameters: %(names)s.") % {"names": ", ".join(known) or "-"},
            )
        if len(values) != 1:
            raise _refusal(name, _("Give %(name)s once.") % {"name": name})
        wrong = why_not(values[0], known[name]["schema"])
        if wrong:
            raise _refusal(name, wrong)


def why_not(value: str, schema: Mapping[str, Any]) -> str:
    """Return why a value is not what a parameter's schema allows, empty when it is."""
    if schema.get("type") == "integer":
        low, high = schema.get("minimum"), schema.get("maximum")
        if not _WHOLE.fullmatch(value):
            return _("It has to be a whole number.")
        if low is not None and int(value) < low:
            return _("It has to be at least %(low)d.") % {"low": low}
        if high is not None and int(value) > high:
            return _("It may be at most %(high)d.") % {"high": high}
    elif schema.get("type") == "boolean" and value.lower() not in _BOOLEANS:
        return _("It has to be true or false.")
    elif "enum" in schema and value not in schema["enum"]:
        return _("It has to be one of: %(values)s.") % {"values": ", ".join(schema["enum"])}
    return ""


def _refusal(name: str, message: str, remedy: str | None = None) -> InvalidInput:
    return InvalidInput(message, code="invalid_query", field=name or "?", remedy=remedy)
