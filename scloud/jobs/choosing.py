"""Which job a free worker takes next: fair between tenants, and the quick before the long.

A wake-up only says that there is something to do. What is done is chosen here, from all that is
due, so that the order in which jobs were queued gives nobody the slots of everybody.

- Long work (copies) has at most ``SCLOUD_LONG_SLOTS`` of a machine's slots, and one tenant half of
  them.
- A tenant has at most ``SCLOUD_TENANT_SLOTS`` of a machine's slots, and never more than are free
  after it: whoever comes next finds one.
- Of what is allowed, the tenant with the fewest running jobs comes first, then the one whose last
  turn is longest ago, then what was due first.
"""

from __future__ import annotations

import socket
from typing import Any

from django.conf import settings
from django.db import connection

from scloud.jobs.handlers import registered_kinds
from scloud.jobs.lanes import Lane
from scloud.jobs.models import JobStatus
from scloud.lib.locks import advisory_key

LOCK = advisory_key("scloud.jobs.choose")

# Only jobs with a valid lease count as running: a worker that died blocks nobody. The counts are
# this machine's, whose slots are to be given away; the choice is from all jobs.
CHOICE = """
WITH held AS (
    SELECT COALESCE(tenant_id, '') AS owner, lane, count(*) AS jobs
    FROM jobs_job
    WHERE status = %(running)s AND lease_until >= statement_timestamp()
      AND lease_owner LIKE %(machine)s
    GROUP BY 1, 2
), mine AS (
    SELECT owner, sum(jobs) AS jobs, COALESCE(sum(jobs) FILTER (WHERE lane = %(long)s), 0) AS long
    FROM held GROUP BY owner
), capacity AS (
    SELECT greatest(1, %(slots)s - COALESCE(sum(jobs), 0)) AS free,
           %(long_slots)s - COALESCE(sum(jobs) FILTER (WHERE lane = %(long)s), 0) AS long
    FROM held
)
SELECT job.id, COALESCE(job.tenant_id, '')
FROM jobs_job AS job
CROSS JOIN capacity
LEFT JOIN mine ON mine.owner = COALESCE(job.tenant_id, '')
LEFT JOIN jobs_turn AS turn ON turn.owner = COALESCE(job.tenant_id, '')
WHERE job.status IN (%(queued)s, %(running)s)
  AND (
    (job.status = %(queued)s AND job.not_before <= statement_timestamp())
    OR (job.status = %(running)s AND job.lease_until < statement_timestamp())
  )
  AND job.kind = ANY(%(kinds)s)
  AND COALESCE(mine.jobs, 0) < greatest(1, least(%(tenant_slots)s, capacity.free))
  AND (
    job.lane <> %(long)s
    OR (capacity.long > 0 AND COALESCE(mine.long, 0) < %(tenant_long_slots)s)
  )
ORDER BY COALESCE(mine.jobs, 0), turn.served_at NULLS FIRST, (job.lane = %(long)s),
         job.not_before, job.id
LIMIT 1
"""


def machine() -> str:
    """Return the name under which this machine's workers hold leases."""
    return socket.gethostname()


def next_due() -> str | None:
    """Return the id of the job that has the next turn, or None when nothing may begin now.

    To be called, and the job claimed, in one transaction: the choice is made by one worker at a
    time, or two of them would give the same slot away.
    """
    slots = int(settings.Q_CLUSTER["workers"])
    long_slots = int(settings.SCLOUD_LONG_SLOTS)
    values: dict[str, Any] = {
        "running": JobStatus.RUNNING.value,
        "queued": JobStatus.QUEUED.value,
        "long": Lane.LONG.value,
        "machine": machine().replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + ":%",
        "slots": slots,
        "long_slots": long_slots,
        "tenant_slots": int(settings.SCLOUD_TENANT_SLOTS),
        "tenant_long_slots": max(1, long_slots // 2),
        "kinds": registered_kinds(),
    }
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        cursor.execute(CHOICE, values)
        row = cursor.fetchone()
        if row is None:
            return None
        cursor.execute(
            "INSERT INTO jobs_turn (owner, served_at) VALUES (%s, clock_timestamp()) "
            "ON CONFLICT (owner) DO UPDATE SET served_at = excluded.served_at",
            [row[1]],
        )
    return str(row[0])
