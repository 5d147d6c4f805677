"""Ends alarms that nothing can end by measuring: their VM stopped, their template changed."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from alarms.catalogue import Subject
from alarms.models import Alarm, AlarmBinding, RuleState
from alarms.queries import clock, resources
from alarms.states.alarms import AlarmKind, EndReason
from alarms.transitions.alarms import end_alarms
from scloud.tenancy.models import PlatformSettings
from scloud.tenancy.scoping import scopes_disabled

_FORGOTTEN_AT_ONCE: Final = 5000


def settle() -> int:
    """End the alarms whose reason to be open is gone; return how many."""
    with scopes_disabled(), transaction.atomic():
        found = list(Alarm.objects.filter(ended_at__isnull=True).select_related("rule"))
        ending: dict[EndReason, list[Alarm]] = {}
        for alarm, reason in _reasons(found).items():
            ending.setdefault(reason, []).append(alarm)
        now = clock.now()
        ended = sum(len(end_alarms(alarms, why, now)) for why, alarms in ending.items())
        _forget_states()
    return ended


def _reasons(alarms: list[Alarm]) -> dict[Alarm, EndReason]:
    ids = {alarm.resource_id for alarm in alarms}
    there: set[str] = set()
    measured: set[str] = set()
    for subject in (Subject.VM, Subject.EXTERNAL_IP):
        there |= set(resources.rows_of(subject).filter(pk__in=ids).values_list("pk", flat=True))
        measured |= set(resources.measured(subject).filter(pk__in=ids).values_list("pk", flat=True))
    bound = dict(
        AlarmBinding.objects.filter(resource_id__in=ids).values_list("resource_id", "template_id")
    )
    found: dict[Alarm, EndReason] = {}
    for alarm in alarms:
        if alarm.resource_id not in there:
            found[alarm] = EndReason.RESOURCE_GONE
        elif alarm.resource_id not in measured:
            found[alarm] = EndReason.NOT_RUNNING
        elif bound.get(alarm.resource_id) != alarm.template:
            found[alarm] = EndReason.UNBOUND
        elif alarm.kind == AlarmKind.THRESHOLD and alarm.rule is None:
            found[alarm] = EndReason.RULE_CHANGED
    return found


def _forget_states() -> None:
    """A VM that starts again, and one with another template, begins to be counted anew."""
    for subject in (Subject.VM, Subject.EXTERNAL_IP):
        there = resources.measured(subject).filter(pk=OuterRef("resource_id"))
        rows = RuleState.objects.filter(rule__template__subject=subject)
        rows.filter(~Exists(there)).delete()
    same = AlarmBinding.objects.filter(
        resource_id=OuterRef("resource_id"), template=OuterRef("rule__template")
    )
    RuleState.objects.filter(~Exists(same)).delete()


def forget_old() -> int:
    """Delete alarms that ended longer ago than events are kept; return how many."""
    limit = timezone.now() - timedelta(days=PlatformSettings.load().events_keep_days)
    with scopes_disabled():
        old = Alarm.objects.filter(ended_at__lt=limit).order_by("ended_at")[:_FORGOTTEN_AT_ONCE]
        deleted, _rows = Alarm.objects.filter(pk__in=[alarm.pk for alarm in old]).delete()
    return int(deleted)
