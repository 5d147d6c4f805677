"""``manage.py after_restore``: say that the database was restored from a backup."""

from typing import Any

from django.core.management.base import BaseCommand

from scloud.recovery import freezing


class Command(BaseCommand):
    """Freezes what destroys until an operator has read the drift report and releases it."""

    help = "Freeze all destructive sweeps after the database was restored from a backup."

    def handle(self, *args: Any, **options: Any) -> None:
        freezing.look()
        row = freezing.freeze("The operator restored the database from a backup.")
        self.stdout.write(
            f"Destructive sweeps are frozen ({row}). Start the sweeper, read the drift report in "
            "Django admin, then press Release on the freeze."
        )
