"""Searches in lists, in the search over all resources, and in the admin site."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from drf_spectacular.generators import SchemaGenerator

from scloud.jobs.models import Job
from scloud.tenancy.models import User
from scloud.web.lists import ListView
from tests.api.client import program_of

LONG = "a" * 101
MANY = " ".join("abcdefghijk")


def lists_of_the_console() -> list[type[ListView]]:
    """Return every list that some URL shows."""
    found: list[type[ListView]] = []

    def below(view: type[ListView]) -> None:
        for child in view.__subclasses__():
            if child.__module__.split(".")[0] in {"scloud", "compute", "network", "billing"}:
                found.append(child)
            below(child)

    reverse("home")  # imports all views
    below(ListView)
    return found


def test_no_list_narrows_by_itself() -> None:
    own = [view for view in lists_of_the_console() if "narrowed" in vars(view)]
    assert lists_of_the_console()
    assert own == []


@pytest.mark.parametrize("text", [LONG, MANY])
@pytest.mark.parametrize("path", ["/tasks/", "/operations/", "/billing/orders/", "/search/"])
def test_the_console_says_that_a_search_is_too_long(console: Client, path: str, text: str) -> None:
    answer = console.get(path, {"q": text})
    page = answer.content.decode()
    assert answer.status_code == 400
    assert "at most 10 words and 100 characters" in page
    assert "search_too_long" in page


def test_a_long_search_in_a_list_on_a_page_leaves_the_list_alone(console: Client) -> None:
    headers = {"HX-Request": "true", "HX-Target": "list-job"}
    answer = console.get("/tasks/", {"q": MANY}, headers=headers)
    assert answer.status_code == 400
    assert answer["HX-Reswap"] == "none"
    assert "at most 10 words" in answer["HX-Trigger"]


def test_ten_words_cost_one_condition_each(console: Client, make_job: Callable[..., Job]) -> None:
    make_job(title="abcdefghij")
    console.get("/tasks/", {"q": "a"})  # the first request also notes that somebody is there
    with CaptureQueriesContext(connection) as one:
        console.get("/tasks/", {"q": "a"})
    with CaptureQueriesContext(connection) as ten:
        html = console.get("/tasks/", {"q": " ".join("abcdefghij")}).content.decode()
    assert html.count('data-live="job:') == 1
    assert len(ten) == len(one)
    assert max(q["sql"].count(" JOIN ") for q in ten) == max(q["sql"].count(" JOIN ") for q in one)


def lists_of_the_api() -> list[str]:
    """Return the path of every list that takes a search."""
    schema: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # spectacular's own
    return [
        path
        for path, methods in schema["paths"].items()
        if "search" in {one["name"] for one in methods.get("get", {}).get("parameters", [])}
    ]


def test_every_list_of_the_api_bounds_its_search(user: User) -> None:
    program = program_of(user)
    found = [path.removeprefix("/api/v1") for path in lists_of_the_api()]
    assert {"/vms", "/disks", "/snapshots", "/images"} <= set(found)
    for path in found:
        for text in (LONG, MANY):
            error = program.get(f"{path}?search={quote(text)}").error(400, "search_too_long")
            assert error["field"] == "search", path
        program.get(f"{path}?search=a")
        joins = []
        for text in ("a", " ".join("abcdefghij")):
            with CaptureQueriesContext(connection) as queries:
                assert program.get(f"{path}?search={quote(text)}").status == 200
            joins.append((len(queries), max(q["sql"].count(" JOIN ") for q in queries)))
        # Not a join and not a statement more for more words.
        assert joins[0] == joins[1], path


@pytest.fixture
def administrator(db: None) -> Client:
    """A browser in which a platform administrator is signed in."""
    boss = User.objects.create_superuser("boss@scloud.test", "a good 9 password")
    client = Client()
    client.force_login(boss)
    return client


@pytest.mark.unmeasured
def test_every_admin_list_bounds_its_search(administrator: Client) -> None:
    searched = 0
    for model, options in admin.site._registry.items():
        if not options.search_fields:
            continue
        searched += 1
        meta = model._meta
        url = reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
        for text in (LONG, MANY):
            answer = administrator.get(url, {"q": text})
            assert answer.status_code == 200, url
            assert "at most 10 words and 100 characters" in answer.content.decode(), url
        assert "at most 10 words" not in administrator.get(url, {"q": "a b"}).content.decode()
    assert searched > 10
