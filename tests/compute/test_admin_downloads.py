"""Lists of the administration as workbooks."""

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
    assert f'href="{url}?"' in listed.content.decode()
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
