"""Statements: the ledger by months, closed once, kept as they are, and shown as they are kept."""

import re
import threading
import zlib
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any

import openpyxl
import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing import addressing, closing, hooks, ledger, pdf, printing, services, statements
from billing.models import (
    BillingSettings,
    LedgerEntry,
    LedgerTransaction,
    Order,
    PriceList,
    Statement,
    StatementLine,
    StatementMove,
    Subscription,
    TransactionKind,
)
from billing.pricing import Method
from billing.services import QuoteItem, ResourceRef
from network.models import Vpc
from scloud.lib.errors import InsufficientBalance, InvalidInput, TooManyRequests, Unavailable
from scloud.recovery import freezing
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.billing.helpers import fund
from tests.billing.test_purchase_race import race
from tests.budget import WHOLE
from tests.fixtures import new_user

# Midnight of 1 March in Shanghai, in whose calendar months are counted.
MARCH = datetime(2024, 2, 29, 16, tzinfo=UTC)
APRIL = datetime(2024, 3, 31, 16, tzinfo=UTC)
MAY = datetime(2024, 4, 30, 16, tzinfo=UTC)
Clock = Callable[[datetime], None]


@pytest.fixture
def at(clock: Clock) -> Clock:
    """A function that sets the clock, that of the ledger too."""
    return clock


def closed(now: datetime) -> list[Statement]:
    """Close what is over at ``now``, and once more, which closes nothing."""
    made = closing.run(now)
    assert closing.run(now) == []
    return made


# --- what they say

# Minutes that pass, and what happens then.
histories = st.lists(
    st.tuples(
        st.sampled_from((0, 1, 59, 1440, 9_000, 44_639)),
        st.sampled_from(("cash", "gift", "lapsing", "hourly", "monthly", "renew", "end", "sweep")),
    ),
    max_size=14,
)


@pytest.mark.usefixtures("scoped")
@settings(
    max_examples=200 if WHOLE else 12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=histories)
def test_statements_are_the_ledger_whatever_happened(
    buy: Callable[..., Order], at: Clock, tenant: Tenant, history: list[tuple[int, str]]
) -> None:
    with transaction.atomic():
        now = MARCH + timedelta(days=9)
        for number, (minutes, what) in enumerate(history):
            now += timedelta(minutes=minutes)
            at(now)
            happen(what, number, buy, tenant, now)
        at(now + timedelta(days=70))
        closing.run(now + timedelta(days=70))
        compare(tenant)
        transaction.set_rollback(True)


def happen(
    what: str, number: int, buy: Callable[..., Order], tenant: Tenant, now: datetime
) -> None:
    living = Subscription.objects.exclude(status="ended").order_by("pk").first()
    if what == "cash":
        fund(tenant, cash="12.34")
    elif what == "gift":
        fund(tenant, gift="5.67")
    elif what == "lapsing":
        account = ledger.lock_account(tenant)
        ledger.post(
            account,
            TransactionKind.GIFT,
            cash_minor=0,
            gift_minor=7_00,
            key=f"lapsing {number}",
            actor="test",
            expires_at=now + timedelta(days=3),
        )
    elif what in {"hourly", "monthly"}:
        method = Method.HOUR if what == "hourly" else Method.MONTH
        buy(f"vm-{number}", method=method, cash="121")
    elif what == "renew" and living is not None:
        with suppress(InsufficientBalance):
            services.renew_due(tenant=tenant, resource_id=living.resource_id, now=now)
    elif what == "end" and living is not None:
        services.refund_unused(living.resource_id, now)
    elif what == "sweep":
        services.expire_gifts(tenant=tenant, now=now)


