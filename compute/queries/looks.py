"""What was seen of a guest, as long as it is fresh enough to be shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from cryptography.fernet import InvalidToken
from django.utils import timezone

from compute.models import VM, GuestLook, LookKind
from scloud.lib import keys

#: How long pictures and logs are kept.
CONTENT_KEPT: Final = timedelta(minutes=15)
#: How long it is kept what an agent said.
FACTS_KEPT: Final = timedelta(days=7)
#: When a look that was asked for counts as lost; see ``compute.actions.looks``.
GIVEN_UP: Final = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Look:
    """The last look of a kind. ``is_waiting``: one is under way. ``has_content`` of the last."""

    what: LookKind
    seen_at: datetime | None = None
    is_waiting: bool = False
    error_code: str = ""
    facts: Mapping[str, Any] | None = None
    has_content: bool = False


def kept_for(what: LookKind) -> timedelta:
    """Return how long a look of a kind is kept."""
    return FACTS_KEPT if what is LookKind.FACTS else CONTENT_KEPT


def looks_at(vm: VM, *kinds: LookKind) -> dict[LookKind, Look]:
    """Return the last look of each kind, in one query without what they contain."""
    now = timezone.now()
    found = {what: Look(what) for what in kinds}
    for row in GuestLook.objects.filter(vm=vm, what__in=kinds).defer("sealed_content"):
        what = LookKind(row.what)
        ended = row.seen_at is not None and row.asked_at is not None and row.seen_at >= row.asked_at
        asked = row.asked_at is not None and row.asked_at > now - GIVEN_UP
        fresh = row.seen_at is not None and row.seen_at > now - kept_for(what)
        found[what] = Look(
            what,
            seen_at=row.seen_at if fresh else None,
            is_waiting=asked and not ended,
            error_code=row.error_code if fresh else "",
            facts=row.facts if fresh else None,
            has_content=fresh and not row.error_code and what is not LookKind.FACTS,
        )
    return found


def content_of(vm: VM, what: LookKind) -> bytes | None:
    """Return the picture or the log of the last look; None where there is none any more."""
    since = timezone.now() - kept_for(what)
    row = GuestLook.objects.filter(vm=vm, what=what, seen_at__gt=since, error_code="").first()
    if row is None:
        return None
    if not row.sealed_content:
        return b""
    try:
        return bytes(keys.box().decrypt(bytes(row.sealed_content)))
    except InvalidToken:
        # Sealed with a key that was taken away since.
        return None
