"""What alarms makes known to the layers below: chores of the sweeper, kinds, a check."""

from typing import Any

from django.core import checks
from django.utils.translation import gettext_lazy as _

from alarms.actions import defaults
from alarms.models import NotificationGroup, Webhook
from alarms.queries import verbs as verb_queries
from alarms.queries.engine import metrics_store
from alarms.rules import refusals as reasons
from alarms.sweeps import binding, evaluating, keeping, notifying, presence, settling
from alarms.tasks import notify
from alarms.transitions.alarms import listen
from alarms.transitions.notices import write_down
from alarms.verbs import alarms, notices, templates
from alarms.views import shell
from scloud.jobs import periodic
from scloud.jobs.periodic import Lane
from scloud.resources import kinds
from scloud.tenancy import sealed, welcome
from scloud.verbs import actions, refusals


def register_all() -> None:
    """Called once when Django is ready."""
    checks.register(check_store)
    # Imported for what they declare.
    assert alarms
    assert notices
    assert templates
    assert verb_queries
    actions.load("alarms.actions")
    refusals.register("alarm", reasons.alarm_refusal)
    refusals.register("alarm_template", reasons.template_refusal)
    refusals.register("alarm_rule", reasons.rule_refusal)
    refusals.register("contact", reasons.contact_refusal)
    refusals.register("notification_group", reasons.group_refusal)
    refusals.register("webhook", reasons.webhook_refusal)
    refusals.register("silence", reasons.silence_refusal)
    notify.register_handlers()
    listen(write_down)
    sealed.register(Webhook, "sealed_url", "sealed_secret")
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
    kinds.register(
        kinds.Kind(
            kind=NotificationGroup.KIND,
            model="alarms.NotificationGroup",
            label=_("Notification group"),
            label_plural=_("Notification groups"),
            icon="bell-ringing",
            url_name="notification-group-detail",
            view_permission="alarms.view_group",
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
    periodic.register("alarms.notify", 10, notifying.notify, Lane.ALARMS)
    periodic.register("alarms.forget_notices", 3600, notifying.forget_old, Lane.ALARMS)


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
