"""The mini guest: what it takes from its seed, who can log in, how it ends and comes back."""

from __future__ import annotations

import pytest

from scloud.lab import region
from scloud.lab.plan import LabError
from scloud.lab.shell import run, wait_for
from tests.lab.conftest import PASSWORD, PORTS, Scene, seed

pytestmark = pytest.mark.lab


def test_the_seed_is_applied(scene: Scene) -> None:
    guest = scene.guest
    assert guest.execute("hostname").strip() == "web-1"
    assert guest.execute("cat /etc/greeting") == "two\nlines\n"
    assert guest.execute("date +%Z").strip() == "CST"
    addresses = guest.execute("ip -o address")
    assert "eth0    inet 10.44.0.11/24" in addresses
    assert "eth0    inet6 fd44::11/64" in addresses
    assert "eth1    inet 10.45.0.11/24" in addresses
    assert "default via 10.44.0.1 dev eth0" in guest.execute("ip route")
    wait_for(
        "the data disk at /data",
        lambda: "/dev/vdb" in guest.execute("df /data 2>/dev/null || true"),
        timeout_s=30,
        every_s=0.5,
    )
    root_kib = int(guest.execute("df -k / | tail -n 1").split()[1])
    assert root_kib > 900_000, "the root file system did not grow to the disk's 1 GiB"


def test_the_guest_answers_across_hosts_on_both_families(scene: Scene) -> None:
    assert scene.probe.host != scene.guest.host.name
    assert scene.probe.reaches("10.44.0.11")
    assert scene.probe.reaches("fd44::11")


def test_the_password_and_the_key_log_in_and_nothing_else_does(scene: Scene) -> None:
    only_password = ("-o", "PubkeyAuthentication=no")
    only_key = ("-o", "PasswordAuthentication=no", "-i", str(scene.key))
    assert scene.ssh(*only_password, command="hostname", password=PASSWORD) == "web-1\n"
    assert scene.ssh(*only_key, command="hostname") == "web-1\n"
    with pytest.raises(LabError, match="Permission denied"):
        scene.ssh(*only_password, command="hostname", password="Wrong.Horse 7")


def test_the_agent_sets_a_password_that_logs_in(scene: Scene) -> None:
    new = "New&Password\\n$1 8"
    scene.guest.virsh("set-user-password", scene.guest.name, "root", new)
    answer = scene.ssh("-o", "PubkeyAuthentication=no", command="echo in", password=new)
    assert answer == "in\n"
    scene.guest.virsh("set-user-password", scene.guest.name, "root", PASSWORD)


def test_a_large_transfer_over_the_tunnel_arrives_whole(scene: Scene) -> None:
    key = ("-i", str(scene.key))
    there = scene.ssh(
        *key, command="dd if=/dev/urandom of=/tmp/x bs=1M count=8 && sha256sum /tmp/x"
    )
    target = scene.key.parent / "x"
    scene.probe.run(
        "scp", "-q", "-F", "/dev/null", "-o", "StrictHostKeyChecking=no",
        "-o", "UserKnownHostsFile=/dev/null", *key, "root@10.44.0.11:/tmp/x", target,
        timeout_s=60,
    )  # fmt: skip
    assert run("sha256sum", target).split()[0] == there.split()[0]


def test_file_systems_freeze_and_thaw(scene: Scene) -> None:
    frozen = scene.guest.agent("guest-fsfreeze-freeze")
    thawed = scene.guest.agent("guest-fsfreeze-thaw")
    assert isinstance(frozen, int)
    assert frozen >= 1
    assert thawed == frozen


def test_keys_pressed_on_the_screen_reach_the_console(scene: Scene) -> None:
    guest = scene.guest
    for key in ("KEY_H", "KEY_E", "KEY_L", "KEY_L", "KEY_O"):
        guest.virsh("send-key", guest.name, key)
    wait_for(
        "the keys on the first console",
        lambda: "hello" in guest.execute("cat /dev/vcs1"),
        timeout_s=10,
        every_s=0.3,
    )


