"""Lists of the administration as workbooks."""

import json
from io import BytesIO
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from openpyxl import load_workbook

from compute.models import VM, Drift
from scloud.tenancy.models import User
from scloud.web import export
from tests.compute.factories import Platform


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root@platform.test", "a long secret 9")


@pytest.fixture
def operator(root: User) -> Client:
    """A browser in which a platform administrator is signed in."""
    client = Client()
    client.force_login(root)
    return client


def rows_of(response: Any) -> list[tuple[Any, ...]]:
    """All rows of the first sheet, the headings first."""
    assert response.status_code == 200
    assert response["Content-Type"] == export.CONTENT_TYPE
    content = b"".join(response.streaming_content)
    sheet = load_workbook(BytesIO(content)).active
    assert sheet is not None
    return [tuple(row) for row in sheet.iter_rows(values_only=True)]


def test_every_list_can_be_downloaded(operator: Client, vm: VM) -> None:
    Drift.objects.create(kind="missing", place="h1", resource_id=vm.pk, detail="not there")
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}_download"
        headings, *_rows = rows_of(operator.get(reverse(name)))
        assert headings[0], name


def test_all_rows_that_are_found_are_in_it_in_their_order(operator: Client, vm: VM) -> None:
    for number in range(120):
        Drift.objects.create(
            kind="missing" if number % 2 else "unknown",
            place=f"h{number:03d}",
            resource_id="vm-000000001",
            detail="=cmd()",
        )
    listed = operator.get(reverse("admin:compute_drift_changelist"))
    url = reverse("admin:compute_drift_download")
    html = listed.content.decode()
    assert f'href="{url}?"' in html
    for part in ("data-download>", 'id="download-template"', 'id="toasts"', "js/admin.js"):
        assert part in html
    headings, *rows = rows_of(operator.get(url))
    assert len(rows) == 120
    place = headings.index("Host or pool")
    detail = headings.index("Detail")
    assert {row[detail] for row in rows} == {"=cmd()"}, "it is text, not a formula"
    _headings, *some = rows_of(operator.get(url, {"kind__exact": "missing"}))
    assert len(some) == 60
    _headings, *found = rows_of(operator.get(url, {"q": "h017"}))
    assert [row[place] for row in found] == ["h017"]


def test_values_are_in_words(operator: Client, vm: VM, platform: Platform) -> None:
    headings, *rows = rows_of(operator.get(reverse("admin:compute_host_download")))
    state = next(number for number, name in enumerate(headings) if name == "State")
    cluster = headings.index("Cluster")
    assert {row[state] for row in rows} == {"Available"}
    assert {row[cluster] for row in rows} == {str(platform.hosts[0].cluster)}
    assert not any("<" in str(value) for row in rows for value in row)


def test_a_filter_that_does_not_exist_leads_back_to_the_list(operator: Client) -> None:
    answer = operator.get(reverse("admin:compute_drift_download"), {"nothing__exact": "1"})
    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("admin:compute_drift_changelist"))


def test_downloads_of_an_administrator_are_bounded(
    operator: Client, root: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MAX_PER_USER", 0)
    answer = operator.get(reverse("admin:compute_drift_download"), follow=True)
    assert "of your downloads are being prepared" in answer.content.decode()


def test_a_download_tells_how_far_it_is(operator: Client, vm: VM) -> None:
    for place, kind in (("h1", "missing"), ("h2", "unknown"), ("h3", "missing")):
        Drift.objects.create(kind=kind, place=place, resource_id=vm.pk, detail="not there")
    url = reverse("admin:compute_drift_download")
    answer = operator.get(url, {"kind__exact": "missing", "progress": "1"})
    assert answer["Content-Type"] == export.PROGRESS_TYPE
    figures, told, content = b"".join(answer).split(b"\n", 2)
    assert json.loads(figures) == {"rows": 2, "total": 2}
    assert json.loads(told)["bytes"] == len(content)
    sheet = load_workbook(BytesIO(content)).active
    assert sheet is not None
    assert sheet.max_row == 3


def test_a_refused_download_is_told_on_the_page(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MAX_PER_USER", 0)
    url = reverse("admin:compute_drift_download")
    answer = operator.get(url, {"progress": "1"}, headers={"HX-Request": "true"})
    assert answer.status_code == 429
    assert "of your downloads are being prepared" in answer["HX-Trigger"]
