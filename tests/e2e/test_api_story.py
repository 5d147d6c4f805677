"""The same story by API only, with a real Debian that cloud-init sets up at its first boot."""

from __future__ import annotations

import time
from typing import Any

import pytest

from scloud.lab.plan import Lab
from tests.e2e import outside
from tests.e2e.client import Api
from tests.e2e.test_browser_story import port_of, switch_of
from tests.neighbour import neighbour, ssh

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

PASSWORD = "Correct.Horse7"


def attached(api: Api, vm_id: str) -> list[dict[str, Any]]:
    """Return the disks that hang on a VM."""
    return [disk for disk in api.get("/disks")["results"] if disk["vm_id"] == vm_id]


def test_debian_is_set_up_as_ordered(api: Api, facts: dict[str, Any], lab: Lab) -> None:
    ports_before = outside.ports(lab)
    vm_id = api.buy(
        distribution="debian",
        memory_mib=512,
        name="deb-1",
        password=PASSWORD,
        data_disk_type="ssd",
        data_disk_gib=10,
    )["id"]
    vm = api.settled(vm_id)
    assert (vm["status"], vm["failure"]) == ("running", None)
    allowed = {one["verb"]: one for one in vm["allowed_actions"]}
    assert allowed["shut_down_vm"]["allowed"] is True
    assert allowed["start_vm"]["allowed"] is False
    assert "stopped" in allowed["start_vm"]["reason"]

    outside.await_agent(facts, vm_id, timeout_s=420)
    # The agent comes before cloud-init has ended.
    waited = outside.guest_run(facts, vm_id, "cloud-init", "status", "--wait", timeout_s=420)
    assert "done" in waited
    address = vm["nics"][0]["address"]
    with neighbour(lab, switch_of(lab, port_of(facts, vm_id))) as beside:
        said = beside.run(
            *ssh(
                address,
                PASSWORD,
                "hostname; cat /etc/timezone; findmnt -n -o FSTYPE /data; "
                "df -BG --output=size / | tail -1",
            ),
            timeout_s=120,
        ).split()
    assert said[:3] == ["deb-1", "Asia/Shanghai", "ext4"]
    assert int(said[3].rstrip("G")) > 30, "the root file system did not grow to its disk"

    # Each disk is in the guest where the product says that it is, and so does the guest.
    end = time.monotonic() + 120
    while not all(disk["guest_device"] for disk in attached(api, vm_id)):
        assert time.monotonic() < end, "the product has not heard of the guest's disks"
        time.sleep(2)
    shown = {disk["id"]: disk for disk in attached(api, vm_id)}
    assert sorted(disk["target"] for disk in shown.values()) == ["vda", "vdb"]
    for disk_id, disk in shown.items():
        assert disk["guest_device"] == f"/dev/{disk['target']}"
        serial = f"/sys/block/{disk['target']}/serial"
        assert outside.guest_run(facts, vm_id, "cat", serial) == disk_id

    # Renamed and started again, where cloud-init reads its seed anew, it is called as before.
    renamed = api.call("PATCH", f"/vms/{vm_id}", {"name": "shop-1"})
    assert (renamed.status, renamed.body["name"]) == (200, "shop-1")
    api.post(f"/vms/{vm_id}/shut-down")
    assert api.settled(vm_id, timeout_s=240)["status"] == "stopped"
    api.post(f"/vms/{vm_id}/start")
    assert api.settled(vm_id)["status"] == "running"
    outside.await_agent(facts, vm_id, timeout_s=420)
    waited = outside.guest_run(facts, vm_id, "cloud-init", "status", "--wait", timeout_s=420)
    assert "done" in waited
    named = outside.guest_run(facts, vm_id, "cat", "/proc/sys/kernel/hostname", "/etc/hostname")
    assert named.split() == ["deb-1", "deb-1"]

    api.post(f"/vms/{vm_id}/shut-down")
    assert api.settled(vm_id, timeout_s=240)["status"] == "stopped"
    api.destroy(vm_id)
    assert vm_id not in outside.domains(facts)
    assert outside.ports(lab) == ports_before
    disks = api.get("/disks")["results"]
    assert [disk["status"] for disk in disks if disk["name"] == "deb-1-data"] == ["unbound"]
