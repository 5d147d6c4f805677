"""Regions in the API."""

from __future__ import annotations

from drf_spectacular.utils import (
    extend_schema,
)

from scloud.resources.models import Region
from scloud.rest.shown import ShownSerializer
from scloud.rest.views import ResourceViewSet


class RegionSerializer(ShownSerializer[Region]):
    """A region."""

    class Meta:
        model = Region
        fields = ("id", "name")


@extend_schema(tags=["Catalogue"])
class RegionViewSet(ResourceViewSet):
    """Regions."""

    serializer_class = RegionSerializer
    view_permission = "resources.view_region"
    lookup_value_regex = "[a-z0-9-]+"
    queryset = Region.objects.filter(enabled=True)
