"""A page of a long list has the rows that it would have had, and looks up nothing for others."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.models import OuterRef, QuerySet, Subquery
from django.test.utils import CaptureQueriesContext

from scloud.lib.pages import PagedRows
from scloud.tenancy.models import Tenant, User


@pytest.fixture
def rows(db: None) -> QuerySet[Any]:
    """Tenants, each with the address of one of its users as a costly column."""
    for number in range(7):
        tenant = Tenant.objects.create(name=f"tenant {number * 5 % 7}")
        User.objects.create(email=f"user{number}@pages.test", tenant=tenant)
    emails = User.objects.filter(tenant=OuterRef("pk")).order_by("id").values("email")
    found: QuerySet[Any] = (
        PagedRows.of(Tenant.objects.filter(name__startswith="tenant"))
        .annotate(email=Subquery(emails[:1]))
        .order_by("name", "-id")
    )
    return found


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (2, 5), (6, 20), (7, 9), (None, 2), (3, None)])
def test_a_page_is_the_slice(rows: QuerySet[Any], start: int | None, stop: int | None) -> None:
    def seen(found: list[Any]) -> list[tuple[str, str]]:
        return [(row.pk, row.email) for row in found]

    everything = seen(list(rows))
    assert seen(list(rows[start:stop])) == everything[start:stop]
    narrowed = rows.filter(email__gt="user1")
    assert seen(list(narrowed[start:stop])) == seen(list(narrowed))[start:stop]


def test_what_is_no_page_is_as_it_was(rows: QuerySet[Any]) -> None:
    keys = [row.pk for row in rows]
    assert [rows[1].pk, rows[5].pk] == [keys[1], keys[5]]
    assert list(rows.values_list("pk", flat=True)[2:4]) == keys[2:4]
    assert [row.pk for row in rows[::2]] == keys[::2]
    assert [row.pk for row in rows[1:6][1:3]] == keys[2:4]
    first = rows.filter(pk=keys[4]).first()
    assert first is not None
    assert first.pk == keys[4]
    assert len(rows) == rows.count() == 7
    assert [row.pk for row in rows[2:3]] == keys[2:3]


def test_a_column_is_looked_up_for_the_rows_of_the_page_alone(rows: QuerySet[Any]) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert len(list(rows[4:6])) == 2
    [query] = [one["sql"] for one in queries.captured_queries]
    chosen = query[query.index(" IN (SELECT") :]
    assert "OFFSET 4" in chosen
    assert "email" not in chosen
