"""The page of costs and the lists of the books of a tenant with very many charges.

``SCLOUD_BENCH_CHARGES`` is how many, by default a million; a year of a thousand hourly resources
are 8.8 million. ``SCLOUD_BENCH_PRUNED`` is how many lie in an old month whose details are deleted.
"""

from __future__ import annotations

import os
import time
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from tests.bench import installation
from tests.bench.lists import measure
from tests.bench.rows import Row, milliseconds, p95, seconds, spread

if TYPE_CHECKING:
    from scloud.tenancy.models import User

COUNT = int(os.environ.get("SCLOUD_BENCH_CHARGES", "1000000"))
PRUNED = int(os.environ.get("SCLOUD_BENCH_PRUNED", "100000"))
RESOURCES = 1000
GOAL_S = 0.2
BOOKS = (
    "billing_order",
    "billing_charge",
    "billing_orderline",
    "billing_ledgertransaction",
    "billing_ledgerentry",
)

# As a replica: the database trusts what is copied, and does not look up each reference.
FILL = """
SET LOCAL session_replication_role = replica;
CREATE TEMP TABLE hours AS
SELECT %(name)s || row_number() OVER () AS number, resource_id, resource_name,
       %(first)s::timestamptz + hour * interval '1 hour' AS at
  FROM generate_series(0, %(hours)s - 1) AS hour, billing_subscription
 WHERE tenant_id = %(tenant)s AND resource_kind = 'vm';
INSERT INTO billing_order (id, tenant_id, region_id, kind, method, total_minor, gift_minor,
                           currency, actor, note, details, created_at)
SELECT number, tenant_id, region_id, 'renewal', 'hour', 24, 0, currency, actor,
       'Automatic renewal', details, at
  FROM hours, (SELECT * FROM billing_order WHERE tenant_id = %(tenant)s LIMIT 1) AS one;
INSERT INTO billing_charge (order_id, tenant_id, price_list_id, resource_kind, resource_id,
                            resource_name, method, anchor_day, begin, "end", periods,
                            amount_minor, gift_minor, priced_at, created_at)
SELECT number, tenant_id, price_list_id, 'vm', hours.resource_id, hours.resource_name,
       'hour', 1, at, at + interval '1 hour', 1, 24, 0, at, at
  FROM hours, (SELECT * FROM billing_charge WHERE tenant_id = %(tenant)s LIMIT 1) AS one;
INSERT INTO billing_orderline (order_id, charge_id, tenant_id, label, sku, quantity, unit_price,
                               periods, discount, amount_minor)
SELECT number, charge.id, charge.tenant_id, label, sku, 2, 0.06, 1, 0, 12
  FROM hours JOIN billing_charge AS charge ON charge.order_id = number,
       (VALUES ('2 vCPU', 'vcpu'), ('4 GB memory', 'memory_gib')) AS item (label, sku);
INSERT INTO billing_ledgertransaction (id, account_id, tenant_id, kind, amount_minor,
                                       cash_after_minor, gift_after_minor, order_id, note, actor,
                                       idempotency_key, created_at)
SELECT number, %(tenant)s, %(tenant)s, 'deduction', -24, 0, 0, number, '', 'SCloud',
       'order:' || number, at
  FROM hours
UNION ALL
SELECT %(name)s || 'paid', %(tenant)s, %(tenant)s, 'recharge', 24 * COUNT(*), 0, 0, NULL, '',
       'SCloud', %(name)s || 'paid', MIN(at)
  FROM hours;
INSERT INTO billing_ledgerentry (transaction_id, tenant_id, pocket, amount_minor)
SELECT number, %(tenant)s, pocket, amount
  FROM hours, (VALUES ('cash', -24), ('revenue', 24)) AS side (pocket, amount)
UNION ALL
SELECT %(name)s || 'paid', %(tenant)s, pocket, sign * 24 * (SELECT COUNT(*) FROM hours)
  FROM (VALUES ('cash', 1), ('funding', -1)) AS side (pocket, sign);
DROP TABLE hours;
"""


def run(quick: bool) -> list[Row]:
    """Ask for pages in process, with the production settings, and take the time of each answer."""
    installation.database()
    from django.test import Client
    from django.urls import reverse

    count = 20_000 if quick else COUNT
    rounds = 3 if quick else 15
    installation.say(f"seeding {count} charges")
    browser = Client(SERVER_NAME="localhost")
    browser.force_login(seed(count))
    orders, transactions = reverse("orders"), reverse("transactions")
    rows = []
    for what, urls, shows, goal in (
        ("page of costs", [reverse("billing")], b"node-", GOAL_S),
        ("orders, first and tenth page", [orders, f"{orders}?page=10"], b"hour-", GOAL_S),
        (
            "transactions, first and tenth page",
            [transactions, f"{transactions}?page=10"],
            b"hour-",
            GOAL_S,
        ),
    ):
        queries, times = measure(browser, urls, rounds, shows=shows)
        rows.append(
            Row(
                f"{count} charges of {RESOURCES} resources: {what}",
                f"p95 <= {milliseconds(goal)}",
                f"{queries} queries, {spread(times)}",
                p95(times) <= goal,
            )
        )
    return [*rows, size(count), pruned(2_000 if quick else PRUNED, count)]


