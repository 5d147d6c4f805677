"""Deleting the details of closed months, where the settings say for how many years they are kept.

The database decides and deletes: one row of :class:`PrunedMonth` takes a month's details away in
the statement that inserts it, or is refused with the reason (migration 0021). So whoever is killed
leaves a month whole or has deleted it. The sweeper calls :func:`run` again and again.
"""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection, transaction
from django.utils import timezone

from billing.ledger import PLATFORM
from billing.models import BillingSettings, PrunedMonth, ReplayRun, Statement
from scloud.audit.action import describe
from scloud.audit.models import Operation
from scloud.jobs.rows import each
from scloud.recovery import freezing
from scloud.tenancy.scoping import scopes_disabled

# How long a call goes on deleting; the longest month of one tenant comes on top.
TURN_S: Final = 10.0
# Of one month, as PostgreSQL reads it.
LONGEST: Final = "60min"
VERB: Final = "billing.prune_details"


# Why the details of a month stay, as the database says it.
NOT_REPLAYED: Final = "not_replayed"
REASONS: Final = {
    "for_ever": "details are kept for ever",
    "young": "it is not old enough",
    NOT_REPLAYED: "it has not been replayed",
    "differs": "its replay found differences",
}


@dataclass(frozen=True)
class Waiting:
    """The oldest month of a tenant that has its details; ``kept_because`` is empty if they go."""

    statement: Statement
    kept_because: str


def run(now: datetime | None = None) -> list[PrunedMonth]:
    """Delete the details of months that are due; return what was deleted.

    Months that no night has replayed are replayed first. Nothing is deleted while the database is
    frozen after a restore.
    """
    if freezing.is_frozen() or BillingSettings.load().keep_details_years is None:
        return []
    made: list[PrunedMonth] = []
    ends = time.monotonic() + TURN_S

    @transaction.atomic
    def go(month: Statement) -> None:
        if time.monotonic() < ends and _claim(month):
            made.append(prune(month))

    with scopes_disabled():
        while time.monotonic() < ends:
            before = len(made)
            due = [one.statement for one in waiting() if not one.kept_because]
            # What fails is logged, and tried again by the next call.
            each(due, go, "deleting the details of a month")
            if len(made) == before:
                break
        _replay_first(now or timezone.now())
    return made


def waiting() -> list[Waiting]:
    """The next month of each tenant, the oldest first, within a disabled scope.

    Months follow each other: what keeps one keeps those after it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, COALESCE(billing_kept_because(id), '') FROM ("
            " SELECT DISTINCT ON (tenant_id) id, month FROM billing_statement AS paper"
            " WHERE NOT EXISTS (SELECT 1 FROM billing_prunedmonth WHERE statement_id = paper.id)"
            " ORDER BY tenant_id, sequence"
            ") AS following ORDER BY month, id"
        )
        found = dict(cursor.fetchall())
    papers = Statement.objects.select_related("tenant").in_bulk(found)
    return [Waiting(papers[key], reason) for key, reason in found.items()]


def _claim(month: Statement) -> bool:
    """Lock a month; False while somebody else deletes its details, or has done so."""
    rows = Statement.objects.select_for_update(skip_locked=True).filter(pk=month.pk)
    return bool(rows) and not PrunedMonth.objects.filter(pk=month.pk).exists()


@transaction.atomic
def prune(statement: Statement) -> PrunedMonth:
    """Delete the details of a closed month and write it down in the operation log.

    Raises IntegrityError with the reason where they must stay; nothing has been deleted then.
    """
    with connection.cursor() as cursor:
        # A month of a large tenant takes minutes; nobody waits for it.
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [LONGEST])
        cursor.execute("INSERT INTO billing_prunedmonth (statement_id) VALUES (%s)", [statement.pk])
    made: PrunedMonth = PrunedMonth.objects.get(pk=statement.pk)
    Operation.objects.create(
        tenant=statement.tenant,
        actor=PLATFORM,
        via="system",
        verb=VERB,
        resources=[describe(statement)],
        after={
            "month": statement.month_text,
            "orders": made.orders,
            "charges": made.charges,
        },
        succeeded=True,
    )
    return made


def _replay_first(at: datetime) -> None:
    """Let the nightly replay take the oldest month that waits for it, one at a time."""
    if ReplayRun.objects.filter(finished_at__isnull=True).exists():
        return
    begun = set(ReplayRun.objects.values_list("end", flat=True))
    for one in waiting():
        month = one.statement
        if one.kept_because == NOT_REPLAYED and month.end not in begun:
            ReplayRun.objects.bulk_create(
                [ReplayRun(begin=month.begin, end=month.end, started_at=at)],
                ignore_conflicts=True,
            )
            return
