"""Looking at hosts, storage and OVN past the product: with libvirt, files and ovn-nbctl."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu

from scloud.lab.plan import Lab
from scloud.lab.shell import run


@contextmanager
def connected(uri: str, timeout_s: float = 30) -> Iterator[Any]:
    """A connection to a host's libvirt, which may just be coming back from the dead."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            connection = libvirt.open(uri)
            break
        except libvirt.libvirtError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
    try:
        yield connection
    finally:
        connection.close()


def domains(facts: dict[str, Any]) -> dict[str, list[str]]:
    """Domain name -> names of the hosts that list it."""
    found: dict[str, list[str]] = {}
    for host in facts["hosts"]:
        with connected(host["uri"]) as connection:
            for domain in connection.listAllDomains():
                found.setdefault(domain.name(), []).append(host["name"])
    return found


def running(facts: dict[str, Any], name: str) -> list[str]:
    """Names of the hosts on which a domain runs."""
    found = []
    for host in facts["hosts"]:
        with connected(host["uri"]) as connection:
            found += [
                host["name"]
                for one in connection.listAllDomains()
                if one.name() == name and one.isActive()
            ]
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
        "ovn-nbctl", *lab.nb_options, "--format=csv", "--no-headings", "--data=bare",
        "--columns=name", "find", "logical_switch_port", 'type=""',
    )  # fmt: skip
    return {line.strip() for line in text.splitlines() if line.strip()}


def addresses(lab: Lab) -> dict[str, frozenset[str]]:
    """Return the IP addresses of all logical switch ports with a MAC of a VM, by name."""
    text = run(
        "ovn-nbctl", *lab.nb_options, "--format=json", "--columns=name,addresses", "find",
        "logical_switch_port", 'type=""',
    )  # fmt: skip
    found = {}
    for name, value in json.loads(text)["data"]:
        texts = value[1] if isinstance(value, list) else [value]
        found[name] = frozenset(word for one in texts for word in one.split()[1:])
    return found


def guest_run(facts: dict[str, Any], name: str, *argv: str, timeout_s: float = 30) -> str:
    """Run a command in a guest through its agent; what it printed."""
    for host in facts["hosts"]:
        with connected(host["uri"]) as connection:
            for domain in connection.listAllDomains():
                if domain.name() == name and domain.isActive():
                    return _exec(domain, argv, timeout_s)
    raise AssertionError(f"{name} runs nowhere")


def _exec(domain: Any, argv: tuple[str, ...], timeout_s: float) -> str:
    def ask(command: dict[str, Any]) -> Any:
        return json.loads(libvirt_qemu.qemuAgentCommand(domain, json.dumps(command), 10, 0))

    started = ask(
        {
            "execute": "guest-exec",
            "arguments": {"path": argv[0], "arg": list(argv[1:]), "capture-output": True},
        }
    )
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        status = ask(
            {"execute": "guest-exec-status", "arguments": {"pid": started["return"]["pid"]}}
        )["return"]
        if status["exited"]:
            return base64.b64decode(status.get("out-data", "")).decode(errors="replace").strip()
        time.sleep(0.2)
    raise AssertionError(f"{argv} did not end in {timeout_s} s")


def await_agent(facts: dict[str, Any], name: str, timeout_s: float = 180) -> None:
    """Wait until the agent of a guest answers."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            guest_run(facts, name, "/bin/true")
            return
        except (libvirt.libvirtError, AssertionError):
            if time.monotonic() > end:
                raise
            time.sleep(1)
