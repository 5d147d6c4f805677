"""The only code that opens and ends alarms: rows, states of rules, events, in bulk.

A host that fails or a template with a wrong threshold opens a thousand alarms at once, so nothing
here costs a query per alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from django.db.models import Q

from alarms.models import Alarm, RuleState
from alarms.states.alarms import AlarmKind, EndReason
from scloud.audit import events
from scloud.audit.models import Event

#: Rows of one statement.
_AT_ONCE: Final = 1000


class Happening(StrEnum):
    """What people are told: of an alarm, or (``NOTICE``) of what neither opens nor ends."""

    OPENED = "opened"
    PERSISTED = "persisted"
    ENDED = "ended"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class News:
    """Something that happened to an alarm at a moment."""

    alarm: Alarm
    what: Happening
    at: datetime


Listener = Callable[[Sequence[News]], None]
_listeners: list[Listener] = []


def listen(listener: Listener) -> None:
    """Have a function called with what happens, within the transaction in which it does."""
    if listener not in _listeners:
        _listeners.append(listener)


def tell(news: Sequence[News]) -> None:
    """Tell the listeners."""
    if news:
        for listener in _listeners:
            listener(news)


def open_alarms(alarms: Sequence[Alarm]) -> list[Alarm]:
    """Write new alarms and tell of them; return those of which none was open already."""
    Alarm.objects.bulk_create(alarms, batch_size=_AT_ONCE, ignore_conflicts=True)
    there = set(
        Alarm.objects.filter(pk__in=[one.pk for one in alarms]).values_list("pk", flat=True)
    )
    opened = [one for one in alarms if one.pk in there]
    events.emit_many([event for one in opened for event in _events(one, "alarm.opened")])
    tell([News(one, Happening.OPENED, one.opened_at) for one in opened])
    return opened


def end_alarms(alarms: Iterable[Alarm], reason: EndReason, at: datetime) -> list[Alarm]:
    """End those of the alarms that are still open, and tell of them; return them.

    What their rules had counted is forgotten, so that they begin anew.
    """
    wanted = {one.pk: one for one in alarms}
    if not wanted:
        return []
    # A second that ends them meanwhile waits here, and finds none.
    locked = Alarm.objects.select_for_update().filter(pk__in=list(wanted), ended_at__isnull=True)
    ended = [wanted[pk] for pk in locked.order_by("pk").values_list("pk", flat=True)]
    Alarm.objects.filter(pk__in=[one.pk for one in ended]).update(ended_at=at, end_reason=reason)
    for one in ended:
        one.ended_at, one.end_reason = at, reason
    _forget_states(ended)
    events.emit_many([event for one in ended for event in _events(one, "alarm.ended")])
    tell([News(one, Happening.ENDED, at) for one in ended])
    return ended


def _forget_states(alarms: Sequence[Alarm]) -> None:
    of_rules = [one for one in alarms if one.kind == AlarmKind.THRESHOLD and one.rule_id]
    if not of_rules:
        return
    keys = {(one.rule_id, one.resource_id, one.device) for one in of_rules}
    states = RuleState.objects.filter(
        Q(rule_id__in={one.rule_id for one in of_rules})
        & Q(resource_id__in={one.resource_id for one in of_rules})
    )
    found = states.values_list("pk", "rule_id", "resource_id", "device")
    RuleState.objects.filter(pk__in=[pk for pk, *key in found if tuple(key) in keys]).delete()


def _events(alarm: Alarm, kind: str) -> tuple[Event, Event]:
    """The event of the resource, which its time line shows, and that of the list of alarms."""
    data = {"message": alarm.what, "alarm": alarm.pk, "severity": alarm.severity}
    if alarm.ended_at is not None:
        data["reason"] = alarm.end_reason
    shared = {"tenant_id": alarm.tenant_id, "kind": kind}
    return (
        Event(resource_kind=alarm.subject, resource_id=alarm.resource_id, data=data, **shared),
        Event(resource_kind=Alarm.KIND, resource_id=alarm.pk, data=data, **shared),
    )
