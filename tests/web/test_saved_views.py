"""Views of a list that a user saves: the query of its URL under a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from scloud.accounts.actions import MAX_VIEWED_LISTS, MAX_VIEWS
from scloud.jobs.models import Job
from scloud.tenancy.models import User
from tests.fixtures import new_user

MakeJob = Callable[..., Job]
HERE = {"HX-Request": "true", "HX-Current-URL": "http://testserver/tasks/?status=failed"}


def save(client: Client, name: str, query: str = "status=failed", kind: str = "job") -> Any:
    return client.post(f"/views/{kind}/save/", {"name": name, "query": query}, headers=HERE)


def names(user: User, kind: str = "job") -> list[str]:
    user.refresh_from_db()
    return [one["name"] for one in user.list_views.get(kind, [])]


def test_a_view_keeps_filters_order_and_columns(
    console: Client, user: User, make_job: MakeJob
) -> None:
    make_job(title="Good", status="succeeded")
    bad = make_job(title="Bad", status="failed")
    console.cookies["scloud_cols_job"] = "status.id"
    html = console.get("/tasks/?status=failed&sort=created_by").content.decode()
    link = "/views/job/save/?query=status%3Dfailed%26sort%3Dcreated_by%26cols%3Dstatus.id"
    assert f'hx-get="{link}"' in html
    dialog = console.get(link, headers=HERE).content.decode()
    assert 'value="status=failed&amp;sort=created_by&amp;cols=status.id"' in dialog
    answer = save(console, "  What   failed ", "status=failed&sort=created_by&cols=status.id")
    assert answer.headers["HX-Redirect"] == "/tasks/?status=failed"
    assert names(user) == ["What failed"]

    # Whatever columns the browser has now, the view shows its own.
    console.cookies["scloud_cols_job"] = "created"
    url = "/tasks/?status=failed&sort=created_by&cols=status.id"
    assert f'href="{url.replace("&", "&amp;")}"' in console.get("/tasks/").content.decode()
    html = console.get(url).content.decode()
    assert "Bad" in html
    assert "Good" not in html
    assert 'data-label="ID"' in html
    assert 'data-label="Created"' not in html
    assert 'aria-current="true"' in html.split('id="list-job-views"')[1].split("</div>")[0]
    # Every link of the list keeps them, and so does a push.
    assert 'href="/tasks/?status=failed&amp;sort=status&amp;cols=status.id"' in html
    rows = console.get(f"/tasks/?rows={bad.pk}&cols=status.id").content.decode()
    assert 'data-label="ID"' in rows
    assert 'data-label="Created"' not in rows


def test_a_view_of_the_same_name_is_replaced(console: Client, user: User) -> None:
    save(console, "mine", "status=failed")
    save(console, "mine", "status=running")
    user.refresh_from_db()
    assert user.list_views == {"job": [{"name": "mine", "query": "status=running"}]}


def test_views_are_deleted_and_one_that_is_gone_is_no_error(console: Client, user: User) -> None:
    save(console, "b")
    save(console, "a")
    assert names(user) == ["a", "b"]
    for _ in range(2):
        answer = console.post("/views/job/delete/", {"name": "a"}, headers=HERE)
        assert answer.headers["HX-Redirect"] == "/tasks/?status=failed"
        assert names(user) == ["b"]
    console.post("/views/job/delete/", {"name": "b"}, headers=HERE)
    user.refresh_from_db()
    assert user.list_views == {}


def test_views_are_the_users_own(console: Client, user: User) -> None:
    save(console, "mine")
    assert user.tenant is not None
    other = Client()
    other.force_login(new_user(user.tenant, "administrator"))
    assert "mine" not in other.get("/tasks/").content.decode()
    other.post("/views/job/delete/", {"name": "mine"}, headers=HERE)
    assert names(user) == ["mine"]


@pytest.mark.parametrize(
    ("name", "query", "kind"),
    [("", "", "job"), ("x" * 41, "", "job"), ("x", "q=" + "y" * 500, "job"), ("x", "", "J!")],
)
def test_what_cannot_be_saved_is_refused(
    console: Client, user: User, name: str, query: str, kind: str
) -> None:
    assert save(console, name, query, kind).status_code == 422
    user.refresh_from_db()
    assert user.list_views == {}


def test_their_number_is_bounded(console: Client, user: User) -> None:
    for number in range(MAX_VIEWS):
        assert save(console, f"view {number}").status_code == 204
    refused = save(console, "one more")
    assert refused.status_code == 422
    assert "Delete one first." in refused.content.decode()
    # Replacing is possible.
    assert save(console, "view 0", "q=x").status_code == 204
    for number in range(MAX_VIEWED_LISTS - 1):
        kind = f"list-{chr(97 + number // 26)}{chr(97 + number % 26)}"
        assert save(console, "one", kind=kind).status_code == 204
    assert save(console, "one", kind="list-zz").status_code == 422


def test_hostile_names_and_queries_stay_text(console: Client, make_job: MakeJob) -> None:
    make_job()
    save(console, "<script>alert(1)</script>", 'q="><script>alert(2)</script>')
    html = console.get("/tasks/").content.decode()
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
