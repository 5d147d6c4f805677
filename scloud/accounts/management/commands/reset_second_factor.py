"""``manage.py reset_second_factor``: for an administrator who has lost app and recovery codes."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from scloud.accounts.second_factor import reset_second_factor
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User


class Command(BaseCommand):
    help = "Remove somebody's second factor and end their sessions."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.by_email(options["email"])
        if user is None:
            raise CommandError(f"There is no user {options['email']!r}: give the e-mail address.")
        try:
            reset_second_factor(actor=Actor.system(user.tenant), user=user)
        except Conflict as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{user.email} has no second factor any more; sessions ended.")
