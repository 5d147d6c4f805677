"""The nightly replay: every charge of the month so far, computed again and compared.

A night takes the month up to midnight, in the billing time zone; the first night of a month takes
the whole month before. The sweeper calls :func:`run` again and again. Each call does some tenants,
each in a transaction that also writes how far the run has come: several sweepers share a night,
and one that is killed loses the tenant that it was at, which the next begins anew.
"""

import logging
import time
from datetime import datetime, timedelta
from typing import Final

from django.db import Error as DatabaseFailure
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from billing import hooks, money, queries
from billing.models import Charge, ReplayDifference, ReplayRun
from billing.replay import Difference, replay
from scloud.audit.events import emit
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope, scopes_disabled

logger = logging.getLogger(__name__)

# What was charged before midnight has been committed by then.
SETTLED: Final = timedelta(minutes=10)
# How long a call goes on taking tenants; the longest replay of one comes on top.
TURN_S: Final = 10.0
# More of one night say nothing new; all are counted.
KEPT_DIFFERENCES: Final = 1000


def run(now: datetime | None = None) -> ReplayRun | None:
    """Go on with the replay that is due; return it once it is finished, else None."""
    at = now or timezone.now()
    _begin(at)
    began = time.monotonic()
    while time.monotonic() < began + TURN_S:
        found = _next_tenant(at)
        if found is None or found.finished_at is not None:
            return found
    return None


def _begin(at: datetime) -> None:
    midnight = at.astimezone(money.zone()).replace(hour=0, minute=0, second=0, microsecond=0)
    if at < midnight + SETTLED or ReplayRun.objects.filter(end=midnight).exists():
        return
    begin = queries.month_of(midnight - timedelta(microseconds=1)).begin
    ReplayRun.objects.bulk_create(
        [ReplayRun(begin=begin, end=midnight, started_at=at)], ignore_conflicts=True
    )


@transaction.atomic
def _next_tenant(at: datetime) -> ReplayRun | None:
    """Compute one tenant's charges again, or finish; None if there is nothing to do."""
    found = (
        ReplayRun.objects.select_for_update(skip_locked=True)
        .filter(finished_at__isnull=True)
        .order_by("end")
        .first()
    )
    if found is None:
        return None
    tenant = Tenant.objects.filter(pk__gt=found.done_upto).order_by("pk").first()
    if tenant is None:
        _finish(found, at)
        return found
    differences = _differences(tenant, found)
    with scope(tenant=tenant):
        charges = Charge.objects.filter(
            tenant=tenant, created_at__gte=found.begin, created_at__lt=found.end
        ).count()
    room = max(KEPT_DIFFERENCES - found.differences, 0)
    with scopes_disabled():
        ReplayDifference.objects.bulk_create(
            [
                ReplayDifference(
                    run=found,
                    tenant=tenant,
                    place=one.where[:200],
                    what=one.what,
                    stored=one.stored,
                    computed=one.computed,
                )
                for one in differences[:room]
            ]
        )
    ReplayRun.objects.filter(pk=found.pk).update(
        done_upto=tenant.pk,
        tenants=F("tenants") + 1,
        charges=F("charges") + charges,
        differences=F("differences") + len(differences),
    )
    return found


def _differences(tenant: Tenant, found: ReplayRun) -> list[Difference]:
    try:
        with transaction.atomic():
            return list(replay(tenant, found.begin, found.end))
    except DatabaseFailure:
        raise
    except Exception as error:
        # Books that cannot be computed are not in order, and keep no other tenant from its turn.
        logger.exception("the charges of %s cannot be computed again", tenant.pk)
        return [Difference(tenant.pk, "replay", "error", "", repr(error)[:500])]


def _finish(found: ReplayRun, at: datetime) -> None:
    found.finished_at = at
    found.save(update_fields=["finished_at"])
    if not found.differences:
        return
    logger.error(
        "replay of charges %s: %d difference(s) among %d charge(s)",
        found,
        found.differences,
        found.charges,
    )
    data = {
        "begin": found.begin.isoformat(),
        "end": found.end.isoformat(),
        "charges": found.charges,
        "differences": found.differences,
    }
    emit(
        tenant_id=None,
        kind="billing.replay_differs",
        resource_kind="replay",
        resource_id=str(found.pk),
        data=data,
    )
    hooks.tell(
        hooks.Notice(
            kind="billing.replay_differs",
            at=at,
            resource_kind="replay",
            resource_id=str(found.pk),
            data=data,
        )
    )
