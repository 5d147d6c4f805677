"""Writing events and telling the web processes about them."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from django.db import connection
from django.utils import timezone

from scloud.audit.models import Event
from scloud.lib.copying import copy_rows, new_keys
from scloud.tenancy.models import PlatformSettings
from scloud.tenancy.scoping import scopes_disabled

CHANNEL = "scloud_events"
FORGOTTEN_AT_ONCE: Final = 5000
_COLUMNS: Final = ("id", "tenant_id", "kind", "resource_kind", "resource_id", "data", "at")


def notify(
    *,
    tenant_id: str | None,
    kind: str,
    resource_kind: str,
    resource_id: str,
    event_id: int | None = None,
) -> None:
    """Send a NOTIFY without a row, for things that are worth a push but not a memory.

    PostgreSQL delivers it when the transaction commits, and not at all when it rolls back.
    """
    payload = json.dumps(
        {
            "tenant": tenant_id,
            "event_id": event_id,
            "kind": kind,
            "resource_kind": resource_kind,
            "resource_id": resource_id,
        }
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, payload])


def emit(
    *,
    tenant_id: str | None,
    kind: str,
    resource_kind: str,
    resource_id: str,
    data: dict[str, Any] | None = None,
) -> Event:
    """Write one event row and push it to the open pages on commit."""
    event: Event = Event.objects.create(
        tenant_id=tenant_id,
        kind=kind,
        resource_kind=resource_kind,
        resource_id=resource_id,
        data=data or {},
    )
    notify(
        tenant_id=tenant_id,
        kind=kind,
        resource_kind=resource_kind,
        resource_id=resource_id,
        event_id=event.pk,
    )
    return event


def emit_many(made: Sequence[Event]) -> None:
    """Write events and push them on commit: three statements, however many there are.

    Must run inside a transaction.
    """
    if not made:
        return
    keys = new_keys(Event, len(made))
    copy_rows(
        Event,
        _COLUMNS,
        (
            (
                key,
                event.tenant_id,
                event.kind,
                event.resource_kind,
                event.resource_id,
                json.dumps(event.data),
                event.at,
            )
            for key, event in zip(keys, made, strict=True)
        ),
    )
    payloads = [
        json.dumps(
            {
                "tenant": event.tenant_id,
                "event_id": key,
                "kind": event.kind,
                "resource_kind": event.resource_kind,
                "resource_id": event.resource_id,
            }
        )
        for key, event in zip(keys, made, strict=True)
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS one (payload)",
            [CHANNEL, payloads],
        )


def forget_old() -> int:
    """Delete what happened longer ago than the platform's settings say; return how many.

    From the oldest row on, a bounded number at a time; the next round of the sweep takes the rest.
    """
    limit = timezone.now() - timedelta(days=PlatformSettings.load().events_keep_days)
    with scopes_disabled():
        # By the key, which needs no index of its own: rows are written in the order of time.
        oldest = Event.objects.order_by("pk").values_list("pk", "at")[:FORGOTTEN_AT_ONCE]
        old = [pk for pk, at in oldest if at < limit]
        deleted, _rows = Event.objects.filter(pk__in=old).delete()
    return int(deleted)