def compare(tenant: Tenant) -> None:
    """Hold every statement against sums of the ledger that are computed in another way."""
    found = list(Statement.objects.order_by("month"))
    entries = LedgerEntry.objects.select_related("transaction")
    moved = [
        (e.transaction.created_at, e.transaction.kind, e.pocket, e.amount_minor) for e in entries
    ]
    assert bool(found) == bool(moved)
    cash = gift = 0
    for number, row in enumerate(found, 1):
        assert row.sequence == number
        assert (row.opening_cash_minor, row.opening_gift_minor) == (cash, gift)
        for pocket in ("cash", "gift"):
            for kind in TransactionKind:
                said = row.moves.get(kind=kind)
                assert getattr(said, f"{pocket}_minor") == sum(
                    amount
                    for when, of, where, amount in moved
                    if row.begin <= when < row.end and (of, where) == (kind, pocket)
                )
        cash += sum(
            a for when, _k, where, a in moved if row.begin <= when < row.end and where == "cash"
        )
        gift += sum(
            a for when, _k, where, a in moved if row.begin <= when < row.end and where == "gift"
        )
        assert (row.closing_cash_minor, row.closing_gift_minor) == (cash, gift)
        sold = sum(
            a for when, _k, where, a in moved if row.begin <= when < row.end and where == "revenue"
        )
        assert row.charged_minor == sold == sum(line.amount_minor for line in row.lines.all())
    account = ledger.account_of(tenant)
    assert (account.cash_minor, account.gift_minor) == (cash, gift)


def test_the_tax_is_in_the_total_and_rounded_once() -> None:
    # 0.13 with 6 % in it: 0.0073584…; exactly half a cent goes up, away from zero.
    assert statements.tax_in(13, Decimal(6)) == 1
    assert statements.tax_in(3, Decimal(20)) == 1
    assert statements.tax_in(-3, Decimal(20)) == -1
    assert statements.tax_in(2, Decimal(20)) == 0
    assert statements.tax_in(10**15 + 1, Decimal("7.125")) == 66511085180864


@pytest.fixture
def paid(prices: PriceList, at: Clock, actor: Actor, tenant: Tenant, region: Region) -> str:
    """A resource with tags, paid by the hour across midnight of April; returns its id."""
    BillingSettings.objects.create(
        seller="SCloud Ltd.\n1 Cloud Street", seller_tax_id="T-1", tax_name="VAT", tax_percent=6
    )
    at(APRIL - timedelta(minutes=90))
    fund(tenant, cash="100")
    items = [QuoteItem("vcpu", 4)]  # 0.24 an hour
    wanted: dict[str, Any] = {"items": items, "method": Method.HOUR, "periods": 1}
    with scope(tenant=tenant):
        row = Vpc.objects.create(
            tenant=tenant, region=region, name="web", cidr="10.0.0.0/16", tags=["env=prod", "team"]
        )
        services.purchase(
            actor=actor,
            region=region,
            quote_token=services.quote(tenant=tenant, region=region, **wanted).token,
            resources=[ResourceRef("vpc", row.pk, "web")],
            **wanted,
        )
        for hours in (1, 2, 3):
            now = APRIL + timedelta(minutes=-90 + 60 * hours)
            at(now)
            services.renew_due(tenant=tenant, resource_id=row.pk, now=now)
    return row.pk


