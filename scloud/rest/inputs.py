"""What a request says, checked."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer

from scloud.lib.errors import NotFound
from scloud.resources.models import Region


def valid(shape: type[BaseSerializer[Any]], request: Request) -> dict[str, Any]:
    """Return the request's body, checked against its shape. Raises DRF's ValidationError."""
    refuse_what_is_not_described(shape, request.data)
    return _checked(shape(data=request.data))


def refuse_what_is_not_described(shape: type[BaseSerializer[Any]], data: Any) -> None:
    """Raise DRF's ValidationError for a field, or a JSON type of a value, that is not described.

    It names all that is wrong with the body, not only that.
    """
    serializer = shape(data=data)
    wrong = _not_described(serializer, data)
    if wrong:
        serializer.is_valid()
        errors: dict[str, Any] = dict(serializer.errors)
        raise serializers.ValidationError({**errors, **wrong})


def refuse_fields(data: Any) -> None:
    """Raise DRF's ValidationError if a body has a field where none is described."""
    if isinstance(data, Mapping) and data:
        raise serializers.ValidationError(_unknown(data, ()))


def valid_query(shape: type[BaseSerializer[Any]], request: Request) -> dict[str, Any]:
    """Return the query, checked against its shape. Raises DRF's ValidationError."""
    return _checked(shape(data=request.query_params))


def _checked(serializer: BaseSerializer[Any]) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    data: dict[str, Any] = serializer.validated_data
    return data


def _unknown(data: Mapping[str, Any], known: Collection[str]) -> dict[str, list[ErrorDetail]]:
    """Return what is wrong with the fields of a body that are not described.

    DRF would leave them out, so that a misspelt option is not used and nobody hears of it.
    """
    found = {}
    for name in data:
        if name in known:
            continue
        text = _("There is no such field here.")
        close = get_close_matches(str(name)[:100], known, n=1)
        if close:
            text = _("There is no such field here; there is %(name)s.") % {"name": close[0]}
        found[str(name)[:100]] = [ErrorDetail(text, code="unknown_field")]
    return found


def _not_described(field: Any, value: Any) -> Any:
    """Return DRF's details of what the document does not describe, else nothing.

    DRF itself reads 5 for a text and "5" or true for a number: what a mistaken program sends would
    be guessed at.
    """
    if value is None:
        return None  # whether null is allowed is the field's own business
    if isinstance(field, serializers.Serializer) and isinstance(value, dict):
        wrong = {
            name: _not_described(one, value[name])
            for name, one in field.fields.items()
            if name in value
        }
        found = {name: one for name, one in wrong.items() if one}
        return {**found, **_unknown(value, field.fields.keys())}
    if isinstance(field, serializers.ListField | serializers.ListSerializer):
        if not isinstance(value, list):
            return None  # DRF says so
        rows = [_not_described(field.child, one) for one in value]
        return {str(index): wrong for index, wrong in enumerate(rows) if wrong}
    for kinds, types, message in _JSON_TYPES:
        if isinstance(field, kinds):
            whole = isinstance(value, float) and value.is_integer() and types is int
            right = isinstance(value, types) and (types is bool or not isinstance(value, bool))
            return None if right or whole else [message]
    return None


_JSON_TYPES: Final = (
    (serializers.BooleanField, bool, gettext_lazy("It has to be true or false.")),
    (serializers.IntegerField, int, gettext_lazy("It has to be a whole number.")),
    (
        (serializers.CharField, serializers.ChoiceField, serializers.DecimalField),
        str,
        gettext_lazy("It has to be a text."),
    ),
)


def region_named(region_id: str | None) -> Region:
    """Return the region of a query or body. Raises NotFound."""
    region = Region.objects.filter(pk=region_id or "").first()
    if region is None:
        raise NotFound(
            _("There is no region %(region_id)s.") % {"region_id": region_id}, field="region"
        )
    return region
