"""What a user has read: of the reader alone, so it needs no right and is in no operation log."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.utils import timezone

from alarms.models import BellMark
from scloud.tenancy.models import User


@transaction.atomic
def mark_read(user: User, until: datetime | None = None) -> BellMark:
    """Take what was told up to a moment for read; what comes later, or came meanwhile, is new."""
    # By the clock that events are written with.
    now = timezone.now()
    moment = now if until is None else min(until, now)
    mark, made = BellMark.objects.select_for_update().get_or_create(
        user=user, defaults={"read_at": moment}
    )
    if not made and mark.read_at < moment:
        mark.read_at = moment
        mark.save(update_fields=["read_at"])
    return mark