def seed(count: int) -> User:
    """Make a tenant with so many charges, and return its user."""
    from importlib import import_module

    from django.conf import settings
    from django.db import connection, transaction
    from django.utils import timezone

    from billing.models import Charge
    from scloud.tenancy.scoping import scopes_disabled
    from tests.bench import bulk

    crowd = bulk.crowd(RESOURCES)
    hours = count // RESOURCES
    present = timezone.now().replace(minute=0, second=0, microsecond=0)
    began = time.monotonic()
    with transaction.atomic(), connection.cursor() as cursor:
        indexes = _without_indexes()
        fill("hour-", present - timedelta(hours=hours), hours)
        cursor.execute("DELETE FROM billing_daycost; DELETE FROM billing_monthcost")
        sums = import_module("billing.migrations.0016_costs").FILL
        cursor.execute(sums.format(zone=f"'{settings.SCLOUD_BILLING_TIME_ZONE}'"))
        for definition in indexes:
            cursor.execute(definition)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    with scopes_disabled():
        assert Charge.objects.filter(method="hour").count() == count
    installation.say(f"seeded in {time.monotonic() - began:.0f} s")
    return crowd.user


def fill(name: str, first: datetime, hours: int) -> None:
    """Write what ``hours`` from ``first`` on cost, with ids that begin with ``name``."""
    from django.db import connection

    from scloud.tenancy.models import Tenant

    tenant = Tenant.objects.get(name="Bench")
    with connection.cursor() as cursor:
        for statement in FILL.split(";\n"):
            if statement.strip():
                cursor.execute(
                    statement, {"name": name, "tenant": tenant.pk, "first": first, "hours": hours}
                )


def _without_indexes() -> list[str]:
    """Drop the indexes of the books that are no constraints; return how to make them again.

    Sorting once is several times as fast as finding a place for each row.
    """
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT index.indexrelid::regclass::text, pg_get_indexdef(index.indexrelid)"
            " FROM pg_index AS index"
            " WHERE index.indrelid = ANY (%s::regclass[]) AND NOT EXISTS"
            " (SELECT 1 FROM pg_constraint WHERE conindid = index.indexrelid AND contype <> 'f')",
            [list(BOOKS)],
        )
        found = cursor.fetchall()
        for name, _definition in found:
            cursor.execute(f"DROP INDEX {name}")
        cursor.execute("SET LOCAL maintenance_work_mem = '512MB'")
    return [definition for _name, definition in found]


def size(count: int) -> Row:
    """What the books take on the disk."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT SUM(pg_table_size(one)), SUM(pg_indexes_size(one))"
            " FROM unnest(%s::regclass[]) AS one",
            [list(BOOKS)],
        )
        rows, indexes = cursor.fetchone()
    return Row(
        f"{count} charges: size of orders, charges, lines, transactions, entries",
        "none set",
        f"{rows / 2**30:.2f} GB and {indexes / 2**30:.2f} GB of indexes",
        None,
    )


def pruned(count: int, among: int) -> Row:
    """Close an old month of so many charges and delete its details, by the product's own code."""
    from django.db import connection, transaction
    from django.utils import timezone

    from billing import closing, ledger, money, pruning
    from billing.models import BillingSettings, ReplayRun, Statement
    from billing.statements import start_of
    from scloud.tenancy.models import Tenant
    from scloud.tenancy.scoping import scope

    today = timezone.now().astimezone(money.zone()).date()
    month = date(today.year - 2, today.month, 1)
    hours = count // RESOURCES
    with transaction.atomic():
        fill("old-", start_of(month), hours)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    tenant = Tenant.objects.get(name="Bench")
    with scope(tenant=tenant):
        paper = closing.close_next(tenant, timezone.now())
        assert paper is not None
        assert paper.month == month
        before = ledger.imbalances(tenant)
        BillingSettings.objects.create(keep_details_years=1)
        ReplayRun.objects.create(
            begin=paper.begin, end=paper.end, finished_at=paper.end + timedelta(hours=1)
        )
        began = time.monotonic()
        made = pruning.prune(Statement.objects.get(pk=paper.pk))
        took = time.monotonic() - began
        assert made.charges == hours * RESOURCES
        assert ledger.imbalances(tenant) == before
    return Row(
        f"Deleting the details of a month of {count} charges, {among} others beside it",
        "none set",
        f"{seconds(took)}, {count / took:.0f} charges/s",
        None,
    )
