"""Disks through the API."""

from __future__ import annotations

from typing import Any

from compute.models import Disk
from compute.states.disks import Damage, DiskStatus
from compute.transitions.disks import mark_damaged
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.api.client import Program
from tests.compute.factories import Platform
from tests.compute.things import Things, buy_disk, end_jobs, fresh

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


def test_allowed_actions_say_why_not(program: Program, things: Things) -> None:
    rows = program.get(f"/disks/{things.disk.pk}").body["allowed_actions"]
    verbs = {row["verb"]: row for row in rows}
    assert verbs["attach_disk"]["allowed"] is True
    assert verbs["detach_disk"]["allowed"] is False
    assert "unbound" in verbs["detach_disk"]["reason"]
    rows = program.get(f"/disks/{things.system.pk}").body["allowed_actions"]
    verbs = {row["verb"]: row for row in rows}
    assert verbs["clone_disk"]["reason"] == "A system disk cannot be detached from its VM."
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


def test_a_damaged_disk_says_so_is_checked_and_repaired_with_consent(
    program: Program, rival: Program, things: Things, tenant: Tenant
) -> None:
    path = f"/disks/{things.disk.pk}"
    shown = program.get(path).body
    assert (shown["damaged_since"], shown["damage"], shown["damage_errors"]) == (None, None, None)
    assert rival.post(f"{path}/check").status == 404
    begun = program.post(f"{path}/check")
    assert begun.status == 202, begun.body
    assert program.get(path).body["task"] == "checking"
    end_jobs(tenant)
    program.post(f"{path}/repair", {"accept_loss": True}).error(409, "disk_state")
    with scope(tenant=tenant):
        mark_damaged(things.disk.pk, Damage.ERRORS, errors=4)
    shown = program.get(path).body
    assert (shown["state"], shown["status"]) == ("Damaged", "unbound")
    assert (shown["damage"], shown["damage_errors"]) == ("errors", 4)
    verbs = {row["verb"]: row for row in shown["allowed_actions"]}
    assert verbs["repair_disk"]["allowed"]
    assert "It is damaged." in verbs["attach_disk"]["reason"]
    program.post(f"{path}/attach", {"vm": things.vm.pk}).error(409, "disk_state")
    program.post(f"{path}/repair").error(400, "consent_missing", "accept_loss")
    assert rival.post(f"{path}/repair", {"accept_loss": True}).status == 404
    done = program.post(f"{path}/repair", {"extent": "all", "accept_loss": True})
    assert done.status == 202, done.body
    assert program.get(path).body["state"] == "Repairing"


def test_a_vm_with_a_damaged_disk_is_not_started(program: Program, things: Things) -> None:
    with scopes_disabled():
        mark_damaged(things.system.pk, Damage.MISSING)
    answer = program.post(f"/vms/{things.vm.pk}/start")
    answer.error(409, "disk_damaged", "disk")
    assert answer.body["numbers"]["disk"] == things.system.pk
    assert things.system.name in answer.body["message"]
