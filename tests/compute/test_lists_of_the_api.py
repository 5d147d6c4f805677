"""What holds for the API's lists of all kinds."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from compute.models import Snapshot
from compute.states.snapshots import SnapshotStatus
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scopes_disabled
from tests.api.client import Program, program_of
from tests.compute.factories import Platform
from tests.compute.things import Things, buy_disk


@pytest.mark.parametrize("path", ["/vms", "/disks", "/snapshots", "/images"])
def test_a_search_costs_no_join_per_word_and_has_a_limit(
    program: Program, things: Things, path: str
) -> None:
    def joins(words: int) -> list[int]:
        with CaptureQueriesContext(connection) as queries:
            answer = program.get(f"{path}?search=" + "+".join("abcdefghij"[:words]))
        assert answer.status == 200, answer.body
        counting = [query["sql"] for query in queries if "COUNT(*)" in query["sql"]]
        assert counting
        return [sql.split(" WHERE ")[0].count(" JOIN ") for sql in counting]

    assert joins(10) == joins(1)
    eleven = program.get(f"{path}?search=" + "+".join("abcdefghijk"))
    eleven.error(400, "search_too_long", "search")
    assert eleven.body["numbers"]["max_words"] == 10
    program.get(f"{path}?search=" + "a" * 101).error(400, "search_too_long", "search")


def test_the_same_word_eight_times_is_one_condition(program: Program, things: Things) -> None:
    def lengths(search: str) -> list[int]:
        with CaptureQueriesContext(connection) as queries:
            assert program.get(f"/snapshots?search={search}").status == 200
        return [len(query["sql"].split(" WHERE ")[-1]) for query in queries]

    lengths("a")
    assert len(lengths("+".join("a" * 8))) == len(lengths("a"))
    for eight, one in zip(lengths("+".join("a" * 8)), lengths("a"), strict=True):
        assert abs(eight - one) < 100, (eight, one)


def test_readers_see_and_change_nothing(tenant: Tenant, make_user: Any, things: Things) -> None:
    reader: User = make_user(tenant, "readonly")
    program = program_of(reader)
    assert program.get(f"/disks/{things.disk.pk}").status == 200
    program.call("DELETE", f"/disks/{things.disk.pk}").error(403, "forbidden")
    rows = program.get(f"/disks/{things.disk.pk}").body["allowed_actions"]
    assert not any(row["allowed"] for row in rows)


@pytest.mark.parametrize("path", ["/disks", "/snapshots", "/images"])
def test_lists_cost_the_same_however_many_rows(
    program: Program, things: Things, platform: Platform, actor: Actor, path: str
) -> None:
    def cost() -> int:
        with CaptureQueriesContext(
            connection,
        ) as seen:
            assert program.get(path).status == 200
        return len(seen)

    program.get(path)
    before = cost()
    for number in range(3):
        disk = buy_disk(platform, actor, f"more-{number}")
        with scopes_disabled():
            fields = {"tenant_id": disk.tenant_id, "region": platform.region}
            Snapshot.objects.create(
                disk=disk, name="s", size_gib=20, status=SnapshotStatus.AVAILABLE, **fields
            )
            things.image.__class__.objects.create(
                pool=platform.pool, name=f"image {number}", distribution="debian", **fields
            )
    assert cost() == before
