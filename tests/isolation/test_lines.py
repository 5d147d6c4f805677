"""The end of a line is one character in every text of several lines, in forms and in the API.

Browsers send two characters for each, programs one; a limit is the same for both.
"""

from __future__ import annotations

from typing import Any

import pytest
from django import forms
from django.test import Client
from django.urls import reverse
from rest_framework import serializers

from billing.models import QuotaRequest
from billing.views.quotas import QuotaRequestForm
from scloud.resources.models import Region
from scloud.rest.fields import Lines
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scopes_disabled
from tests.api.client import program_of
from tests.isolation.test_numbers import below

TWO_EACH = "ab\r\n"
# Texts of one line with a high limit: their limit is that of a name or remark, which has no lines.
ONE_LINE = {
    "name",
    "names",
    "remark",
    "password",
    "region",
    "cidr",
    "vpc",
    "dns_servers",
    "url",
    "metrics",
}


def test_every_text_area_of_a_form_counts_the_end_of_a_line_once() -> None:
    reverse("home")  # imports all views
    seen = []
    for form in below(forms.BaseForm):
        for name, field in getattr(form, "base_fields", {}).items():
            longest = getattr(field, "max_length", None)
            if not isinstance(field.widget, forms.Textarea) or longest is None:
                continue
            seen.append(f"{form.__name__}.{name}")
            # As long as it may be by one character each, and longer by two.
            text = "x" * (longest % 3) + "\nab" * (longest // 3)
            assert len(text) == longest
            field.clean(text.replace("\n", "\r\n"))
    assert "QuotaRequestForm.reason" in seen


def test_a_form_still_refuses_a_text_that_is_too_long() -> None:
    data = {"item": "vms", "limit_wanted": "200"}
    fits, longer = TWO_EACH * 333, TWO_EACH * 334
    assert QuotaRequestForm({**data, "reason": fits}).is_valid()
    form = QuotaRequestForm({**data, "reason": longer})
    assert not form.is_valid()
    assert list(form.errors) == ["reason"]


def test_every_long_text_of_a_request_counts_the_end_of_a_line_once() -> None:
    reverse("home")
    seen, wrong = [], []
    for shape in below(serializers.Serializer):
        if not shape.__name__.endswith("Input"):
            continue
        for name, field in shape().fields.items():
            if not isinstance(field, serializers.CharField) or name in ONE_LINE:
                continue
            longest = field.max_length or 0
            if isinstance(field, Lines):
                seen.append(f"{shape.__name__}.{name}")
                text = "x" * (longest % 3) + "\nab" * (longest // 3)
                assert field.run_validation(text.replace("\n", "\r\n")) == text
                with pytest.raises(serializers.ValidationError):
                    field.run_validation(text + "xx")
            elif longest >= 1000 and name != "quote_token":
                wrong.append(f"{shape.__name__}.{name}")
    assert "QuotaRequestInput.reason" in seen
    assert any("user_data" in one for one in seen)
    assert any("ssh_public_key" in one for one in seen)
    assert wrong == []


def test_what_is_kept_has_one_character_for_each_end(
    console: Client, user: User, region: Region
) -> None:
    """By the page and by the API: the same text, the same length."""
    program = program_of(user)
    text = TWO_EACH * 333
    page: dict[str, Any] = {"item": "vms", "limit_wanted": "200", "reason": text}
    assert console.post(reverse("quota-request"), page).status_code == 302
    body = {"region": region.pk, "item": "vcpu", "limit_wanted": 2000, "reason": text}
    assert program.call("POST", "/quota-requests", body).status == 201
    kept = ("ab\n" * 333).strip()
    with scopes_disabled():
        found = set(QuotaRequest.objects.values_list("item", "reason"))
    assert found == {("vms", kept), ("vcpu", kept)}
