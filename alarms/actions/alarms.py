"""What people do with an alarm."""

from __future__ import annotations

from django.utils.translation import gettext as _

from alarms.models import Alarm
from alarms.queries import clock
from network.actions.common import locked
from scloud.audit import events
from scloud.audit.action import action
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor


@action("alarms.acknowledge_alarm")
def acknowledge_alarm(*, actor: Actor, alarm: Alarm) -> Alarm:
    """Say that somebody takes care of an open alarm: it is not repeated any more.

    Raises Conflict (``alarm_ended``, ``alarm_acknowledged``), NotFound.
    """
    fresh: Alarm = locked(alarm)
    if fresh.ended_at is not None:
        raise Conflict(_("The alarm is not open any more."), code="alarm_ended")
    if fresh.acknowledged_at is not None:
        raise Conflict(
            _("%(who)s has acknowledged it already.") % {"who": fresh.acknowledged_by},
            code="alarm_acknowledged",
        )
    fresh.acknowledged_at, fresh.acknowledged_by = clock.now(), actor.label
    fresh.save(update_fields=["acknowledged_at", "acknowledged_by"])
    for kind, pk in ((fresh.subject, fresh.resource_id), (Alarm.KIND, fresh.pk)):
        events.emit(
            tenant_id=fresh.tenant_id,
            kind="alarm.acknowledged",
            resource_kind=kind,
            resource_id=pk,
            data={"message": fresh.what, "alarm": fresh.pk},
        )
    return fresh
