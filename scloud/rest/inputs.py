"""What a request says, checked."""

from typing import Any

from django.utils.translation import gettext as _
from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer

from scloud.lib.errors import NotFound
from scloud.resources.models import Region


def valid(shape: type[BaseSerializer[Any]], request: Request) -> dict[str, Any]:
    """Return the request's body, checked against its shape. Raises DRF's ValidationError."""
    return _checked(shape(data=request.data))


def valid_query(shape: type[BaseSerializer[Any]], request: Request) -> dict[str, Any]:
    """Return the query, checked against its shape. Raises DRF's ValidationError."""
    return _checked(shape(data=request.query_params))


def _checked(serializer: BaseSerializer[Any]) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    data: dict[str, Any] = serializer.validated_data
    return data


def region_named(region_id: str | None) -> Region:
    """Return the region of a query or body. Raises NotFound."""
    region = Region.objects.filter(pk=region_id or "").first()
    if region is None:
        raise NotFound(
            _("There is no region %(region_id)s.") % {"region_id": region_id}, field="region"
        )
    return region
