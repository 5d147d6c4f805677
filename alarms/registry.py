"""What alarms makes known to the layers below: chores of the sweeper, kinds, a check."""

from typing import Any

from django.core import checks
from django.utils.translation import gettext_lazy as _

from alarms.actions import defaults
from alarms.queries import verbs as verb_queries
from alarms.queries.engine import metrics_store
from alarms.rules.refusals import alarm_refusal, rule_refusal, template_refusal
from alarms.sweeps import binding, evaluating, keeping, presence, settling
from alarms.verbs import alarms, templates
from alarms.views import shell
from scloud.jobs import periodic
from scloud.jobs.periodic import Lane
from scloud.resources import kinds
from scloud.tenancy import welcome
from scloud.verbs import actions, refusals


def register_all() -> None:
    """Called once when Django is ready."""
    checks.register(check_store)
    # Imported for what they declare.
    assert alarms
    assert templates
    assert verb_queries
    actions.load("alarms.actions")
    refusals.register("alarm", alarm_refusal)
    refusals.register("alarm_template", template_refusal)
    refusals.register("alarm_rule", rule_refusal)
    shell.register()
    kinds.register(
        kinds.Kind(
            kind="alarm_template",
            model="alarms.AlarmTemplate",
            label=_("Alarm template"),
            label_plural=_("Alarm templates"),
            icon="bell-cog",
            url_name="alarm-template-detail",
            view_permission="alarms.view_template",
        )
    )
    periodic.register("alarms.roll_up", 30, keeping.roll_up, Lane.METRICS)
    periodic.register("alarms.prune", 600, keeping.prune, Lane.METRICS)
    welcome.register(defaults.ensure_default_template)
    periodic.register("alarms.bind", 15, binding.bind_new, Lane.ALARMS)
    periodic.register("alarms.evaluate", 10, evaluating.evaluate, Lane.ALARMS)
    periodic.register("alarms.presence", 30, presence.look, Lane.ALARMS)
    periodic.register("alarms.settle", 30, settling.settle, Lane.ALARMS)
    periodic.register("alarms.unbind", 600, binding.unbind_gone, Lane.ALARMS)
    periodic.register("alarms.forget", 3600, settling.forget_old, Lane.ALARMS)


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
