"""Quotas and the requests for more."""

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import actions, quotas
from billing.models import (
    QuotaItem,
    QuotaRequest,
    QuotaRequestStatus,
)
from billing.views.common import tenant_of
from scloud.lib.errors import InvalidInput
from scloud.lib.form_fields import PlainIntegerField
from scloud.resources.models import Region
from scloud.web import ui
from scloud.web.forms import LinesField
from scloud.web.lists import (
    Column,
    EmptyState,
    Filter,
    ListView,
    PageAction,
)
from scloud.web.status import StatusView, Tone
from scloud.web.views import ActionView

_REQUEST_TONES: dict[str, Tone] = {
    QuotaRequestStatus.PENDING: "busy",
    QuotaRequestStatus.APPROVED: "ok",
    QuotaRequestStatus.REJECTED: "error",
}


class QuotasView(ListView):
    """What is used of each quota in the region, and the requests for more."""

    kind = "quota_request"
    permission = "billing.view_quota"
    title = gettext_lazy("Quotas")
    page_template = "billing/quotas.html"
    search_fields = ("id", "reason", "answer")
    default_sort = "-created"
    columns = (
        Column("item", gettext_lazy("Quota"), value="get_item_display", sort="item", main=True),
        Column("id", gettext_lazy("ID"), value="pk", render=ui.ident, default=False),
        Column("region", gettext_lazy("Region"), value="region.name"),
        Column("before", gettext_lazy("Limit at request"), value="limit_before", align="end"),
        Column("wanted", gettext_lazy("Requested limit"), value="limit_wanted", align="end"),
        Column(
            "status",
            gettext_lazy("Status"),
            value=lambda r: StatusView(r.get_status_display(), _REQUEST_TONES[r.status], r.answer),
            sort="status",
            export="get_status_display",
        ),
        Column("reason", gettext_lazy("Reason")),
        Column("answer", gettext_lazy("Answer")),
        Column("expires", gettext_lazy("Holds until"), value="expires_at", sort="expires_at"),
        Column("created", gettext_lazy("Requested"), value="created_at", sort="created_at"),
    )
    filters = (Filter("status", gettext_lazy("Status"), choices=QuotaRequestStatus.choices),)
    page_actions = (
        PageAction(
            gettext_lazy("Request more"),
            "quota-request",
            icon="arrow-up",
            dialog=True,
            permission="billing.request_quota",
        ),
    )
    empty = EmptyState(
        gettext_lazy("No requests"),
        gettext_lazy("Request a higher limit if you need one. An administrator reviews it."),
        icon="gauge",
    )

    def get_queryset(self) -> QuerySet[QuotaRequest]:
        return QuotaRequest.objects.filter(tenant=tenant_of(self)).select_related("region")

    def page_context(self) -> dict[str, Any]:
        region = self.request.region or None
        used = list(quotas.usage(tenant_of(self), region).values()) if region else []
        return {
            "usages": used,
            "region_name": region.name if region else "",
            "may_request": self.actor.allows("billing.request_quota"),
        }


class QuotaRequestForm(forms.Form):
    """Which quota, how much, why."""

    item = forms.ChoiceField(label=gettext_lazy("Quota"), choices=QuotaItem.choices)
    limit_wanted = PlainIntegerField(label=gettext_lazy("Requested limit"), min_value=1)
    reason = LinesField(
        label=gettext_lazy("Reason"),
        required=False,
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class QuotaRequestView(ActionView):
    """The dialog that asks for a higher limit."""

    title = gettext_lazy("Request more quota")
    text = gettext_lazy("An administrator reviews the request. The answer appears on this page.")
    verb = gettext_lazy("Send request")
    permission = "billing.request_quota"
    form_class = QuotaRequestForm
    success_text = gettext_lazy("Request sent.")

    def get_object(self) -> Region:
        region = self.request.region or None
        if region is None:
            raise InvalidInput(_("There is no region yet."), code="no_region")
        return region

    def get_form_kwargs(self, obj: Region) -> dict[str, Any]:
        item = self.request.GET.get("item", "")
        return {"initial": {"item": item}} if item in QuotaItem.values else {}

    def perform(self, obj: Region, data: dict[str, Any]) -> QuotaRequest:
        return actions.request_quota(actor=self.actor, region=obj, **data)

    def success_url(self, obj: Region) -> str:
        return "quotas"
