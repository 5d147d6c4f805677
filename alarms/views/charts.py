"""The charts of a VM: the part of its overview, the values that its script draws, and a file.

Numbers leave here in the unit in which they are shown, chosen once for a chart, so that no script
writes sizes.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from alarms.catalogue import Device, Source, Unit
from alarms.queries import charts
from alarms.queries.charts import CHARTS, Chart, Filled, Mark, Period, Series
from compute.models import VM
from compute.queries import vms as vm_queries
from scloud.lib.errors import InvalidInput
from scloud.lib.sizes import byte_unit
from scloud.web.http import ConsoleRequest
from scloud.web.views import ConsoleView

#: The ranges that the page offers, beside one of one's own.
OFFERED: Final = (
    ("1h", gettext_lazy("1 h")),
    ("6h", gettext_lazy("6 h")),
    ("12h", gettext_lazy("12 h")),
    ("1d", gettext_lazy("1 d")),
    ("7d", gettext_lazy("7 d")),
)
DEFAULT_RANGE: Final = "1h"
REFRESH_S: Final = 30
#: Remembers that somebody turned the refresh off.
REFRESH_COOKIE: Final = "scloud_chart_refresh"
#: Digits of a number that is drawn: more than a screen has pixels for.
_DIGITS: Final = 5
_TYPED: Final = "%Y-%m-%dT%H:%M"


# -- numbers as they are shown -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Scale:
    """What a chart's numbers are divided by, and the unit that this gives."""

    divisor: float
    unit: str

    def of(self, value: float | None) -> float | None:
        """Return a number in the unit, rounded to what can be seen."""
        if value is None:
            return None
        scaled = value / self.divisor
        if scaled == 0:
            return 0.0
        return round(scaled, _DIGITS - 1 - math.floor(math.log10(abs(scaled))))

    def text(self, value: float | None) -> str:
        """Return a number in the unit as people read it; a dash where there is none."""
        if value is None:
            return "—"
        scaled = value / self.divisor
        places = 0 if abs(scaled) >= 100 else 1 if abs(scaled) >= 10 else 2
        rounded = round(scaled, places)
        plain = int(rounded) if rounded == int(rounded) else rounded
        return number_format(plain, use_l10n=True, force_grouping=True)


def scale_of(chart: Chart, lines: Iterable[Series]) -> Scale:
    """Return the unit in which the largest number of a chart is easy to read."""
    top = max((abs(line.peak) for line in lines if line.peak is not None), default=0.0)
    unit = chart.lines[0].metric.unit
    if unit is Unit.RATIO:
        return Scale(0.01, "%")
    if unit is Unit.BYTES:
        return Scale(*byte_unit(top))
    if unit is Unit.BYTES_PER_SECOND and chart.device is Device.NIC:
        return _bits(top)
    if unit is Unit.BYTES_PER_SECOND:
        length, name = byte_unit(top)
        return Scale(length, f"{name}/s")
    if unit is Unit.PER_SECOND:
        # Four digits are read at a glance.
        power = 2 if top >= 1e6 else 1 if top >= 1e4 else 0
        return Scale(1000**power, ("/s", "k/s", "M/s")[power])
    return Scale(1, "")


def _bits(top: float) -> Scale:
    """Bandwidth is sold in Mb/s: bits, and thousands of them."""
    names = ("b/s", "kb/s", "Mb/s", "Gb/s")
    power = 0
    while power < len(names) - 1 and top * 8 >= 1000 ** (power + 1):
        power += 1
    return Scale(1000**power / 8, names[power])


# -- what is asked -------------------------------------------------------------------------------


class ChartsForm(forms.Form):
    """Which time, and which disk and network interface; times are in the user's zone."""

    range = forms.ChoiceField(choices=OFFERED, required=False)
    start = forms.DateTimeField(required=False, input_formats=[_TYPED])
    end = forms.DateTimeField(required=False, input_formats=[_TYPED])
    disk = forms.CharField(required=False, max_length=40)
    network = forms.CharField(required=False, max_length=40)

    def period(self) -> Period:
        """Return the time that is asked for. Raises InvalidInput, naming the field."""
        if not self.is_valid():
            field, errors = next(iter(self.errors.items()))
            raise InvalidInput(str(errors[0]), code="metrics_time", field=str(field))
        data = self.cleaned_data
        if data["start"] is None and data["end"] is None:
            return charts.last(data["range"] or DEFAULT_RANGE)
        for name in ("start", "end"):
            if data[name] is None:
                raise InvalidInput(
                    _("Give both ends of the time."), code="metrics_time", field=name
                )
        return charts.between(data["start"], data["end"])


