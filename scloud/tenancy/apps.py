"""Tenants, users, roles, API keys, scoping."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TenancyConfig(AppConfig):
    name = "scloud.tenancy"
    label = "tenancy"
    verbose_name = _("Tenants and users")

    def ready(self) -> None:
        from django.core import checks

        from scloud.tenancy import sealed
        from scloud.tenancy.clientip import check_proxies
        from scloud.tenancy.models import IdentityProvider, SecondFactor

        sealed.register(SecondFactor, "sealed_secret")
        sealed.register(IdentityProvider, "sealed_secret")
        checks.register(check_proxies)
