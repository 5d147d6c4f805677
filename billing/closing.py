"""Closing months: each tenant gets a statement of every month since its first movement.

The sweeper calls :func:`run` again and again. Each month of a tenant is closed in a transaction of
its own, under the account's lock: sweeps may overlap, stop anywhere and be repeated.
"""

import time
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from billing import ledger, statements
from billing.models import LedgerTransaction, Statement, StatementLine, StatementMove
from scloud.jobs.rows import Rota, each
from scloud.recovery import freezing
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope, scopes_disabled

# What was moved before midnight has been committed by then, whatever clock it went by.
SETTLED: Final = timedelta(minutes=10)
BATCH: Final = 200
# How long a call goes on closing months; the longest of one tenant comes on top.
TURN_S: Final = 10.0
_tenants = Rota("created_at", BATCH)


def run(now: datetime | None = None) -> list[Statement]:
    """Close the months of up to 200 tenants that are over; return what was made.

    Nothing is closed while the database is frozen after a restore: what was moved since may come
    back, and a statement never changes.
    """
    at = now or timezone.now()
    if freezing.is_frozen():
        return []
    going_on = statements.this_month(at - SETTLED)
    over = statements.start_of(going_on)
    made: list[Statement] = []
    with scopes_disabled():
        moved = LedgerTransaction.objects.filter(tenant=OuterRef("pk"), created_at__lt=over)
        # Statements follow each other, so the last one says that none is missing.
        closed = Statement.objects.filter(tenant=OuterRef("pk"), month=statements.before(going_on))
        rows = _tenants.take(Tenant.objects.filter(Exists(moved), ~Exists(closed)))
    ends = time.monotonic() + TURN_S

    def close(tenant: Tenant) -> None:
        with scope(tenant=tenant):
            while time.monotonic() < ends:
                statement = close_next(tenant, at)
                if statement is None:
                    return
                made.append(statement)

    each(rows, close, "closing a month")
    return made


@transaction.atomic
def close_next(tenant: Tenant, at: datetime) -> Statement | None:
    """Close the next month of a tenant, within its open scope; None if none is over at ``at``."""
    # Whoever moves money holds the account: nothing of the month is still on its way.
    ledger.lock_account(tenant)
    month = statements.next_to_close(tenant)
    if month is None or statements.start_of(statements.following(month)) > at - SETTLED:
        return None
    paper = statements.draft(tenant, month)
    statement = paper.statement
    statement.sequence = Statement.objects.filter(tenant=tenant).count() + 1
    statement.created_at = at
    # The database compares the sums when the statement itself comes.
    StatementMove.objects.bulk_create(paper.moves)
    StatementLine.objects.bulk_create(paper.lines, batch_size=1000)
    statement.save(force_insert=True)
    return statement
