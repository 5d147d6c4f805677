"""What the reads of several kinds share."""

from __future__ import annotations

from typing import Any

from django.db.models import OuterRef, QuerySet, Subquery

from billing.models import Subscription


def billing_columns() -> dict[str, Subquery]:
    paid = Subscription.objects.filter(resource_id=OuterRef("pk"))
    return {
        "billing_method": Subquery(paid.values("method")[:1]),
        "paid_until": Subquery(paid.values("paid_until")[:1]),
        "auto_renew": Subquery(paid.values("auto_renew")[:1]),
    }


def with_billing(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Add ``billing_method``, ``paid_until`` and ``auto_renew`` to any resources."""
    annotated: QuerySet[Any] = rows.annotate(**billing_columns())
    return annotated
