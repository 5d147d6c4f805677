"""``manage.py sweeper``: the one process that repairs."""

import logging
import threading
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError, connection

from scloud.jobs import periodic, sweep
from scloud.jobs.periodic import Lane
from scloud.tenancy import housekeeping, ratelimit

log = logging.getLogger(__name__)

# Any number will do, as long as every sweeper uses the same.
LOCK = 7_352_001


class Command(BaseCommand):
    """Runs the sweeps; a second sweeper waits until the first is gone."""

    help = "Run the sweeps: forgotten jobs, deadlines, reconciliation, renewals, the recycle bin."

    def handle(self, *args: Any, **options: Any) -> None:
        periodic.register("jobs.ring", 1, sweep.ring_forgotten, Lane.BELL)
        periodic.register("jobs.watchdog", 10, sweep.restart_silent_workers, Lane.BELL)
        periodic.register("jobs.overdue", 2, sweep.end_overdue, Lane.DEADLINES)
        periodic.register("jobs.forget", 3600, sweep.forget_finished)
        periodic.register("ratelimit.forget", 600, ratelimit.forget_old_windows)
        periodic.register("sign_ins.forget", 3600, housekeeping.forget_sign_ins)
        # Set while this process is the one that sweeps, and once it is to end.
        leading, ending = threading.Event(), threading.Event()
        for lane in periodic.lanes():
            if lane != Lane.BELL:
                threading.Thread(
                    target=run_lane, args=(lane, leading, ending), name=f"lane-{lane}", daemon=True
                ).start()
        try:
            self.lead(leading)
        finally:
            ending.set()
            leading.set()

    def lead(self, leading: threading.Event) -> None:
        """Hold the lock, or wait for it, and look after the bell meanwhile."""
        while True:
            try:
                # The lock belongs to the connection: if that breaks, so does the leadership.
                if (
                    not leading.is_set()
                    or connection.connection is None
                    or not connection.is_usable()
                ):
                    leading.clear()
                    connection.close()
                    connection.connect()
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
                        row = cursor.fetchone()
                    if row and row[0]:
                        leading.set()
                if leading.is_set():
                    periodic.run_due(Lane.BELL)
            except (DatabaseError, InterfaceError):
                log.exception("the database did not answer")
                connection.close()
                leading.clear()
            time.sleep(settings.SCLOUD_SWEEP_INTERVAL_S)


def run_lane(lane: Lane, leading: threading.Event, ending: threading.Event) -> None:
    """Run a lane's chores while this process leads, until it ends.

    A chore that has begun goes on when the leadership is lost. That does no harm: chores compare
    and swap, as they do against the workers, so two sweepers at once are slow and not wrong.
    """
    while leading.wait() and not ending.is_set():
        periodic.run_due(lane)
        ending.wait(settings.SCLOUD_SWEEP_INTERVAL_S)
    connection.close()
