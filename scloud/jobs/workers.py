"""What the workers of each machine can do, reported by themselves.

During an upgrade old and new workers run side by side. A job whose kind the old ones do not know
waits for a new one; operators are told when there is none.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Min, Q
from django.db.models.functions import Now
from django.utils import timezone

from scloud.jobs import choosing
from scloud.jobs.handlers import registered_kinds
from scloud.jobs.models import Job, JobStatus, WorkerHost
from scloud.lib.backoff import Said
from scloud.tenancy.scoping import scopes_disabled

said = Said(logging.getLogger(__name__))

ANNOUNCE_S = 30.0
# Longer than it takes until a wake-up is repeated: a machine that is woken tells in that time.
LIVES_S = 180.0
PATIENCE_S = 180.0
# A wake-up for no job: whoever takes it says that it is there. Workers of earlier releases take it
# for one whose job is gone.
CALL = "call"

_announced_at = float("-inf")


@dataclass(frozen=True)
class Unknown:
    """Jobs of a kind that no living worker knows."""

    kind: str
    jobs: int
    since: datetime


def announce(*, called: bool = False) -> None:
    """Write down what this release knows: when called, else at most once in ``ANNOUNCE_S`` seconds
    per process.
    """
    global _announced_at
    if not called and time.monotonic() - _announced_at < ANNOUNCE_S:
        return
    WorkerHost.objects.update_or_create(
        name=choosing.machine(), defaults={"kinds": registered_kinds(), "seen_at": timezone.now()}
    )
    _announced_at = time.monotonic()


def kinds_here() -> list[str]:
    """Return the kinds that this machine's workers said they know; without a word, our own."""
    row = WorkerHost.objects.filter(name=choosing.machine()).first()
    return registered_kinds() if row is None else list(row.kinds)


def unknown() -> list[Unknown]:
    """Return the kinds that have been due for minutes and that no living worker knows."""
    now = timezone.now()
    known: set[str] = set()
    for row in WorkerHost.objects.filter(seen_at__gt=now - timedelta(seconds=LIVES_S)):
        known.update(row.kinds)
    if not known:
        known.update(registered_kinds())
    due = Q(status=JobStatus.QUEUED, not_before__lt=Now() - timedelta(seconds=PATIENCE_S)) | Q(
        status=JobStatus.RUNNING, lease_until__lt=Now() - timedelta(seconds=PATIENCE_S)
    )
    with scopes_disabled():
        rows = (
            Job.objects.filter(due)
            .exclude(kind__in=sorted(known))
            .order_by("kind")
            .values("kind")
            .annotate(jobs=Count("pk"), since=Min("not_before"))
        )
        return [Unknown(row["kind"], row["jobs"], row["since"]) for row in rows]


def tell_unknown() -> int:
    """Log each kind that no worker knows, once; return how many there are."""
    found = unknown()
    for one in found:
        said.say(
            one.kind,
            "unknown",
            logging.ERROR,
            "no worker knows jobs of kind %s: %s wait since %s for a newer release",
            one.kind,
            one.jobs,
            one.since.isoformat(timespec="seconds"),
        )
    return len(found)
