"""Prices and discounts: versions are drafted, looked at and published."""

from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from billing import actions, pricelock
from billing.admin.common import (
    InlineFormSet,
    ModelAdmin,
    TabularInline,
    administrator,
)
from billing.models import (
    Discount,
    Price,
    PriceList,
)
from billing.price_effects import effect_of
from billing.price_table import every_sku, not_priced
from billing.pricelists import next_version
from scloud.lib.errors import ScloudError
from scloud.resources.models import Region
from scloud.tenancy.admintools import YesNoFilter, needs

#: The id of the list of SKUs on the page.
SKU_LIST: Final = "sku-choices"


class PricesFormSet(InlineFormSet):
    """Prices of a list, each with its first tier."""

    def clean(self) -> None:
        """Refuse tiers of a price that has none above 0."""
        super().clean()
        prices: dict[tuple[str, str], dict[int, forms.ModelForm[Price]]] = {}
        for form in self.forms:
            row = form.cleaned_data if form.is_valid() else {}
            if row and not row.get("DELETE"):
                prices.setdefault((row["sku"], row["method"]), {})[row["above"]] = form
        for tiers in prices.values():
            if 0 not in tiers:
                tiers[min(tiers)].add_error(
                    "above", _("Add the first tier, above 0; its price may be 0.")
                )


class PriceInline(TabularInline):
    """The prices of a list: editable until it is published."""

    model = Price
    formset = PricesFormSet
    extra = 3
    fields = ("sku", "method", "above", "unit_price")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **options: Any) -> Any:
        """Offer the SKUs that there are, which the page lists; name fields for screen readers."""
        field = super().formfield_for_dbfield(db_field, request, **options)
        if field is not None:
            field.widget.attrs["aria-label"] = str(db_field.verbose_name)
            if db_field.name == "sku":
                field.widget.attrs["list"] = SKU_LIST
        return field

    def _open(self, obj: PriceList | None) -> bool:
        return obj is None or obj.published_at is None

    def has_add_permission(self, request: HttpRequest, obj: PriceList | None = None) -> bool:
        return self._open(obj) and super().has_add_permission(request, obj)

    def has_change_permission(self, request: HttpRequest, obj: PriceList | None = None) -> bool:
        return self._open(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: PriceList | None = None) -> bool:
        return self._open(obj) and super().has_delete_permission(request, obj)


