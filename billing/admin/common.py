"""What the pages of billing share: who acts, read-only rows, columns of money."""

from functools import partial
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from billing import money
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.admintools import is_allowed, needs
from scloud.tenancy.clientip import client_ip
from scloud.tenancy.models import Tenant, User

if TYPE_CHECKING:
    # Generic for the type checker only.
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
    InlineFormSet = forms.BaseInlineFormSet[Any, Any, Any]
else:
    ModelAdmin, TabularInline = admin.ModelAdmin, admin.TabularInline
    InlineFormSet = forms.BaseInlineFormSet

Text = str | Promise


def administrator(request: HttpRequest, tenant: Tenant | None) -> Actor:
    """The signed-in platform administrator, acting for a tenant."""
    assert isinstance(request.user, User)
    return Actor.administrator(request.user, tenant, client_ip(request))


class ReadOnly:
    """Rows that services write; here they are only looked at."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class BooksAdmin(ReadOnly, ModelAdmin):
    """A read-only page of the books."""

    list_per_page = 50
    show_full_result_count = False


class DecidedAdmin(BooksAdmin):
    """Rows that a second administrator approves or rejects with an answer, from their own page.

    A subclass says what a decision does, and the words of the form.
    """

    change_form_template = "billing/admin/decided.html"
    approve_label: Text = _("Approve")
    # Of the action that takes the decision.
    decision_right: str = ""
    decision_help: Text = _("Another administrator than the one who entered it decides.")

    def decide(self, actor: Actor, row: Any, *, approve: bool, answer: str) -> Any:
        """Take the decision and return the row as it is then. Raises ScloudError."""
        raise NotImplementedError

    @property
    def _url_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}"

    def get_urls(self) -> list[URLPattern]:
        decide = needs(self.decision_right)(partial(self.decide_view))
        view = self.admin_site.admin_view(decide)
        own = path("<path:object_id>/decide/", view, name=f"{self._url_name}_decide")
        return [own, *super().get_urls()]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        words: dict[str, Any] | None = None
        if is_allowed(request, self.decision_right):
            words = {"approve": self.approve_label, "help": self.decision_help}
        context = {"decision": words, **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)

    def decide_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Approve or reject one row, and go back to its page."""
        rows = self.model._default_manager.select_related("tenant")
        row = get_object_or_404(rows, pk=object_id)
        if request.method == "POST" and ({"approve", "reject"} & request.POST.keys()):
            try:
                decided = self.decide(
                    administrator(request, row.tenant),
                    row,
                    approve="approve" in request.POST,
                    answer=request.POST.get("answer", "").replace("\x00", ""),
                )
            except ScloudError as error:
                self.message_user(request, error.message, messages.ERROR)
            else:
                self.message_user(request, f"{decided.pk}: {decided.get_status_display()}")
        return HttpResponseRedirect(reverse(f"admin:{self._url_name}_change", args=[row.pk]))


class ReadOnlyInline(ReadOnly, TabularInline):
    """Read-only rows on another row's page."""

    extra = 0
    can_delete = False


def amount_column(field: str, label: Any) -> Any:
    """A column that shows minor units as money."""

    @admin.display(description=label, ordering=field)
    def show(_admin: Any, row: Any) -> str:
        return money.show(getattr(row, field))

    return show
