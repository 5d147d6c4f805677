"""Every error of the API has the form ``{code, message, field?, remedy?, numbers?}``."""

from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404
from django.utils.translation import gettext as _
from rest_framework import exceptions, serializers
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_handler

from scloud.lib.errors import NotFound, ScloudError, TooLarge
from scloud.tenancy.confirmation import ConfirmationNeeded


class FieldErrorShape(serializers.Serializer[Any]):
    """What is wrong with one field."""

    field = serializers.CharField()
    code = serializers.CharField()
    message = serializers.CharField()


class ErrorShape(serializers.Serializer[Any]):
    """A refusal or failure. ``code`` is stable; ``message`` is one sentence for people."""

    code = serializers.CharField()
    message = serializers.CharField()
    field = serializers.CharField(required=False, help_text="The value that it is about.")
    remedy = serializers.CharField(required=False, help_text="What to do.")
    numbers = serializers.DictField(required=False, help_text="The figures of the message.")
    reason = serializers.CharField(required=False, help_text="What is wrong with the field.")

    def get_fields(self) -> dict[str, Any]:
        # "errors" is an attribute of every serializer, so it cannot be declared as a field.
        every = FieldErrorShape(
            many=True, required=False, help_text="Every wrong field of the request."
        )
        return {**super().get_fields(), "errors": every}


def _first(detail: Any, path: str = "") -> tuple[str, str, str]:
    """Return the first (field, message, code) of DRF's nested details."""
    if isinstance(detail, dict):
        for key, value in detail.items():
            name = "" if key == "non_field_errors" else str(key)
            return _first(value, f"{path}.{name}".strip("."))
    if isinstance(detail, list) and detail:
        for index, value in enumerate(detail):
            if isinstance(value, dict):
                if value:
                    return _first(value, f"{path}.{index}".strip("."))
            else:
                return _first(value, path)
    return path, str(detail), str(getattr(detail, "code", "invalid"))


def _all(detail: Any, path: str = "") -> list[dict[str, str]]:
    """Return every (field, message, code) of DRF's nested details."""
    if isinstance(detail, dict):
        return [
            row
            for key, value in detail.items()
            for row in _all(value, f"{path}.{'' if key == 'non_field_errors' else key}".strip("."))
        ]
    if isinstance(detail, list):
        return [
            row
            for index, value in enumerate(detail)
            for row in _all(
                value, f"{path}.{index}".strip(".") if isinstance(value, dict) else path
            )
        ]
    return [
        {"field": path, "message": str(detail), "code": str(getattr(detail, "code", "invalid"))}
    ]


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Turn our errors and DRF's into one form."""
    if isinstance(exc, Http404):
        exc = NotFound(_("There is no such resource."))
    elif isinstance(exc, RequestDataTooBig):
        exc = TooLarge(_("The request is too large."), remedy=_("Send less than 2.5 MB."))
    elif isinstance(exc, PermissionDenied):
        exc = exceptions.PermissionDenied()
    elif isinstance(exc, ConfirmationNeeded):
        exc = exc.refusal()
    if isinstance(exc, ScloudError):
        headers = {}
        if exc.numbers and "retry_after_s" in exc.numbers:
            headers["Retry-After"] = str(exc.numbers["retry_after_s"])
        if exc.http_status == 401:
            headers["WWW-Authenticate"] = context["view"].get_authenticate_header(
                context["request"]
            )
        return Response(exc.as_dict(), status=exc.http_status, headers=headers)
    response = drf_handler(exc, context)
    if response is None or not isinstance(exc, exceptions.APIException):
        return response
    if isinstance(exc, exceptions.ValidationError):
        field, message, code = _first(exc.detail)
        body: dict[str, Any] = {
            "code": "invalid_input",
            "message": message,
            "remedy": _("Correct the named fields and send the request again."),
            "errors": _all(exc.detail),
        }
        if field:
            body["field"] = field
        if code not in {"invalid", "required", "blank"}:
            body["reason"] = code
    else:
        codes = exc.get_codes()
        code = codes if isinstance(codes, str) else exc.default_code
        renamed = {
            "not_authenticated": "unauthenticated",
            "throttled": "too_many_requests",
            "permission_denied": "forbidden",
        }
        body = {"code": renamed.get(code, code), "message": str(exc.detail)}
    response.data = body
    return response