def test_a_plugged_cpu_is_used_at_once(scene: Scene) -> None:
    guest = scene.guest
    assert guest.execute("nproc").strip() == "1"
    guest.virsh("setvcpus", guest.name, "2", "--live")
    wait_for(
        "the second CPU", lambda: guest.execute("nproc").strip() == "2", timeout_s=10, every_s=0.3
    )


def test_kill_9_of_libvirtd_leaves_the_guest_running(scene: Scene) -> None:
    guest = scene.guest
    before = guest.execute("cat /proc/sys/kernel/random/boot_id")
    region.kill_libvirtd(guest.host, hold=True)
    assert not region.answers(guest.host.address, guest.host.libvirt_port)
    assert scene.probe.reaches("10.44.0.11")
    region.start_libvirtd(guest.host)
    assert guest.state() == "running"
    # libvirtd answers before it is connected with the agents again.
    guest.wait_for_agent(timeout_s=20)
    assert guest.execute("cat /proc/sys/kernel/random/boot_id") == before


def test_a_killed_libvirtd_comes_back_by_itself(scene: Scene) -> None:
    region.kill_libvirtd(scene.guest.host)
    wait_for(
        "libvirt to be back",
        lambda: region.host_is_up(scene.guest.host),
        timeout_s=10,
        every_s=0.2,
    )
    assert scene.guest.state() == "running"


def test_the_guest_moves_live_to_the_other_host(scene: Scene) -> None:
    guest = scene.guest
    target = scene.lab.host("h2")
    guest.virsh(
        "migrate", "--live", "--unsafe", "--tls", "--persistent", "--undefinesource",
        "--migrateuri", f"tcp://{target.address}", guest.name, target.uri,
    )  # fmt: skip
    source, guest.host = guest.host, target
    assert guest.state() == "running"
    assert scene.probe.reaches("10.44.0.11", timeout_s=10)
    guest.virsh(
        "migrate", "--live", "--unsafe", "--tls", "--persistent", "--undefinesource",
        "--migrateuri", f"tcp://{source.address}", guest.name, source.uri,
    )  # fmt: skip
    guest.host = source
    assert scene.probe.reaches("10.44.0.11", timeout_s=10)


def test_reboot_and_a_new_network_configuration(scene: Scene) -> None:
    guest = scene.guest
    boot = guest.execute("cat /proc/sys/kernel/random/boot_id")
    key = scene.key.with_suffix(".pub").read_text().strip()
    meta, user, network = seed(key)
    guest.write_seed(meta, user, network.replace("10.45.0.11/24", "10.45.0.77/24"))
    guest.virsh("reboot", guest.name, "--mode", "agent")

    def rebooted() -> bool:
        try:
            return guest.execute("cat /proc/sys/kernel/random/boot_id") != boot
        except LabError:
            return False

    wait_for("the guest to come back", rebooted, timeout_s=120, every_s=1)
    # Same instance: the password stays, the network is read anew.
    assert "10.45.0.77/24" in guest.execute("ip -o address show eth1")
    wait_for(
        "the data disk again",
        lambda: "/dev/vdb" in guest.execute("df /data 2>/dev/null || true"),
        timeout_s=30,
        every_s=0.5,
    )


def test_the_power_button_shuts_the_guest_down(scene: Scene) -> None:
    guest = scene.guest
    guest.virsh("shutdown", guest.name, "--mode", "acpi")
    wait_for("the guest to end", lambda: guest.state() == "shut off", timeout_s=30, every_s=0.3)
    run("qemu-img", "check", "-q", guest.directory / "root.qcow2")
    guest.virsh("start", guest.name)
    guest.wait_for_agent(timeout_s=120)
    assert PORTS["first"][1] in guest.execute("ip link show eth0")
