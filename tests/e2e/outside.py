"""Looking at hosts, storage and OVN past the product: with libvirt, files and ovn-nbctl."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import libvirt

from scloud.lab.plan import Lab
from scloud.lab.shell import run


def domains(facts: dict[str, Any]) -> dict[str, list[str]]:
    """Domain name -> names of the hosts that list it."""
    found: dict[str, list[str]] = {}
    for host in facts["hosts"]:
        connection = libvirt.open(host["uri"])
        try:
            for domain in connection.listAllDomains():
                found.setdefault(domain.name(), []).append(host["name"])
        finally:
            connection.close()
    return found


def running(facts: dict[str, Any], name: str) -> list[str]:
    """Names of the hosts on which a domain runs."""
    found = []
    for host in facts["hosts"]:
        connection = libvirt.open(host["uri"])
        try:
            found += [
                host["name"]
                for one in connection.listAllDomains()
                if one.name() == name and one.isActive()
            ]
        finally:
            connection.close()
    return found


def volumes(facts: dict[str, Any]) -> set[str]:
    """Names of the volume files in the pool."""
    return {path.stem for path in (Path(facts["storage"]["path"]) / "volumes").glob("*.qcow2")}


def seeds(facts: dict[str, Any], vm_id: str) -> list[str]:
    """Files of the pool that carry a VM's id."""
    return [str(path) for path in Path(facts["storage"]["path"]).rglob(f"*{vm_id}*")]


def ports(lab: Lab) -> set[str]:
    """Names of all logical switch ports with a MAC of a VM."""
    text = run(
        "ovn-nbctl", f"--db={lab.nb}", "--format=csv", "--no-headings", "--data=bare",
        "--columns=name", "find", "logical_switch_port", 'type=""',
    )  # fmt: skip
    return {line.strip() for line in text.splitlines() if line.strip()}
