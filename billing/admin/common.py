"""What the pages of billing share: who acts, read-only rows, columns of money."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from billing import money
from scloud.tenancy.actor import Actor
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
