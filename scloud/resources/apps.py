"""Regions, the base of all resources, the registry of kinds, the recycle bin."""

from django.apps import AppConfig


class ResourcesConfig(AppConfig):
    name = "scloud.resources"
    label = "resources"
