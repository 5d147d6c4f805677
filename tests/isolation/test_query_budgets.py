"""What every page, every answer of the API and every list of the admin costs, in queries.

The table is tests/query_budgets.py. A page that asks more than the table says fails; one that asks
less does too, so that the table stays what a reader can rely on. `SCLOUD_WRITE_BUDGETS=1` writes
the table anew from what is measured: look at the difference before it is committed.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection, reset_queries, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from scloud.tenancy.models import User
from tests import query_budgets
from tests.isolation.conftest import World
from tests.isolation.routes import KNOWN, all_routes
from tests.isolation.world import BOOKKEEPING, Caller, address, furnish_more

# What every request does around its own work, at times that a test does not choose.
AROUND = re.compile(rf'"({"|".join(BOOKKEEPING - {"audit_operation"})})"|SAVEPOINT')


@dataclass(frozen=True)
class Page:
    """A request for reading: under its name in the table."""

    name: str
    client: Client
    url: str
    extra: dict[str, Any] = field(default_factory=dict)

    def queries(self) -> list[str]:
        """Ask; what the request did is taken back."""
        mark = transaction.savepoint()
        # Django keeps the last 9,000 of a test, and warns when there are more.
        reset_queries()
        with CaptureQueriesContext(connection) as seen:
            answer = self.client.get(self.url, **self.extra)
            if answer.streaming:
                answer.close()
        transaction.savepoint_rollback(mark)
        assert answer.status_code < 500, (self.url, answer.status_code)
        return [one["sql"] for one in seen.captured_queries if not AROUND.search(one["sql"])]


def pages(part: str, owner: Caller, administrator: Client) -> Iterator[Page]:
    """Yield what can be read in the console, by API, or the lists of Django admin."""
    if part == "admin":
        for model in admin.site._registry:
            name = f"{model._meta.app_label}_{model._meta.model_name}"
            yield Page(f"admin: {name}", administrator, reverse(f"admin:{name}_changelist"))
        return
    for route in all_routes():
        known = KNOWN[route.name]
        if "get" not in route.methods or known.public or route.api != (part == "api"):
            continue
        url = address(route, known, owner.samples)
        if known.query:
            url += f"?{known.query.format(**owner.samples)}"
        if route.api:
            key = {"headers": {"Authorization": f"Bearer {owner.secret}"}}
            yield Page(route.name, Client(), url, key)
        else:
            yield Page(route.name, owner.console, url)


@pytest.fixture
def administrator(owner: Caller) -> Client:
    """An administrator of the platform in the admin."""
    client = Client()
    client.force_login(User.objects.create_superuser("root@platform.test", "x"))
    return client


def told(queries: list[str], few: list[str] | None = None) -> str:
    """Return the queries, or those that were asked more often than in ``few``, shortened."""
    more = Counter(queries) - Counter(few or [])
    return "".join(f"\n    {count} × {sql[:160]}" for sql, count in more.most_common(12))


def part_of(name: str) -> str:
    """Return the part of the table that a name is in."""
    return "admin" if name.startswith("admin: ") else "api" if name in API else "console"


API = {route.name for route in all_routes() if route.api}


def write(found: dict[str, int], part: str) -> None:
    """Write a part of the table anew."""
    path = Path(query_budgets.__file__)
    kept = {name: n for name, n in query_budgets.QUERIES.items() if part_of(name) != part}
    query_budgets.QUERIES = {**kept, **found}
    lines = "".join(f'    "{name}": {n},\n' for name, n in sorted(query_budgets.QUERIES.items()))
    head = path.read_text().split("QUERIES", 1)[0]
    path.write_text(f"{head}QUERIES: dict[str, int] = {{\n{lines}}}\n")


@pytest.mark.unmeasured
@pytest.mark.parametrize("part", ["console", "api", "admin"])
def test_a_page_costs_what_the_table_says_however_many_rows_there_are(
    part: str, world: World, owner: Caller, administrator: Client
) -> None:
    every = list(pages(part, owner, administrator))
    for page in every:
        page.queries()  # what is asked once per process
    few = {page.name: page.queries() for page in every}
    if os.environ.get("SCLOUD_WRITE_BUDGETS"):
        write({name: len(queries) for name, queries in few.items()}, part)
    table = {name: n for name, n in query_budgets.QUERIES.items() if part_of(name) == part}
    assert sorted(few) == sorted(table), "names in the table that are not there, or missing ones"
    wrong = [
        f"{name}: {len(few[name])} queries, the table says {budget}{told(few[name])}"
        for name, budget in table.items()
        if len(few[name]) != budget
    ]
    assert not wrong, "\n".join(wrong)

    furnish_more(world.platform, owner.user, "zebra-2")
    many = {page.name: page.queries() for page in every}
    grown = [
        f"{name}: {len(few[name])} queries for few rows, {len(queries)} for many"
        + told(queries, few[name])
        for name, queries in many.items()
        if len(queries) > len(few[name])
    ]
    assert not grown, "\n".join(grown)
