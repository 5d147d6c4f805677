"""``manage.py prune_details``: delete the details of closed months that are old enough, now."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing import pruning
from billing.models import BillingSettings
from scloud.recovery import freezing
from scloud.tenancy.scoping import scopes_disabled


class Command(BaseCommand):
    """The sweeper does the same by itself; this does it at once, and says what stays and why."""

    help = "Delete orders and charges of closed months that are older than the settings say."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would go")

    def handle(self, *args: Any, **options: Any) -> None:
        if BillingSettings.load().keep_details_years is None:
            raise CommandError("the settings of billing keep details for ever")
        if freezing.is_frozen():
            raise CommandError("the database was restored and its sweeps are not released yet")
        if not options["dry_run"]:
            while made := pruning.run():
                for month in made:
                    self.stdout.write(
                        f"{month}: {month.orders} order(s), {month.charges} charge(s)"
                    )
        with scopes_disabled():
            for one in pruning.waiting():
                reason = pruning.REASONS.get(one.kept_because, one.kept_because)
                self.stdout.write(f"{one.statement}: {reason or 'due'}")
