"""Writing events and telling the web processes about them."""

import json
from typing import Any

from django.db import connection

from scloud.audit.models import Event

CHANNEL = "scloud_events"


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
