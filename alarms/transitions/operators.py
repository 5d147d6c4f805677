"""The only code that opens and ends alarms of the platform, and has operators told of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db import transaction
from django.urls import reverse

from alarms.models import PlatformAlarm
from alarms.models.operators import LONGEST_SUBJECT, LONGEST_TEXT, UNDER_WAY
from alarms.rules.messages import Fact
from alarms.rules.operators import Condition, Course, Finding, course, damping_of
from alarms.transitions.alarms import Happening
from alarms.transitions.notices import tell_operators
from scloud.audit import events
from scloud.audit.models import Event

Key = tuple[str, str]
_KEPT: Final = ("severity", "text", "last_seen_at", "opened_at", "recovered_at")


@dataclass
class _Outcome:
    """What a round changes."""

    changed: list[PlatformAlarm] = field(default_factory=list)
    opened: list[PlatformAlarm] = field(default_factory=list)
    recovered: list[PlatformAlarm] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)


@transaction.atomic
def settle(found: Sequence[Finding], unknown: Collection[Condition], now: datetime) -> int:
    """Open and end alarms by what holds now; return how many opened.

    Those of a condition whose figures are not known stay as they are. Whoever does the same at the
    same time waits here, and finds it done.
    """
    holding: dict[Key, Finding] = {}
    for finding in found:
        holding.setdefault((finding.condition.value, finding.subject[:LONGEST_SUBJECT]), finding)
    outcome = _Outcome()
    rows = PlatformAlarm.objects.select_for_update().filter(UNDER_WAY).order_by("pk")
    for row in rows:
        known = holding.pop(row.key, None)
        if known is None and row.condition in unknown:
            continue
        _advance(row, known, now, outcome)
    PlatformAlarm.objects.bulk_update(outcome.changed, _KEPT)
    PlatformAlarm.objects.filter(pk__in=outcome.forgotten).delete()
    outcome.opened += _add(holding, now)
    _tell(outcome.opened, Happening.OPENED, now)
    _tell(outcome.recovered, Happening.ENDED, now)
    return len(outcome.opened)


def _advance(row: PlatformAlarm, finding: Finding | None, now: datetime, outcome: _Outcome) -> None:
    # A row of a release that knows more conditions: it is left to that one.
    if row.condition not in set(Condition):
        return
    step = course(
        damping_of(Condition(row.condition)),
        now,
        holds=finding is not None,
        first_seen=row.first_seen_at,
        last_seen=row.last_seen_at,
        is_open=row.opened_at is not None,
    )
    if step is Course.FORGOTTEN:
        outcome.forgotten.append(row.pk)
        return
    if finding is not None:
        row.found_again(finding, now)
        outcome.changed.append(row)
    if step is Course.OPENS:
        row.opened_at = now
        outcome.opened.append(row)
    elif step is Course.RECOVERS:
        row.recovered_at = now
        outcome.recovered.append(row)
        outcome.changed.append(row)


def _add(holding: dict[Key, Finding], now: datetime) -> list[PlatformAlarm]:
    """Write what was not found before; return what opens at once."""
    made = [
        PlatformAlarm(
            condition=condition,
            subject=subject,
            severity=finding.severity.value,
            text=finding.words[:LONGEST_TEXT],
            first_seen_at=now,
            last_seen_at=now,
            opened_at=None if damping_of(finding.condition).open_s else now,
        )
        for (condition, subject), finding in holding.items()
    ]
    PlatformAlarm.objects.bulk_create(made, ignore_conflicts=True)
    ids = [one.pk for one in made if one.opened_at is not None]
    there = set(PlatformAlarm.objects.filter(pk__in=ids).values_list("pk", flat=True))
    return [one for one in made if one.pk in there]


def _tell(rows: Iterable[PlatformAlarm], what: Happening, at: datetime) -> None:
    told = list(rows)
    events.emit_many(
        [
            Event(
                kind=f"{PlatformAlarm.KIND}.{what}",
                resource_kind=PlatformAlarm.KIND,
                resource_id=one.pk,
                data={"message": one.text, "condition": one.condition, "severity": one.severity},
            )
            for one in told
        ]
    )
    tell_operators([_fact(one) for one in told], what, at)


def _fact(row: PlatformAlarm) -> Fact:
    return Fact(
        id=row.pk,
        severity=row.severity,
        text=row.text,
        path=reverse("admin:alarms_platformalarm_change", args=[row.pk]),
        resource_kind=row.condition,
        resource_name=row.subject,
        is_sentence=True,
    )
