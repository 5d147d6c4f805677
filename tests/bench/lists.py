"""The list of VMs of a tenant that has ten thousand of them: page and API."""

from __future__ import annotations

import time

from tests.bench import installation
from tests.bench.rows import Row, milliseconds, p95, spread

MAX_QUERIES = 10
GOAL_S = 0.060


def run(quick: bool) -> list[Row]:
    """Ask for pages in process, with the production settings, and take the time of each answer."""
    installation.database()
    from django.test import Client
    from django.urls import reverse

    from scloud.tenancy import apikeys
    from scloud.tenancy.scoping import scope
    from tests.bench import bulk

    count = 1_000 if quick else 10_000
    rounds = 3 if quick else 30
    installation.say(f"seeding {count} VMs")
    crowd = bulk.crowd(count)
    assert bulk.counted(crowd.tenant)["VM"] == count
    with scope(tenant=crowd.tenant):
        _, secret = apikeys.issue(user=crowd.user, name="bench")
    browser = Client(SERVER_NAME="localhost")
    browser.force_login(crowd.user)
    program = Client(SERVER_NAME="localhost", headers={"Authorization": f"Bearer {secret}"})
    page, last = reverse("vm-list"), count // 10
    pages = [page, f"{page}?page={last // 2}", f"{page}?page={last}", f"{page}?sort=name"]
    middle = count // 40
    calls = ["/api/v1/vms", f"/api/v1/vms?page={middle}", f"/api/v1/vms?page={middle * 2}"]
    rows = []
    for what, client, urls, goal in (
        ("page of 10, first, middle, last, by name", browser, pages, True),
        ("API, 20 VMs, first, middle, last page", program, calls, True),
        ("search of one name", browser, [f"{page}?q=node-{count // 2}"], False),
        # The last one: the browser remembers the size of its pages.
        ("page of 100", browser, [f"{page}?size=100"], False),
    ):
        queries, times = measure(client, urls, rounds)
        rows.append(
            Row(
                f"VM list, {count} VMs: {what}",
                f"<= {MAX_QUERIES} queries, p95 < {milliseconds(GOAL_S)}" if goal else "none set",
                f"{queries} queries, {spread(times)}",
                (queries <= MAX_QUERIES and p95(times) < GOAL_S) if goal else None,
            )
        )
    return rows + external_ips(crowd, browser, program, count, rounds)


def external_ips(
    crowd: object, browser: object, program: object, count: int, rounds: int
) -> list[Row]:
    """Measure the list of external IPs of the same tenant."""
    from django.urls import reverse

    from tests.bench import bulk

    assert isinstance(crowd, bulk.Crowd)
    installation.say(f"seeding {count} external IPs")
    bulk.external_ips(crowd, count)
    assert bulk.counted(crowd.tenant)["ExternalIp"] == count
    page, last = reverse("external-ip-list"), count // 10
    # The browser remembers the size of its pages.
    pages = [f"{page}?size=10", f"{page}?page={last // 2}", f"{page}?page={last}"]
    calls = ["/api/v1/external-ips", f"/api/v1/external-ips?page={count // 40}"]
    rows = []
    for what, client, urls in (
        ("page of 10, first, middle, last", browser, pages),
        ("API, 20 of them, first and middle page", program, calls),
    ):
        queries, times = measure(client, urls, rounds, shows=b"eip-")
        rows.append(
            Row(
                f"List of external IPs, {count} of them: {what}",
                f"<= {MAX_QUERIES} queries, p95 < {milliseconds(GOAL_S)}",
                f"{queries} queries, {spread(times)}",
                queries <= MAX_QUERIES and p95(times) < GOAL_S,
            )
        )
    return rows


def measure(
    client: object, urls: list[str], rounds: int, shows: bytes = b"node-"
) -> tuple[int, list[float]]:
    """Return the most queries that an answer took, and the seconds of every answer.

    Queries are counted in requests of their own, because counting costs time. ``shows`` is what an
    answer must hold.
    """
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    assert isinstance(client, Client)
    most = 0
    for url in urls:
        client.get(url)
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(url)
        assert answer.status_code == 200, (url, answer.status_code)
        assert shows in answer.content, url
        most = max(most, len(queries))
    times = []
    for _ in range(rounds):
        for url in urls:
            began = time.perf_counter()
            client.get(url)
            times.append(time.perf_counter() - began)
    return most, times
