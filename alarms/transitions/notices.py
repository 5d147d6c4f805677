"""Writes down who shall be told what, in the transaction in which it happens.

Nothing is sent here: a sweep looks for what waits, and jobs send it. What happens in a silence is
told to nobody, what happens in quiet hours waits until they are over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

from django.db.models import Q

from alarms.models import (
    AlarmTemplate,
    Contact,
    Notice,
    NotificationGroup,
    Silence,
    Webhook,
)
from alarms.rules.messages import Fact
from alarms.rules.quiet import quiet_until
from alarms.states.alarms import Severity
from alarms.transitions.alarms import Happening, News
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope, scopes_disabled

_AT_ONCE: Final = 1000


def write_down(news: Sequence[News]) -> None:
    """Write a notice for each contact and webhook of the group of each alarm's template."""
    groups = _groups_of({one.alarm.template for one in news})
    if not groups:
        return
    silences = _silences(news)
    told = [one for one in news if one.alarm.template in groups and not _is_silent(one, silences)]
    targets = _targets_of({groups[one.alarm.template].pk for one in told})
    notices = []
    for one in told:
        group = groups[one.alarm.template]
        not_before = due_at(group, one.alarm.severity, one.at)
        for contact, webhook in targets.get(group.pk, ()):
            notices.append(
                Notice(
                    tenant_id=one.alarm.tenant_id,
                    contact_id=contact,
                    webhook_id=webhook,
                    alarm=one.alarm,
                    what=one.what,
                    value=one.alarm.last_value,
                    at=one.at,
                    not_before=not_before,
                )
            )
    Notice.objects.bulk_create(notices, batch_size=_AT_ONCE)


def tell_operators(facts: Sequence[Fact], what: Happening, at: datetime) -> None:
    """Write a notice of each fact for each address and webhook of the platform's operators."""
    if not facts:
        return
    with scopes_disabled():
        contacts = Contact.objects.filter(tenant__isnull=True, verified_at__isnull=False)
        webhooks = Webhook.objects.filter(tenant__isnull=True, enabled=True)
        targets: list[tuple[str | None, str | None]] = [
            *((pk, None) for pk in contacts.order_by("pk").values_list("pk", flat=True)),
            *((None, pk) for pk in webhooks.order_by("pk").values_list("pk", flat=True)),
        ]
        Notice.objects.bulk_create(
            [
                Notice(
                    contact_id=contact,
                    webhook_id=webhook,
                    about=asdict(fact),
                    what=what,
                    at=at,
                    not_before=at,
                )
                for fact in facts
                for contact, webhook in targets
            ],
            batch_size=_AT_ONCE,
        )


def tell_groups(tenant: Tenant, fact: Fact, at: datetime) -> None:
    """Write a notice of a fact for each contact and webhook of all groups of a tenant, each once.

    Whoever is in several groups is told as soon as one of them may be.
    """
    with scope(tenant=tenant):
        groups = list(NotificationGroup.objects.order_by("pk"))
        targets = _targets_of({group.pk for group in groups})
        due: dict[tuple[str | None, str | None], datetime] = {}
        for group in groups:
            moment = due_at(group, fact.severity, at)
            for target in targets.get(group.pk, ()):
                due[target] = min(due.get(target, moment), moment)
        Notice.objects.bulk_create(
            [
                Notice(
                    tenant=tenant,
                    contact_id=contact,
                    webhook_id=webhook,
                    about=asdict(fact),
                    what=Happening.NOTICE,
                    at=at,
                    not_before=not_before,
                )
                for (contact, webhook), not_before in due.items()
            ],
            batch_size=_AT_ONCE,
        )


def due_at(group: NotificationGroup, severity: str, at: datetime) -> datetime:
    """Return when a group may be told of what has a severity."""
    if group.quiet_from is None or group.quiet_until is None:
        return at
    if severity == Severity.CRITICAL and not group.quiet_critical:
        return at
    return quiet_until(at, group.quiet_from, group.quiet_until, group.time_zone) or at


def _groups_of(template_ids: Iterable[str]) -> Mapping[str, NotificationGroup]:
    rows = AlarmTemplate.objects.filter(pk__in=list(template_ids), group__isnull=False)
    return {row.pk: row.group for row in rows.select_related("group") if row.group is not None}


def _targets_of(group_ids: Iterable[str]) -> dict[str, list[tuple[str | None, str | None]]]:
    found: dict[str, list[tuple[str | None, str | None]]] = {}
    ids = list(group_ids)
    contacts = Contact.objects.filter(groups__in=ids, verified_at__isnull=False)
    for group_id, contact in contacts.order_by("pk").values_list("groups", "pk"):
        if group_id in ids:
            found.setdefault(group_id, []).append((contact, None))
    webhooks = Webhook.objects.filter(group__in=ids, enabled=True).order_by("pk")
    for group_id, webhook in webhooks.values_list("group_id", "pk"):
        found.setdefault(group_id, []).append((None, webhook))
    return found


def _silences(news: Sequence[News]) -> list[Silence]:
    first, last = min(one.at for one in news), max(one.at for one in news)
    tenants = {one.alarm.tenant_id for one in news}
    rows = Silence.objects.filter(Q(starts_at__lte=last) & Q(ends_at__gt=first), tenant__in=tenants)
    return list(rows)


def _is_silent(one: News, silences: Sequence[Silence]) -> bool:
    return any(
        silence.tenant_id == one.alarm.tenant_id
        and silence.starts_at <= one.at < silence.ends_at
        and silence.resource_id in ("", one.alarm.resource_id)
        and silence.template_id in (None, one.alarm.template)
        for silence in silences
    )
