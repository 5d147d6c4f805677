"""Disks and snapshots through the API."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from compute.models import Disk, Snapshot
from compute.states.disks import DiskStatus
from compute.states.snapshots import SnapshotStatus
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scopes_disabled
from tests.api.client import Program, program_of
from tests.api_storage.conftest import Things, buy_disk, end_jobs, fresh
from tests.compute.factories import Platform, settle

ORDER = {"region": "box", "disk_type": "ssd", "size_gib": 20, "name": "logs"}


def bind(disk: Disk, things: Things) -> None:
    with scopes_disabled():
        Disk.objects.filter(pk=disk.pk).update(
            vm=things.vm, target="vdb", status=DiskStatus.BOUND, task="", task_deadline=None
        )


def test_a_disk_is_quoted_and_bought_once_per_key(program: Program, things: Things) -> None:
    quoted = program.post("/disks/quote", ORDER)
    assert quoted.status == 200, quoted.body
    body = {**ORDER, "quote_token": quoted.body["token"]}
    first = program.post("/disks", body, key="k1")
    again = program.post("/disks", body, key="k1")
    assert first.status == 201, first.body
    assert again.body == first.body
    assert (first.body["name"], first.body["size_gib"]) == ("logs", 20)
    assert first.body["state"] == "Creating"
    assert first.body["job_id"]
    with scopes_disabled():
        assert Disk.objects.filter(name="logs").count() == 1


def test_quantities_are_plain_numbers_in_quotes_and_orders(
    program: Program, things: Things
) -> None:
    order = {**ORDER, "size_gib": 40}
    quoted = program.post("/disks/quote", order)
    assert [line["quantity"] for line in quoted.body["lines"]] == ["40"]
    answer = program.post("/disks", {**order, "quote_token": quoted.body["token"]})
    assert answer.status == 201, answer.body
    newest = program.get("/billing/orders").body["results"][0]
    charges = program.get(f"/billing/orders/{newest['id']}").body["charges"]
    lines = [line for charge in charges for line in charge["lines"]]
    assert [(line["quantity"], line["periods"]) for line in lines] == [("40", "1")]


def test_sizes_and_types_that_are_not_offered_are_refused_by_name(
    program: Program, things: Things
) -> None:
    program.post("/disks/quote", {**ORDER, "size_gib": 1}).error(
        400, "disk_size_out_of_range", "size_gib"
    )
    program.post("/disks/quote", {**ORDER, "disk_type": "tape"}).error(
        400, "disk_type_unknown", "disk_type"
    )
    program.post("/disks", {**ORDER, "quote_token": "made-up"}).error(400, "quote_invalid")


def test_the_list_narrows_by_region_status_vm_and_words(program: Program, things: Things) -> None:
    def ids(query: str) -> set[str]:
        return {row["id"] for row in program.get("/disks" + query).body["results"]}

    assert ids("") == {things.disk.pk, things.system.pk}
    assert ids("?status=unbound") == {things.disk.pk}
    assert ids(f"?vm={things.vm.pk}") == {things.system.pk}
    assert ids("?search=data") == {things.disk.pk}
    assert ids("?region=elsewhere") == set()


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


def test_allowed_actions_say_why_not(program: Program, things: Things) -> None:
    rows = program.get(f"/disks/{things.disk.pk}").body["allowed_actions"]
    verbs = {row["verb"]: row for row in rows}
    assert verbs["attach_disk"]["allowed"] is True
    assert verbs["detach_disk"]["allowed"] is False
    assert "unbound" in verbs["detach_disk"]["reason"]
    rows = program.get(f"/disks/{things.system.pk}").body["allowed_actions"]
    verbs = {row["verb"]: row for row in rows}
    assert verbs["clone_disk"]["reason"] == "A system disk lives with its VM."
    assert verbs["create_snapshot"]["allowed"] is True


def test_attach_and_detach_from_either_side(
    program: Program, things: Things, tenant: Tenant
) -> None:
    answer = program.post(f"/disks/{things.disk.pk}/attach", {"vm": things.vm.pk})
    assert (answer.status, bool(answer.body["job_id"])) == (202, True)
    assert fresh(things.disk).task == "attaching"
    program.post(f"/vms/{things.vm.pk}/attach-disk", {"disk": things.disk.pk}).error(
        409, "disk_state"
    )
    end_jobs(tenant)
    bind(things.disk, things)
    answer = program.post(f"/vms/{things.vm.pk}/detach-disk", {"disk": things.disk.pk})
    assert answer.status == 202, answer.body
    assert fresh(things.disk).task == "detaching"
    program.post(f"/vms/{things.vm.pk}/attach-disk", {"disk": "disk-aaaaaaaaa"}).error(
        400, "disk_unknown", "disk"
    )


def test_a_disk_grows_at_the_quoted_price(program: Program, things: Things) -> None:
    path = f"/disks/{things.disk.pk}/expand"
    quoted = program.post(path + "/quote", {"size_gib": 40})
    assert quoted.status == 200, quoted.body
    assert quoted.body["per_period"] > quoted.body["per_period_before"]
    program.post(path + "/quote", {"size_gib": 10}).error(400, "shrink_refused", "size_gib")
    program.post(path, {"size_gib": 40, "quote_token": "made-up"}).error(400, "quote_invalid")
    answer = program.post(path, {"size_gib": 40, "quote_token": quoted.body["token"]})
    assert answer.status == 202, answer.body
    assert fresh(things.disk).task == "expanding"
    # A quote refuses what the purchase would refuse.
    program.post(path + "/quote", {"size_gib": 50}).error(409, "disk_state")


def test_a_clone_is_bought_like_a_disk(program: Program, things: Things) -> None:
    token = program.post("/disks/quote", {**ORDER, "name": "copy"}).body["token"]
    answer = program.post(f"/disks/{things.disk.pk}/clone", {"name": "copy", "quote_token": token})
    assert answer.status == 201, answer.body
    assert (answer.body["name"], answer.body["size_gib"]) == ("copy", 20)
    assert fresh(things.disk).task == "cloning"


def test_delete_restore_destroy(
    program: Program, things: Things, platform: Platform, actor: Actor
) -> None:
    disk = buy_disk(platform, actor, "scrap")
    assert program.call("DELETE", f"/disks/{disk.pk}").body == {"job_id": None}
    assert disk.pk not in str(program.get("/disks").body)
    assert disk.pk in str(program.get("/disks?status=binned").body)
    assert program.post(f"/disks/{disk.pk}/restore").body["status"] == "unbound"
    program.call("DELETE", f"/disks/{disk.pk}")
    program.post(f"/disks/{disk.pk}/destroy", {"confirm_name": "other"}).error(
        400, "confirmation_differs", "confirm_name"
    )
    answer = program.post(f"/disks/{disk.pk}/destroy", {"confirm_name": "scrap"})
    assert answer.status == 202
    assert answer.body["job_id"]


def test_a_disk_is_renamed(program: Program, things: Things) -> None:
    path = f"/disks/{things.disk.pk}"
    answer = program.call("PATCH", path, {"name": "db", "tags": ["prod"]})
    assert (answer.body["name"], answer.body["tags"]) == ("db", ["prod"])
    program.call("PATCH", path, {"name": "no blanks"}).error(400, "name_invalid", "name")


def test_a_snapshot_is_taken_rolled_back_and_deleted(
    program: Program, things: Things, tenant: Tenant
) -> None:
    answer = program.post("/snapshots", {"disk": things.system.pk, "name": "boot"})
    assert answer.status == 201, answer.body
    assert (answer.body["status"], answer.body["vm_id"]) == ("creating", things.vm.pk)
    program.post("/snapshots", {"disk": things.system.pk}).error(409, "disk_state")
    path = f"/snapshots/{things.snapshot.pk}"
    assert program.post(path + "/roll-back").status == 202
    assert fresh(things.snapshot).status == SnapshotStatus.ROLLING_BACK
    program.call("DELETE", path).error(409, "disk_state")
    end_jobs(tenant)
    with scopes_disabled():
        Snapshot.objects.update(status=SnapshotStatus.AVAILABLE)
    assert program.call("DELETE", path).status == 202
    assert fresh(things.snapshot).status == SnapshotStatus.DELETING


def test_a_running_vm_is_not_rolled_back(program: Program, things: Things, tenant: Tenant) -> None:
    settle(things.vm)
    bind(things.disk, things)
    answer = program.post(f"/snapshots/{things.snapshot.pk}/roll-back")
    assert "running" in answer.error(409, "disk_state")["message"]
    rows = program.get(f"/snapshots?vm={things.vm.pk}").body["results"]
    verbs = {row["verb"]: row for row in rows[0]["allowed_actions"]}
    assert not verbs["roll_back_snapshot"]["allowed"]
    assert verbs["delete_snapshot"]["allowed"]


def test_a_disk_is_made_of_a_snapshot(program: Program, things: Things) -> None:
    token = program.post("/disks/quote", ORDER).body["token"]
    answer = program.post(
        f"/snapshots/{things.snapshot.pk}/create-disk", {"name": "back", "quote_token": token}
    )
    assert answer.status == 201, answer.body
    assert answer.body["name"] == "back"


def test_a_schedule_is_set_read_and_removed(program: Program, things: Things) -> None:
    path = f"/disks/{things.disk.pk}/schedule"
    program.get(path).error(404, "schedule_not_found")
    program.call("PUT", path, {"hours": [25], "keep_count": 3}).error(400, "hours_invalid", "hours")
    made = program.call("PUT", path, {"hours": [3], "keep_count": 3, "time_zone": "UTC"})
    assert made.status == 200, made.body
    assert program.get(path).body["keep_count"] == 3
    assert program.call("DELETE", path).status == 204
    program.get(path).error(404, "schedule_not_found")


FOREIGN = [
    ("GET", "/disks/{disk}"),
    ("PATCH", "/disks/{disk}"),
    ("DELETE", "/disks/{disk}"),
    ("POST", "/disks/{disk}/attach"),
    ("POST", "/disks/{disk}/detach"),
    ("POST", "/disks/{disk}/expand"),
    ("POST", "/disks/{disk}/clone"),
    ("POST", "/disks/{disk}/restore"),
    ("POST", "/disks/{disk}/destroy"),
    ("GET", "/disks/{disk}/schedule"),
    ("PUT", "/disks/{disk}/schedule"),
    ("GET", "/snapshots/{snapshot}"),
    ("PATCH", "/snapshots/{snapshot}"),
    ("DELETE", "/snapshots/{snapshot}"),
    ("POST", "/snapshots/{snapshot}/roll-back"),
    ("POST", "/snapshots/{snapshot}/create-disk"),
    ("GET", "/images/{image}"),
    ("DELETE", "/images/{image}"),
    ("POST", "/images/{image}/download"),
    ("GET", "/images/{image}/file"),
    ("POST", "/vms/{vm}/reset-password"),
    ("POST", "/vms/{vm}/modify"),
    ("POST", "/vms/{vm}/reinstall"),
    ("POST", "/vms/{vm}/vnc-information"),
]


def test_foreign_ids_are_not_found(rival: Program, things: Things) -> None:
    known: dict[str, Any] = {
        "disk": things.disk.pk,
        "snapshot": things.snapshot.pk,
        "image": things.image.pk,
        "vm": things.vm.pk,
    }
    statuses = {
        (method, path): rival.call(
            method, path.format(**known), {} if method != "GET" else None
        ).status
        for method, path in FOREIGN
    }
    assert set(statuses.values()) == {404}, statuses


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
