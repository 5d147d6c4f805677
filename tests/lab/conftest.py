"""Guests and labs for the tests of the region in a box."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scloud.lab import probe, region
from scloud.lab.plan import Lab
from scloud.lab.shell import run
from tests.lab.guest import Guest, crypt_hash

PASSWORD = "Correct.Horse 7"
SWITCH = "lab-tests"
PORTS = {
    "first": ("5c10d000-0000-4000-a000-000000000001", "52:54:00:1a:b0:01"),
    "second": ("5c10d000-0000-4000-a000-000000000002", "52:54:00:1a:b0:02"),
    "probe": ("lab-tests-probe", "52:54:00:1a:b0:99"),
}


@dataclass(frozen=True)
class Scene:
    """A booted guest on the first host and a probe on the second, on one logical switch."""

    lab: Lab
    guest: Guest
    probe: probe.Probe
    key: Path

    def ssh(self, *options: str, command: str, password: str | None = None) -> str:
        """Log in as root from the probe and run a command."""
        words = ["ssh", "-F", "/dev/null", "-o", "StrictHostKeyChecking=no",
                 "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
                 "-o", "ConnectTimeout=20", *options, "root@10.44.0.11", command]  # fmt: skip
        if password is not None:
            words = ["sshpass", "-p", password, *words]
        return self.probe.run(*words, timeout_s=60)


def seed(key: str, instance: str = "i-1") -> tuple[str, str, str]:
    """Meta data, user data and network configuration as the product would write them."""
    meta = {"instance-id": instance, "local-hostname": "web-1"}
    user = {
        "hostname": "web-1",
        "ssh_pwauth": True,
        "disable_root": False,
        "chpasswd": {
            "expire": False,
            "users": [{"name": "root", "password": crypt_hash(PASSWORD), "type": "hash"}],
        },
        "users": [{"name": "root", "ssh_authorized_keys": [key]}],
        "write_files": [
            {"path": "/etc/greeting", "content": "two\nlines\n", "permissions": "0600"}
        ],
        "fs_setup": [{"device": "/dev/vdb", "filesystem": "ext4", "label": "data"}],
        "mounts": [["/dev/vdb", "/data", "ext4", "defaults,nofail", "0", "2"]],
    }
    network = {
        "version": 2,
        "ethernets": {
            "eth0": {
                "match": {"macaddress": PORTS["first"][1]},
                "set-name": "eth0",
                "addresses": ["10.44.0.11/24", "fd44::11/64"],
                "routes": [{"to": "default", "via": "10.44.0.1"}],
                "nameservers": {"addresses": ["10.44.0.2"]},
            },
            "eth1": {
                "match": {"macaddress": PORTS["second"][1]},
                "set-name": "eth1",
                "addresses": ["10.45.0.11/24"],
            },
        },
    }
    return json.dumps(meta), "#cloud-config\n" + json.dumps(user), json.dumps(network, indent=1)


def make_switch(lab: Lab) -> None:
    """A logical switch with the ports of the scene."""
    remove_switch(lab)
    run("ovn-nbctl", *lab.nb_options, "ls-add", SWITCH)
    addresses = {
        "first": "10.44.0.11 fd44::11",
        "second": "10.45.0.11",
        "probe": "10.44.0.99 fd44::99",
    }
    for name, (port, mac) in PORTS.items():
        run(
            "ovn-nbctl", *lab.nb_options, "lsp-add", SWITCH, port,
            "--", "lsp-set-addresses", port, f"{mac} {addresses[name]}",
        )  # fmt: skip


def remove_switch(lab: Lab) -> None:
    """Remove it with its ports."""
    run("ovn-nbctl", *lab.nb_options, "--if-exists", "ls-del", SWITCH)


def guest_on_switch(lab: Lab, name: str, number: int) -> Guest:
    """A mini guest with the two NICs and the data disk that :func:`seed` names; not made yet."""
    return Guest(
        lab,
        lab.host("h1"),
        name,
        number,
        ports=[PORTS["first"], PORTS["second"]],
        data_disk_gib=1,
    )


def make_key(directory: Path) -> Path:
    """A fresh SSH key; the public half ends in ``.pub``."""
    path = directory / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tests", "-f", path)
    return path


@pytest.fixture(scope="session")
def scene(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A mini guest that has just answered for the first time, and a probe on the other host."""
    key = make_key(tmp_path_factory.mktemp("key"))
    make_switch(lab)
    guest = guest_on_switch(lab, "lab-tests-mini", 1)
    guest.remove()
    guest.write_seed(*seed(key.with_suffix(".pub").read_text().strip()))
    guest.create()
    guest.wait_for_agent(timeout_s=180)
    port, mac = PORTS["probe"]
    stand = probe.add(
        lab, name="labtest", port=port, mac=mac, ip=["10.44.0.99/24", "fd44::99/64"], host="h2"
    )
    yield Scene(lab, guest, stand, key)
    guest.remove()
    probe.delete(lab, name="labtest")
    if region.central_is_up(lab):
        remove_switch(lab)
