"""``manage.py issue_api_key``: make an API key for a user and print its secret once."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from scloud.lib.errors import InvalidInput
from scloud.tenancy import apikeys
from scloud.tenancy.models import User
from scloud.tenancy.scoping import in_scope_of


class Command(BaseCommand):
    help = "Make an API key for a tenant's user; the secret is printed this once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--name", default="command line")
        parser.add_argument("--days", type=int, help="days until it expires; 0 means never")
        parser.add_argument("--scope", action="append", default=[], help="may be repeated")
        parser.add_argument(
            "--network", action="append", default=[], help="from where only; may be repeated"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.by_email(options["email"])
        if user is None or user.tenant is None:
            raise CommandError(f"There is no tenant's user {options['email']}.")
        days: int | None = options["days"]
        if days is not None and days < 0:
            raise CommandError("A key is valid for at least a day; 0 means no expiry.")
        expires_at: Any = apikeys.USUAL
        if days is not None:
            expires_at = timezone.now() + timedelta(days=days) if days else None
        try:
            with in_scope_of(user.tenant):
                _, secret = apikeys.issue(
                    user=user,
                    name=options["name"],
                    scopes=options["scope"],
                    expires_at=expires_at,
                    networks=options["network"],
                )
        except InvalidInput as error:
            raise CommandError(error.message) from error
        self.stdout.write(secret)
