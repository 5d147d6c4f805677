"""Snapshots and schedules in the API."""

from __future__ import annotations

from compute.models import Snapshot
from compute.states.snapshots import SnapshotStatus
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled
from tests.api.client import Program
from tests.compute.disks.test_api import ORDER, bind
from tests.compute.factories import settle
from tests.compute.things import Things, end_jobs, fresh


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