def test_a_month_from_its_last_hour_to_the_sheet(
    paid: str,
    console: Client,
    tenant: Tenant,
    at: Clock,
    monkeypatch: pytest.MonkeyPatch,
    other_tenant: Tenant,
) -> None:
    at(APRIL + timedelta(hours=3))
    # So far: no number, nothing saved.
    page = console.get(reverse("statement-detail", args=["2024-04"])).content.decode()
    assert "So far" in page
    assert "2 × ¥0.24" in page
    assert closing.run(APRIL + closing.SETTLED - timedelta(seconds=1)) == []
    with monkeypatch.context() as frozen:
        frozen.setattr(freezing, "is_frozen", lambda: True)
        assert closing.run(APRIL + closing.SETTLED) == []

    told: list[hooks.Notice] = []
    monkeypatch.setattr(hooks, "_listeners", [told.append])
    (march,) = closed(APRIL + closing.SETTLED)
    assert [(one.kind, one.data) for one in told] == [
        (
            "billing.statement",
            {
                "month": "2024-03",
                "number": "2024-03-0001",
                "charged": "0.48",
                "closing": "99.52",
                "currency": "CNY",
            },
        )
    ]
    assert (march.number, march.month, march.end) == ("2024-03-0001", date(2024, 3, 1), APRIL)
    assert (march.opening_minor, march.closing_cash_minor) == (0, 100_00 - 48)
    # 0.48 with 6 % in it.
    assert (march.charged_minor, march.tax_minor, march.net_minor) == (48, 3, 45)

    api = console.get("/api/v1/billing/statements").json()["results"]
    assert [(one["number"], one["charged"], one["tax"]) for one in api] == [
        ("2024-03-0001", "0.48", "0.03")
    ]
    one = console.get("/api/v1/billing/statements/2024-03").json()
    assert one["statement"] == api[0]
    assert one["by_kind"] == [{"name": "vpc", "amount": "0.48"}]
    assert one["by_tag"] == [
        {"name": "env=prod", "amount": "0.48"},
        {"name": "team", "amount": "0.48"},
    ]
    assert one["by_project"] == [{"name": None, "amount": "0.48"}]
    assert one["by_resource"] == [
        {"resource_kind": "vpc", "resource_id": paid, "resource_name": "web", "amount": "0.48"}
    ]
    assert {move["kind"]: move["cash"] for move in one["moves"]} == {
        "recharge": "100.00",
        "gift": "0.00",
        "deduction": "-0.48",
        "refund": "0.00",
        "expiry": "0.00",
        "payout": "0.00",
    }
    lines = [(line["order_kind"], line["count"], line["amount"]) for line in one["lines"]]
    assert lines == [("new", 1, "0.24"), ("renewal", 1, "0.24")]
    assert {line["resource_id"] for line in one["lines"]} == {paid}
    now = console.get("/api/v1/billing/statements/2024-04").json()
    assert (now["statement"]["number"], now["statement"]["opening_cash"]) == (None, "99.52")

    with scope(tenant=tenant):
        Vpc.objects.update(tags=["project=shop"])
    now = console.get("/api/v1/billing/statements/2024-04").json()
    assert now["by_project"] == [{"name": "shop", "amount": "0.48"}]
    sheet = console.get(reverse("statement-detail", args=["2024-04"])).content.decode()
    assert "By project" in sheet
    assert (
        "By project"
        not in console.get(reverse("statement-detail", args=["2024-03"])).content.decode()
    )

    listed = console.get(reverse("statements")).content.decode()
    assert "2024-03-0001" in listed
    assert "2024-04 is not closed yet" in listed
    sheet = console.get(reverse("statement-detail", args=["2024-03"])).content.decode()
    for text in ("SCloud Ltd.<br>1 Cloud Street", "T-1", "VAT 6 %", "¥0.45", "env=prod", paid):
        assert text in sheet
    monkeypatch.setattr(printing, "LINES_SHOWN", 1)
    sheet = console.get(reverse("statement-detail", args=["2024-03"])).content.decode()
    assert "first 1 of 2 lines" in sheet
    assert "¥0.48" in sheet
    file = console.get(reverse("statement-charges", args=["2024-03"]) + "?export=xlsx")
    # The test client's type knows no answers that stream.
    book = openpyxl.load_workbook(BytesIO(b"".join(file.streaming_content)))  # type: ignore[attr-defined]
    rows = list(book.worksheets[0].values)
    assert [row[rows[0].index("Amount")] for row in rows[1:]] == [0.24, 0.24]

    for month in ("2024-02", "2024-05", "2024-13", "0000-01", "x", "2024-3"):
        for name in ("statement-detail", "statement-charges"):
            assert console.get(reverse(name, args=[month])).status_code == 404, month
    assert console.get("/api/v1/billing/statements/2024-13").status_code == 404
    # Another tenant has no such month.
    other_console = Client()
    other_console.force_login(new_user(other_tenant))
    assert other_console.get(reverse("statement-detail", args=["2024-03"])).status_code == 404
    assert other_console.get("/api/v1/billing/statements").json()["results"] == []


@pytest.mark.django_db
def test_sums_by_project_and_by_resource_have_each_line_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = [
        ("vm-a", "web", 700, ["project=shop", "team"]),
        ("vm-a", "web", 50, ["project=shop", "team"]),
        ("vm-b", "db", -30, ["project=zoo", "project=shop"]),
        ("disk-a", "", 9, ["project=", "project"]),
        ("eni-a", "", 1, []),
    ]
    lines = [
        StatementLine(
            resource_kind=pk.split("-")[0],
            resource_id=pk,
            resource_name=name,
            order_kind="new",
            method="month",
            begin=MARCH,
            end=APRIL,
            count=1,
            unit_minor=amount,
            amount_minor=amount,
            tags=tags,
        )
        for pk, name, amount, tags in wanted
    ]
    statement = Statement(month=date(2024, 3, 1), sequence=1, begin=MARCH, end=APRIL)
    for field in ("opening_cash", "opening_gift", "closing_cash", "closing_gift", "charged"):
        setattr(statement, f"{field}_minor", 0)
    paper = statements.Paper(statement, [], lines)
    assert paper.by_project() == [("shop", 720), ("", 10)]
    assert [(row.id, row.amount_minor) for row in paper.by_resource()] == [
        ("vm-a", 750),
        ("disk-a", 9),
        ("eni-a", 1),
        ("vm-b", -30),
    ]
    monkeypatch.setattr(printing, "RESOURCES_SHOWN", 2)
    shown = printing.shown(paper)
    assert shown["projects"] == [("shop", "¥7.20"), ("No project", "¥0.10")]
    assert [(row.name, row.amount) for row in shown["resources"]] == [
        ("web", "¥7.50"),
        ("disk-a", "¥0.09"),
    ]
    assert (shown["resources_left"], shown["resources_left_amount"]) == (2, "−¥0.29")


