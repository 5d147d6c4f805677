"""3,000 VMs with ten rules each: one period, evaluated and written."""

from __future__ import annotations

import time
from datetime import timedelta

from tests.bench import installation
from tests.bench.metrics import batch
from tests.bench.rows import Row, seconds

GOAL_S = 2.0
PERIOD_S = 300
EVERY_S = 30
#: Ten rules; four of them of devices, so that a VM has fourteen lines.
METRICS = (
    "cpu_usage_ratio",
    "memory_usage_ratio",
    "load1",
    "load5",
    "tcp_connections",
    "processes_blocked",
    "filesystem_usage_ratio",
    "disk_reads_per_second",
    "nic_receive_bytes_per_second",
    "nic_transmit_bytes_per_second",
)


def run(quick: bool) -> list[Row]:
    """Measure, and say which goals are met."""
    installation.database()
    return evaluated(300 if quick else 3000)


def evaluated(vms: int) -> list[Row]:
    """A period in which nothing is wrong, then one in which a rule of a thousand VMs opens."""
    from alarms.models import Alarm, EvaluationMark
    from alarms.queries import clock
    from alarms.queries.engine import metrics_store
    from alarms.rules.steps import LATE_S
    from alarms.store.base import floor
    from alarms.sweeps import evaluating
    from scloud.tenancy.scoping import scopes_disabled

    installation.say(f"{vms} VMs with {len(METRICS)} rules each")
    _make(vms)
    end = floor(clock.now() - timedelta(seconds=LATE_S), PERIOD_S)
    store = metrics_store()
    for number in range(3 * PERIOD_S // EVERY_S):
        samples = batch(end - timedelta(seconds=EVERY_S * (number + 1)), vms)
        for first in range(0, len(samples), 1000):
            store.write(samples[first : first + 1000])
    taken = {}
    for what, threshold in (("nothing is wrong", 1e9), ("a thousand alarms open", 0.0)):
        with scopes_disabled():
            _break(threshold)
            EvaluationMark.objects.update_or_create(
                pk=PERIOD_S, defaults={"done_until": end - timedelta(seconds=PERIOD_S)}
            )
        began = time.monotonic()
        assert evaluating.evaluate_next(PERIOD_S)
        taken[what] = time.monotonic() - began
    with scopes_disabled():
        assert Alarm.objects.count() == min(1000, vms)
    return [
        Row(
            f"{vms} VMs with {len(METRICS)} rules each, a period in which {what}",
            f"<= {seconds(GOAL_S)}",
            seconds(took),
            took <= GOAL_S,
        )
        for what, took in taken.items()
    ]


def _make(vms: int) -> None:
    """A hundred tenants, their templates, and rows of VMs that run."""
    from alarms.models import AlarmBinding, AlarmRule, AlarmTemplate
    from compute.models import VM
    from scloud.resources.models import Region
    from scloud.tenancy.models import Tenant
    from scloud.tenancy.scoping import scopes_disabled
    from tests.compute.factories import make_platform

    platform = make_platform(Region.objects.create(id="bench", name="Bench"))
    with scopes_disabled():
        tenants = [Tenant.objects.create(pk=f"tenant-{n}", name=f"T{n}") for n in range(100)]
        for tenant in tenants:
            for number in range(2):
                template = AlarmTemplate.objects.create(
                    pk=f"template-{number}-{tenant.pk[7:]}",
                    tenant=tenant,
                    subject="vm",
                    name="t",
                )
                AlarmRule.objects.bulk_create(
                    AlarmRule(
                        tenant=tenant,
                        template=template,
                        metric=name,
                        comparison="gt",
                        threshold=1e9,
                        period_s=PERIOD_S,
                        count=1,
                    )
                    for name in METRICS
                )
        VM.objects.bulk_create(
            VM(
                pk=f"vm-{n}",
                tenant=tenants[n % 100],
                region=platform.region,
                cluster=platform.cluster,
                host=platform.hosts[0],
                image=platform.image,
                name=f"vm-{n}",
                vcpus=2,
                memory_mib=4096,
                status="running",
            )
            for n in range(vms)
        )
        AlarmBinding.objects.bulk_create(
            AlarmBinding(
                resource_id=f"vm-{n}",
                subject="vm",
                tenant=tenants[n % 100],
                template_id=f"template-{int(n >= 1000)}-{n % 100}",
            )
            for n in range(vms)
        )


def _break(threshold: float) -> None:
    """Let the CPU rule of the first thousand VMs be broken by everything above a threshold."""
    from alarms.models import AlarmRule

    broken = AlarmRule.objects.filter(
        metric="cpu_usage_ratio", template__id__startswith="template-0-"
    )
    broken.update(threshold=threshold)
