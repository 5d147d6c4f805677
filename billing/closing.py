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

from billing import hooks, ledger, money, statements
from billing.models import LedgerTransaction, Statement, StatementLine, StatementMove
from scloud.audit.events import emit
from scloud.jobs.rows import Rota, each
from scloud.recovery import freezing
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope, scopes_disabled

# What was moved before midnight has been committed by then, whatever clock it went by.
SETTLED: Final = timedelta(minutes=10)
# Of months that ended longer ago nobody is told: they are closed together when statements begin.
NEWS: Final = timedelta(days=7)
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
    if at < statement.end + NEWS and any(
        move.cash_minor or move.gift_minor for move in paper.moves
    ):
        _tell(statement, at)
    return statement


def _tell(statement: Statement, at: datetime) -> None:
    """Say that a statement is there, in the transaction that makes it."""
    data = {
        "month": statement.month_text,
        "number": statement.number,
        "charged": money.show(statement.charged_minor),
        "closing": money.show(statement.closing_minor),
        "currency": statement.currency,
    }
    emit(
        tenant_id=statement.tenant_id,
        kind="billing.statement",
        resource_kind="statement",
        resource_id=statement.pk,
        data=data,
    )
    hooks.tell(
        hooks.Notice(
            kind="billing.statement",
            at=at,
            tenant=statement.tenant,
            resource_kind="statement",
            resource_id=statement.pk,
            resource_name=statement.number,
            data=data,
        )
    )