def test_whom_a_statement_is_for(
    paid: str, console: Client, actor: Actor, tenant: Tenant, at: Clock
) -> None:
    url = "/api/v1/billing/address"
    assert console.get(url).json()["name"] == tenant.name
    sent = {
        "name": "Acme Ltd.",
        "lines": " 1 Road\r\n\r\nTown ",
        "country": "UK",
        "tax_number": "GB1",
    }
    answer = console.post(reverse("billing-address"), sent, headers={"HX-Request": "true"})
    assert answer.status_code == 204
    found = console.get(url).json()
    assert (found["lines"], found["tax_number"]) == (["1 Road", "Town"], "GB1")
    assert "1 Road<br>Town" in console.get(reverse("statements")).content.decode()
    for wrong, code in (
        ({"name": " "}, "name_missing"),
        ({"name": "x" * 101}, "address_too_long"),
        ({"lines": ["x"] * 7}, "address_too_long"),
        ({"country": "a\x07b"}, "address_invalid"),
    ):
        with pytest.raises(InvalidInput) as refused:
            addressing.set_address(actor=actor, **{"name": "x", **wrong})  # type: ignore[arg-type]  # keywords
        assert refused.value.code == code
    at(APRIL + closing.SETTLED)
    (march,) = closed(APRIL + closing.SETTLED)
    assert (march.buyer, march.buyer_tax_id) == ("Acme Ltd.\n1 Road\nTown\nUK", "GB1")
    body = {"name": "Other", "lines": [], "country": "", "tax_number": ""}
    assert console.put(url, body, content_type="application/json").json()["country"] is None
    # What is closed keeps what it said.
    sheet = console.get(reverse("statement-detail", args=["2024-03"])).content.decode()
    assert "Acme Ltd.<br>1 Road" in sheet
    assert "Other" not in sheet


# --- as PDF


def inside(content: bytes) -> bytes:
    """A PDF with what is compressed in it."""
    parts = [content]
    for found in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL):
        with suppress(zlib.error):
            # Compressed data may end in the carriage return that belongs to the line's end here.
            parts.append(zlib.decompressobj().decompress(found))
    return b"".join(parts)


def test_the_sheet_as_pdf(paid: str, console: Client, at: Clock, tenant: Tenant) -> None:
    at(APRIL + timedelta(hours=3))
    tenant.name = "云计算 Ltd."
    tenant.save()
    closed(APRIL + closing.SETTLED)
    page = console.get(reverse("statement-pdf", args=["2024-03"]))
    assert page.status_code == 200
    assert page["Content-Disposition"] == 'attachment; filename="statement-2024-03-0001.pdf"'
    url = "/api/v1/billing/statements/2024-03/pdf"
    for accepted in ("application/pdf", "*/*"):
        response = console.get(url, headers={"Accept": accepted})
        assert response["Content-Type"] == "application/pdf"
        assert response.content.startswith(b"%PDF")
    # The letters of both scripts came along.
    assert b"DejaVu" in inside(page.content)
    assert b"Droid" in inside(page.content)
    missing = console.get(url.replace("03", "07"), headers={"Accept": "application/pdf"})
    assert (missing.status_code, missing["Content-Type"]) == (404, "application/json")


@pytest.mark.parametrize("address", ["http://192.0.2.1/x.png", "file:///etc/hostname"])
def test_nothing_is_fetched_for_a_pdf(address: str) -> None:
    with pytest.raises(Unavailable) as refused:
        pdf._draw(f'<img src="{address}">')
    assert refused.value.code == "pdf_failed"


