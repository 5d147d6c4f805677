"""Registers the jobs in the benchmark's own process and in its workers."""

from django.apps import AppConfig


class TickConfig(AppConfig):
    """The app."""

    name = "tests.bench.tick"
    label = "bench_tick"

    def ready(self) -> None:
        """Make the jobs known; their module needs the models to be loaded."""
        from scloud.jobs.handlers import register
        from tests.bench.tick.handler import handlers

        for kind, handler in handlers().items():
            register(kind, handler)
