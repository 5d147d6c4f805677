"""Views of a list that a user saves: the query of its URL under a name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from scloud.accounts.actions import MAX_VIEW_QUERY, MAX_VIEWS, MAX_VIEWS_BYTES
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


@pytest.mark.parametrize(("name", "query"), [("", ""), ("x" * 41, ""), ("x", "q=" + "y" * 500)])
def test_what_cannot_be_saved_is_refused(
    console: Client, user: User, name: str, query: str
) -> None:
    assert save(console, name, query).status_code == 422
    user.refresh_from_db()
    assert user.list_views == {}


@pytest.mark.parametrize("kind", ["nothing", "J!", "x" * 200])
def test_a_view_is_of_a_list_that_there_is(console: Client, user: User, kind: str) -> None:
    assert save(console, "x", kind=kind).status_code == 404
    assert console.get(f"/views/{kind}/save/", headers=HERE).status_code == 404
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


def test_their_size_is_bounded_over_all_lists(console: Client, user: User) -> None:
    def size() -> int:
        user.refresh_from_db()
        return len(json.dumps(user.list_views).encode())

    long, statuses = "q=" + "x" * (MAX_VIEW_QUERY - 2), []
    for kind in ("vm", "disk", "image", "snapshot"):
        statuses += [save(console, f"{number}", long, kind).status_code for number in range(10)]
    assert set(statuses) == {204, 422}
    assert MAX_VIEWS_BYTES - 2 * MAX_VIEW_QUERY < size() <= MAX_VIEWS_BYTES
    refused = save(console, "other", long)
    assert refused.status_code == 422
    assert "There is no room for more saved views." in refused.content.decode()
    console.post("/views/vm/delete/", {"name": "3"}, headers=HERE)
    assert save(console, "other", long).status_code == 204

    # More than the bound, from before there was one: it cannot grow, but shrink.
    user.list_views["eni"] = [{"name": f"{number}", "query": long} for number in range(10)]
    user.save(update_fields=["list_views"])
    assert save(console, "new", kind="vpc").status_code == 422
    before = size()
    assert before > MAX_VIEWS_BYTES
    assert save(console, "3", "q=x", "eni").status_code == 204
    assert size() == before - len(long) + len("q=x")


def test_hostile_names_and_queries_stay_text(console: Client, make_job: MakeJob) -> None:
    make_job()
    save(console, "<script>alert(1)</script>", 'q="><script>alert(2)</script>')
    html = console.get("/tasks/").content.decode()
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
