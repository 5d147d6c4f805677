"""The mini guest's reader of user data of several parts: the guest's own script, run here."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from compute.hypervisor.cloudinit import SeedSpec, files
from compute.hypervisor.guestnet import netplan
from network.rules.guest import plan
from scloud.lab import images
from tests.compute.guestnet.samples import FULL

MINI = Path(images.__file__).parents[1] / "files" / "mini"


def read(seed: dict[str, str], place: Path, *names: str) -> list[str]:
    """What the guest's script knows after it has read a seed; its paths are those of a folder."""
    shown = "".join(f'echo "[${{{name}:-}}]"\n' for name in names)
    return [line[1:-1] for line in run(seed, place, shown).splitlines()]


def run(seed: dict[str, str], place: Path, commands: str) -> str:
    """What commands print that run after the guest's script has read a seed."""
    script = (MINI / "seed").read_text().partition("\ncase $1 in\n")[0]
    for name in ("flatten.awk", "parts.awk"):
        shutil.copy(MINI / name, place / name)
    for there, here in (("/etc/", ""), ("/run/", ""), ("/proc/", "proc/")):
        script = script.replace(there, f"{place}/{here}")
    script = script.replace("/var/lib/seed", str(place / "kept"))
    programs = place / "programs"
    programs.mkdir(exist_ok=True)
    if busybox := shutil.which("busybox"):
        # As in the guest.
        for name in ("awk", "base64", "sed"):
            (programs / name).symlink_to(busybox)
    script = script.replace("PATH=/usr/bin\n", f"PATH={programs}:$PATH\n")
    (place / "kept").mkdir(exist_ok=True)
    for name, text in seed.items():
        (place / "kept" / name).write_text(text)
    # The shell of the guest where there is one: its builtins are not those of bash.
    shell = shutil.which("dash") or "sh"
    done = subprocess.run(
        [shell],
        input=f"{script}\nload_seed\n{commands}",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def spec(user_data: str) -> SeedSpec:
    return SeedSpec(
        instance_id="vm-1-1",
        hostname="web-1",
        account="root",
        password_hash="$6$salt$hash",
        ssh_keys=("ssh-ed25519 AAAA me",),
        time_zone="Asia/Shanghai",
        nics=(),
        user_data=user_data,
    )


LOGIN = ("u_hostname", "u_chpasswd_users_0_password", "u_ssh_authorized_keys_0")
OURS = ["web-1", "$6$salt$hash", "ssh-ed25519 AAAA me"]


def test_a_seed_without_user_data_logs_in(tmp_path: Path) -> None:
    assert read(files(spec("")), tmp_path, *LOGIN) == OURS


@pytest.mark.parametrize("text", ["#!/bin/sh\necho hallo\n", "#!/bin/sh\necho \"ü $x 'y'\"\n"])
def test_a_script_is_kept_and_the_login_stays(text: str, tmp_path: Path) -> None:
    *login, script = read(files(spec(text)), tmp_path, *LOGIN, "script")
    assert login == OURS
    assert Path(script).read_text() == text


def test_what_the_tenant_says_of_a_key_replaces_all_of_it(tmp_path: Path) -> None:
    text = (
        "#cloud-config\nhostname: other\nruncmd:\n - [touch, /root/a]\n - echo hi\n"
        "users:\n - name: bob\n"
    )
    found = read(
        files(spec(text)), tmp_path, *LOGIN, "u_runcmd_0_1", "u_runcmd_1", "u_users_0_name",
        "u_users_0_shell", "u_timezone",
    )  # fmt: skip
    assert found == [
        "other", "$6$salt$hash", "ssh-ed25519 AAAA me", "/root/a", "echo hi", "bob", "",
        "Asia/Shanghai",
    ]  # fmt: skip


def test_an_empty_configuration_takes_nothing_away(tmp_path: Path) -> None:
    assert read(files(spec("#cloud-config\n")), tmp_path, *LOGIN) == OURS


def test_parts_that_are_not_encoded_are_read_as_well(tmp_path: Path) -> None:
    text = (
        "Content-Type: multipart/mixed;\r\n boundary=abc\r\nMIME-Version: 1.0\r\n\r\nnone\r\n"
        "--abc\r\nContent-Type: text/cloud-config; charset=us-ascii\r\n\r\nhostname: plain\r\n"
        "--abc--\r\nhostname: after\r\n"
    )
    seed = {"meta-data": "instance-id: i\n", "user-data": text, "network-config": "version: 2\n"}
    assert read(seed, tmp_path, "u_hostname", "m_instance_id") == ["plain", "i"]


def test_routing_rules_of_ipv6_are_in_a_batch_of_their_own(tmp_path: Path) -> None:
    # A batch of both takes the address of such a rule for one of IPv4, and refuses it.
    network = netplan.network_config(plan(FULL))
    seed = {"meta-data": "instance-id: i\n", "network-config": json.dumps(network)}
    sysctl = tmp_path / "proc/sys/net/ipv6/conf/eth1/accept_ra"
    sysctl.parent.mkdir(parents=True)
    lines = run(seed, tmp_path, "configure n_ethernets_eth1 eth1").splitlines()
    rules = [line for line in lines if line.startswith("rule ")]
    table = next(one.table for one in plan(FULL)[1].addresses if one.interface.version == 6)
    assert len(rules) == 3
    assert not any(":" in rule for rule in rules)
    assert (tmp_path / "network6.batch").read_text() == (
        f"rule add from 2001:db8:113::11/128 table {table} priority 10100\n"
    )
    assert (
        "route replace 0.0.0.0/0 via 203.0.113.1 dev eth1 metric 50 src 203.0.113.11 proto 197"
        in lines
    )
    assert "link set eth1 mtu 1500" in lines
    assert sysctl.read_text() == "0\n"
