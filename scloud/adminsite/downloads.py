"""Lists of the administration as workbooks: the columns that are shown, of all rows found."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.contrib.admin import ModelAdmin as DjangoModelAdmin
from django.contrib.admin.utils import label_for_field, lookup_field
from django.core.exceptions import ObjectDoesNotExist
from django.utils.text import capfirst

from scloud.web.export import ExportColumn

if TYPE_CHECKING:
    # Generic for the type checker only.
    ModelAdmin = DjangoModelAdmin[Any]
else:
    ModelAdmin = DjangoModelAdmin


def columns(admin: ModelAdmin, names: list[str]) -> list[ExportColumn]:
    """Return what the list shows under these names, as the columns of a workbook."""
    return [
        ExportColumn(capfirst(str(label_for_field(name, admin.model, admin))), _value(admin, name))
        for name in names
        if name != "action_checkbox"
    ]


def _value(admin: ModelAdmin, name: str) -> Callable[[Any], Any]:
    def of(row: Any) -> Any:
        try:
            field, _attribute, value = lookup_field(name, row, admin)
        except ObjectDoesNotExist:
            return None
        if field is None or value is None:
            return value
        if getattr(field, "remote_field", None) is not None:
            return str(getattr(row, field.name))
        if getattr(field, "flatchoices", None):
            # In words, as the list shows it.
            return str(dict(field.flatchoices).get(value, value))
        return value

    return of
