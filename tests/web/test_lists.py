"""The list component, through the lists of tasks and operations."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.tenancy.models import Tenant

MakeJob = Callable[..., Job]
HTMX = {"HX-Request": "true", "HX-Target": "list-job"}


def page(client: Client, query: str = "", **headers: str) -> str:
    response = client.get(f"/tasks/{query}", headers=headers)
    assert response.status_code == 200
    return response.content.decode()


def test_the_list_shows_ten_rows_and_says_how_many_there_are(
    console: Client, make_job: MakeJob
) -> None:
    for number in range(12):
        make_job(title=f"Job number {number:02d}")
    html = page(console)
    assert html.count('data-live="job:') == 10
    assert "1–10 of 12" in html
    assert "Job number 01" in page(console, "?page=2")


@pytest.mark.parametrize("size", [10, 20, 50, 100])
def test_the_page_size_is_taken_and_remembered(
    console: Client, make_job: MakeJob, size: int
) -> None:
    for _ in range(101):
        make_job()
    assert page(console, f"?size={size}").count('data-live="job:') == size
    assert page(console).count('data-live="job:') == size


@pytest.mark.parametrize("size", ["0", "7", "1000", "-5", "x", "９９"])
def test_a_page_size_that_is_not_offered_falls_back_to_ten(
    console: Client, make_job: MakeJob, size: str
) -> None:
    for _ in range(12):
        make_job()
    assert page(console, f"?size={size}").count('data-live="job:') == 10


def test_a_page_beyond_the_end_shows_the_last_one(console: Client, make_job: MakeJob) -> None:
    for _ in range(12):
        make_job()
    assert "11–12 of 12" in page(console, "?page=99")


def test_every_word_of_the_search_must_match(console: Client, make_job: MakeJob) -> None:
    make_job(title="Create VM web-1")
    make_job(title="Create VM db-1")
    make_job(title="Delete VM web-1")
    html = page(console, "?q=create+web")
    assert html.count('data-live="job:') == 1
    assert "1–1 of 1" in html


def test_filters_stand_in_the_url_and_come_back_as_chips(
    console: Client, make_job: MakeJob
) -> None:
    make_job(status="failed")
    make_job(status="running")
    make_job(status="succeeded")
    html = page(console, "?status=failed&status=running")
    assert html.count('data-live="job:') == 2
    assert "Status: Failed" in html
    # Each chip leads to the list without its own value.
    assert 'href="/tasks/?status=running"' in html
    assert 'href="/tasks/?status=failed"' in html


def test_a_filter_value_that_does_not_exist_is_ignored(console: Client, make_job: MakeJob) -> None:
    make_job()
    html = page(console, "?status=nonsense")
    assert html.count('data-live="job:') == 1
    assert 'class="chip"' not in html


def test_sorting_goes_both_ways_and_is_announced(console: Client, make_job: MakeJob) -> None:
    for name in ("b", "a", "c"):
        make_job(created_by=name)
    rows = page(console, "?sort=created_by")
    assert rows.index(">a<") < rows.index(">b<") < rows.index(">c<")
    assert 'aria-sort="ascending"' in rows
    rows = page(console, "?sort=-created_by")
    assert rows.index(">c<") < rows.index(">b<") < rows.index(">a<")
    assert 'aria-sort="descending"' in rows


def test_sorting_by_a_column_that_cannot_be_sorted_falls_back(
    console: Client, make_job: MakeJob
) -> None:
    make_job()
    assert "1–1 of 1" in page(console, "?sort=tenant__name")
    assert "1–1 of 1" in page(console, "?sort=-payload")


def test_chosen_columns_are_remembered_and_the_naming_one_stays(
    console: Client, make_job: MakeJob
) -> None:
    job = make_job()
    console.cookies["scloud_cols_job"] = "id"
    html = page(console, "", **HTMX)
    assert f'data-copy="{job.pk}"' in html
    assert "Create VM web-1" in html
    assert 'data-label="Started by"' not in html


def test_htmx_gets_the_list_alone(console: Client, make_job: MakeJob) -> None:
    make_job()
    html = page(console, "", **HTMX)
    assert html.lstrip().startswith('<section class="list"')
    assert html.count('id="list-job"') == 1
    assert "<html" not in html


def test_a_push_gets_only_the_rows_that_it_names(
    console: Client, make_job: MakeJob, other_tenant: Tenant
) -> None:
    mine, also_mine = make_job(), make_job()
    foreign = make_job(tenant=other_tenant)
    html = page(console, f"?rows={mine.pk},{foreign.pk},job-gone00000")
    assert f'data-live="job:{mine.pk}"' in html
    assert also_mine.pk not in html
    assert foreign.pk not in html


def test_the_pushed_row_is_the_same_as_the_one_of_the_page(
    console: Client, make_job: MakeJob
) -> None:
    job = make_job(status="succeeded")

    def row(html: str) -> str:
        start = html.index(f'<tr id="row-{job.pk}"')
        return " ".join(html[start : html.index("</tr>", start)].split())

    assert row(page(console)) == row(page(console, f"?rows={job.pk}"))


def test_the_number_of_queries_does_not_grow_with_the_rows(
    console: Client, make_job: MakeJob
) -> None:
    for _ in range(3):
        make_job()
    page(console)
    with CaptureQueriesContext(connection) as few:
        page(console, "?size=100")
    for _ in range(60):
        make_job()
    with CaptureQueriesContext(connection) as many:
        page(console, "?size=100")
    assert len(many) == len(few)
    assert len(many) <= 10


def test_the_empty_list_says_what_it_is_for(console: Client) -> None:
    assert "No tasks yet" in page(console)


def test_a_search_without_results_offers_to_clear_it(console: Client, make_job: MakeJob) -> None:
    make_job()
    html = page(console, "?q=zebra")
    assert "No matches" in html
    assert "Clear search and filters" in html


@pytest.mark.parametrize(
    "query",
    [
        "?q=" + "x" * 100,
        "?page=99999999999999999999",
        "?page=%C2%B2",
        "?rows=" + ",".join(["x"] * 500),
        "?q='%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
    ],
)
def test_hostile_parameters_do_no_harm(console: Client, make_job: MakeJob, query: str) -> None:
    make_job()
    assert "<script>alert" not in page(console, query)


@pytest.mark.parametrize("query", ["?q=%00", "?rows=%00", "?menu=%00", "?status=%00"])
def test_a_null_character_is_a_bad_request(console: Client, query: str) -> None:
    assert console.get(f"/tasks/{query}").status_code == 400


def test_ids_of_another_shape_match_nothing(console: Client) -> None:
    assert "data-live=" not in console.get("/operations/?rows=abc,1e9").content.decode()
    assert console.get("/operations/?menu=abc").status_code == 404


def test_names_from_people_are_escaped(console: Client, make_job: MakeJob) -> None:
    make_job(title='<img src=x onerror="alert(1)">')
    assert "<img src=x" not in page(console)


def test_dates_filter_the_operation_log(
    console: Client, make_operation: Callable[..., Operation]
) -> None:
    make_operation()
    inside = console.get("/operations/?since=2020-01-01").content.decode()
    assert 'data-live="operation:' in inside
    outside = console.get("/operations/?since=2999-01-01").content.decode()
    assert "No matches" in outside
    assert console.get("/operations/?since=yesterday").status_code == 200


def test_the_row_menu_says_why_an_action_is_disabled(console: Client) -> None:
    console.post("/api-keys/create/", {"name": "ci", "expires_in_days": "30"})
    html = console.get("/api-keys/").content.decode()
    key_id = html.split('data-live="key:')[1].split('"')[0]
    menu = console.get(f"/api-keys/?menu={key_id}").content.decode()
    assert f"/api-keys/{key_id}/revoke/" in menu
    assert console.post(f"/api-keys/{key_id}/revoke/").status_code == 302
    menu = console.get(f"/api-keys/?menu={key_id}").content.decode()
    assert "It has already been revoked." in menu
    assert 'aria-disabled="true"' in menu
    assert console.get("/api-keys/?menu=key-gone00000").status_code == 404
