"""What the API's views of several kinds share."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import QuerySet
from drf_spectacular.utils import (
    OpenApiParameter,
)

from scloud.lib import search

REGION = OpenApiParameter("region", str, description="Only those of this region.")
SEARCH = OpenApiParameter("search", str, description="In name, remark and id.")


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


def narrowed(rows: QuerySet[Any], params: Any) -> QuerySet[Any]:
    """Narrow a list by region and words."""
    if params.get("region"):
        rows = rows.filter(region_id=params["region"])
    found = search.containing(rows.model, ("id", "name", "remark"))
    return search.narrow(rows, params.get("search", ""), found)
