"""Standing on a tenant's logical switch: a network namespace plugged into a host's br-int."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from scloud.lab import links, region
from scloud.lab.plan import Lab, LabError
from scloud.lab.shell import run, succeeds


@dataclass(frozen=True)
class Probe:
    """A probe; ``run`` executes commands as if on a machine of the logical switch."""

    lab: str
    name: str
    host: str
    port: str
    interface: str

    @property
    def netns(self) -> str:
        return f"scl-{self.lab}-p-{self.name}"

    def run(self, *command: str | Path, timeout_s: float = 30, check: bool = True) -> str:
        """Run a command there and return what it wrote; LabError when it fails."""
        return run("ip", "netns", "exec", self.netns, *command, timeout_s=timeout_s, check=check)

    def popen(self, *command: str | Path) -> subprocess.Popen[str]:
        """Start a command there that goes on beside the test."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.netns, *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def reaches(self, address: str, *, timeout_s: int = 5) -> bool:
        """Whether an address answers a ping within ``timeout_s``."""
        return succeeds(
            "ip", "netns", "exec", self.netns, "ping", "-n", "-q", "-c", "1",
            "-w", str(timeout_s), address, timeout_s=timeout_s + 5,
        )  # fmt: skip


def _file(lab: Lab, name: str) -> Path:
    return lab.run / "probes" / f"{name}.json"


def find(lab: Lab, name: str) -> Probe:
    """The probe ``name``; LabError when there is none."""
    try:
        return Probe(**json.loads(_file(lab, name).read_text()))
    except OSError as error:
        raise LabError(f"lab {lab.name} has no probe {name}") from error


def add(
    lab: Lab,
    *,
    name: str,
    port: str,
    mac: str,
    ip: list[str],
    gateway: list[str] | None = None,
    host: str = "h1",
) -> Probe:
    """Plug a namespace into a logical switch port that exists in OVN.

    ``ip`` are addresses with their prefix length, ``gateway`` default gateways, of either
    family; ``port`` is the logical switch port's name. An older probe of that name goes first.
    """
    if not re.fullmatch(r"[a-z0-9]{1,8}", name):
        raise LabError(f"probe name {name!r}: 1 to 8 lower-case letters or digits")
    target = lab.host(host)
    if not region.host_is_up(target):
        raise LabError(f"host {host} of lab {lab.name} is down")
    delete(lab, name=name)
    probe = Probe(lab.name, name, host, port, f"p-{name}")
    links.ensure_netns(probe.netns)
    run("ip", "-n", target.netns, "link", "add", probe.interface, "type", "veth",
        "peer", "name", "eth0", "netns", probe.netns)  # fmt: skip
    links.offload_off_in(target.netns, probe.interface)
    links.offload_off_in(probe.netns, "eth0")
    run("ip", "-n", target.netns, "link", "set", probe.interface, "up")
    run("ip", "-n", probe.netns, "link", "set", "eth0", "address", mac, "mtu", "1400", "up")
    for address in ip:
        family = ["-6"] if ":" in address else []
        nodad = ["nodad"] if ":" in address else []
        run("ip", *family, "-n", probe.netns, "address", "add", address, "dev", "eth0", *nodad)
    for address in gateway or []:
        family = ["-6"] if ":" in address else []
        run("ip", *family, "-n", probe.netns, "route", "add", "default", "via", address)
    run(
        "ovs-vsctl", f"--db=unix:{target.run}/openvswitch/db.sock", "--may-exist",
        "add-port", "br-int", probe.interface,
        "--", "set", "interface", probe.interface, f"external-ids:iface-id={port}",
    )  # fmt: skip
    _file(lab, name).parent.mkdir(parents=True, exist_ok=True)
    _file(lab, name).write_text(json.dumps(asdict(probe)))
    return probe


def delete(lab: Lab, *, name: str) -> None:
    """Remove a probe; one that is not there is fine."""
    try:
        probe = find(lab, name)
    except LabError:
        return
    target = lab.host(probe.host)
    if region.host_is_up(target):
        run(
            "ovs-vsctl", f"--db=unix:{target.run}/openvswitch/db.sock", "--if-exists",
            "del-port", "br-int", probe.interface,
        )  # fmt: skip
    links.delete_netns(probe.netns)
    if links.netns_exists(target.netns):
        succeeds("ip", "-n", target.netns, "link", "delete", probe.interface)
    _file(lab, name).unlink(missing_ok=True)
