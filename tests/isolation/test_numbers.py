"""Every form, every request body and the administration take numbers in plain digits only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django import forms
from django.contrib import admin
from django.test import Client, RequestFactory
from django.urls import reverse
from rest_framework import serializers

from compute.models import Cluster
from scloud.lib.durations import DurationField
from scloud.lib.form_fields import PlainDecimalField, PlainIntegerField
from scloud.rest.fields import PlainDecimal, WholeNumber
from scloud.tenancy.models import User
from tests.compute.factories import make_platform

OURS = {"scloud", "compute", "network", "billing", "alarms"}
NUMBERS = (forms.IntegerField, forms.DecimalField)
# Durations are read by a pattern of their own.
PLAIN = (PlainIntegerField, PlainDecimalField, DurationField)


def below(parent: type[Any]) -> Iterator[type[Any]]:
    """All classes of the product that inherit from a class."""
    for child in parent.__subclasses__():
        if child.__module__.split(".")[0] in OURS:
            yield child
        yield from below(child)


def loose(fields: dict[str, forms.Field]) -> list[str]:
    """The fields that take exponents, blanks or the digits of other scripts."""
    return [
        name
        for name, field in fields.items()
        if isinstance(field, NUMBERS) and not isinstance(field, PLAIN)
    ]


def test_every_form_takes_plain_digits_only() -> None:
    reverse("home")  # imports all views
    found = {
        f"{form.__module__}.{form.__name__}": loose(form.base_fields)
        for form in below(forms.BaseForm)
        # Those of models are the administration's, which makes their fields itself; see below.
        if hasattr(form, "base_fields") and not issubclass(form, forms.BaseModelForm)
    }
    assert len(found) > 20
    models = [form.__module__ for form in below(forms.BaseModelForm)]
    assert [module for module in models if "admin" not in module] == []
    assert {name: names for name, names in found.items() if names} == {}


def _numbers(field: Any) -> Iterator[Any]:
    """A field of a serializer and what it holds."""
    child = getattr(field, "child", None)
    if child is not None:
        yield from _numbers(child)
    elif isinstance(field, serializers.IntegerField | serializers.DecimalField):
        yield field


def test_every_request_body_takes_plain_digits_only() -> None:
    reverse("home")
    wrong, seen = [], 0
    for shape in below(serializers.Serializer):
        # Shapes and models describe answers.
        if not shape.__name__.endswith("Input"):
            continue
        for name, field in shape().fields.items():
            for number in _numbers(field):
                seen += 1
                if not isinstance(number, WholeNumber | PlainDecimal):
                    wrong.append(f"{shape.__name__}.{name}")
    assert seen > 15
    assert wrong == []


@pytest.mark.usefixtures("unscoped")
def test_every_page_of_the_administration_takes_plain_digits_only(db: None) -> None:
    request = RequestFactory().get("/admin/")
    request.user = User.objects.create_superuser("root@scloud.test", "a long secret 9")
    wrong, seen = [], 0
    for model, options in admin.site._registry.items():
        if model.__module__.split(".")[0] not in OURS:
            continue
        pages = [options.get_form(request).base_fields]
        pages += [
            formset.form.base_fields
            for formset, _inline in options.get_formsets_with_inlines(request)
        ]
        for fields in pages:
            seen += sum(isinstance(field, NUMBERS) for field in fields.values())
            wrong += [f"{model.__name__}.{name}" for name in loose(fields)]
    assert seen > 15
    assert wrong == []


@pytest.mark.parametrize("typed", ["1e1", "\uff14", " 4", "+4", "4_0"])
def test_an_administrators_figure_is_read_as_it_is_written(region: Any, typed: str) -> None:
    cluster = make_platform(region).cluster
    operator = Client()
    operator.force_login(User.objects.create_superuser("root@scloud.test", "a long secret 9"))
    url = reverse("admin:compute_cluster_change", args=[cluster.pk])
    page = operator.get(url).context["adminform"].form
    data = {
        name: value
        for name, field in page.fields.items()
        if (value := page.get_initial_for_field(field, name)) is not None
    }
    inline = {f"specs-{name}": "0" for name in ("TOTAL_FORMS", "INITIAL_FORMS")}
    for name in ("cpu_overcommit", "position"):
        answer = operator.post(url, {**data, **inline, name: typed})
        assert name in answer.context["adminform"].form.errors, (name, typed)
    cluster.refresh_from_db()
    before = cluster.cpu_overcommit
    assert Cluster.objects.get(pk=cluster.pk).cpu_overcommit == before
    assert operator.post(url, {**data, **inline, "cpu_overcommit": "4.5"}).status_code == 302
    cluster.refresh_from_db()
    assert str(cluster.cpu_overcommit) in ("4.5", "4.50")
