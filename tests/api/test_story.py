"""The life of VMs by API alone, with their jobs run on drivers in memory."""

from collections.abc import Callable
from typing import Any

from billing.models import Charge, QuotaClaim, Subscription
from compute.models import VM, Disk
from network.models import Nic, PrivateAddress
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope
from tests.api.client import Program
from tests.billing.helpers import balances, fund
from tests.compute.box import Box

Order = Callable[..., dict[str, Any]]


def buy(program: Program, body: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    quoted = program.post("/vms/quote", body).body
    answer = program.post("/vms", {**body, "quote_token": quoted["token"]}, **more)
    assert answer.status == 201, answer.body
    found: list[dict[str, Any]] = answer.body
    return found


def verbs(vm: dict[str, Any]) -> set[str]:
    return {row["verb"] for row in vm["allowed_actions"] if row["allowed"]}


def test_a_vm_is_bought_run_stopped_binned_and_destroyed(
    box: Box, program: Program, order: Order, tenant: Tenant
) -> None:
    fund(tenant, cash="100")
    body = order(box.platform, tags=["shop"], remark="first")

    quoted = program.post("/vms/quote", body)
    assert quoted.status == 200
    assert quoted.body["total"] == "0.15"
    assert quoted.body["affordable"] is True
    assert balances(tenant) == (10_000, 0)

    answer = program.post("/vms", {**body, "quote_token": quoted.body["token"]}, key="first")
    assert answer.status == 201
    [vm] = answer.body
    assert (vm["state"], vm["status"], vm["task"]) == ("Starting", "new", "creating")
    assert vm["nics"][0]["address"].startswith("10.")
    assert (vm["tags"], vm["remark"]) == (["shop"], "first")
    assert balances(tenant) == (9_985, 0)
    path = f"/vms/{vm['id']}"
    job = program.get(f"/jobs/{vm['job_id']}").body
    assert (job["status"], job["target_id"], job["progress_percent"]) == ("queued", vm["id"], 0)

    box.run()
    vm = program.get(path).body
    assert (vm["state"], vm["task"], vm["power_state"]) == ("Running", None, "running")
    job = program.get(f"/jobs/{job['id']}").body
    assert (job["status"], job["progress_percent"], job["error_code"]) == ("succeeded", 100, None)
    assert {step["state"] for step in job["steps"]} == {"done"}
    assert {"shut_down_vm", "power_off_vm", "restart_vm", "open_vnc"} <= verbs(vm)
    assert not {"start_vm", "restore_vm", "destroy_vm", "migrate_vm"} & verbs(vm)

    refused = program.post(f"{path}/start").error(409, "vm_state")
    assert "running" in refused["message"].lower()

    stopping = program.post(f"{path}/power-off")
    assert stopping.status == 202
    assert program.get(path).body["state"] == "Powering off"
    program.post(f"{path}/restart").error(409, "vm_state")
    box.run()
    assert program.get(path).body["state"] == "Stopped"

    assert program.post(f"{path}/start").status == 202
    box.run()
    assert program.get(path).body["state"] == "Running"

    changed = program.call("PATCH", path, {"name": "shop", "deletion_protected": True})
    assert (changed.body["name"], changed.body["deletion_protected"]) == ("shop", True)
    program.call("DELETE", path).error(409, "vm_state")
    program.call("PATCH", path, {"deletion_protected": False})
    assert program.call("DELETE", path).status == 202
    box.run()
    assert program.get("/vms").body["count"] == 0
    assert program.get("/vms?status=binned").body["count"] == 1
    assert verbs(program.get(path).body) == {"restore_vm", "destroy_vm", "renew_vm", "rename_vm"}
    assert claims(tenant) == 0

    assert program.post(f"{path}/restore").status == 202
    box.run()
    assert program.get(path).body["state"] == "Stopped"
    assert claims(tenant) > 0
    program.post(f"{path}/destroy").error(409, "vm_state")

    assert program.call("DELETE", path).status == 202
    box.run()
    assert program.post(f"{path}/destroy", {"confirm_name": "shop"}).status == 202
    box.run()
    program.get(path).error(404, "not_found")
    assert list(box.storage.list_volumes()) == []
    assert all(not box.places(gone) for gone in VM.objects.all())
    assert PrivateAddress.objects.count() == Nic.objects.count() == claims(tenant) == 0
    box.assert_nothing_orphaned()


def claims(tenant: Tenant) -> int:
    with scope(tenant=tenant):
        return int(QuotaClaim.objects.filter(tenant=tenant, item="vms").count())


def test_a_batch_is_bought_whole_and_started_one_by_one(
    box: Box, program: Program, order: Order, tenant: Tenant
) -> None:
    fund(tenant, cash="100")
    vms = buy(
        program,
        order(
            box.platform,
            count=3,
            name="node",
            private_ips=["", "10.0.0.77", ""],
            data_disk_type=box.platform.disk_type.pk,
            data_disk_gib=20,
        ),
    )
    assert [vm["name"] for vm in vms] == ["node-1", "node-2", "node-3"]
    addresses = [vm["nics"][0]["address"] for vm in vms]
    assert addresses[1] == "10.0.0.77"
    assert len(set(addresses)) == 3
    box.run()
    ids = [vm["id"] for vm in vms]
    assert program.post(f"/vms/{ids[0]}/power-off").status == 202
    box.run()
    results = program.post("/vms/batch", {"verb": "start_vm", "ids": ids}).body
    assert [bool(row["job_id"]) for row in results] == [True, False, False]
    assert [row["error"]["code"] for row in results[1:]] == ["vm_state", "vm_state"]
    box.run()
    states = {row["state"] for row in program.get("/vms").body["results"]}
    assert states == {"Running"}
    data = Disk.objects.filter(is_system=False)
    assert data.count() == 3

    wrong = program.post("/vms/batch", {"verb": "shut_down_vm", "ids": ids, "delete_disks": True})
    assert (wrong.status, wrong.body["code"]) == (400, "option_unknown")
    along = {"verb": "delete_vm", "ids": ids[:1], "delete_disks": True}
    assert program.post("/vms/batch", along).body[0]["error"] is None
    assert program.delete(f"/vms/{ids[1]}?delete_disks=true").status == 202
    assert program.delete(f"/vms/{ids[2]}").status == 202
    box.run()
    assert sorted(data.values_list("status", flat=True)) == ["binned", "binned", "unbound"]
    box.assert_nothing_orphaned()


def test_a_creation_that_fails_gives_everything_back(
    box: Box, program: Program, order: Order, tenant: Tenant
) -> None:
    fund(tenant, cash="100")
    [vm] = buy(program, order(box.platform))
    assert balances(tenant) == (9_985, 0)
    # The image vanishes from the pool before the worker comes.
    box.storage.images.clear()
    box.run()
    found = program.get(f"/vms/{vm['id']}").body
    assert found["state"] == "Failed"
    assert found["failure_code"]
    assert found["failure"]
    assert balances(tenant) == (10_000, 0)
    assert claims(tenant) == 0
    assert PrivateAddress.objects.count() == 0
    assert not Subscription.objects.filter(status="active").exists()
    assert Charge.objects.count() == 2
    assert list(box.storage.list_volumes()) == []


def test_lists_are_narrowed_and_paged(program: Program, bought: Callable[..., Any]) -> None:
    bought(count=5, name="web", tags=["shop"])
    [one] = bought(name="db", remark="the books")
    assert program.get("/vms").body["count"] == 6
    assert [row["id"] for row in program.get("/vms?search=books").body["results"]] == [one["id"]]
    assert program.get("/vms?tag=shop").body["count"] == 5
    assert program.get("/vms?region=elsewhere").body["count"] == 0
    page = program.get("/vms?page_size=4&page=2").body
    assert len(page["results"]) == 2
    program.get("/vms?page_size=101").error(400, "invalid_query", "page_size")
    program.get("/vms?page=99").error(404, "not_found")
    assert program.get(f"/jobs?target={one['id']}").body["count"] == 1


def test_what_can_be_bought_is_listed(program: Program, ready: Any) -> None:
    [model] = program.get("/models").body
    assert [spec["vcpus"] for spec in model["specs"]] == [1, 2, 4, 8]
    assert {spec["refusal"] for spec in model["specs"]} == {None}
    assert [row["id"] for row in program.get("/disk-types?region=box").body] == ["ssd"]
    assert program.get("/disk-types?region=elsewhere").body == []
    assert program.get("/regions/box").body["name"] == "Box"
    assert program.get("/images").body["results"][0]["is_base"] is True
