"""Regions, the base of all resources, the registry of kinds, the recycle bin."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ResourcesConfig(AppConfig):
    name = "scloud.resources"
    label = "resources"
    verbose_name = _("Regions")
