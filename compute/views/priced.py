"""What dialogs say of prices: the form of a disk that is to be bought, and metered storage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from billing import usage
from billing.views.dialogs import PaidForm, paid_of
from compute.models import DiskType
from compute.rules.orders import DiskOrder, disk_order
from scloud.lib.form_fields import PlainIntegerField
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant
from scloud.web import ui
from scloud.web.verbs import Lines, split_tags


def metered_lines(tenant: Tenant, region: Region, sku: str, size_gib: int | None = None) -> Lines:
    """What storage costs that is charged afterwards; nothing where it is free.

    ``size_gib`` is how much it will be, where that is known.
    """
    price = usage.price_of(tenant, region, sku)
    if price is None:
        return []
    words = gettext("%(price)s per GB and hour, charged after each day") % {
        "price": ui.price(price)
    }
    if size_gib is not None:
        words = gettext("%(words)s, for %(size)s") % {"words": words, "size": ui.size_gib(size_gib)}
    return [(gettext("Price"), words)]


class DiskForm(PaidForm):
    field_order = ("name", "disk_type", "size_gib", "duration", "auto_renew", "remark", "tags")
    name = forms.CharField(label=_("Name"), max_length=30, initial="disk")
    disk_type = forms.ChoiceField(label=_("Type"))
    size_gib = PlainIntegerField(label=_("Size"), min_value=1, max_value=100_000)
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
        if known:
            self.fields["disk_type"].initial = known[0].pk
            self.fields["size_gib"].initial = max(source_gib, known[0].data_min_gib)

    def clean_tags(self) -> list[str]:
        """The tags as the action takes them."""
        return split_tags(self.cleaned_data["tags"])


def order_of(region: Region, disk_type: DiskType, data: dict[str, Any]) -> DiskOrder:
    """Return the order that a valid DiskForm says."""
    chosen = paid_of(data)
    paid = {
        "billing_method": chosen.method,
        "periods": chosen.periods,
        "auto_renew": chosen.auto_renew,
    }
    return disk_order(region, disk_type, {**data, **paid})
