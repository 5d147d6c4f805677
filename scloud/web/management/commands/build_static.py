"""Copy the browser libraries and draw the icon sprite into static/vendor."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from scloud.web import static_assets


class Command(BaseCommand):
    help = "Fill static/vendor from node_modules (run it after `npm ci`, before collectstatic)."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            count = static_assets.build()
        except static_assets.MissingAsset as error:
            raise CommandError(f"{error} (run `npm ci` first)") from error
        self.stdout.write(f"{count} files in static/vendor")
