"""``manage.py issue_api_key``: make an API key for a user and print its secret once."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from scloud.tenancy import apikeys
from scloud.tenancy.models import User
from scloud.tenancy.scoping import in_scope_of


class Command(BaseCommand):
    """Makes an API key."""

    help = "Make an API key for a tenant's user; the secret is printed this once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--name", default="command line")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.by_email(options["email"])
        if user is None or user.tenant is None:
            raise CommandError(f"There is no tenant's user {options['email']}.")
        with in_scope_of(user.tenant):
            _, secret = apikeys.issue(user=user, name=options["name"])
        self.stdout.write(secret)
