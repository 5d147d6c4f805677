"""The same story by API only, with a real Debian that cloud-init sets up at its first boot."""

from __future__ import annotations

from typing import Any

import pytest

from scloud.lab import probe
from scloud.lab.plan import Lab
from scloud.lab.shell import run
from tests.e2e import outside
from tests.e2e.client import Api
from tests.e2e.test_browser_story import port_of, switch_of

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

PASSWORD = "Correct.Horse7"


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
    assert (vm["status"], vm["failure"]) == ("running", "")
    allowed = {one["verb"]: one for one in vm["allowed_actions"]}
    assert allowed["shut_down_vm"]["allowed"] is True
    assert allowed["start_vm"]["allowed"] is False
    assert "stopped" in allowed["start_vm"]["reason"]

    outside.await_agent(facts, vm_id, timeout_s=420)
    # The agent comes before cloud-init has ended.
    waited = outside.guest_run(facts, vm_id, "cloud-init", "status", "--wait", timeout_s=420)
    assert "done" in waited
    address = vm["nics"][0]["address"]
    switch = switch_of(lab, port_of(facts, vm_id))
    nb, mac = f"--db={lab.nb}", "52:54:00:e2:e0:02"
    run("ovn-nbctl", nb, "lsp-add", switch, "e2e-ssh",
        "--", "lsp-set-addresses", "e2e-ssh", f"{mac} 10.0.0.251")  # fmt: skip
    try:
        added = probe.add(
            lab, name="e2essh", port="e2e-ssh", mac=mac, ip=["10.0.0.251/24"],
            host=lab.hosts[-1].name,
        )  # fmt: skip
        said = added.run(
            "sshpass", "-p", PASSWORD, "ssh", "-F", "/dev/null",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "LogLevel=ERROR", "-o", "PubkeyAuthentication=no", f"root@{address}",
            "hostname; cat /etc/timezone; findmnt -n -o FSTYPE /data; df -BG --output=size / "
            "| tail -1",
            timeout_s=120,
        ).split()  # fmt: skip
    finally:
        probe.delete(lab, name="e2essh")
        run("ovn-nbctl", nb, "--if-exists", "lsp-del", "e2e-ssh")
    assert said[:3] == ["deb-1", "Asia/Shanghai", "ext4"]
    assert int(said[3].rstrip("G")) > 30, "the root file system did not grow to its disk"

    api.post(f"/vms/{vm_id}/shut-down")
    assert api.settled(vm_id, timeout_s=240)["status"] == "stopped"
    api.destroy(vm_id)
    assert vm_id not in outside.domains(facts)
    assert outside.ports(lab) == ports_before
    disks = api.get("/disks")["results"]
    assert [disk["status"] for disk in disks if disk["name"] == "deb-1-data"] == ["unbound"]
