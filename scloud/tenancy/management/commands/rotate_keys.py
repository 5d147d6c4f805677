"""``manage.py rotate_keys``: new keys for sealing, quotes and digests, and all data under them."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from scloud.lib import keys
from scloud.lib.keys import Purpose
from scloud.tenancy import apikeys, sealed


class Command(BaseCommand):
    help = (
        "Seal everything with the first key of its ring, and tell what still needs an old one. "
        "--new puts a fresh key first; --drop-old forgets the old ones when nothing needs them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        purposes = [purpose.value for purpose in Purpose]
        parser.add_argument(
            "--new", nargs="*", choices=purposes, metavar="PURPOSE", help=", ".join(purposes)
        )
        parser.add_argument("--drop-old", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["new"] is not None:
            for name in options["new"] or [purpose.value for purpose in Purpose]:
                self._renew(Purpose(name))
        report = sealed.reseal()
        self.stdout.write(
            f"Sealed secrets: {report.resealed} sealed anew, {report.present} were up to date."
        )
        waiting = apikeys.count_under_old_keys()
        if waiting:
            self.stdout.write(
                f"API keys: {waiting} are known by an old key; each follows at its next use."
            )
        if report.unreadable:
            raise CommandError(
                f"No key opens {len(report.unreadable)} secrets: "
                f"{', '.join(report.unreadable[:10])}. Put the key back that they were sealed with."
            )
        if options["drop_old"]:
            self._drop(waiting)

    def _renew(self, purpose: Purpose) -> None:
        self._require_file(purpose)
        keys.write(keys.file_of(purpose), [keys.new_key(), *keys.ring(purpose)])
        self.stdout.write(f"{purpose.value}: a new key is in use.")

    def _drop(self, waiting: int) -> None:
        for purpose in Purpose:
            if settings.SCLOUD_KEYS.get(purpose.value) or keys.is_shared(purpose):
                continue
            if purpose == Purpose.DIGESTS and waiting:
                self.stdout.write(
                    f"{purpose.value}: the old keys stay for {waiting} API keys; "
                    "revoke those that are not used any more."
                )
                continue
            keys.write(keys.file_of(purpose), keys.ring(purpose)[:1])
            self.stdout.write(f"{purpose.value}: old keys are forgotten.")

    def _require_file(self, purpose: Purpose) -> None:
        if settings.SCLOUD_KEYS.get(purpose.value):
            raise CommandError(
                f"The keys for {purpose.value} come from the environment: put a new one first "
                "there, keep the old ones behind it, restart the processes, and run this again."
            )
