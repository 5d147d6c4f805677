"""Puts the platform's admin site in the place of Django's default one."""

from django.contrib.admin.apps import AdminConfig


class ScloudAdminConfig(AdminConfig):
    """Django's admin app with our site; it finds the ``admin`` module of every app."""

    default_site = "scloud.adminsite.site.ScloudAdminSite"
