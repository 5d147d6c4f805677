"""The list of a tenant with 10,000 VMs: queries and server time of the page.

Usage: ``python tests/bench/console/bench_vm_list.py [--vms N] [--rounds N]``. Makes a database of
its own and drops it. Prints a table for people and one line of JSON.
"""

import argparse
import json
import os
import statistics
import sys
import time
from datetime import timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scloud.settings")
os.environ.setdefault("SCLOUD_TEST_DB", "test_bench_vm_list")

import django  # noqa: E402 (the path above)

PAGES = {
    "first page": "",
    "last page": "?page=1000",
    "100 rows": "?size=100",
    "search by name": "?q=n-99",
    "search by address": "?q=10.0.7.77",
    "filter by status": "?status=stopped",
    "filter by VPC": "?vpc={vpc}",
    "sorted by expiry": "?sort=expires",
    "sorted by name": "?sort=name",
}


def fill(vms: int) -> tuple[object, str]:
    """Make a tenant with so many VMs; return its user and its VPC."""
    from django.utils import timezone

    from billing.models import Subscription
    from compute.models import VM, Disk
    from network.models import Nic, PrivateAddress, Subnet
    from scloud.resources.models import Region
    from scloud.tenancy.models import Tenant, User
    from scloud.tenancy.scoping import scope
    from tests.compute.factories import give_network, make_platform

    region = Region.objects.create(id="box", name="Box")
    platform = make_platform(region)
    tenant = Tenant.objects.create(name="Large")
    user = User.objects.create_user("owner@large.test", "a long secret 9", tenant=tenant)
    network = give_network(tenant, region)
    assert network.subnet is not None
    now = timezone.now()
    with scope(tenant=tenant):
        wide = Subnet(
            tenant=tenant, region=region, vpc=network.vpc, name="wide", cidr="10.0.0.0/17"
        )
        wide.save()
        rows = [
            VM(
                tenant=tenant,
                region=region,
                name=f"n-{number}",
                cluster=platform.cluster,
                host=platform.hosts[number % 2],
                image=platform.image,
                vcpus=1,
                memory_mib=2048,
                status="running" if number % 5 else "stopped",
                created_at=now - timedelta(minutes=number),
            )
            for number in range(vms)
        ]
        VM.objects.bulk_create(rows, batch_size=2000)
        disks = [
            Disk(
                tenant=tenant,
                region=region,
                name=f"{vm.name}-system",
                disk_type=platform.disk_type,
                pool=platform.pool,
                size_gib=40,
                is_system=True,
                vm=vm,
                target="vda",
                status="bound",
            )
            for vm in rows
        ]
        Disk.objects.bulk_create(disks, batch_size=2000)
        nics = [
            Nic(tenant=tenant, region=region, name="eth0", vm_id=vm.pk, index=0, subnet=wide)
            for vm in rows
        ]
        Nic.objects.bulk_create(nics, batch_size=2000)
        first = wide.gateway + 1
        PrivateAddress.objects.bulk_create(
            [
                PrivateAddress(tenant=tenant, subnet=wide, nic=nic, address=str(first + number))
                for number, nic in enumerate(nics)
            ],
            batch_size=2000,
        )
        Subscription.objects.bulk_create(
            [
                Subscription(
                    tenant=tenant,
                    region=region,
                    resource_kind="vm",
                    resource_id=vm.pk,
                    resource_name=vm.name,
                    method="month",
                    anchor_day=1,
                    period_start=now,
                    paid_until=now + timedelta(days=30, minutes=number),
                    lines=[],
                )
                for number, vm in enumerate(rows)
            ],
            batch_size=2000,
        )
    return user, network.vpc.pk


def measure(rounds: int, user: object, vpc: str) -> list[dict[str, object]]:
    """Ask each page so many times through the whole stack of middleware."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext
    from django.urls import reverse

    client = Client()
    client.force_login(user)  # type: ignore[arg-type]  # Django is set up later than this is typed
    out: list[dict[str, object]] = []
    for label, query in PAGES.items():
        url = reverse("vm-list") + query.format(vpc=vpc)
        with CaptureQueriesContext(connection) as seen:
            assert client.get(url).status_code == 200
        queries = len(seen)  # before the next request empties the log
        times_ms = []
        for _ in range(rounds):
            begin = time.perf_counter()
            client.get(url)
            times_ms.append((time.perf_counter() - begin) * 1000)
        times_ms.sort()
        out.append(
            {
                "page": label,
                "queries": queries,
                "p50_ms": round(statistics.median(times_ms), 1),
                "p95_ms": round(times_ms[int(len(times_ms) * 0.95) - 1], 1),
            }
        )
    return out


def main() -> None:
    """Make the database, measure, drop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vms", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=60)
    arguments = parser.parse_args()
    django.setup()
    from django.conf import settings
    from django.db import connection
    from django.test.utils import setup_test_environment

    setup_test_environment(debug=False)
    settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, "testserver"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        user, vpc = fill(arguments.vms)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        results = measure(arguments.rounds, user, vpc)
    finally:
        connection.creation.destroy_test_db(
            settings.DATABASES["default"]["TEST"]["NAME"], verbosity=0
        )
    print(f"{arguments.vms} VMs, {arguments.rounds} requests each")
    print(f"{'page':<20}{'queries':>8}{'p50 ms':>9}{'p95 ms':>9}")
    for row in results:
        print(f"{row['page']:<20}{row['queries']:>8}{row['p50_ms']:>9}{row['p95_ms']:>9}")
    print(json.dumps({"bench": "vm_list", "vms": arguments.vms, "results": results}))


if __name__ == "__main__":
    main()
