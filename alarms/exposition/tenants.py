"""A tenant's VMs and external IPs as families of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from alarms.catalogue import METRICS, Device, Kind, Metric, Subject
from alarms.queries import metrics
from alarms.store.base import Latest, SeriesKey, milliseconds
from compute.models import VM
from compute.queries.vms import UNLISTED
from compute.states.vms import PowerState
from network.models import ExternalIp
from network.states.external_ips import ExternalIpStatus
from scloud.lib.exposition import Family, Type

#: Resources of one question to the metrics store.
AT_ONCE: Final = 500

# What a part of a resource is called in the labels.
_LABELS: Final[Mapping[Device, str]] = {
    Device.DISK: "disk",
    Device.NIC: "nic",
    Device.FILESYSTEM: "mountpoint",
}


def families(*, vms: bool, external_ips: bool) -> list[Family]:
    """Return what was measured last of the VMs, of the external IPs, within the open scope.

    A sample carries the time at which it was measured: scraping more often makes no more of it.
    Counters are those of the present life of a VM on its host; they begin anew with the next.
    Raises StoreError.
    """
    found: list[Family] = []
    if vms:
        found += _vms()
    if external_ips:
        found += _external_ips()
    return found


def _vms() -> list[Family]:
    rows = list(VM.objects.exclude(status__in=UNLISTED).order_by("pk"))
    info = Family("scloud_vm_info", "A VM's name and region; the value is always 1.")
    running = Family("scloud_vm_running", "1 for a VM that runs, as its host said last, else 0.")
    for vm in rows:
        info.add(1, {"vm": vm.pk, "name": vm.name, "region": vm.region_id})
        running.add(float(vm.power_state == PowerState.RUNNING), {"vm": vm.pk})
    return [info, running, *_measured(rows, Subject.VM, "vm")]


def _external_ips() -> list[Family]:
    rows = list(
        ExternalIp.objects.exclude(
            status__in=(ExternalIpStatus.BINNED, ExternalIpStatus.DESTROYED)
        ).order_by("pk")
    )
    info = Family("scloud_external_ip_info", "Address and region; the value is always 1.")
    for row in rows:
        info.add(1, {"external_ip": row.pk, "address": row.address, "region": row.region_id})
    return [info, *_measured(rows, Subject.EXTERNAL_IP, "external_ip")]


def _measured(rows: Sequence[Any], subject: Subject, label: str) -> list[Family]:
    """Return the newest samples of rows: of each that has a fresh one."""
    found: dict[str, Family] = {}
    for begin in range(0, len(rows), AT_ONCE):
        latest = metrics.latest(rows[begin : begin + AT_ONCE])
        for pk, sample in sorted(latest.items()):
            for metric, key, value in _values(sample):
                if metric.subject is not subject:
                    continue
                family = found.get(metric.exposed)
                if family is None:
                    kind = Type.COUNTER if metric.kind is Kind.COUNTER else Type.GAUGE
                    family = found[metric.exposed] = Family(
                        metric.exposed, f"{metric.label}.", kind
                    )
                labels = {label: pk}
                if metric.device is not Device.NONE:
                    labels[_LABELS[metric.device]] = key.device
                family.add(value, labels, at_ms=milliseconds(sample.at))
    return list(found.values())


def _values(sample: Latest) -> Iterator[tuple[Metric, SeriesKey, float]]:
    """Return numbers of what is what it is, and totals of what is counted."""
    for kind, numbers in ((Kind.GAUGE, sample.values), (Kind.COUNTER, sample.totals)):
        for key, value in sorted(numbers.items()):
            metric = METRICS.get(key.metric)
            if metric is not None and metric.kind is kind:
                yield metric, key, value
