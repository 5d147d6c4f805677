"""What a request says, checked."""

from typing import Any, Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer

from scloud.lib.errors import NotFound
from scloud.resources.models import Region


def valid(shape: type[BaseSerializer[Any]], request: Request) -> dict[str, Any]:
    """Return the request's body, checked against its shape. Raises DRF's ValidationError."""
    refuse_other_types(shape, request.data)
    return _checked(shape(data=request.data))


def refuse_other_types(shape: type[BaseSerializer[Any]], data: Any) -> None:
    """Raise DRF's ValidationError if a body has a value of another JSON type than described.

    It names all that is wrong with the body, not only that.
    """
    serializer = shape(data=data)
    wrong = _wrong_types(serializer, data)
    if wrong:
        serializer.is_valid()
        errors: dict[str, Any] = dict(serializer.errors)
        raise serializers.ValidationError({**errors, **wrong})


def valid_query(shape: type[BaseSerializer[Any]], request: Request) -> dict[str, Any]:
    """Return the query, checked against its shape. Raises DRF's ValidationError."""
    return _checked(shape(data=request.query_params))


def _checked(serializer: BaseSerializer[Any]) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    data: dict[str, Any] = serializer.validated_data
    return data


def _wrong_types(field: Any, value: Any) -> Any:
    """Return DRF's details of what has another JSON type than the document says, else nothing.

    DRF itself reads 5 for a text and "5" or true for a number: what a mistaken program sends would
    be guessed at. Values of fields that are not known are nobody's business.
    """
    if value is None:
        return None  # whether null is allowed is the field's own business
    if isinstance(field, serializers.Serializer) and isinstance(value, dict):
        found = {
            name: _wrong_types(one, value[name])
            for name, one in field.fields.items()
            if name in value
        }
        return {name: wrong for name, wrong in found.items() if wrong}
    if isinstance(field, serializers.ListField | serializers.ListSerializer):
        if not isinstance(value, list):
            return None  # DRF says so
        rows = [_wrong_types(field.child, one) for one in value]
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
