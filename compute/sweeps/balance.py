"""What load balancing leaves behind."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.utils import timezone

from compute.models import BalanceProposal, Cluster, VmMove

#: Longer than any rest after a move.
KEEP: Final = timedelta(days=30)
#: Of each cluster; a dry run whose proposals change each minute keeps no more.
MOST: Final = 1000


def forget_old() -> int:
    """Delete old moves and proposals, and proposals beyond the most of a cluster; return how many.

    The operation log keeps what was ordered.
    """
    before = timezone.now() - KEEP
    number = VmMove.objects.filter(at__lt=before).delete()[0]
    number += BalanceProposal.objects.filter(last_at__lt=before).delete()[0]
    for cluster in Cluster.objects.order_by("pk"):
        rows = BalanceProposal.objects.filter(cluster=cluster).order_by("-last_at", "-pk")
        # An order that a VM or host still rests after is kept by its move, or is among the newest.
        extra = list(rows.values_list("pk", flat=True)[MOST:])
        number += BalanceProposal.objects.filter(pk__in=extra).delete()[0]
    return int(number)
