"""Whether what stands behind the console works: the database, its tables, worker and sweeper.

A worker that hangs looks alive from outside. So the sweeper sends a wake-up that is for no job, and
whoever takes it from the queue says so: what is seen is the whole way from the queue to a slot.
"""

from __future__ import annotations

import pkgutil
from datetime import timedelta
from functools import lru_cache, partial
from importlib import import_module
from typing import Final

from django.apps import apps
from django.db import connection, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.functions import Now
from django.utils.module_loading import module_has_submodule

from scloud.jobs import choosing, periodic, workers
from scloud.jobs.models import Heartbeat, Job, JobStatus, WorkerHost
from scloud.jobs.periodic import Lane
from scloud.jobs.service import wake_up
from scloud.tenancy.scoping import scopes_disabled

BEAT_EVERY_S: Final = 10.0
#: The sweeper calls workers that have said nothing for so long, and again when nobody answers.
CALL_AFTER: Final = timedelta(seconds=20)
CALL_AGAIN: Final = timedelta(seconds=30)
#: Who was not seen for so long is missed. The lane of the wake-ups waits for nothing but the
#: database, so it is the one that tells whether a sweeper is there.
SEEN_LATELY: Final = timedelta(seconds=90)
#: The name of the note that workers were called.
CALLED: Final = "sweeper/call"


def beat(lane: Lane) -> None:
    """Write down that a lane of the sweeper goes round."""
    _note(f"sweeper/{lane}")


def call_workers() -> bool:
    """Send a wake-up for no job where no worker was heard of lately; return whether it was sent."""
    if workers_seen(CALL_AFTER):
        return False
    if Heartbeat.objects.filter(name=CALLED, seen_at__gt=Now() - CALL_AGAIN).exists():
        # It waits for its turn, or nobody is there: the queue must not fill with calls.
        return False
    with transaction.atomic():
        _note(CALLED)
        wake_up(workers.CALL)
    return True


def _note(name: str) -> None:
    Heartbeat.objects.update_or_create(
        name=name, defaults={"machine": choosing.machine(), "seen_at": Now()}
    )


def register_beats() -> None:
    """Let each lane of the sweeper tell that it goes round; called when all lanes are known."""
    periodic.register("jobs.call_workers", BEAT_EVERY_S, call_workers, Lane.WAKE_UPS)
    for lane in periodic.lanes():
        periodic.register(f"beat.{lane}", BEAT_EVERY_S, partial(beat, lane), lane)


# -- looking -----------------------------------------------------------------------------------


def workers_seen(within: timedelta = SEEN_LATELY) -> bool:
    """Whether a worker took a call, or holds a job: with all slots busy nobody takes calls."""
    if WorkerHost.objects.filter(seen_at__gt=Now() - within).exists():
        return True
    with scopes_disabled():
        return Job.objects.filter(status=JobStatus.RUNNING, lease_until__gt=Now()).exists()


def sweeper_seen(within: timedelta = SEEN_LATELY) -> bool:
    """Whether a sweeper leads."""
    name = f"sweeper/{Lane.WAKE_UPS}"
    return Heartbeat.objects.filter(name=name, seen_at__gt=Now() - within).exists()


@lru_cache(maxsize=1)
def _known_migrations() -> frozenset[tuple[str, str]]:
    """The migrations of this release, by the names of their files; looked for once.

    Django's loader would import all of them, which takes longer than a probe waits.
    """
    found = set()
    for config in apps.get_app_configs():
        if module_has_submodule(config.module, "migrations"):
            folder = import_module(f"{config.name}.migrations")
            names = (one.name for one in pkgutil.iter_modules(folder.__path__) if not one.ispkg)
            found |= {(config.label, name) for name in names if name[0] not in "_~"}
    return frozenset(found)


def missing_migrations() -> list[str]:
    """Return the migrations of this release that the database does not have yet."""
    applied = MigrationRecorder(connection).applied_migrations()
    return sorted(f"{app}.{name}" for app, name in _known_migrations() - applied.keys())


def forget_old_beats() -> int:
    """Delete what lanes and machines said that are no more; return how many rows."""
    limit = Now() - timedelta(days=7)
    lanes, _ = Heartbeat.objects.filter(seen_at__lt=limit).delete()
    machines, _ = WorkerHost.objects.filter(seen_at__lt=limit).delete()
    return int(lanes + machines)
