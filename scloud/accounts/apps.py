"""Accounts of people."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "scloud.accounts"
    label = "accounts"

    def ready(self) -> None:
        """Make the check of the list of breached passwords and the jobs known."""
        from django.core import checks

        from scloud.accounts import expiring, mailing, providers
        from scloud.accounts.checks import check_list

        checks.register(check_list)
        mailing.register_handlers()
        providers.register_handlers()
        expiring.register_expiry()
