"""How long a job waits for a worker: from the commit that queued it to its first step."""

from __future__ import annotations

import random
import time
from typing import Any
from uuid import uuid4

from tests.bench import installation
from tests.bench.rows import Row, milliseconds, p95, spread

GOAL_S = 0.150
WARM_UP = 12


def run(quick: bool) -> list[Row]:
    """Queue jobs one by one at random moments for real workers."""
    installation.database()
    from scloud.tenancy.scoping import scopes_disabled

    jobs = 20 if quick else 200
    python = str(installation.ROOT / ".venv" / "bin" / "python")
    with (
        installation.process(python, "manage.py", "worker", settings="tests.bench.settings"),
        scopes_disabled(),
    ):
        # The first ones open each worker's database connection.
        for _ in range(WARM_UP):
            latency_s(timeout_s=60)
        waits = []
        for _ in range(jobs):
            time.sleep(random.uniform(0.02, 0.2))
            waits.append(latency_s())
    return [
        Row(
            f"Job start: commit to first step in a worker ({jobs} jobs, one at a time)",
            f"p95 < {milliseconds(GOAL_S)}",
            spread(waits),
            p95(waits) < GOAL_S,
        )
    ]


def latency_s(timeout_s: float = 20, tenant: Any = None) -> float:
    """Queue one job of a tenant and return how long it waited, in seconds."""
    from django.db import transaction

    from scloud.jobs import service
    from scloud.jobs.models import Job, JobStatus
    from tests.bench.tick.handler import KIND

    with transaction.atomic():
        job = service.enqueue(
            kind=KIND,
            tenant=tenant,
            title="Tick",
            target_kind="bench",
            target_id=uuid4().hex,
            deadline_s=60,
        )
    committed_at_s = time.time()
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        found = Job.objects.get(pk=job.pk)
        if found.status == JobStatus.SUCCEEDED:
            return float(found.result["began_at_s"]) - committed_at_s
        time.sleep(0.02)
    raise TimeoutError(f"no worker took {job.pk} in {timeout_s:.0f} s")
