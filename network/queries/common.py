"""What the reads of several kinds share."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, IntegerField, OuterRef, Subquery, Value
from django.db.models.functions import Coalesce

NEWEST_FIRST = ("-created_at", "pk")


def count_of(model: type[Any], path: str) -> Coalesce:
    """How many rows of ``model`` point here; counted apart, so that no join multiplies another."""
    rows = model.objects.filter(**{path: OuterRef("pk")}).order_by().values(path)
    counted = rows.annotate(found=Count("pk")).values("found")
    return Coalesce(Subquery(counted, output_field=IntegerField()), Value(0))
