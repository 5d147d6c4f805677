"""What the API's views of the network share."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter
from rest_framework.response import Response

from scloud.rest.views import ResourceViewSet

REGION = OpenApiParameter("region", str, description="Only those of this region.")


class NetworkViewSet(ResourceViewSet):
    """What the three kinds share: narrowing by region, and answers with the row as it is now."""

    def in_region(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Only the rows of the region that the query names, if it names one."""
        region = self.request.query_params.get("region")
        return rows.filter(region_id=region) if region else rows

    def shown(self, pk: str, status: int = 200) -> Response:
        """The row as it is now."""
        row = self.get_queryset().get(pk=pk)
        return Response(self.get_serializer(row).data, status=status)
