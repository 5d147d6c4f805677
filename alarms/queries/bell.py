"""What the bell of the console tells: open alarms, and resources whose paid time ends.

What somebody has taken care of is not told any more: an alarm that is acknowledged or ended, a
resource that was renewed or deleted. What a user has read is that user's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.db.models import CharField, DateTimeField, F, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Cast, Coalesce, Now

from alarms.models import Alarm, BellMark
from alarms.queries.alarms import unread_alarms
from billing.models import Reminder
from billing.models.orders import SubscriptionStatus
from scloud.audit.models import Event
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User

#: Of each sort that the page shows.
MOST: Final = 50
ALARMS: Final = "alarms.view_alarm"
BILLING: Final = "billing.view"
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class News:
    """One line: an alarm, or a reminder that a resource expires. ``at`` is when it was told."""

    at: datetime
    is_new: bool
    alarm: Alarm | None = None
    reminder: Reminder | None = None


def unread(actor: Actor, user: User) -> int:
    """Return how much of it a user has not read, in one query."""
    since = Coalesce(
        Subquery(BellMark.objects.filter(user=user).values("read_at")),
        Value(_EVER, output_field=DateTimeField()),
    )
    found: list[QuerySet[Any, Any]] = []
    if actor.allows(ALARMS):
        found.append(_alarms().filter(told_at__gt=since).order_by().values_list("pk"))
    if actor.allows(BILLING):
        ids = Cast("subscription_id", CharField())
        rows = _reminders().filter(created_at__gt=since).order_by()
        found.append(rows.annotate(of=ids).values_list("of").distinct())
    if not found:
        return 0
    first, *others = found
    return first.union(*others).count() if others else first.count()


def news(actor: Actor, user: User) -> list[News]:
    """Return what the bell tells, the newest first, read or not."""
    mark = BellMark.objects.filter(user=user).first()
    since = _EVER if mark is None else mark.read_at
    told: list[News] = []
    if actor.allows(ALARMS):
        alarms = _alarms().order_by("-told_at", "pk")[:MOST]
        told += [News(one.told_at, one.told_at > since, alarm=one) for one in alarms]
    if actor.allows(BILLING):
        latest: dict[int, Reminder] = {}
        rows = _reminders().select_related("subscription").order_by("-created_at", "-pk")
        for row in rows[: MOST * 3]:
            latest.setdefault(row.subscription_id, row)
        told += [
            News(row.created_at, row.created_at > since, reminder=row)
            for row in list(latest.values())[:MOST]
        ]
    return sorted(told, key=lambda one: one.at, reverse=True)


def _alarms() -> QuerySet[Any]:
    """Open alarms that nobody has acknowledged, with ``told_at``.

    An alarm opens at the end of a period and is written a little later, which is what counts here.
    """
    opened = Event.objects.filter(
        resource_id=OuterRef("pk"), resource_kind=Alarm.KIND, kind="alarm.opened"
    )
    told = Subquery(opened.order_by("-at").values("at")[:1])
    return unread_alarms().annotate(told_at=Coalesce(told, F("opened_at")))


def _reminders() -> QuerySet[Reminder]:
    """Reminders of resources that still expire when they said."""
    rows: QuerySet[Reminder] = Reminder.objects.filter(
        paid_until=F("subscription__paid_until"),
        paid_until__gt=Now(),
        subscription__status=SubscriptionStatus.ACTIVE,
        subscription__in_bin=False,
    )
    return rows
