"""Differences between what is and what the rows say: reported, repaired, closed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import timedelta

from django.utils import timezone

from compute.models import Drift

KEEP_REPAIRED = timedelta(days=90)
FROZEN = "sweeps are frozen after a restore"


def drift(kind: str, place: str, resource_id: str, detail: str) -> tuple[str, str, str]:
    """Report a difference that stays; return its key."""
    now = timezone.now()
    row, created = Drift.objects.get_or_create(
        kind=kind,
        place=place,
        resource_id=resource_id,
        repaired_at=None,
        defaults={"detail": detail},
    )
    if not created:
        Drift.objects.filter(pk=row.pk).update(last_seen_at=now, detail=detail)
    return kind, place, resource_id


def note_repair(kind: str, place: str, resource_id: str, detail: str) -> None:
    """Report a difference that was repaired at once."""
    Drift.objects.create(
        kind=kind,
        place=place,
        resource_id=resource_id,
        detail=detail[:500],
        repaired_at=timezone.now(),
    )


def close_drift(
    kinds: Iterable[str],
    still_open: list[tuple[str, str, str]],
    *,
    places: Iterable[str] | None = None,
    unknown: Collection[str] = (),
) -> None:
    """Mark the differences of these kinds that are gone as repaired.

    Only those of ``places`` (all, if None) that answered, and none of the resources in ``unknown``,
    of which nothing was learned this time.
    """
    keep = set(still_open)
    rows = Drift.objects.filter(kind__in=list(kinds), repaired_at=None)
    if places is not None:
        rows = rows.filter(place__in=list(places))
    for row in rows.exclude(resource_id__in=list(unknown)):
        if (row.kind, row.place, row.resource_id) not in keep:
            Drift.objects.filter(pk=row.pk).update(repaired_at=timezone.now())


def forget_repaired() -> int:
    """Delete differences that were repaired three months ago; return how many."""
    deleted, _ = Drift.objects.filter(repaired_at__lt=timezone.now() - KEEP_REPAIRED).delete()
    return int(deleted)
