"""The charts of costs: which there are, and their numbers in JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import history
from billing.history import History
from billing.views.common import tenant_of
from scloud.lib.errors import InvalidInput
from scloud.tenancy.models import Tenant
from scloud.web import ui
from scloud.web.views import ConsoleView

#: Ways to look at the last months, beside the days of one of them.
_BY: Final[Mapping[str, Callable[[Tenant], History]]] = {
    "resource": history.by_resource,
    "type": history.by_type,
    "tag": history.by_tag,
}
WAYS: Final[tuple[tuple[str, str | Promise], ...]] = (
    ("resource", gettext_lazy("Resource")),
    ("type", gettext_lazy("Type")),
    ("tag", gettext_lazy("Tag")),
    ("day", gettext_lazy("Day")),
)


def offered() -> dict[str, Any]:
    """Return the variables of ``billing/history.html``."""
    months = history.months_until_now()[::-1]
    return {
        "ways": WAYS,
        "months": [(f"{month:%Y-%m}", date_format(month, "Y-m")) for month in months],
    }


class CostHistory(ConsoleView):
    """The numbers of one chart of costs."""

    permission = "billing.view"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Answer in JSON: ``by`` is resource, type, tag or day, ``month`` that of the days."""
        try:
            found, written = self._asked()
        except InvalidInput as error:
            return JsonResponse(error.as_dict(), status=error.http_status)
        return JsonResponse(
            {
                "periods": [date_format(day, written) for day in found.periods],
                "overlaps": found.overlaps,
                "lines": [
                    {
                        "label": line.label,
                        "values": [float(value) for value in line.values],
                        "texts": [ui.money(value) for value in line.values],
                        "total": ui.money(line.total),
                    }
                    for line in found.lines
                ],
            }
        )

    def _asked(self) -> tuple[History, str]:
        by = self.request.GET.get("by", "resource")
        if by in _BY:
            return _BY[by](tenant_of(self)), "Y-m"
        if by != "day":
            raise InvalidInput(_("There is no such chart."), code="cost_chart", field="by")
        return history.by_day(tenant_of(self), self._month()), "Y-m-d"

    def _month(self) -> date:
        months = {f"{month:%Y-%m}": month for month in history.months_until_now()}
        asked = self.request.GET.get("month", "") or max(months)
        if asked not in months:
            raise InvalidInput(
                _("Choose one of the last %(months)d months.") % {"months": len(months)},
                code="cost_month",
                field="month",
            )
        return months[asked]
