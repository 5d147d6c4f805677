"""Tenants, users, roles, API keys, scoping."""

from django.apps import AppConfig


class TenancyConfig(AppConfig):
    name = "scloud.tenancy"
    label = "tenancy"
