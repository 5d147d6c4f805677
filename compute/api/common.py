"""What the API's views of several kinds share."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import (
    OpenApiParameter,
)

from scloud.lib import search

REGION = OpenApiParameter("region", str, description="Only those of this region.")
SEARCH = OpenApiParameter("search", str, description="In name, remark and id.")


def narrowed(rows: QuerySet[Any], params: Any) -> QuerySet[Any]:
    """Narrow a list by region and words."""
    if params.get("region"):
        rows = rows.filter(region_id=params["region"])
    found = search.containing(rows.model, ("id", "name", "remark"))
    return search.narrow(rows, params.get("search", ""), found)
