"""``manage.py sweeper``: the one process that repairs."""

import logging
import threading
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError, connection

from scloud.audit import events, sealing
from scloud.jobs import health, periodic, sweep, workers
from scloud.jobs.periodic import Lane
from scloud.lib.backoff import Backoff, Said
from scloud.tenancy import housekeeping, ratelimit

log = logging.getLogger(__name__)
said = Said(log)

# Any number will do, as long as every sweeper uses the same.
LOCK = 7_352_001


class Command(BaseCommand):
    """Runs the sweeps; a second sweeper waits until the first is gone."""

    help = "Run the sweeps: forgotten jobs, deadlines, reconciliation, renewals, the recycle bin."

    def handle(self, *args: Any, **options: Any) -> None:
        periodic.register("jobs.wake_up", 1, sweep.wake_forgotten, Lane.WAKE_UPS)
        periodic.register("jobs.watchdog", 10, sweep.restart_silent_workers, Lane.WAKE_UPS)
        periodic.register("jobs.overdue", 2, sweep.end_overdue, Lane.DEADLINES)
        periodic.register("jobs.revive", 60, sweep.revive_unknown, Lane.DEADLINES)
        periodic.register("jobs.unknown", 60, workers.tell_unknown)
        periodic.register("jobs.forget", 3600, sweep.forget_finished)
        periodic.register("ratelimit.forget", 600, ratelimit.forget_old_windows)
        periodic.register("sign_ins.forget", 3600, housekeeping.forget_sign_ins)
        periodic.register("log.seal", 60, sealing.keep_sealed)
        periodic.register("events.forget", 600, events.forget_old)
        periodic.register("beats.forget", 3600, health.forget_old_beats)
        health.register_beats()
        # Set while this process is the one that sweeps, and once it is to end.
        leading, ending = threading.Event(), threading.Event()
        for lane in periodic.lanes():
            if lane != Lane.WAKE_UPS:
                threading.Thread(
                    target=run_lane, args=(lane, leading, ending), name=f"lane-{lane}", daemon=True
                ).start()
        try:
            self.lead(leading)
        finally:
            ending.set()
            leading.set()

    def lead(self, leading: threading.Event) -> None:
        """Hold the lock, or wait for it, and look after the wake-ups meanwhile."""
        backoff = Backoff(first_s=settings.SCLOUD_SWEEP_INTERVAL_S, ceiling_s=15.0)
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
                    # Not connect(): that lets the driver's own errors through.
                    connection.ensure_connection()
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
                        row = cursor.fetchone()
                    if row and row[0]:
                        leading.set()
                if leading.is_set():
                    periodic.run_due(Lane.WAKE_UPS)
                said.over("database", "the database is back")
                wait_s = settings.SCLOUD_SWEEP_INTERVAL_S
                backoff.worked()
            except (DatabaseError, InterfaceError) as error:
                said.say(
                    "database", "away", logging.ERROR, "the database did not answer: %s", error
                )
                connection.close()
                leading.clear()
                wait_s = backoff.failed()
            time.sleep(wait_s)


def run_lane(lane: Lane, leading: threading.Event, ending: threading.Event) -> None:
    """Run a lane's chores while this process leads, until it ends.

    A chore that has begun goes on when the leadership is lost. That does no harm: chores compare
    and swap, as they do against the workers, so two sweepers at once are slow and not wrong.
    """
    while leading.wait() and not ending.is_set():
        periodic.run_due(lane)
        ending.wait(settings.SCLOUD_SWEEP_INTERVAL_S)
    connection.close()
