"""``manage.py verify_log``: is the operation log what was written?"""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from scloud.audit import sealing
from scloud.audit.models import Operation, Seal
from scloud.tenancy.scoping import scopes_disabled


def _known(text: str) -> tuple[int, str]:
    number, _, found = text.partition(":")
    return int(number), found


class Command(BaseCommand):
    """Names the first broken batch and fails; without one prints the last hash."""

    help = "Check the seals of the operation log; fails and names the first broken batch."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Hashes that were written down elsewhere."""
        parser.add_argument(
            "--known",
            type=_known,
            action="append",
            default=[],
            metavar="NUMBER:HASH",
            help="a hash that this command printed earlier and that was kept elsewhere",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        broken = sealing.verify(dict(options["known"]))
        if broken is not None:
            raise CommandError(f"Batch {broken.number} is broken: {broken.reason}.")
        with scopes_disabled():
            last = Seal.objects.order_by("-number").first()
            unsealed = Operation.objects.filter(batch=None).count()
        self.stdout.write(f"{last.number if last else 0} batches are whole.")
        if last is not None:
            self.stdout.write(f"Last: {last.number}:{last.hash}")
        self.stdout.write(f"{unsealed} entries wait for their seal.")
