"""Alarms of running VMs that are not measured any more, and of those whose host is silent."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction

from alarms.catalogue import MEMORY_TOTAL, Subject
from alarms.models import Alarm, AlarmBinding
from alarms.queries import clock, metrics, resources
from alarms.states.alarms import AlarmKind, EndReason, Severity
from alarms.store.base import StoreError
from alarms.transitions.alarms import end_alarms, open_alarms
from scloud.lib.backoff import Said
from scloud.tenancy.scoping import scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)

#: Four rounds of the collector: whoever has no sample within them is not measured.
WINDOW_S: Final = 120
#: A host that was silent for a shorter time has not been given up by anybody.
HOST_DOWN_S: Final = 60
_BATCH: Final = 1000


def look() -> int:
    """Open and end the alarms of what is not measured; return how many were opened."""
    try:
        with scopes_disabled(), transaction.atomic():
            return _look(clock.now())
    except StoreError as error:
        said.say("store", "away", logging.ERROR, "presence is not known: %s", error)
        return 0


def _look(now: datetime) -> int:
    bindings = {
        one.resource_id: one
        for one in AlarmBinding.objects.filter(
            subject=Subject.VM, template__isnull=False
        ).select_related("template")
    }
    rows = [
        row
        for row in resources.measured(Subject.VM)
        .select_related("host")
        .only("pk", "name", "tenant_id", "task", "host__unreachable_since")
        if row.pk in bindings
    ]
    present = metrics.means(
        {row.pk: row.tenant_id for row in rows},
        {MEMORY_TOTAL.name},
        start=now - timedelta(seconds=WINDOW_S),
        end=now,
    )
    open_now = {
        (one.kind, one.resource_id): one
        for one in Alarm.objects.filter(
            ended_at__isnull=True, kind__in=[AlarmKind.NO_DATA, AlarmKind.HOST_DOWN]
        )
    }
    opened: list[Alarm] = []
    ended: list[Alarm] = []
    changed: list[AlarmBinding] = []
    running = set()
    for row in rows:
        running.add(row.pk)
        binding = bindings[row.pk]
        silent = row.pk not in present
        down = silent and _is_down(row, now)
        if silent and binding.silent_since is None:
            binding.silent_since = now
            changed.append(binding)
        elif not silent and binding.silent_since is not None:
            binding.silent_since = None
            changed.append(binding)
        no_data = not down and _is_due(binding, now)
        for kind, wrong in ((AlarmKind.HOST_DOWN, down), (AlarmKind.NO_DATA, no_data)):
            alarm = open_now.get((kind, row.pk))
            if wrong and alarm is None:
                opened.append(_alarm(kind, row, binding, now))
            elif alarm is not None and not (down if kind is AlarmKind.HOST_DOWN else silent):
                ended.append(alarm)
    for binding in bindings.values():
        # One that stopped begins anew when it starts.
        if binding.resource_id not in running and binding.silent_since is not None:
            binding.silent_since = None
            changed.append(binding)
    AlarmBinding.objects.bulk_update(changed, ["silent_since"], batch_size=_BATCH)
    end_alarms(ended, EndReason.RECOVERED, now)
    return len(open_alarms(opened))


def _is_down(row: Any, now: datetime) -> bool:
    since = row.host.unreachable_since if row.host is not None else None
    return since is not None and now - since >= timedelta(seconds=HOST_DOWN_S)


def _is_due(binding: AlarmBinding, now: datetime) -> bool:
    """Whether a VM was silent for as long as its template allows."""
    template = binding.template
    if template is None or not template.no_data_s or binding.silent_since is None:
        return False
    return now - binding.silent_since >= timedelta(seconds=template.no_data_s)


def _alarm(kind: AlarmKind, row: Any, binding: AlarmBinding, now: datetime) -> Alarm:
    return Alarm(
        tenant_id=row.tenant_id,
        kind=kind,
        severity=Severity.CRITICAL if kind is AlarmKind.HOST_DOWN else Severity.WARNING,
        subject=Subject.VM,
        resource_id=row.pk,
        resource_name=row.name,
        template=binding.template_id or "",
        opened_at=now,
    )
