"""The real Debian guest does with a seed what the mini guest does.

``make test`` sets up the same Debian through the API, in ``tests/e2e/test_api_story.py``; here the
seed has two NICs, IPv6 and a key besides.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from scloud.lab import probe
from scloud.lab.plan import Lab
from tests.lab.conftest import PASSWORD, PORTS, Scene, make_key, make_switch, remove_switch, seed
from tests.lab.guest import Guest

pytestmark = [pytest.mark.lab, pytest.mark.soak]


@pytest.mark.timeout(900)
def test_cloud_init_sets_up_debian_and_the_password_logs_in(lab: Lab, tmp_path: Path) -> None:
    key = make_key(tmp_path)
    make_switch(lab)
    guest = Guest(
        lab,
        lab.host("h1"),
        "lab-tests-debian",
        2,
        image="debian",
        memory_mib=512,
        size_gib=4,
        data_disk_gib=1,
        ports=[PORTS["first"], PORTS["second"]],
    )
    guest.remove()
    guest.write_seed(*seed(key.with_suffix(".pub").read_text().strip()))
    guest.create()
    port, mac = PORTS["probe"]
    try:
        stand = probe.add(
            lab, name="labdeb", port=port, mac=mac, ip=["10.44.0.99/24", "fd44::99/64"], host="h2"
        )
        guest.wait_for_agent(timeout_s=400)
        state = guest.execute("cloud-init status --wait --long || true", timeout_s=400)
        assert "status: done" in state
        scene = Scene(lab, guest, stand, key)
        only_password = ("-o", "PubkeyAuthentication=no")
        assert scene.ssh(*only_password, command="hostname", password=PASSWORD) == "web-1\n"
        assert scene.ssh("-i", str(key), command="date +%Z; cat /etc/timezone") == (
            "CST\nAsia/Shanghai\n"
        )
        assert guest.execute("cat /etc/greeting") == "two\nlines\n"
        assert "/dev/vdb" in guest.execute("df /data")
        assert int(guest.execute("df -k / | tail -n 1").split()[1]) > 3_500_000
        addresses = guest.execute("ip -o address")
        assert "10.44.0.11/24" in addresses
        assert "10.45.0.11/24" in addresses
        assert 'VERSION_ID="12"' in guest.execute("cat /etc/os-release")
    finally:
        guest.remove()
        probe.delete(lab, name="labdeb")
        remove_switch(lab)
