"""Many hourly resources that fall due together, renewed by two sweepers of which one is killed.

``SCLOUD_BENCH_RENEWALS`` is how many, by default ten thousand. By itself this module is one of the
sweepers: ``python -m tests.bench.renewals INSTANT``.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

from tests.bench import installation
from tests.bench.rows import Row, seconds

COUNT = int(os.environ.get("SCLOUD_BENCH_RENEWALS", "10000"))
GOAL_COUNT, GOAL_S = 100_000, 60.0
#: How many a tenant has.
EACH = 250
ONE_BY_ONE = 200


def run(quick: bool) -> list[Row]:
    """Measure one renewal after the other, then all together."""
    installation.database()
    count = 1_000 if quick else COUNT
    rows = [one_by_one(100 if quick else ONE_BY_ONE)]
    installation.database()
    return [*rows, *together(count)]


def one_by_one(count: int) -> Row:
    """What the platform did before there were batches, and does where a batch fails."""
    from billing import services
    from scloud.tenancy.models import Tenant

    at = make(count)
    tenant = Tenant.objects.get(pk="tenant-1")
    began = time.monotonic()
    for number in range(1, count + 1):
        assert services.renew_due(tenant=tenant, resource_id=f"vm-1-{number}", now=at)
    rate = count / (time.monotonic() - began)
    return Row("Renewals one after the other, by one process", "none set", f"{rate:.0f}/s", None)


def together(count: int) -> list[Row]:
    """Two sweepers; one is killed when a third is done, and started again as a supervisor does."""
    from billing import ledger
    from billing.models import Charge
    from scloud.tenancy.models import Tenant
    from scloud.tenancy.scoping import scopes_disabled

    installation.say(f"{count} hourly resources of {-(-count // EACH)} tenants")
    at = make(count)
    command = (sys.executable, "-m", "tests.bench.renewals", at.isoformat())
    before = spent()
    with ExitStack() as running:
        began = time.monotonic()
        sweepers = [running.enter_context(installation.process(*command)) for _ in range(2)]
        while due(at) > count * 2 // 3:
            time.sleep(0.1)
        sweepers[0].kill()
        killed_at = due(at)
        sweepers[0] = running.enter_context(installation.process(*command))
        while due(at):
            assert any(one.poll() is None for one in sweepers), "no sweeper is left"
            time.sleep(0.1)
        took = time.monotonic() - began
    # Once they have ended, and their connections with them.
    time.sleep(1)
    sweepers_s, database_s = (after - then for after, then in zip(spent(), before, strict=True))
    assert killed_at, "all was done before one could be killed"
    with scopes_disabled():
        assert Charge.objects.count() == count
        assert Charge.objects.values("resource_id", "begin").distinct().count() == count
        for tenant in Tenant.objects.all():
            assert ledger.imbalances(tenant) == []
    goal = GOAL_S * count / GOAL_COUNT
    return [
        Row(
            f"{count} hourly renewals, two sweepers, one of them killed: each once",
            f"<= {seconds(goal)}",
            f"{seconds(took)}, {count / took:.0f}/s, killed with {killed_at} to go",
            took <= goal,
        ),
        Row(
            f"{count} hourly renewals: processor time of each",
            "none set",
            f"{sweepers_s / count * 1000:.2f} ms of sweepers, "
            f"{database_s / count * 1000:.2f} ms of PostgreSQL",
            None,
        ),
    ]


def spent() -> tuple[float, float]:
    """Seconds of processor time of all that has ended: processes begun here, connections."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    postmaster = installation.stack().cluster.pid()
    # Fields 16 and 17 of proc(5): the time of children that were waited for, in ticks.
    fields = Path(f"/proc/{postmaster}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[13]) + int(fields[14])
    return used.ru_utime + used.ru_stime, ticks / os.sysconf("SC_CLK_TCK")


def due(at: datetime) -> int:
    """Return how many are not renewed."""
    from billing.models import Subscription
    from scloud.tenancy.scoping import scopes_disabled

    with scopes_disabled():
        found: int = Subscription.objects.filter(status="active", paid_until__lte=at).count()
    return found


def make(count: int) -> datetime:
    """Make tenants with money and resources that have one hour to pay; return the instant."""
    from decimal import Decimal

    from django.db import connection
    from django.utils import timezone

    from billing import pricelists
    from billing.models import PriceList, Subscription
    from billing.pricing import Method
    from scloud.resources.models import Region
    from scloud.tenancy.models import Tenant
    from scloud.tenancy.scoping import scopes_disabled
    from tests.bench.bulk import copies
    from tests.billing.helpers import fund

    now = timezone.now()
    region = Region.objects.create(id="bench", name="Bench")
    prices = {
        ("vcpu", Method.HOUR): Decimal("0.06"),
        ("memory_gib", Method.HOUR): Decimal("0.03"),
    }
    listed = pricelists.draft(region, prices)
    since = now - timedelta(days=2)
    PriceList.objects.filter(pk=listed.pk).update(effective_from=since, published_at=since)
    with scopes_disabled():
        left, number = count, 0
        while left:
            number += 1
            tenant = Tenant.objects.create(pk=f"tenant-{number}", name=f"T{number}")
            fund(tenant, cash="1000")
            one = Subscription.objects.create(
                tenant=tenant,
                region=region,
                resource_kind="vm",
                resource_id=f"vm-{number}-1",
                resource_name="web-1",
                method="hour",
                anchor_day=1,
                period_start=now - timedelta(hours=2),
                paid_until=now - timedelta(minutes=1),
                lines=[
                    {"sku": "vcpu", "quantity": "2", "label": "2 vCPU"},
                    {"sku": "memory_gib", "quantity": "4", "label": "4 GB memory"},
                ],
            )
            part = min(left, EACH)
            copies(
                one,
                part - 1,
                resource_id=f"'vm-{number}-' || (n + 1)",
                resource_name="'web-' || (n + 1)",
                paid_until="source.paid_until - make_interval(secs => n %% 3000)",
            )
            left -= part
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE billing_subscription")
        cursor.execute("ANALYZE billing_account")
    return now


def sweep_until_done(at: datetime) -> None:
    """Be a sweeper: the product's, without its pauses."""
    import django

    django.setup()
    from billing import sweep

    while due(at):
        sweep.run(at)


if __name__ == "__main__":
    sweep_until_done(datetime.fromisoformat(sys.argv[1]))
