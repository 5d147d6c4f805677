"""How the API is described: names, tags, and every refusal that can come, derived in one place.

What an operation can be refused for follows from what it is (its method, its path, its body, who
may call it), so no view lists status codes by hand. docs/api.yaml is the result.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from django.db import models
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from scloud.rest import idempotency
from scloud.rest.errors import ErrorShape
from scloud.rest.fields import PlainDecimal

Document = dict[str, Any]

# Names that the rule in ``operation_id`` would spell worse than people do.
NAMES: Final[Mapping[str, str]] = {
    "POST vms": "create_vms",
    "POST vms/quote": "quote_vms",
    "POST vms/batch": "batch_vms",
    "POST security-groups/rules": "create_security_group_rule",
    "POST alarm-templates/rules": "create_alarm_rule",
    "GET alarm-templates/rules": "list_alarm_rules",
    "POST alarm-templates/rule-preview": "preview_alarm_rule",
    "POST notification-groups/webhooks": "create_webhook",
    "GET notification-groups/webhooks": "list_group_webhooks",
    "GET security-groups/rules.csv": "export_security_group_rules",
    "POST api-keys/set-networks": "set_api_key_networks",
    "GET orders/charges": "explain_charge",
    "GET address": "get_billing_address",
    "PUT address": "set_billing_address",
    "POST account/set-auto-renew": "set_account_auto_renew",
    "POST account/set-low-balance": "set_account_low_balance",
    "POST subscriptions/renewal-quotes": "quote_renewals",
    "POST subscriptions/renewals": "renew_subscriptions",
    "POST subscriptions/renewal-quote": "quote_subscription_renewal",
    "POST subscriptions/end-quote": "quote_subscription_end",
    "POST subscriptions/set-auto-renew": "set_subscription_auto_renew",
}
# First parts of paths that group collections and name nothing themselves.
GROUPS: Final = frozenset({"billing"})
_OF_ONE: Final = {"GET": "get", "PATCH": "update", "PUT": "update", "DELETE": "delete"}
_OF_A_PART: Final = {"GET": "get", "PUT": "set", "PATCH": "update", "DELETE": "delete"}

# Status -> name of the response, what it means. The order is that of docs/api.yaml.
REFUSALS: Final[Mapping[str, tuple[str, OpenApiResponse]]] = {
    "400": (
        "BadRequest",
        OpenApiResponse(description="A value is missing or wrong; `field` names it."),
    ),
    "401": (
        "Unauthenticated",
        OpenApiResponse(description="The API key is missing, unknown, expired or revoked."),
    ),
    "402": ("InsufficientBalance", OpenApiResponse(description="The account cannot pay for it.")),
    "403": (
        "NotAllowed",
        OpenApiResponse(description="The caller's role or the key's scope does not include it."),
    ),
    "404": (
        "NotFound",
        OpenApiResponse(description="There is no such resource, or it belongs to another tenant."),
    ),
    "406": ("NotAcceptable", OpenApiResponse(description="`Accept` excludes JSON.")),
    "409": (
        "Conflict",
        OpenApiResponse(
            description="A state, quota, capacity or a changed price does not allow it now."
        ),
    ),
    "413": ("TooLarge", OpenApiResponse(description="The body is larger than allowed.")),
    "415": (
        "UnsupportedMediaType",
        OpenApiResponse(description="The body has another type than documented."),
    ),
    "429": ("TooManyRequests", OpenApiResponse(description="The rate limit is reached.")),
    "503": (
        "Unavailable",
        OpenApiResponse(
            description="The service is unavailable for a moment; nothing was changed."
        ),
    ),
}
_SECONDS: Final = {"type": "integer", "minimum": 1}
_HEADERS: Final[Mapping[str, OpenApiParameter]] = {
    "401": OpenApiParameter(
        "WWW-Authenticate", {"type": "string"}, required=True, description="How to authenticate."
    ),
    "429": OpenApiParameter(
        "Retry-After",
        _SECONDS,
        required=True,
        description="After how many seconds to try again.",
    ),
    "503": OpenApiParameter(
        "Retry-After",
        _SECONDS,
        description="After how many seconds to try again, where that is known.",
    ),
}

# What a request may carry in its query, by view, action and method; filled with the document.
_queries: dict[tuple[type, str, str], dict[str, Document]] = {}


def status_of(choices: type[models.TextChoices], *more: str) -> OpenApiParameter:
    """Return the parameter that narrows a list by status; what is destroyed is in no list.

    ``more`` are what answers say as a status and no row holds.
    """
    return OpenApiParameter(
        "status",
        str,
        enum=[*(value for value in choices.values if value != "destroyed"), *more],
        description="Only those in this status.",
    )


def operation_id(method: str, path: str, *, many: bool) -> str:
    """Return the name of an operation: ``list_vms``, ``get_vm``, ``start_vm``.

    ``many`` says whether it answers with a list.
    """
    parts = [part for part in path.removeprefix("/api/v1/").split("/") if part not in GROUPS]
    collection, *rest = parts
    tail = [part for part in rest if not part.startswith("{")]
    found = NAMES.get(f"{method} {'/'.join([collection, *tail])}")
    if found is not None:
        return found
    plural = collection.replace("-", "_")
    one = f"{plural[:-3]}y" if plural.endswith("ies") else plural.removesuffix("s")
    words = "_".join(tail).replace("-", "_")
    if not rest:
        if method == "POST":
            return f"create_{one}"
        return f"list_{plural}" if many else f"get_{plural}"
    if not tail:
        return f"{_OF_ONE[method]}_{one}"
    if method in _OF_A_PART:
        return f"{'list' if many else _OF_A_PART[method]}_{one}_{words}"
    if tail[-1] == "quote":
        return "_".join(["quote", one, *words.split("_")[:-1]])
    return f"{words}_{one}"


class ApiSchema(AutoSchema):
    """drf-spectacular's, with the names and the refusals of this API."""

    def get_operation(self, *args: Any, **kwargs: Any) -> Document | None:
        """Return the operation with its refusals, and note what its query may carry."""
        operation: Document | None = super().get_operation(*args, **kwargs)
        if operation is None:
            return None
        for status in self.refusals(operation):
            refusal = {"$ref": f"#/components/responses/{REFUSALS[status][0]}"}
            operation["responses"].setdefault(status, refusal)
        self.resolve_serializer(ErrorShape, "response")
        query = [one for one in operation.get("parameters", []) if one["in"] == "query"]
        key = (type(self.view), getattr(self.view, "action", ""), self.method)
        _queries[key] = {one["name"]: one for one in query}
        return operation

    def get_operation_id(self) -> str:
        """Return the name as people would write it; that of a verb is in its catalogue."""
        handler = getattr(self.view, getattr(self.view, "action", None) or "", None)
        declared: str = getattr(handler, "operation_id", "")
        return declared or operation_id(self.method, self.path, many=self._is_list_view())

    def get_serializer_name(self, serializer: Any, direction: str) -> str:
        """Return the name of a component: what our classes are called, without their role."""
        name: str = type(serializer).__name__
        return re.sub(r"(?<=.)(Serializer|Shape|Input)$", "", name)

    def _map_serializer_field(
        self, field: Any, direction: Any, bypass_extensions: bool = False
    ) -> Document | None:
        schema: Document | None = super()._map_serializer_field(field, direction, bypass_extensions)  # type: ignore[no-untyped-call]  # spectacular's own
        if schema is not None and isinstance(field, PlainDecimal):
            # spectacular's pattern allows no digits at all.
            places = field.decimal_places or 0
            whole = (field.max_digits or 0) - places
            schema["pattern"] = rf"^-?[0-9]{{1,{whole}}}(\.[0-9]{{1,{places}}})?$"
        return schema

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Document:
        schema: Document = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]  # spectacular's own
        if direction == "request":
            schema["additionalProperties"] = False
        return schema

    def _get_paginator(self) -> Any:
        # spectacular takes every list for a page, and every answer of a view with pages for one.
        if getattr(self.view, "action", "list") != "list":
            return None
        return super()._get_paginator()  # type: ignore[no-untyped-call]  # spectacular's own

    def get_override_parameters(self) -> list[Any]:
        """Add the header that makes a request safe to repeat."""
        found: list[Any] = super().get_override_parameters()
        return [*found, *self._own_parameters()]

    def _own_parameters(self) -> list[OpenApiParameter]:
        if not self.keeps_answer():
            return []
        return [
            OpenApiParameter(
                idempotency.HEADER,
                {
                    "type": "string",
                    "maxLength": idempotency.MAX_LENGTH,
                    "pattern": f"^{idempotency.PATTERN}$",
                },
                OpenApiParameter.HEADER,
                description="A text of your choice. A second request with it gets the answer of "
                "the first, for a day, and nothing is done twice.",
            ),
            OpenApiParameter(
                "Idempotent-Replay",
                {"type": "string", "enum": ["true"]},
                OpenApiParameter.HEADER,
                response=[200, 201, 202, 204],
                description="The answer is that of an earlier request with the Idempotency-Key.",
            ),
        ]

    def keeps_answer(self) -> bool:
        """Whether a second request with the same Idempotency-Key gets the first one's answer."""
        name = getattr(self.view, "action", None) or self.method.lower()
        return idempotency.keeps_answer(self.method, getattr(self.view, name, None))

    def refusals(self, operation: Document) -> list[str]:
        """Return the status codes of all refusals that an operation can answer with."""
        writes = self.method not in {"GET", "HEAD", "OPTIONS"}
        # The query is checked everywhere, and so is what the answer may be.
        found = {"400", "406", "503"}
        if self.view.get_authenticators():
            found |= {"401", "403"}
        if self.view.get_throttles():
            found.add("429")
        if writes:
            found |= {"409", "413", "415"}
        elif self._is_download():
            # A file that was not prepared yet.
            found.add("409")
        names_something = any(one.get("required") for one in operation.get("parameters", []))
        # A page, a resource of the path, of the body or of the query that is not there.
        if names_something or "requestBody" in operation or (self._get_paginator() and not writes):
            found.add("404")
        if "quote_token" in self._sent():
            found.add("402")
        return sorted(found)

    def _is_download(self) -> bool:
        answers: Any = self.get_response_serializers()
        return isinstance(answers, dict) and any(isinstance(key, tuple) for key in answers)

    def _sent(self) -> set[str]:
        """Return the names of the fields of the body."""
        if self.method not in {"POST", "PUT", "PATCH"}:
            return set()
        fields = getattr(self.get_request_serializer(), "_declared_fields", {})
        return set(fields)


def parameters_of(view: type, action: str, method: str) -> Mapping[str, Document]:
    """Return what the query of an operation may carry, by name, as the document says it."""
    from scloud.rest.schema import document

    document("en")
    return _queries.get((view, action, "GET" if method == "HEAD" else method), {})


def add_refusals(result: Document, generator: Any, request: Any, public: bool) -> Document:
    """Describe the refusals once, as components that the operations point to."""
    error = {"$ref": "#/components/schemas/Error"}
    result["components"]["responses"] = {
        name: {
            "description": response.description,
            **({"headers": _header(_HEADERS[status])} if status in _HEADERS else {}),
            "content": {"application/json": {"schema": error}},
        }
        for status, (name, response) in REFUSALS.items()
    }
    return result


def _header(parameter: OpenApiParameter) -> Document:
    described: Document = {"description": parameter.description, "schema": parameter.type}
    if parameter.required:
        described["required"] = True
    return {parameter.name: described}
