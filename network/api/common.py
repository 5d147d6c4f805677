"""What the API's views of the network share."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter

from scloud.rest.verbs import VerbViewSet

REGION = OpenApiParameter("region", str, description="Only those of this region.")


class NetworkViewSet(VerbViewSet):
    """What the three kinds share: narrowing by region."""

    def in_region(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Only the rows of the region that the query names, if it names one."""
        region = self.request.query_params.get("region")
        return rows.filter(region_id=region) if region else rows
