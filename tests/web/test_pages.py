"""Tasks, operation log, search, errors, navigation, dashboard, style guide."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django.utils import timezone

from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.lib.errors import NoCapacity, TooManyRequests
from scloud.resources import kinds
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant, User
from scloud.web import dashboard, errors, nav, topbar

HTMX = {"HX-Request": "true"}


def test_a_task_shows_its_steps_and_its_error(
    console: Client, make_job: Callable[..., Job]
) -> None:
    job = make_job(
        status="failed",
        error_code="host_error",
        error_message="The host did not answer.",
        error_remedy="Try again.",
        steps=[
            {"name": "a", "label": "Reserve a host", "state": "done", "at": "2026-11-22T10:00:00Z"},
            {"name": "b", "label": "Create the disk", "state": "failed"},
            {"name": "c", "label": "Start the domain", "state": "waiting"},
        ],
    )
    part = console.get(f"/tasks/{job.pk}/", headers=HTMX).content.decode()
    for expected in (
        "Reserve a host",
        "step-done",
        "step-failed",
        "step-pending",
        "The host did not answer.",
        "Try again.",
        "host_error",
    ):
        assert expected in part
    assert "<html" not in part
    body = console.get(f"/tasks/{job.pk}/?part=body", headers=HTMX).content.decode()
    assert body.strip().startswith("<div")
    assert f'data-live="job:{job.pk}"' in body
    assert "<html" in console.get(f"/tasks/{job.pk}/").content.decode()


def test_foreign_and_unknown_things_are_not_found(
    console: Client,
    make_job: Callable[..., Job],
    make_operation: Callable[..., Operation],
    other_tenant: Tenant,
) -> None:
    job = make_job(tenant=other_tenant)
    operation = make_operation(tenant=other_tenant)
    for path in (
        f"/tasks/{job.pk}/",
        "/tasks/job-000000000/",
        f"/operations/{operation.pk}/",
        "/operations/999999999/",
        "/api-keys/key-000000000/revoke/",
        "/profile/sessions/0000/end/",
    ):
        assert console.get(path).status_code == 404, path
    assert console.get(f"/tasks/{job.pk}/", headers=HTMX).status_code == 404


def test_the_strip_shows_what_runs_and_then_what_failed(
    console: Client, make_job: Callable[..., Job]
) -> None:
    make_job(title="Old one", status="running")
    now = timezone.now()
    for number in range(6):
        make_job(title=f"Failed {number}", status="failed", finished_at=now)
    make_job(title="Long ago", status="failed", finished_at=now - timedelta(minutes=16))
    make_job(title="Done", status="succeeded", finished_at=now)
    make_job(title="Quiet", status="running", kind="vm.look")
    html = console.get("/tasks/strip/", headers=HTMX).content.decode()
    assert 'data-active="1"' in html
    assert html.index("Old one") < html.index("Failed")
    assert html.count("<button") == 5
    assert "2 more" in html
    for other in ("Long ago", "Done", "Quiet"):
        assert other not in html


def test_a_quiet_strip_is_empty(console: Client, make_job: Callable[..., Job]) -> None:
    make_job(title="Done", status="succeeded", finished_at=timezone.now())
    html = console.get("/tasks/strip/", headers=HTMX).content.decode()
    assert re.sub(r"<[^>]+>", "", html).strip() == ""


def test_an_operation_shows_what_changed(
    console: Client, make_operation: Callable[..., Operation]
) -> None:
    operation = make_operation(
        before={"name": "old"},
        after={"name": "new"},
        succeeded=False,
        error_code="quota_exceeded",
        error_message="The quota is used up.",
    )
    html = console.get(f"/operations/{operation.pk}/", headers=HTMX).content.decode()
    for expected in ("old", "new", "quota_exceeded", "The quota is used up.", "Refused"):
        assert expected in html


@pytest.fixture
def searchable() -> Iterator[None]:
    """A kind of resource that can be searched: jobs stand in for one."""
    kind = kinds.Kind(
        kind="test-job",
        model="jobs.Job",
        label="Job",
        label_plural="Jobs",
        icon="activity",
        url_name="task-detail",
        search_fields=("id", "title"),
        view_permission="jobs.view",
    )
    kinds.register(kind)
    yield
    kinds._kinds.pop("test-job")


@pytest.mark.usefixtures("searchable")
def test_the_search_finds_resources_of_the_tenant_only(
    console: Client, make_job: Callable[..., Job], other_tenant: Tenant
) -> None:
    mine = make_job(title="Create VM zebra")
    foreign = make_job(title="Create VM zebra", tenant=other_tenant)
    part = console.get("/search/?q=zebra", headers=HTMX).content.decode()
    assert f"/tasks/{mine.pk}/" in part
    assert foreign.pk not in part
    assert "<html" not in part
    assert f"/tasks/{mine.pk}/" in console.get("/search/?q=zebra+create").content.decode()
    assert "Nothing found" in console.get("/search/?q=giraffe").content.decode()
    assert console.get("/search/").status_code == 200


def test_a_page_that_does_not_exist_says_so(console: Client, client: Client, db: None) -> None:
    for browser in (console, client):
        response = browser.get("/nothing/here/")
        assert response.status_code == 404


def request_for(user: User | None, **headers: str) -> HttpRequest:
    from django.contrib.auth.models import AnonymousUser
    from django.contrib.messages.storage.cookie import CookieStorage
    from django_htmx.middleware import HtmxDetails

    request: Any = RequestFactory().get("/x/", headers=headers)
    request.user = user or AnonymousUser()
    request.actor = None
    request.htmx = HtmxDetails(request)
    request._messages = CookieStorage(request)
    made: HttpRequest = request
    return made


def test_an_error_of_a_part_is_a_toast_with_its_remedy(db: None) -> None:
    error = NoCapacity("No host has 64 vCPU free.", remedy="Choose a smaller spec.")
    response = errors.response(request_for(None, **HTMX), error)
    assert response.status_code == 409
    assert response["HX-Reswap"] == "none"
    assert "No host has 64 vCPU free." in response["HX-Trigger"]
    assert "Choose a smaller spec." in response["HX-Trigger"]


def test_an_error_of_a_page_is_a_page(db: None) -> None:
    error = NoCapacity("No host has 64 vCPU free.", remedy="Choose a smaller spec.")
    response = errors.response(request_for(None), error)
    html = response.content.decode()
    assert response.status_code == 409
    assert "No host has 64 vCPU free." in html
    assert "Choose a smaller spec." in html
    assert "no_capacity" in html


def test_who_comes_too_often_learns_when_to_come_back(db: None) -> None:
    error = TooManyRequests("Too many.", numbers={"retry_after_s": 17})
    assert errors.response(request_for(None), error)["Retry-After"] == "17"


def test_the_page_of_a_crash_needs_no_database() -> None:
    # No database fixture: a query would fail the test.
    response = errors.server_error(RequestFactory().get("/x/"))
    assert response.status_code == 500
    assert "Something went wrong" in response.content.decode()
    part = errors.server_error(RequestFactory().get("/x/", headers=HTMX))
    assert part.status_code == 500
    assert "toast" in part["HX-Trigger"]


@pytest.fixture
def restored_registries() -> Iterator[None]:
    """Put the registries back after the test."""
    items, cards, chips = list(nav._items), dict(dashboard._cards), dict(topbar._providers)
    yield
    nav._items[:] = items
    dashboard._cards.clear()
    dashboard._cards.update(cards)
    topbar._providers.clear()
    topbar._providers.update(chips)


@pytest.mark.usefixtures("restored_registries")
def test_navigation_hides_what_the_role_may_not_see() -> None:
    nav.register(nav.NavItem("compute", "Machines", "tasks", icon="server-2", permission="a.b"))
    nav.register(nav.NavItem("compute", "Gone", "no-such-url", icon="server-2"))

    def labels(*granted: str) -> list[str]:
        found = nav.sections("/tasks/", lambda permission: permission in granted)
        return [str(link.label) for section in found for link in section.links]

    assert "Machines" in labels("a.b")
    assert "Machines" not in labels()
    assert "Gone" not in labels("a.b")


def test_only_the_closest_line_of_the_navigation_is_current() -> None:
    found = nav.sections("/tasks/job-1/", lambda _permission: True)
    current = [str(link.label) for section in found for link in section.links if link.current]
    assert current == ["Tasks"]


@pytest.mark.usefixtures("restored_registries", "region")
def test_cards_and_chips_of_apps_appear(console: Client, make_job: Callable[..., Job]) -> None:
    make_job(title="A recent task")
    topbar.register(
        "test", lambda _request: topbar.TopbarChip("wallet", "Balance", "¥12.50", "/tasks/")
    )
    html = console.get("/").content.decode()
    assert "A recent task" in html
    assert "¥12.50" in html


def test_the_region_is_remembered(console: Client, region: Region) -> None:
    Region.objects.create(id="west", name="West")
    Region.objects.create(id="closed", name="Closed", enabled=False)
    assert "West" in console.get("/").content.decode()
    console.post("/region/", {"region": "west"})
    assert console.cookies["scloud_region"].value == "west"
    assert "Region: West" in console.get("/").content.decode()
    console.post("/region/", {"region": "closed"})
    assert console.cookies["scloud_region"].value == "west"


def test_the_style_guide_is_there_in_development_only(console: Client, settings: Any) -> None:
    settings.DEBUG, settings.SCLOUD_DEMO = False, True
    assert console.get("/styleguide/").status_code == 404
    assert "/styleguide/" not in console.get("/").content.decode()
    settings.DEBUG = True
    assert "/styleguide/" in console.get("/").content.decode()
    assert console.get("/styleguide/").status_code == 200
    dialog = console.get("/styleguide/dialog/", headers=HTMX).content.decode()
    assert "btn-danger" in dialog
    done = console.post("/styleguide/dialog/", headers=HTMX)
    assert done.status_code == 204
    assert "dialog-close" in done["HX-Trigger"]


def test_pages_are_never_cached_and_vary_by_htmx(console: Client) -> None:
    response = console.get("/tasks/")
    assert response["Cache-Control"] == "private, no-store"
    assert "HX-Request" in response["Vary"]


@pytest.mark.parametrize(
    "path",
    ["/", "/tasks/", "/operations/", "/profile/", "/api-keys/", "/search/", "/login/", "/join/"],
)
def test_no_page_has_inline_script_or_style(console: Client, path: str) -> None:
    html = console.get(path, follow=True).content.decode()
    assert " style=" not in html
    assert "<style" not in html
    assert " onclick=" not in html
    for tag in html.split("<script")[1:]:
        assert "src=" in tag.split(">")[0]
    policy = console.get(path, follow=True)["Content-Security-Policy"]
    assert "unsafe" not in policy
