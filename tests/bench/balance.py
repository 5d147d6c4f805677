"""One plan of load balancing over 1,000 hosts with 100 VMs each, from rows to the reason."""

from __future__ import annotations

import time

from tests.bench import installation
from tests.bench.rows import Row, seconds

GOAL_S = 10.0
VMS = 100
HOT = 50


def run(quick: bool) -> list[Row]:
    """Measure, and say which goals are met."""
    installation.database()
    return planned(50 if quick else 1000)


def planned(hosts: int) -> list[Row]:
    """A plan that finds a move, then one in which placement refuses every VM of every busy host."""
    from django.utils import timezone

    from compute.hosts.balance import Figures, HostLoad, VmLoad
    from compute.models import VM, Cluster, Host, Spec
    from compute.queries.balance import look
    from scloud.resources.models import Region
    from scloud.tenancy.models import Tenant
    from scloud.tenancy.scoping import scopes_disabled
    from tests.compute.factories import make_platform

    installation.say(f"{hosts} hosts with {VMS} VMs each")
    platform = make_platform(Region.objects.create(id="bench", name="Bench"), hosts=0)
    rack = Host.objects.bulk_create(
        Host(
            name=f"h{number}",
            cluster=platform.cluster,
            uri=f"fake:h{number}",
            address=f"10.0.{number // 250}.{number % 250 + 1}",
            vcpus=128,
            memory_mib=1 << 20,
        )
        for number in range(hosts)
    )
    hot = min(HOT, hosts // 2)
    with scopes_disabled():
        tenant = Tenant.objects.create(pk="tenant-bench", name="Bench")
        VM.objects.bulk_create(
            (
                VM(
                    pk=f"vm-{place}-{number}",
                    tenant=tenant,
                    region=platform.region,
                    cluster=platform.cluster,
                    host=host,
                    image=platform.image,
                    name=f"vm-{place}-{number}",
                    vcpus=2,
                    memory_mib=4096,
                    status="running",
                )
                for place, host in enumerate(rack)
                for number in range(VMS)
            ),
            batch_size=2000,
        )
        figures = Figures(
            timezone.now(),
            {
                host.pk: HostLoad(0.9 if place < hot else 0.4, 0.5, 0.01)
                for place, host in enumerate(rack)
            },
            {
                f"vm-{place}-{number}": VmLoad(1.5, 4096)
                for place in range(hot)
                for number in range(VMS)
            },
        )
    rows = []
    for what, tags in (("finds a move", ""), ("is refused every move by placement", "nowhere")):
        Spec.objects.filter(cluster=platform.cluster).update(required_tags=tags)
        cluster = Cluster.objects.get(pk=platform.cluster.pk)
        began = time.monotonic()
        found = look(cluster, figures)
        took = time.monotonic() - began
        assert (found.move is None) == bool(tags), found.reason
        rows.append(
            Row(
                f"A plan of load balancing for {hosts} hosts with {VMS} VMs each that {what}",
                f"<= {seconds(GOAL_S)}",
                seconds(took),
                took <= GOAL_S,
            )
        )
    return rows
