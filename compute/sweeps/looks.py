"""Forgetting what was seen of guests."""

from django.utils import timezone

from compute.models import GuestLook, LookKind
from compute.queries.looks import kept_for
from scloud.tenancy.scoping import scopes_disabled


def forget_looks() -> int:
    """Remove looks that nobody is shown any more; return how many. One under way stays."""
    now = timezone.now()
    removed = 0
    with scopes_disabled():
        for what in LookKind:
            old = GuestLook.objects.filter(what=what, asked_at__lt=now - kept_for(what))
            removed += old.delete()[0]
    return removed
