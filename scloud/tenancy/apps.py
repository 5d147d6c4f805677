"""Tenants, users, roles, API keys, scoping."""

from django.apps import AppConfig


class TenancyConfig(AppConfig):
    name = "scloud.tenancy"
    label = "tenancy"

    def ready(self) -> None:
        from django.core import checks

        from scloud.tenancy.clientip import check_proxies

        checks.register(check_proxies)
