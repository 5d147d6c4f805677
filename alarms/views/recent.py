"""Small lines of the last hour in the list of VMs, and the busiest VMs on the front page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from alarms import catalogue as c
from alarms.catalogue import Metric
from alarms.queries import charts
from compute.models import VM
from compute.states.vms import VmStatus
from scloud.lib.errors import Unavailable
from scloud.web import ui
from scloud.web.charts import spark
from scloud.web.http import ConsoleRequest
from scloud.web.lists import MAX_LIVE_ROWS, Column
from scloud.web.views import ConsoleView

Lines = Mapping[Metric, tuple[float | None, ...]]

_WORDS: Final = {c.CPU_USAGE: gettext_lazy("CPU"), c.MEMORY_USAGE: gettext_lazy("Memory")}
_CSS: Final = {c.CPU_USAGE: "line-1", c.MEMORY_USAGE: "line-2"}
_MOST: Final = 5


def percent(ratio: float | None) -> str:
    """Return a ratio as whole per cent; a dash where there is none."""
    return "—" if ratio is None else f"{round(100 * ratio)} %"


def share(ratio: float | None) -> SafeString:
    """Return a ratio as a bar with its figure."""
    if ratio is None:
        return ui.NONE
    return format_html(
        '<span class="share"><svg class="quota-svg" viewBox="0 0 100 6" preserveAspectRatio="none"'
        ' aria-hidden="true"><rect class="quota-track" width="100" height="6"></rect>'
        '<rect class="quota-added" width="{}" height="6"></rect></svg><span>{}</span></span>',
        round(100 * min(1.0, ratio)),
        percent(ratio),
    )


# -- the list of VMs -----------------------------------------------------------------------------


def _place(vm: VM) -> SafeString:
    return format_html(
        '<div class="sparks" data-recent="{}" data-recent-url="{}"></div>',
        vm.pk,
        reverse("recent-usage"),
    )


COLUMN: Final = Column(
    "usage",
    gettext_lazy("Usage, 1 h"),
    yields=3,
    value=_place,
    export=False,
    nowrap=True,
    script="js/alarms/recent.js",
)


class RecentUsage(ConsoleView):
    """The lines of the VMs of a page, for the script that puts them into the list."""

    permission = "compute.view_vm"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Answer one element for each of ``ids`` that is the tenant's and was measured."""
        ids = [one for one in request.GET.get("ids", "").split(",") if one][:MAX_LIVE_ROWS]
        rows = list(VM.objects.filter(pk__in=ids).only("id", "tenant_id"))
        found = charts.recent_of(rows) if rows else {}
        return HttpResponse(
            format_html_join(
                "\n",
                '<div data-recent-of="{}">{}</div>',
                ((pk, _sparks(lines)) for pk, lines in found.items()),
            )
        )


def _sparks(lines: Lines) -> SafeString:
    return format_html_join(
        "",
        '<div class="spark-line" title="{}: {}"><span class="sr-only">{}</span>{}'
        '<span class="spark-value">{}</span></div>',
        (
            (
                word,
                _newest(lines[metric]),
                word,
                spark(lines[metric], top=1.0, css_class=_CSS[metric]),
                _newest(lines[metric]),
            )
            for metric, word in _WORDS.items()
            if metric in lines
        ),
    )


def _newest(points: Sequence[float | None]) -> str:
    """The newest value, which is of the step that runs or of the one before; older says nothing."""
    return percent(next((point for point in reversed(points[-2:]) if point is not None), None))


# -- the busiest VMs -----------------------------------------------------------------------------


def busiest_card(request: ConsoleRequest) -> dict[str, Any] | None:
    """Nothing but the frame: the card asks for its content, so that the page need not wait."""
    return {} if _running(request).exists() else None


def _running(request: ConsoleRequest) -> Any:
    rows = VM.objects.filter(status=VmStatus.RUNNING)
    return rows.filter(region=request.region) if request.region else rows


class BusiestVms(ConsoleView):
    """The VMs of the region that use most of their CPUs now."""

    permission = "compute.view_vm"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Answer the content of the card."""
        running = _running(self.request).only("id", "name", "tenant_id")
        context: dict[str, Any] = {"rows": [], "problem": ""}
        try:
            context["rows"] = [
                {"vm": vm, "cpu": share(cpu), "memory": share(memory)}
                for vm, cpu, memory in charts.busiest(list(running), most=_MOST)
            ]
        except Unavailable as error:
            context["problem"] = error.message
        return self.render("alarms/charts/busiest.html", context)
