"""Quotas of tenants, templates and requests for more."""

from datetime import date
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext_lazy as _

from billing import actions
from billing.admin.common import (
    ModelAdmin,
    ReadOnly,
    TabularInline,
    administrator,
)
from billing.models import (
    QuotaApprovalLimit,
    QuotaLimit,
    QuotaRequest,
    QuotaRequestStatus,
    QuotaTemplate,
    QuotaTemplateLimit,
    QuotaTemplateUse,
)
from scloud.lib.errors import ScloudError
from scloud.tenancy.admin import TENANT_INLINES
from scloud.tenancy.admintools import is_allowed, needs


@admin.register(QuotaLimit)
class QuotaLimitAdmin(ModelAdmin):
    """Limits: without a tenant the default of the platform, without a region for all of them."""

    list_display = ("item", "limit", "tenant", "region")
    list_editable = ("limit",)
    list_filter = ("item", "region", "tenant")
    list_select_related = ("tenant", "region")
    search_fields = ("tenant__name", "item")


class QuotaTemplateLimitInline(TabularInline):
    """The limits of a template."""

    model = QuotaTemplateLimit
    extra = 1
    fields = ("item", "limit", "region")


class QuotaTemplateUseInline(TabularInline):
    """The tenants that a template is applied to, or the template of a tenant."""

    model = QuotaTemplateUse
    extra = 1
    fields = ("tenant", "template", "applied_at")
    readonly_fields = ("applied_at",)


TENANT_INLINES.append(QuotaTemplateUseInline)


@admin.register(QuotaTemplate)
class QuotaTemplateAdmin(ModelAdmin):
    """Named sets of limits. A limit of a tenant's own counts before that of its template."""

    list_display = ("name", "note", "tenants")
    search_fields = ("name", "note", "uses__tenant__name")
    inlines = (QuotaTemplateLimitInline, QuotaTemplateUseInline)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = (
            super().get_queryset(request).annotate(used=Count("uses", distinct=True))
        )
        return rows

    @admin.display(description=_("tenants"), ordering="used")
    def tenants(self, template: Any) -> int:
        return int(template.used)


@admin.register(QuotaApprovalLimit)
class QuotaApprovalLimitAdmin(ModelAdmin):
    """Above which limits a request takes two administrators."""

    list_display = ("item", "above")
    list_editable = ("above",)
    search_fields = ("item",)


class QuotaDecisionForm(forms.Form):
    """The answer to a request, and how long what is granted holds."""

    answer = forms.CharField(label=_("Answer"), max_length=300, required=False)
    last_day = forms.DateField(
        label=_("Last day"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d"],
        help_text=_(
            "The limit is raised until the end of this day; what exists stays. Empty: for ever."
        ),
    )


@admin.register(QuotaRequest)
class QuotaRequestAdmin(ReadOnly, ModelAdmin):
    """Requests for more, with approve and reject."""

    list_display = (
        "id",
        "tenant",
        "region",
        "item",
        "limit_before",
        "limit_wanted",
        "status",
        "first_approved_by",
        "expires_at",
        "requested_by",
        "created_at",
    )
    list_filter = ("status", "item", "region", "tenant")
    list_select_related = ("tenant", "region", "first_approved_by")
    search_fields = ("id", "tenant__name", "reason")
    change_form_template = "billing/admin/quota_request.html"
    actions = ("approve", "reject")

    @needs("platform.decide_quota_request")
    @admin.action(description=_("Approve"), permissions=["view"])
    def approve(self, request: HttpRequest, queryset: QuerySet[QuotaRequest]) -> None:
        for row in queryset:
            self._decide(request, row, approve=True)

    @needs("platform.decide_quota_request")
    @admin.action(description=_("Reject"), permissions=["view"])
    def reject(self, request: HttpRequest, queryset: QuerySet[QuotaRequest]) -> None:
        for row in queryset:
            self._decide(request, row, approve=False)

    def _decide(
        self,
        request: HttpRequest,
        row: QuotaRequest,
        *,
        approve: bool,
        answer: str = "",
        last_day: date | None = None,
    ) -> None:
        try:
            decided = actions.decide_quota_request(
                actor=administrator(request, row.tenant),
                quota_request=row,
                approve=approve,
                answer=answer,
                last_day=last_day,
            )
        except ScloudError as error:
            self.message_user(request, f"{row.pk}: {error.message}", messages.ERROR)
            return
        if decided.status == QuotaRequestStatus.PENDING:
            text = _("%(id)s awaits a second administrator.") % {"id": row.pk}
            self.message_user(request, text, messages.WARNING)
        else:
            self.message_user(request, f"{row.pk}: {decided.get_status_display()}")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.decide_view)
        own = path("<path:object_id>/decide/", view, name="billing_quotarequest_decide")
        return [own, *super().get_urls()]

    @needs("platform.decide_quota_request")
    def decide_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Approve or reject one request with an answer."""
        row = get_object_or_404(QuotaRequest.objects.select_related("tenant"), pk=object_id)
        if request.method == "POST" and ({"approve", "reject"} & request.POST.keys()):
            form = QuotaDecisionForm(request.POST)
            if form.is_valid():
                approve = "approve" in request.POST
                self._decide(request, row, approve=approve, **form.cleaned_data)
            for name, errors in form.errors.items():
                label = form.fields[name].label
                self.message_user(request, f"{label}: {' '.join(map(str, errors))}", messages.ERROR)
        return HttpResponseRedirect(reverse("admin:billing_quotarequest_change", args=[row.pk]))

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        allowed = is_allowed(request, "platform.decide_quota_request")
        form = QuotaDecisionForm() if allowed else None
        context = {"decision": form, **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)
