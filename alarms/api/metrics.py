"""Measurements in the API: what can be asked for, and the values of a VM or an external IP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any, Final

from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from alarms.catalogue import METRICS, Device, Kind, Metric, Source, Subject, Unit
from alarms.queries import charts
from alarms.queries.charts import Period, Series
from alarms.queries.metrics import STEPS_S, Owned
from alarms.store.base import MAX_DEVICE_LENGTH, Aggregate
from compute.queries import vms as vm_queries
from network.queries import external_ips as external_ip_queries
from scloud.lib.errors import InvalidInput, NotFound
from scloud.rest.fields import WholeNumber
from scloud.rest.inputs import valid_query
from scloud.rest.views import ActorMixin

#: Metrics that can be asked for at once.
MOST_METRICS: Final = 20
DEFAULT_RANGE: Final = "1h"

TENANTS: Final = tuple(one for one in METRICS.values() if one.subject is not Subject.HOST)

#: Known to the schema by the name that the settings give.
UNITS: Final = [one.value for one in Unit]


class MetricShape(serializers.Serializer[Any]):
    """Something that is measured. ``ratio`` is 0 to 1; ``guest`` needs the guest agent."""

    name = serializers.CharField()
    resource_kind = serializers.ChoiceField(
        source="subject", choices=[Subject.VM.value, Subject.EXTERNAL_IP.value]
    )
    description = serializers.CharField(source="label")
    unit = serializers.ChoiceField(choices=UNITS)
    kind = serializers.ChoiceField(
        choices=[one.value for one in Kind],
        help_text="`counter`: the values are rates per second of something that is counted.",
    )
    device_kind = serializers.SerializerMethodField()
    source = serializers.ChoiceField(choices=[one.value for one in Source])  # type: ignore[assignment]  # the metaclass takes it away

    @extend_schema_field(
        serializers.ChoiceField(choices=[one.value for one in Device if one], allow_null=True)
    )
    def get_device_kind(self, metric: Metric) -> str | None:
        """Return which parts of the resource have a number each, null where it is one number."""
        return metric.device.value or None


class MetricsInput(serializers.Serializer[Any]):
    """Which measurements: names, a time, and how the samples of a step become one value."""

    metrics = serializers.CharField(
        max_length=1000,
        help_text=f"Names that `GET /metrics` lists, separated by commas; at most {MOST_METRICS}.",
    )
    range = serializers.ChoiceField(
        choices=list(charts.RANGES),
        required=False,
        help_text=f"The time up to now, instead of `start` and `end`; `{DEFAULT_RANGE}` if nothing "
        "is said.",
    )
    start = serializers.DateTimeField(required=False, help_text="With `end`, instead of `range`.")
    end = serializers.DateTimeField(required=False)
    step = WholeNumber(
        required=False,
        min_value=STEPS_S[0],
        max_value=STEPS_S[-1],
        help_text="Seconds that a value stands for, one of "
        f"{', '.join(map(str, STEPS_S))}; chosen by the length of the time if it is not "
        "given.",
    )
    device = serializers.CharField(
        max_length=MAX_DEVICE_LENGTH,
        required=False,
        help_text="Only this disk, network interface (by ID) or file system (by mount point).",
    )
    aggregate = serializers.ChoiceField(
        choices=[one.value for one in Aggregate], default=Aggregate.AVG.value
    )

    def validate_metrics(self, value: str) -> list[Metric]:
        """Return what is named. Raises DRF's ValidationError."""
        names = list(dict.fromkeys(name.strip() for name in value.split(",")))
        if len(names) > MOST_METRICS:
            raise serializers.ValidationError(
                _("At most %(most)d metrics can be asked for at once.") % {"most": MOST_METRICS}
            )
        known = {one.name: one for one in TENANTS}
        for name in names:
            if name not in known:
                raise serializers.ValidationError(
                    _("There is no metric %(name)s.") % {"name": name[:60]}
                )
        return [known[name] for name in names]

    def validate_device(self, value: str) -> str:
        """Refuse what no device is called. Raises DRF's ValidationError."""
        if not value.isprintable():
            raise serializers.ValidationError(_("It has characters that no device has."))
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse half a time, or two. Raises DRF's ValidationError."""
        if ("start" in attrs) != ("end" in attrs):
            missing = "end" if "start" in attrs else "start"
            raise serializers.ValidationError({missing: _("Give both start and end.")})
        if "range" in attrs and "start" in attrs:
            raise serializers.ValidationError({"range": _("Give a range, or start and end.")})
        return attrs


class SeriesShape(serializers.Serializer[Any]):
    """The values of a metric of one device; what there is no measurement of is null.

    ``values`` has one value for each step, the first of them at ``start``. ``peak`` is the highest
    measurement, also where ``values`` are averages.
    """

    metric = serializers.CharField(source="metric.name")
    unit = serializers.ChoiceField(source="metric.unit", choices=UNITS)
    device = serializers.SerializerMethodField()
    peak = serializers.FloatField()
    average = serializers.FloatField()
    last = serializers.FloatField()
    values = serializers.ListField(source="points", child=serializers.FloatField(allow_null=True))

    def get_device(self, series: Series) -> str | None:
        """Return the device, null where the metric is of the whole resource."""
        return series.device or None