class _Charts(ConsoleView):
    """Reads what a request asks for."""

    permission = "compute.view_vm"

    def read(self, vm: VM) -> tuple[Period, list[Filled]]:
        """Return the charts of a VM. Raises InvalidInput, NotFound, Unavailable."""
        form = ChartsForm(self.request.GET)
        period = form.period()
        found = charts.charts_of(
            vm,
            period,
            charts.parts_of(vm),
            disk=form.cleaned_data["disk"],
            network=form.cleaned_data["network"],
        )
        return period, found


class VmCharts(_Charts):
    """The values that the charts of a VM's overview draw."""

    def get(self, request: HttpRequest, vm_id: str) -> HttpResponse:
        """Answer in JSON; a time that cannot be shown with its reason."""
        vm = vm_queries.vm(vm_id)
        try:
            period, found = self.read(vm)
        except InvalidInput as error:
            return JsonResponse(error.as_dict(), status=error.http_status)
        return JsonResponse(
            {
                "start": int(period.start.timestamp()),
                "step_s": period.step_s,
                "points": period.points,
                "now": int(timezone.now().timestamp()),
                "charts": [_chart(one) for one in found],
                "marks": [_mark(mark) for mark in charts.marks_of(vm, period)],
            }
        )


def _chart(filled: Filled) -> dict[str, Any]:
    scale = scale_of(filled.chart, [line for _label, line in filled.lines])
    return {
        "key": filled.chart.key,
        "unit": scale.unit,
        "top": scale.of(filled.chart.top),
        "lines": [
            {
                "label": str(label),
                "values": [scale.of(point) for point in line.points],
                "peak": scale.text(line.peak),
                "average": scale.text(line.average),
                "last": scale.text(line.last),
            }
            for label, line in filled.lines
        ],
    }


def _mark(mark: Mark) -> dict[str, Any]:
    return {"at": mark.at.timestamp(), "label": str(mark.label), "tone": mark.tone}


class VmChartsFile(_Charts):
    """The same as a file: a line for each step, in the units of the catalogue."""

    def get(self, request: HttpRequest, vm_id: str) -> HttpResponse:
        """Answer a file of comma-separated values."""
        vm = vm_queries.vm(vm_id)
        period, found = self.read(vm)
        series = [line for filled in found for _label, line in filled.lines]
        answer = HttpResponse(content_type="text/csv; charset=utf-8")
        name = f"{vm.pk}-{_compact(period.start)}-{_compact(period.end)}.csv"
        answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        answer.headers["Cache-Control"] = "private, no-store"
        writer = csv.writer(answer)
        writer.writerow(["time", *(_heading(line) for line in series)])
        for number, moment in enumerate(period.moments()):
            at = moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
            values = (line.points[number] for line in series)
            writer.writerow([at, *("" if value is None else value for value in values)])
        return answer


def _compact(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%MZ}"


def _heading(line: Series) -> str:
    """The name of the metric and the device; a device alone could look like a formula."""
    return f"{line.metric.name} {line.device}".strip()


# -- the part of the page ------------------------------------------------------------------------


def section(request: ConsoleRequest, vm: VM) -> dict[str, Any]:
    """Return the variables of ``alarms/charts/section.html``."""
    parts = charts.parts_of(vm)
    return {
        "vm": vm,
        "url": reverse("vm-charts", args=[vm.pk]),
        "file_url": reverse("vm-charts-csv", args=[vm.pk]),
        "charts": [
            {"chart": chart, "empty": _why_empty(chart), "of_guest": chart.source is Source.GUEST}
            for chart in CHARTS
        ],
        "ranges": OFFERED,
        "parts": parts,
        "zone": timezone.get_current_timezone_name(),
        "refreshing": request.COOKIES.get(REFRESH_COOKIE) != "off",
        "refresh_s": REFRESH_S,
    }


def _why_empty(chart: Chart) -> str:
    if chart.source is Source.GUEST:
        return _("No data. The guest agent of the VM did not answer in this time.")
    return _("No data. The VM did not run in this time, or was not measured.")
