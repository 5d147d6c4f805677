"""Details of closed months go as the settings say, by the one way that the database has for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import Error, IntegrityError, connection, connections, transaction
from django.test import Client
from django.urls import reverse

from billing import closing, ledger, nightly, pruning, services, sweep
from billing.models import (
    BillingSettings,
    Charge,
    DayCost,
    GiftLot,
    GiftMove,
    HeldHour,
    LedgerEntry,
    LedgerTransaction,
    MonthCost,
    Order,
    OrderLine,
    PriceList,
    PrunedMonth,
    ReplayDifference,
    ReplayRun,
    Statement,
    StatementLine,
    StatementMove,
    Subscription,
    TransactionKind,
    Usage,
)
from billing.pricing import Method
from billing.replay import replay
from scloud.audit.models import Operation
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled
from tests.billing import test_statements
from tests.billing.helpers import balances

Clock = Callable[[datetime], None]
Buy = Callable[..., Order]

# Midnight of 1 March in Shanghai, in whose calendar months are counted.
MARCH = datetime(2024, 2, 29, 16, tzinfo=UTC)
APRIL = datetime(2024, 3, 31, 16, tzinfo=UTC)
MAY = datetime(2024, 4, 30, 16, tzinfo=UTC)
JUNE = datetime(2024, 5, 31, 16, tzinfo=UTC)
BEGIN = {APRIL: MARCH, MAY: APRIL, JUNE: MAY}
DETAILS = (OrderLine, Charge, GiftMove, LedgerEntry, LedgerTransaction, Order)
KEPT = (Statement, StatementMove, StatementLine, DayCost, MonthCost, Subscription)

# Sets the clock of the ledger, too.
at = test_statements.at


def counts() -> dict[str, int]:
    return {model.__name__: model._default_manager.count() for model in (*DETAILS, *KEPT)}


def nights(*ends: datetime) -> None:
    """What the nightly replay wrote of months that ended at ``ends``, each without a difference."""
    for end in ends:
        night = end + nightly.SETTLED
        ReplayRun.objects.create(begin=BEGIN[end], end=end, started_at=night, finished_at=night)


def history(buy: Buy, at: Clock, tenant: Tenant) -> None:
    """March to May: hours, a gift that expires, a year given back in May, and what lives on."""
    at(MARCH + timedelta(days=1))
    with transaction.atomic():
        ledger.post(
            ledger.lock_account(tenant),
            TransactionKind.GIFT,
            cash_minor=0,
            gift_minor=10_00,
            key="lapsing",
            actor="test",
            expires_at=MARCH + timedelta(days=3),
        )
    buy("vm-h", method=Method.HOUR)
    for hours in range(1, 30):
        now = MARCH + timedelta(days=1, hours=hours)
        at(now)
        sweep.run(now)
    services.refund_unused("vm-h")
    at(MARCH + timedelta(days=5))
    buy("vm-m")
    services.refund_failed("vm-m", "No host answered")
    buy("vm-y", method=Method.YEAR)
    # Paid for longer than the present of the database.
    buy("vm-long", method=Method.YEAR, periods=5)
    at(APRIL + timedelta(days=5))
    buy("vm-a", method=Method.HOUR, periods=3)
    at(APRIL + timedelta(days=6))
    services.refund_unused("vm-a")
    at(MAY + timedelta(days=5))
    services.refund_unused("vm-y")
    at(JUNE + timedelta(days=1))
    closing.run(JUNE + timedelta(days=1))
    # What is checked at the end of a transaction: in life, long before the rows go.
    connection.check_constraints()


def measured(tenant: Tenant) -> Usage:
    """What was measured for a charge of March."""
    charge = Charge.objects.filter(resource_id="vm-h").order_by("begin")[0]
    prices = PriceList.objects.get()
    return Usage.objects.create(
        tenant=tenant,
        region_id=prices.region_id,
        price_list=prices,
        sku="snapshot_gib",
        resource_kind="snapshot",
        resource_id="snap-1",
        quantity=1,
        discount=1,
        begin=charge.begin,
        end=charge.end,
        charge=charge,
    )


@pytest.mark.usefixtures("scoped")
def test_details_go_month_by_month_and_everything_still_adds_up(
    buy: Buy,
    at: Clock,
    tenant: Tenant,
    console: Client,
) -> None:
    history(buy, at, tenant)
    papers = list(Statement.objects.order_by("month"))
    assert [one.month_text for one in papers] == ["2024-03", "2024-04", "2024-05"]
    before, had = counts(), balances(tenant)
    lines = list(StatementLine.objects.values_list())
    # For ever, by default.
    assert pruning.run() == []
    BillingSettings.objects.create(keep_details_years=1)
    # Not before they were replayed: the oldest is put into line.
    assert pruning.run() == []
    run = ReplayRun.objects.get()
    assert (run.begin, run.end) == (MARCH, APRIL)
    while nightly.run(JUNE + timedelta(days=1)) is None:
        pass
    run.refresh_from_db()
    assert (run.differences, run.finished_at) == (0, JUNE + timedelta(days=1))
    nights(MAY, JUNE)
    assert counts() == before

    march = papers[0]
    used = measured(tenant)
    with pytest.raises(IntegrityError, match="never changed"), transaction.atomic():
        Usage.objects.filter(pk=used.pk).delete()
    old = Order.objects.filter(created_at__lt=APRIL).count()
    assert old > 30
    made = pruning.prune(march)
    # The year that is still paid stays, and so does the one that May gave back.
    left = set(Order.objects.filter(created_at__lt=APRIL).values_list("charges__resource_id"))
    assert left == {("vm-y",), ("vm-long",)}
    assert (made.orders, made.charges) == (old - 2, old - 2)
    assert (balances(tenant), list(replay(tenant, MARCH, JUNE))) == (had, [])
    assert Statement.objects.get(pk=march.pk).is_pruned
    assert not Usage.objects.exists()

    done = pruning.run()
    assert [str(one) for one in done] == [f"{tenant.pk} 2024-04", f"{tenant.pk} 2024-05"]
    assert pruning.run() == []
    assert set(Charge.objects.values_list("resource_id")) == {("vm-long",)}
    assert done[1].orders == 2
    assert balances(tenant) == had
    assert list(replay(tenant, MARCH, JUNE)) == []
    after = counts()
    assert {name: after[name] for name in (m.__name__ for m in KEPT)} == {
        name: before[name] for name in (m.__name__ for m in KEPT)
    }
    assert list(StatementLine.objects.values_list()) == lines
    kinds = set(LedgerTransaction.objects.values_list("kind", flat=True))
    assert kinds == {"recharge", "gift", "expiry", "deduction"}
    logged = list(Operation.objects.filter(verb="billing.prune_details").order_by("pk"))
    assert [one.after["month"] for one in logged] == ["2024-03", "2024-04", "2024-05"]  # type: ignore[index]  # JSON
    assert logged[0].resources == [{"kind": "statement", "id": march.pk, "name": ""}]

    # A wrong balance is found as before.
    with transaction.atomic():
        LedgerEntry.objects.create(
            transaction=LedgerTransaction.objects.filter(kind="recharge")[0],
            tenant=tenant,
            pocket="gift",
            amount_minor=1,
        )
        assert [one.pocket for one in ledger.imbalances(tenant)] == ["gift", "all"]
        transaction.set_rollback(True)
    page = console.get(reverse("statement-detail", args=["2024-03"])).content.decode()
    assert "have been deleted" in page
    assert "/orders/order-" not in page


REFUSALS = {
    "for_ever": "UPDATE billing_billingsettings SET keep_details_years = NULL",
    "young": "UPDATE billing_billingsettings SET keep_details_years = 100",
    "not_replayed": "UPDATE billing_replayrun SET finished_at = NULL",
    "differs": "UPDATE billing_replayrun SET differences = 2",
}


@pytest.mark.usefixtures("scoped")
def test_what_must_stay_stays_whoever_asks(buy: Buy, at: Clock, tenant: Tenant) -> None:
    history(buy, at, tenant)
    BillingSettings.objects.create(keep_details_years=1)
    nights(APRIL, MAY, JUNE)
    march, april, _may = Statement.objects.order_by("month")
    before = counts()

    def refused(paper: Statement, reason: str) -> None:
        with pytest.raises(IntegrityError, match=f"stay: {reason}"), transaction.atomic():
            pruning.prune(paper)
        assert counts() == before

    for reason, statement in REFUSALS.items():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
            refused(march, reason)
            assert [one.kept_because for one in pruning.waiting()] == [reason]
            transaction.set_rollback(True)
    refused(april, "earlier")
    # A difference of this tenant counts, one of another does not.
    run = ReplayRun.objects.get(end=APRIL)
    other = Tenant.objects.create(pk="tenant-other", name="Other")
    ReplayRun.objects.filter(pk=run.pk).update(differences=1)
    found = ReplayDifference.objects.create(run=run, tenant=tenant, place="x", what="total")
    refused(march, "differs")
    ReplayDifference.objects.filter(pk=found.pk).update(tenant=other)

    # Rows do not go by themselves: not without a month, and not beside one.
    for model in DETAILS:
        with pytest.raises(IntegrityError, match="never changed or deleted"), transaction.atomic():
            model._default_manager.all()._raw_delete("default")
    with transaction.atomic():
        pruning.prune(march)
        for rows in (
            *(model._default_manager.all() for model in DETAILS),
            PrunedMonth.objects.all(),
        ):
            with (
                pytest.raises(IntegrityError, match="never changed or deleted"),
                transaction.atomic(),
            ):
                rows._raw_delete("default")
        transaction.set_rollback(True)
    assert counts() == before
    told = StringIO()
    call_command("prune_details", dry_run=True, stdout=told)
    assert told.getvalue() == f"{tenant.pk} 2024-03: due\n"
    call_command("prune_details", stdout=told)
    assert "2024-05: 2 order(s)" in told.getvalue()
    BillingSettings.objects.update(keep_details_years=None)
    with pytest.raises(CommandError, match="for ever"):
        call_command("prune_details")


@pytest.mark.django_db(transaction=True)
def test_a_sweeper_that_dies_has_deleted_nothing_and_others_pass_by_its_month(
    buy: Buy, at: Clock, tenant: Tenant
) -> None:
    ready, killed = threading.Event(), threading.Event()
    pid: list[int] = []
    failures: list[Exception] = []

    def dies() -> None:
        try:
            with scopes_disabled(), transaction.atomic():
                pruning.prune(march)
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_backend_pid()")
                    pid.append(cursor.fetchone()[0])
                ready.set()
                assert killed.wait(30)
        except Error as error:
            failures.append(error)
        finally:
            ready.set()
            connections.close_all()

    with scopes_disabled():
        history(buy, at, tenant)
        BillingSettings.objects.create(keep_details_years=1)
        nights(APRIL)
        march = Statement.objects.order_by("month")[0]
        before = counts()
        dying = threading.Thread(target=dies)
        dying.start()
        try:
            assert ready.wait(30)
            assert pid, failures
            # What it has deleted is there for everybody else, and its month is its own.
            assert pruning.run() == []
            assert counts() == before
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s, 5000)", pid)
        finally:
            killed.set()
            dying.join(30)
        assert failures
        assert counts() == before
        assert [str(one) for one in pruning.run()] == [f"{tenant.pk} 2024-03"]
        assert pruning.run() == []
        assert Order.objects.filter(created_at__lt=APRIL).count() == 2
        assert not HeldHour.objects.exists()
        assert GiftLot.objects.get().left_minor == 0
    assert balances(tenant)