class MeasurementsShape(serializers.Serializer[Any]):
    """Measurements over a time, in steps of ``step_s`` seconds from ``start`` to before ``end``.

    A metric, or a device, without any measurement in that time has no series.
    """

    resource_id = serializers.CharField()
    start = serializers.DateTimeField(source="period.start", default_timezone=UTC)
    end = serializers.DateTimeField(source="period.end", default_timezone=UTC)
    step_s = serializers.IntegerField(source="period.step_s")
    aggregate = serializers.ChoiceField(choices=[one.value for one in Aggregate])
    series = SeriesShape(many=True)


_EXAMPLE: Final = OpenApiExample(
    "CPU usage of two minutes, the third half minute of which was not measured",
    value={
        "resource_id": "vm-4k2p09xqa",
        "start": "2026-05-04T10:00:00Z",
        "end": "2026-05-04T10:02:00Z",
        "step_s": 30,
        "aggregate": "avg",
        "series": [
            {
                "metric": "cpu_usage_ratio",
                "unit": "ratio",
                "device": None,
                "peak": 0.31,
                "average": 0.22,
                "last": 0.25,
                "values": [0.1, 0.31, None, 0.25],
            }
        ],
    },
    response_only=True,
)


@extend_schema(tags=["Monitoring"])
class MetricsView(ActorMixin):
    """Metrics."""

    view_permission = "alarms.view_metrics"

    @extend_schema(responses=MetricShape(many=True))
    def get(self, request: Request) -> Response:
        """List what is measured of VMs and external IPs."""
        return Response(MetricShape(TENANTS, many=True).data)


class _Measurements(ActorMixin):
    """The values of one resource."""

    subject: Subject

    def answer(self, request: Request, row: Owned) -> Response:
        asked = valid_query(MetricsInput, request)
        metrics: list[Metric] = asked["metrics"]
        for metric in metrics:
            if metric.subject is not self.subject:
                raise InvalidInput(
                    _("%(name)s is not measured of this resource.") % {"name": metric.name},
                    code="metrics_subject",
                    field="metrics",
                    remedy=_("GET /metrics says what each metric is of."),
                )
        device = asked.get("device")
        if device is not None:
            self.check_device(row, metrics, device)
        period = _period(asked)
        aggregate = Aggregate(asked["aggregate"])
        found = charts.series_of(row, metrics, period, device=device, aggregate=aggregate)
        shape = MeasurementsShape(
            {
                "resource_id": row.pk,
                "period": period,
                "aggregate": aggregate.value,
                "series": found,
            }
        )
        return Response(shape.data)

    def check_device(self, row: Owned, metrics: Sequence[Metric], device: str) -> None:
        """Raise InvalidInput for a metric without devices, NotFound for one that there is not."""
        for metric in metrics:
            if metric.device is Device.NONE:
                raise InvalidInput(
                    _("%(name)s is of the whole resource.") % {"name": metric.name},
                    code="metrics_device",
                    field="device",
                    remedy=_("Leave the device out, or ask for this metric alone."),
                )


def _period(asked: dict[str, Any]) -> Period:
    step_s: int | None = asked.get("step")
    if "start" in asked:
        return charts.between(asked["start"], asked["end"], step_s=step_s)
    return charts.last(asked.get("range", DEFAULT_RANGE), step_s=step_s)


@extend_schema(tags=["Monitoring"])
class VmMetricsView(_Measurements):
    """Measurements of a VM."""

    view_permission = "compute.view_vm"
    subject = Subject.VM

    @extend_schema(parameters=[MetricsInput], responses=MeasurementsShape, examples=[_EXAMPLE])
    def get(self, request: Request, pk: str) -> Response:
        """Return measurements of a VM: CPU, memory, disks, network, and what its guest tells."""
        return self.answer(request, vm_queries.vm(pk, binned=True))

    def check_device(self, row: Any, metrics: Sequence[Metric], device: str) -> None:
        """A disk or NIC must be one that the VM has now; of file systems only the guest knows."""
        super().check_device(row, metrics, device)
        kinds = {metric.device for metric in metrics}
        if kinds == {Device.FILESYSTEM}:
            return
        parts = charts.parts_of(row)
        known = {Device.DISK: parts.disks, Device.NIC: parts.nics}
        for kind in kinds:
            if device not in [part.id for part in known.get(kind, ())]:
                raise NotFound(
                    _("The VM does not have %(part)s.") % {"part": device},
                    code="metrics_part_not_found",
                    field="device",
                    remedy=_("GET /vms/{id} lists disks and network interfaces."),
                )


@extend_schema(tags=["Monitoring"])
class ExternalIpMetricsView(_Measurements):
    """Measurements of an external IP."""

    view_permission = "network.view_external_ip"
    subject = Subject.EXTERNAL_IP

    @extend_schema(parameters=[MetricsInput], responses=MeasurementsShape)
    def get(self, request: Request, pk: str) -> Response:
        """Return measurements of an external IP: bytes and packets in and out."""
        return self.answer(request, external_ip_queries.external_ip(pk, binned=True))
