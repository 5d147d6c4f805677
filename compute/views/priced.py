"""Dialogs with a price that follows what is typed, and forms that several of them share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from billing.models.prices import MethodChoice
from billing.pricing import DURATIONS
from billing.quotes import Quote
from billing.services import ChangeQuote
from compute.models import DiskType
from compute.rules.orders import DiskOrder, disk_order
from compute.views.renew import duration_label
from scloud.lib.errors import ScloudError
from scloud.lib.form_fields import PlainIntegerField
from scloud.resources.models import Region
from scloud.web.verbs import split_tags
from scloud.web.views import ActionView

Choices = list[tuple[str, Any]]


def durations() -> Choices:
    """Return billing methods and durations as one grouped choice: ``month:3``."""
    return [
        (
            str(MethodChoice(method.value).label),
            [(f"{method.value}:{n}", duration_label(method, n)) for n in periods],
        )
        for method, periods in DURATIONS.items()
    ]


class PricedView(ActionView):
    """An action that costs money: GET with ``quote`` answers the price of what is typed."""

    template_name = "compute/disks/priced.html"

    def quote(self, obj: Any, data: dict[str, Any]) -> Quote | ChangeQuote:
        """Return the price of the form's cleaned data. Raises ScloudError."""
        raise NotImplementedError

    @property
    def token(self) -> str:
        """The token of the price that was shown."""
        return self.request.POST.get("quote_token", "")

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the dialog, or only the price when something changes."""
        if "quote" not in request.GET:
            return super().get(request, *args, **kwargs)
        obj = self.get_object()
        return self.render("compute/disks/price.html", self._price(obj, request.GET))

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        if self.request.method == "POST":
            return self._price(obj, self.request.POST)
        form = self.get_form(obj)
        assert form is not None
        initial = {name: form.get_initial_for_field(f, name) for name, f in form.fields.items()}
        return self._price(obj, initial)

    def _price(self, obj: Any, data: Any) -> dict[str, Any]:
        form = self.get_form(obj, data)
        assert form is not None
        if not form.is_valid():
            said = next((str(e) for errors in form.errors.values() for e in errors), "")
            return {"quote": None, "quote_error": None, "said": said}
        try:
            return {"quote": self.quote(obj, form.cleaned_data), "quote_error": None}
        except ScloudError as error:
            return {"quote": None, "quote_error": error}


class DiskForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=30, initial="disk")
    disk_type = forms.ChoiceField(label=_("Type"))
    size_gib = PlainIntegerField(label=_("Size"), min_value=1, max_value=100_000)
    duration = forms.ChoiceField(label=_("Billing and duration"))
    remark = forms.CharField(label=_("Remark"), max_length=200, required=False)
    tags = forms.CharField(
        label=_("Tags"),
        max_length=1000,
        required=False,
        help_text=_("Separated by commas: web, env=production"),
    )

    def __init__(self, *args: Any, types: Iterable[DiskType], source_gib: int = 0, **more: Any):
        super().__init__(*args, **more)
        known = list(types)
        choices = [
            (
                one.pk,
                (
                    f"{one.alias} ({one.get_medium_display()}, "
                    f"{one.data_min_gib}–{one.data_max_gib} GB)"
                ),
            )
            for one in known
        ]
        self.fields["disk_type"].choices = choices  # type: ignore[attr-defined]  # ChoiceField
        self.fields["duration"].choices = durations()  # type: ignore[attr-defined]  # ChoiceField
        self.fields["duration"].initial = "month:1"
        if known:
            self.fields["disk_type"].initial = known[0].pk
            self.fields["size_gib"].initial = max(source_gib, known[0].data_min_gib)

    def clean_tags(self) -> list[str]:
        """The tags as the action takes them."""
        return split_tags(self.cleaned_data["tags"])


def order_of(region: Region, disk_type: DiskType, data: dict[str, Any]) -> DiskOrder:
    """Return the order that a valid DiskForm says."""
    method, periods = data["duration"].split(":")
    paid = {"billing_method": method, "periods": int(periods), "auto_renew": None}
    return disk_order(region, disk_type, {**data, **paid})
