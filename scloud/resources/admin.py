"""Regions in Django admin."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _

from scloud.lib.errors import ScloudError
from scloud.resources import announcing
from scloud.resources.models import Announcement, Region
from scloud.tenancy.admin import greet
from scloud.tenancy.admintools import ModelAdmin, administrator
from scloud.tenancy.models import Tenant

if TYPE_CHECKING:
    # Generic for the type checker only.
    AnnouncementModelForm = forms.ModelForm[Announcement]
else:
    AnnouncementModelForm = forms.ModelForm


class AnnouncementForm(AnnouncementModelForm):
    """An announcement, checked as the action checks it."""

    class Meta:
        model = Announcement
        fields = (
            "text", "level", "region", "shown_from", "shown_until", "work_begins", "work_ends",
            "dismissible",
        )  # fmt: skip

    def clean(self) -> dict[str, Any]:
        """Put what the action would refuse next to its field."""
        data = super().clean() or {}
        if not self.errors:
            try:
                announcing.check(Announcement(**data))
            except ScloudError as error:
                self.add_error(error.field, error.message)
        return data


@admin.register(Announcement)
class AnnouncementAdmin(ModelAdmin):
    """What everybody in the console is told for a while."""

    form = AnnouncementForm
    list_display = ("text", "level", "region", "shown_from", "shown_until", "work_begins")
    list_filter = ("level", "region")
    list_select_related = ("region",)
    search_fields = ("text",)

    def save_model(self, request: HttpRequest, obj: Announcement, form: Any, change: bool) -> None:
        """By the action. The form has been checked by the same rules."""
        announcing.save_announcement(actor=administrator(request, None), announcement=obj)

    def delete_model(self, request: HttpRequest, obj: Announcement) -> None:
        """By the action."""
        announcing.delete_announcement(actor=administrator(request, None), announcement=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Announcement]) -> None:
        """Each by the action."""
        for row in queryset:
            self.delete_model(request, row)


@admin.register(Region)
class RegionAdmin(ModelAdmin):
    """Data centres. A disabled one takes no new resources and is not offered."""

    list_display = ("name", "id", "enabled", "position", "ovn_nb")
    list_editable = ("position",)
    list_filter = ("enabled",)
    search_fields = ("name", "id")

    def get_form(
        self, request: HttpRequest, obj: Region | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """Say what addresses of databases are like."""
        helps = {
            "ovn_nb": _("ssl:ADDRESS:6641, tcp:ADDRESS:6641 without TLS, or unix:PATH"),
            "ovn_sb": _(
                "ssl:ADDRESS:6642, tcp:ADDRESS:6642 without TLS, or unix:PATH; read only, for "
                "packet traces and signs of life of hosts"
            ),
        }
        return super().get_form(request, obj, change, help_texts=helps, **kwargs)

    def save_model(self, request: HttpRequest, obj: Region, form: Any, change: bool) -> None:
        """In a new region every tenant gets what it starts with."""
        super().save_model(request, obj, form, change)
        if not change and obj.enabled:
            for tenant in Tenant.objects.filter(is_active=True):
                greet(self, request, tenant)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """The id stands in every resource of the region."""
        return ("id",) if obj is not None else ()
