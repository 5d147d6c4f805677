"""The leases of this process's running jobs: renewed in the background, believed for a time only.

``attempt`` is the fencing token in the database. A worker that cannot reach the database cannot
see that its token was taken, so it believes in a lease only as long as nobody else can have
claimed the job: counted on its own monotonic clock, from before the request that the database
confirmed was sent. The database alone says what time it is, so clocks of hosts may differ.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.db.models.functions import Now

from scloud.jobs.models import Job, JobStatus
from scloud.tenancy.scoping import scopes_disabled

log = logging.getLogger(__name__)

# The share of a lease for which a worker believes in it: the rest is for what it does meanwhile.
BELIEVED = 0.8
# A worker that still hangs in a call this long after its job was taken ends itself.
HANGS_S = 300.0

clock = time.monotonic


def length() -> timedelta:
    """Return how long a lease lasts."""
    return timedelta(seconds=settings.SCLOUD_JOB_LEASE_S)


@dataclass
class _Held:
    confirmed_at: float
    lost_at: float | None = None


class Leases:
    """One thread per process keeps the leases of its running jobs alive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[str, int], _Held] = {}
        self._thread: threading.Thread | None = None
        self._pid = 0
        # Set in worker processes, which a supervisor starts anew.
        self.may_end_process = False

    def hold(self, job_id: str, attempt: int, asked_at: float) -> None:
        """Keep a lease that the database gave; ``asked_at`` is this clock before the request."""
        with self._lock:
            self._held[job_id, attempt] = _Held(asked_at)
            # A forked child inherits the object but not the thread.
            if self._thread is None or self._pid != os.getpid() or not self._thread.is_alive():
                self._pid = os.getpid()
                self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
                self._thread.start()

    def drop(self, job_id: str, attempt: int) -> None:
        with self._lock:
            self._held.pop((job_id, attempt), None)

    def believed(self, job_id: str, attempt: int) -> bool:
        """Tell, without asking, whether nobody else can have the job yet."""
        with self._lock:
            held = self._held.get((job_id, attempt))
        if held is None or held.lost_at is not None:
            return False
        return clock() < held.confirmed_at + length().total_seconds() * BELIEVED

    def confirm(self, job_id: str, attempt: int) -> bool:
        """Ask the database whether the job is still this worker's; no lock is taken.

        Raises DatabaseError or InterfaceError when the database does not answer.
        """
        with scopes_disabled():
            mine: bool = Job.objects.filter(
                id=job_id, attempt=attempt, status=JobStatus.RUNNING, lease_until__gt=Now()
            ).exists()
        if not mine:
            with self._lock:
                held = self._held.get((job_id, attempt))
                if held is not None and held.lost_at is None:
                    held.lost_at = clock()
        return mine

    def renew(self, job_id: str, attempt: int) -> bool:
        """Ask the database for a fresh lease; False when the job is somebody else's.

        Raises DatabaseError or InterfaceError when the database does not answer.
        """
        asked_at = clock()
        with scopes_disabled():
            alive = Job.objects.filter(id=job_id, attempt=attempt, status=JobStatus.RUNNING).update(
                lease_until=Now() + length()
            )
        with self._lock:
            # One that ended between the look at what is held and the answer is nobody's loss.
            held = self._held.get((job_id, attempt))
            if held is not None:
                if alive:
                    held.confirmed_at = max(held.confirmed_at, asked_at)
                elif held.lost_at is None:
                    held.lost_at = asked_at
        return bool(alive)

    def _run(self) -> None:
        while True:
            time.sleep(settings.SCLOUD_JOB_LEASE_S / 3)
            with self._lock:
                held = dict(self._held)
                if not held:
                    # Ends instead of idling, so that it keeps no database connection.
                    self._thread = None
                    connection.close()
                    return
            for (job_id, attempt), lease in held.items():
                if lease.lost_at is None:
                    self.beat(job_id, attempt)
                elif self.may_end_process and clock() - lease.lost_at > HANGS_S:
                    log.critical("%s was taken away and its worker hangs; it ends itself", job_id)
                    os.kill(os.getpid(), signal.SIGKILL)

    def beat(self, job_id: str, attempt: int) -> None:
        """Renew a lease; while the database is away it runs out by itself."""
        try:
            self.renew(job_id, attempt)
        except (DatabaseError, InterfaceError):
            connection.close()


leases = Leases()
