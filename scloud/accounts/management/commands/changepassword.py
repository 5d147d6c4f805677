"""``manage.py changepassword``, with what a reset by an administrator brings along."""

import getpass
from typing import Any

from django.contrib.auth.management.commands import changepassword
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from scloud.accounts.actions import reset_password
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User

TRIES = 3


class Command(changepassword.Command):
    """Sets somebody's password; sessions end, API keys are revoked and identities unlinked.

    Django's own would leave them, and write nothing to the operation log.
    """

    help = "Set somebody's password, end their sessions, revoke API keys, unlink identities."

    def handle(self, *args: Any, **options: Any) -> str:
        """Ask for the password and set it."""
        email = str(options["username"] or "").lower()
        user = User.objects.select_related("tenant").filter(email=email).first()
        if user is None:
            raise CommandError(f"There is no user {email!r}: give the e-mail address.")
        for _ in range(TRIES):
            password = getpass.getpass("Password: ")
            if password != getpass.getpass("Password (again): "):
                self.stderr.write("The two are not the same.")
                continue
            try:
                validate_password(password, user)
            except ValidationError as error:
                self.stderr.write("\n".join(error.messages))
                continue
            reset_password(actor=Actor.system(user.tenant), user=user, password=password)
            return (
                f"{email} has a new password; sessions ended, API keys revoked, "
                "identities unlinked."
            )
        raise CommandError(f"The password was not changed after {TRIES} tries.")
