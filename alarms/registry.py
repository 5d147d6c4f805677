"""What alarms makes known to the layers below: chores of the sweeper, a check of the settings."""

from typing import Any

from django.core import checks

from alarms.queries.engine import metrics_store
from alarms.sweeps import keeping
from scloud.jobs import periodic
from scloud.jobs.periodic import Lane


def register_all() -> None:
    """Called once when Django is ready."""
    checks.register(check_store)
    periodic.register("alarms.roll_up", 30, keeping.roll_up, Lane.METRICS)
    periodic.register("alarms.prune", 600, keeping.prune, Lane.METRICS)


def check_store(**_given: Any) -> list[checks.CheckMessage]:
    """No process starts with a metrics store that does not exist."""
    try:
        metrics_store()
    except ValueError as error:
        return [
            checks.Error(
                f"SCLOUD_METRICS_STORE names no metrics store: {error}",
                hint="Set it to postgres, or to the URL of a VictoriaMetrics.",
                id="alarms.E001",
            )
        ]
    return []
