"""``manage.py reconcile_network``: compare a region with its network, and repair it."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from network.actions import operators
from network.models import NetworkDrift
from scloud.jobs.models import ACTIVE, Job, JobStatus
from scloud.recovery import freezing
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled


class Command(BaseCommand):
    """Hands over to a worker, which has the connection to the network, and waits for it."""

    help = "Compare a region's rows with its OVN northbound database, and repair the latter."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("region", help="the region's ID")
        parser.add_argument("--dry-run", action="store_true", help="compare only")
        parser.add_argument("--wait", type=float, default=300.0, help="seconds, at most")

    def handle(self, *args: Any, **options: Any) -> None:
        region = Region.objects.filter(pk=options["region"]).first()
        if region is None:
            raise CommandError(f"There is no region {options['region']}.")
        if not options["dry_run"] and freezing.is_frozen():
            raise CommandError("Sweeps are frozen: release them first, or use --dry-run.")
        with scopes_disabled():
            queued = operators.reconcile_region(
                actor=Actor.system(None), region=region, repair=not options["dry_run"]
            )
            job = self._ended(queued, options["wait"])
            if job.status != JobStatus.SUCCEEDED:
                raise CommandError(f"{job.pk} ended as {job.status}: {job.error_detail}")
        self.stdout.write(f"{job.result.get('differences', 0)} differences seen")
        still = list(NetworkDrift.objects.filter(region=region, resolved_at=None))
        for row in still:
            self.stdout.write(f"{row.problem} {row.kind} {row.target_id} {row.detail}".rstrip())
        if still:
            raise CommandError(f"{len(still)} differences remain.")

    def _ended(self, job: Job, within_s: float) -> Job:
        end = time.monotonic() + within_s
        while job.status in ACTIVE:
            if time.monotonic() > end:
                raise CommandError(f"{job.pk} has not ended yet: is a worker running?")
            time.sleep(0.5)
            job.refresh_from_db()
        return job
