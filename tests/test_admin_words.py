"""The administration speaks of what operators know, in words: no units of the database, no doubled
plurals, no names of columns."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.options import InlineModelAdmin
from django.contrib.admin.utils import flatten_fieldsets, label_for_field
from django.test import Client, RequestFactory
from django.urls import reverse

from scloud.jobs.models import Job
from scloud.tenancy.models import PlatformSettings, User
from scloud.tenancy.scoping import scopes_disabled

OURS = ("scloud.", "compute.", "network.", "billing.", "alarms.")
# Seconds, bytes and minor units are shown in words; a plural has one ending; a column's own name
# has underscores.
CODE = re.compile(r"\((s|bytes|minor units)\)|sss\b|[a-z]_[a-z]|\bepoch\b|\bbell\b", re.IGNORECASE)


def words_of(page: Any, request: Any) -> list[str]:
    """Return the labels of a page's fields and columns."""
    names = flatten_fieldsets(page.get_fieldsets(request, None))
    names += list(getattr(page, "list_display", ()))
    form = page.form if isinstance(page, InlineModelAdmin) else page.get_form(request, None)
    own = getattr(form, "base_fields", {})
    found = []
    for name in names:
        if name in ("action_checkbox", "__str__"):
            continue
        if name in own and own[name].label:
            found.append(str(own[name].label))
        else:
            found.append(str(label_for_field(name, page.model, page)))
    return found


def is_code(text: str) -> bool:
    """Tell whether a text is one for developers."""
    return bool(CODE.search(text))


@pytest.mark.django_db
def test_no_page_shows_names_or_units_of_the_code() -> None:
    request = RequestFactory().get("/admin/")
    request.user = User(is_staff=True, is_superuser=True)
    wrong, seen = [], 0
    with scopes_disabled():
        for model, page in admin.site._registry.items():
            if not type(page).__module__.startswith(OURS):
                continue
            inlines = [inline(model, admin.site) for inline in page.inlines]
            texts = [str(model._meta.verbose_name), str(model._meta.verbose_name_plural)]
            texts += [str(inline.verbose_name_plural) for inline in inlines]
            for shown in (page, *inlines):
                texts += words_of(shown, request)
            seen += len(texts)
            wrong += [f"{model._meta.label}: {text}" for text in texts if is_code(text)]
    assert seen > 500
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "text",
    ["Addresss", "job bell", "time limit (s)", "size (bytes)", "amount (minor units)", "vm_id"],
)
def test_a_planted_name_is_found(text: str) -> None:
    assert is_code(text)


@pytest.fixture
def root(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@platform.test", "a long secret 9"))
    return client


def test_filters_ask_whether_something_has_happened(root: Client) -> None:
    url = reverse("admin:jobs_job_changelist")
    html = root.get(url).content.decode()
    assert "Not empty" not in html
    part = html.split("By acknowledged")[1].split("</details>")[0]
    assert re.findall(r"<a[^>]*>\s*(\w+)", part) == ["All", "Yes", "No"]
    with scopes_disabled():
        for name in ("seen", "unseen"):
            Job.objects.create(
                kind="test.nothing",
                title=f"{name} job",
                target_kind="test",
                target_id=name,
                status="failed",
                deadline="2030-01-01T00:00Z",
                acknowledged_at="2029-01-01T00:00Z" if name == "seen" else None,
            )
    told = root.get(f"{url}?acknowledged_at__isempty=0").content.decode()
    assert "unseen job" not in told
    assert "seen job" in told
    counted = root.get(f"{url}?_facets=True").content.decode()
    assert "Yes (1)" in counted


def test_the_retention_is_a_duration(root: Client) -> None:
    PlatformSettings.objects.get_or_create(pk=1)
    url = reverse("admin:tenancy_platformsettings_change", args=[1])
    page = root.get(url)
    assert 'value="4 d 4 h"' in page.content.decode()
    form = page.context["adminform"].form
    sent = {
        name: form.initial[name] for name in form.fields if form.initial[name] not in (None, False)
    }
    assert root.post(url, {**sent, "bin_retention_s": "90 min"}).status_code == 302
    assert PlatformSettings.objects.get().bin_retention_s == 5400
    for text, said in (("90", "with its units"), ("101 h", "at most 100 h")):
        answer = root.post(url, {**sent, "bin_retention_s": text})
        assert said in answer.content.decode()
    assert PlatformSettings.objects.get().bin_retention_s == 5400
