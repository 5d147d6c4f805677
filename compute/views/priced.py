"""The form of a disk that is to be bought, which several dialogs share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from billing.views.dialogs import all_durations
from compute.models import DiskType
from compute.rules.orders import DiskOrder, disk_order
from scloud.lib.form_fields import PlainIntegerField
from scloud.resources.models import Region
from scloud.web.verbs import split_tags


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
        self.fields["duration"].choices = all_durations()  # type: ignore[attr-defined]  # ChoiceField
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
