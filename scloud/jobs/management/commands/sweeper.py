"""``manage.py sweeper``: the one process that repairs."""

import logging
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection

from scloud.jobs import periodic, sweep
from scloud.tenancy import ratelimit

log = logging.getLogger(__name__)

# Any number will do, as long as every sweeper uses the same.
LOCK = 7_352_001


class Command(BaseCommand):
    """Runs the sweeps; a second sweeper waits until the first is gone."""

    help = "Run the sweeps: forgotten jobs, deadlines, reconciliation, renewals, the recycle bin."

    def handle(self, *args: Any, **options: Any) -> None:
        periodic.register("jobs.ring", 1, sweep.ring_forgotten)
        periodic.register("jobs.overdue", 2, sweep.end_overdue)
        periodic.register("jobs.watchdog", 10, sweep.restart_silent_workers)
        periodic.register("jobs.forget", 3600, sweep.forget_finished)
        periodic.register("ratelimit.forget", 600, ratelimit.forget_old_windows)
        leader = False
        while True:
            try:
                # The lock belongs to the connection: if that breaks, so does the leadership.
                if not leader or connection.connection is None or not connection.is_usable():
                    connection.close()
                    connection.connect()
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
                        row = cursor.fetchone()
                    leader = bool(row and row[0])
                if leader:
                    periodic.run_due()
            except DatabaseError:
                log.exception("the database did not answer")
                connection.close()
                leader = False
            time.sleep(settings.SCLOUD_SWEEP_INTERVAL_S)
