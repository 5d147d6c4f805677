"""The NoCloud seed of a VM: pure functions from plain values to the three files.

Formats: cloud-init's NoCloud data source and network configuration version 2,
https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any


@dataclass(frozen=True)
class SeedNic:
    """One interface as the guest shall configure it; addresses are ``address/prefix``."""

    name: str
    mac: str
    mtu: int
    addresses: tuple[str, ...] = ()
    gateway: str | None = None
    dns: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeedSpec:
    """What the seed of a first boot contains."""

    instance_id: str
    hostname: str
    account: str
    password_hash: str | None
    ssh_keys: tuple[str, ...]
    time_zone: str
    nics: tuple[SeedNic, ...]
    data_disk_serials: tuple[str, ...] = ()
    user_data: str = ""


def files(spec: SeedSpec) -> dict[str, str]:
    """Return ``meta-data``, ``user-data`` and ``network-config``."""
    return {
        "meta-data": _yaml({"instance-id": spec.instance_id, "local-hostname": spec.hostname}),
        "user-data": _user_data(spec),
        "network-config": _yaml(network_config(spec.nics)),
    }


def digest_of(contents: Mapping[str, str]) -> str:
    """Return what stands for the files of a seed; it tells nothing of what is in them.

    Cut to 64 bits: it only tells one version of a VM's seed from the other.
    """
    joined = "\0".join(f"{name}\0{contents[name]}" for name in sorted(contents))
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


def _yaml(value: dict[str, Any]) -> str:
    # JSON is a subset of YAML 1.2 and needs no second library; cloud-init and our mini guest
    # read both.
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def network_config(nics: Sequence[SeedNic]) -> dict[str, Any]:
    """Return the network configuration, version 2; interfaces are named by their MAC."""
    ethernets: dict[str, Any] = {}
    for nic in nics:
        entry: dict[str, Any] = {
            "match": {"macaddress": nic.mac},
            "set-name": nic.name,
            "mtu": nic.mtu,
            "dhcp4": False,
            "addresses": list(nic.addresses),
        }
        if nic.gateway:
            entry["routes"] = [{"to": "0.0.0.0/0", "via": nic.gateway}]
        if nic.dns:
            entry["nameservers"] = {"addresses": list(nic.dns)}
        ethernets[nic.name] = entry
    return {"version": 2, "ethernets": ethernets}


def _user_data(spec: SeedSpec) -> str:
    config = _cloud_config(spec)
    ours = "#cloud-config\n" + _yaml(config)
    if not spec.user_data.strip():
        return ours
    # Ours comes first: what the tenant's own part says then wins where both say something.
    # A boundary by chance would make another seed of the same words.
    boundary = hashlib.sha256(f"{ours}\0{spec.user_data}".encode()).hexdigest()
    message = MIMEMultipart(boundary=f"=={boundary}==")
    message.attach(MIMEText(ours, "cloud-config", "utf-8"))
    kind = "cloud-config" if spec.user_data.startswith("#cloud-config") else "x-shellscript"
    message.attach(MIMEText(spec.user_data, kind, "utf-8"))
    return message.as_string()


def _cloud_config(spec: SeedSpec) -> dict[str, Any]:
    config: dict[str, Any] = {
        "hostname": spec.hostname,
        "preserve_hostname": False,
        "manage_etc_hosts": True,
        "timezone": spec.time_zone,
        "disable_root": False,
        "ssh_pwauth": spec.password_hash is not None,
        "growpart": {"mode": "auto", "devices": ["/"]},
        "resize_rootfs": True,
    }
    user: dict[str, Any] = {
        "name": spec.account,
        "lock_passwd": spec.password_hash is None,
        "shell": "/bin/bash",
    }
    if spec.account != "root":
        user["sudo"] = "ALL=(ALL) NOPASSWD:ALL"
    if spec.ssh_keys:
        user["ssh_authorized_keys"] = list(spec.ssh_keys)
        if spec.account == "root":
            config["ssh_authorized_keys"] = list(spec.ssh_keys)
    config["users"] = [user]
    if spec.password_hash is not None:
        config["chpasswd"] = {
            "expire": False,
            "users": [{"name": spec.account, "password": spec.password_hash, "type": "hash"}],
        }
    if spec.data_disk_serials:
        # By serial number: the order in which a guest finds its disks is not ours to say.
        device = f"/dev/disk/by-id/virtio-{spec.data_disk_serials[0][:20]}"
        config["fs_setup"] = [
            {"label": "data", "filesystem": "ext4", "device": device, "overwrite": False}
        ]
        config["mounts"] = [[device, "/data", "ext4", "defaults,nofail", "0", "2"]]
    return config
