"""Names of models, fields, choices and columns in the administration go through gettext."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.contrib.admin.options import BaseModelAdmin
from django.contrib.admin.utils import flatten_fieldsets
from django.db import models
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from scloud.tenancy.models import PlatformSettings

APPS = ("scloud.", "compute.", "network.", "billing.", "alarms.")
# The same in every language.
NAMES = {"SKU", "vCPU", "MAC", "PCI", "ID", "IOPS", "MB/s", "OVN"}


def _pages() -> Iterator[BaseModelAdmin]:  # type: ignore[type-arg]  # of any model
    """Yield every page of a model of ours, and every table on another one's page."""
    for page in admin.site._registry.values():
        if not type(page).__module__.startswith(APPS):
            continue
        yield page
        for inline in page.inlines:
            yield inline(page.model, admin.site)


def _is_translated(text: object) -> bool:
    return isinstance(text, Promise) or text in NAMES


def _faults(model: type[models.Model]) -> Iterator[str]:
    """Yield what of a model has an automatic or an untranslated name."""
    options = model._meta
    for text in (options.verbose_name, options.verbose_name_plural):
        if not isinstance(text, Promise) and text not in NAMES:
            yield f"{options.label}: {text}"
    for field in [*options.local_fields, *options.local_many_to_many]:
        said = field._verbose_name  # type: ignore[attr-defined]  # None where nothing was said
        if field.auto_created or getattr(field.remote_field, "parent_link", False):
            continue
        if not _is_translated(said):
            yield f"{options.label}.{field.name}: {said}"
        if field.help_text and not isinstance(field.help_text, Promise):
            yield f"{options.label}.{field.name}: {field.help_text}"


def _columns(page: BaseModelAdmin) -> Iterator[str]:  # type: ignore[type-arg]  # of any model
    """Yield the computed columns of a page that have no translated title."""
    shown = [*page.readonly_fields, *getattr(page, "list_display", ())]
    if page.fieldsets:
        shown += flatten_fieldsets(page.fieldsets)
    for name in shown:
        found = name if callable(name) else getattr(type(page), name, None)
        if found is None and hasattr(page.model, str(name)):
            member = getattr(page.model, str(name))
            found = member if callable(member) else getattr(member, "fget", None)
        if found is None or not callable(found):
            continue
        if name != "__str__" and not _is_translated(getattr(found, "short_description", None)):
            yield f"{type(page).__name__}.{name}"


def test_models_and_fields_of_the_administration_have_translated_names() -> None:
    found = {page.model for page in _pages()}
    assert len(found) > 20
    faults = [fault for model in sorted(found, key=str) for fault in _faults(model)]
    assert not faults, "\n".join(faults)


def test_columns_of_the_administration_have_translated_titles() -> None:
    faults = [fault for page in _pages() for fault in _columns(page)]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    "planted",
    [
        models.CharField(max_length=5),
        models.CharField("size", max_length=5),
        models.CharField(gettext_lazy("size"), max_length=5, help_text="In GB."),
    ],
    ids=["automatic", "plain text", "plain help"],
)
def test_a_planted_field_is_found(planted: models.Field[str, str]) -> None:
    planted.set_attributes_from_name("planted")
    fields = PlatformSettings._meta.local_fields
    before = len(list(_faults(PlatformSettings)))
    fields.append(planted)
    try:
        assert len(list(_faults(PlatformSettings))) == before + 1
    finally:
        fields.remove(planted)
