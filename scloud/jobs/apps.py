"""Durable jobs."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "scloud.jobs"
    label = "jobs"
