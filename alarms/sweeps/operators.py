"""Looks at the operators' conditions, and has operators told of what opens and recovers.

A sweeper that is down tells of nothing, itself included: Prometheus watches that one.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.utils import timezone

from alarms.models import PlatformAlarm
from alarms.queries import capacity, clock, platform
from alarms.queries.capacity import Outlook
from alarms.rules.operators import Condition, Thresholds, findings
from alarms.rules.trend import Forecast
from alarms.rules.trend import Outlook as Ahead
from alarms.store.base import StoreError
from alarms.transitions.operators import settle
from scloud.lib.backoff import Said
from scloud.tenancy.models import PlatformSettings
from scloud.tenancy.scoping import scopes_disabled

said = Said(logging.getLogger(__name__))

_FORGOTTEN_AT_ONCE: Final = 5000
#: What is not known without the metrics store.
_FORECAST: Final = frozenset({Condition.CAPACITY_ENDS_SOON})


def look() -> int:
    """Look at all conditions; return how many alarms of the platform opened."""
    with scopes_disabled():
        now = clock.now()
        unknown: frozenset[Condition] = frozenset()
        try:
            outlooks = capacity.outlooks(now)
        except StoreError as error:
            said.say("store", "away", logging.ERROR, "capacity is not foreseen: %s", error)
            unknown = _FORECAST
            outlooks = [Outlook(one, (), Forecast(Ahead.TOO_FEW)) for one in capacity.amounts()]
        else:
            said.over("store", "capacity is foreseen again")
        limits = Thresholds(**settings.SCLOUD_OPERATOR_ALARMS)
        return settle(findings(platform.figures(now, outlooks), limits), unknown, now)


def forget_old() -> int:
    """Delete alarms that recovered longer ago than events are kept; return how many."""
    limit = timezone.now() - timedelta(days=PlatformSettings.load().events_keep_days)
    old = PlatformAlarm.objects.filter(recovered_at__lt=limit).order_by("recovered_at")
    ids = list(old.values_list("pk", flat=True)[:_FORGOTTEN_AT_ONCE])
    deleted, _rows = PlatformAlarm.objects.filter(pk__in=ids).delete()
    return int(deleted)