@admin.register(PriceList)
class PriceListAdmin(ModelAdmin):
    """Draft, copy, preview, publish. A published list is frozen; a correction is a new version."""

    list_display = ("__str__", "region", "version", "effective_from", "published_at", "note")
    list_filter = ("region", ("published_at", YesNoFilter))
    search_fields = ("id", "note", "prices__sku")
    fields = ("region", "effective_from", "note", "version", "published_at")
    readonly_fields = ("version", "published_at")
    inlines = (PriceInline,)
    actions = ("publish", "copy")
    change_form_template = "billing/admin/price_list.html"
    tenants_per_page = 100

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"effective_from": timezone.now()}

    def has_change_permission(self, request: HttpRequest, obj: PriceList | None = None) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or obj.published_at is None)

    def has_delete_permission(self, request: HttpRequest, obj: PriceList | None = None) -> bool:
        # Without an object this is the bulk action, which would not look at each row.
        allowed = super().has_delete_permission(request, obj)
        return allowed and obj is not None and obj.published_at is None

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: PriceList | None = None,
    ) -> HttpResponse:
        """Add what can have a price, and what has none in this list."""
        regions = Region.objects.all() if obj is None else [obj.region]
        skus: dict[str, str] = {}
        for region in regions:
            skus |= every_sku(region)
        context.update(
            sku_list=SKU_LIST, skus=skus, not_priced={} if obj is None else not_priced(obj)
        )
        return super().render_change_form(request, context, add, change, form_url, obj)

    def save_model(self, request: HttpRequest, obj: PriceList, form: Any, change: bool) -> None:
        if not change:
            obj.version = next_version(obj.region)
        super().save_model(request, obj, form, change)

    @needs("platform.publish_price_list")
    @admin.action(description=_("Publish"))
    def publish(self, request: HttpRequest, queryset: QuerySet[PriceList]) -> None:
        for row in queryset:
            self._publish(request, row)

    @needs("platform.copy_price_list")
    @admin.action(description=_("Copy as a new draft"))
    def copy(self, request: HttpRequest, queryset: QuerySet[PriceList]) -> None:
        """Draft the next version from each."""
        for row in queryset:
            drafted = actions.copy_price_list(actor=administrator(request, None), price_list=row)
            self.message_user(request, _("Drafted %(list)s.") % {"list": drafted})

    def _publish(self, request: HttpRequest, row: PriceList) -> None:
        try:
            done = actions.publish_price_list(actor=administrator(request, None), price_list=row)
        except ScloudError as error:
            self.message_user(request, error.message, messages.ERROR)
        else:
            text = _("%(list)s is in effect from %(moment)s.")
            moment = f"{done.effective_from:%Y-%m-%d %H:%M:%S} UTC"
            self.message_user(request, text % {"list": done, "moment": moment})

    def response_change(self, request: HttpRequest, obj: PriceList) -> HttpResponse:
        if "_preview" in request.POST:
            return HttpResponseRedirect(reverse("admin:billing_pricelist_preview", args=[obj.pk]))
        if "_publish" not in request.POST:
            return super().response_change(request, obj)
        self._publish(request, obj)
        return HttpResponseRedirect(reverse("admin:billing_pricelist_change", args=[obj.pk]))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.preview_view)
        own = path("<path:object_id>/preview/", view, name="billing_pricelist_preview")
        return [own, *super().get_urls()]

    @needs("billing.view_pricelist")
    def preview_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What a draft would change for what exists now; nothing is written."""
        row = get_object_or_404(PriceList.objects.select_related("region"), pk=object_id)
        if not self.has_view_or_change_permission(request, row):
            raise PermissionDenied
        if row.published_at is not None:
            self.message_user(
                request, _("%(list)s is already published.") % {"list": row}, messages.WARNING
            )
            return HttpResponseRedirect(reverse("admin:billing_pricelist_change", args=[row.pk]))
        effect = effect_of(row)
        context = {
            **self.admin_site.each_context(request),
            "title": _("Effect of price list %(list)s") % {"list": row},
            "opts": self.model._meta,
            "original": row,
            "effect": effect,
            "page": Paginator(effect.tenants, self.tenants_per_page).get_page(
                request.GET.get("page")
            ),
        }
        return TemplateResponse(request, "billing/admin/price_effect.html", context)


@admin.register(Discount)
class DiscountAdmin(ModelAdmin):
    """Discounts. One that has begun can only be ended, so that a replay finds what was true."""

    list_display = (
        "tenant",
        "sku_prefix",
        "part_off",
        "effective_from",
        "effective_until",
        "note",
    )
    list_filter = ("tenant",)
    search_fields = ("tenant__name", "sku_prefix", "note")
    autocomplete_fields = ()

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"effective_from": timezone.now()}

    def get_readonly_fields(
        self, request: HttpRequest, obj: Discount | None = None
    ) -> tuple[str, ...]:
        if obj is not None and obj.effective_from <= timezone.now():
            return ("tenant", "sku_prefix", "part_off", "effective_from")
        return ()

    def has_delete_permission(self, request: HttpRequest, obj: Discount | None = None) -> bool:
        allowed = super().has_delete_permission(request, obj)
        return allowed and obj is not None and obj.effective_from > timezone.now()

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        return super().get_form(request, obj, change=change, form=DiscountForm, **kwargs)


class DiscountForm(forms.ModelForm[Discount]):
    """Keeps discounts from reaching back into what was charged already."""

    def clean(self) -> dict[str, Any] | None:
        """Refuse instants that lie in the past."""
        data = super().clean() or {}
        # The page saves it in the transaction that this lock lives in.
        pricelock.for_change()
        now = timezone.now()
        begins = data.get("effective_from")
        if begins is not None and "effective_from" in self.changed_data:
            data["effective_from"] = max(begins, now)
            self.instance.effective_from = data["effective_from"]
        ends = data.get("effective_until")
        if ends is not None and "effective_until" in self.changed_data and ends < now:
            self.add_error("effective_until", _("A discount cannot end in the past."))
        return data