def test_what_takes_too_long_is_given_up(
    monkeypatch: pytest.MonkeyPatch, paid: str, at: Clock, tenant: Tenant
) -> None:
    at(APRIL)
    with scope(tenant=tenant):
        paper = statements.find(tenant, "2024-03", APRIL)
        monkeypatch.setattr(pdf, "LIMIT_S", 0.01)
        with pytest.raises(Unavailable):
            pdf.drawn(paper)
        monkeypatch.setattr(pdf, "WAIT_S", 0.01)
        monkeypatch.setattr(pdf, "_turns", threading.BoundedSemaphore(1))
        with pdf._turns, pytest.raises(TooManyRequests):
            pdf.drawn(paper)


# --- how they are kept


@pytest.mark.usefixtures("scoped")
def test_a_closed_month_is_never_changed(
    paid: str, at: Clock, tenant: Tenant, region: Region
) -> None:
    (march,) = closed(APRIL + closing.SETTLED)

    def refused(why: str, sql: str) -> None:
        with (
            pytest.raises(IntegrityError, match=why),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(sql)

    with connection.cursor() as cursor:
        # Otherwise checks that wait for the end of the test would keep TRUNCATE out by themselves.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for model in (Statement, StatementMove, StatementLine):
        table = model._meta.db_table
        for sql in (
            f"UPDATE {table} SET tenant_id = ''",
            f"DELETE FROM {table}",
            f"TRUNCATE {table} CASCADE",
        ):
            refused("are never changed or deleted", sql)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    # Nothing is added to it, to the books of its time, or beside it.
    for model in (StatementMove, StatementLine):
        part = model.objects.first()
        assert part is not None
        part.pk = None
        with pytest.raises(IntegrityError, match="is complete"), transaction.atomic():
            part.save()
    at(APRIL - timedelta(seconds=1))
    with pytest.raises(Unavailable, match="is closed, and it is not over"):
        fund(tenant, cash="1")
    with (
        pytest.raises(IntegrityError, match="lies in a month that is closed"),
        transaction.atomic(),
    ):
        # Whatever code writes it.
        LedgerTransaction.objects.create(
            account=ledger.account_of(tenant),
            tenant=tenant,
            amount_minor=1,
            idempotency_key="x",
            cash_after_minor=1,
            gift_after_minor=0,
        )
    at(APRIL)
    fund(tenant, cash="1")
    again = Statement.objects.get()
    again.pk, again.month, again.sequence = "statement-x", date(2024, 4, 1), 2
    again.begin, again.end = APRIL, MAY
    again.opening_cash_minor = march.closing_cash_minor
    for wrong, why in (
        ({"sequence": 3}, "does not follow"),
        ({"month": date(2024, 5, 1)}, "does not follow"),
        ({"begin": APRIL + timedelta(seconds=1)}, "does not follow"),
        ({"opening_cash_minor": march.closing_cash_minor + 1}, "does not follow"),
        ({"opening_gift_minor": 1}, "does not follow"),
        ({"charged_minor": 1}, "does not add up"),
    ):
        row = Statement(**{f.attname: getattr(again, f.attname) for f in Statement._meta.fields})
        for name, value in wrong.items():
            setattr(row, name, value)
        with pytest.raises(IntegrityError, match=why), transaction.atomic():
            row.save(force_insert=True)


@pytest.mark.django_db(transaction=True)
def test_sweeps_that_overlap_or_are_killed_close_each_month_once(
    buy: Callable[..., Order], at: Clock, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(MARCH)
    with scope(tenant=tenant):
        buy("vm-a")
    then = MAY + closing.SETTLED
    at(then)
    with monkeypatch.context() as killed:
        killed.setattr(Statement, "save", _die)
        with pytest.raises(SystemExit):
            closing.run(then)
    with scopes_disabled():
        assert not StatementLine.objects.exists()
        assert not StatementMove.objects.exists()

    def work(number: int) -> None:
        with scope(tenant=tenant):
            while closing.close_next(tenant, then) is not None:
                pass

    assert race(work, 4) == {"ok": 4}
    with scopes_disabled():
        found = Statement.objects.order_by("sequence")
        assert [row.number for row in found] == ["2024-03-0001", "2024-04-0002"]
        assert StatementLine.objects.count() == 1
    assert closed(then) == []


def _die(*args: Any, **kwargs: Any) -> None:
    raise SystemExit
