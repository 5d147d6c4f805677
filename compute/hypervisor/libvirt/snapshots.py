"""Snapshots inside the QCOW2 file of a running domain's disk, through QEMU's monitor.

libvirt has no call for a snapshot of one disk inside its file; QEMU does it in milliseconds. Node
names change with every start, migration and attach, so they are read each time.
"""

import json
from typing import Any

import libvirt
import libvirt_qemu

from compute.hypervisor.base import Refused
from compute.hypervisor.libvirt.host import Host, xml_of
from compute.hypervisor.libvirt.parse import alias_of


def create(host: Host, uuid: str, disk_id: str, name: str) -> None:
    """Take the snapshot unless it is there."""

    def work(domain: libvirt.virDomain) -> None:
        node, names = _node(domain, disk_id)
        if name not in names:
            _monitor(domain, "blockdev-snapshot-internal-sync", device=node, name=name)

    host.with_domain(uuid, work, running=True)


def delete(host: Host, uuid: str, disk_id: str, name: str) -> None:
    def work(domain: libvirt.virDomain) -> None:
        node, names = _node(domain, disk_id)
        if name in names:
            _monitor(domain, "blockdev-snapshot-delete-internal-sync", device=node, name=name)

    host.with_domain(uuid, work, running=True)


def _node(domain: libvirt.virDomain, disk_id: str) -> tuple[str, set[str]]:
    disk = xml_of(domain).disk(disk_id)
    if disk is None:
        raise Refused("The domain has no such disk.")
    device = f"/machine/peripheral/{alias_of(disk)}/"
    for block in _monitor(domain, "query-block"):
        if f"{block.get('qdev', '')}/".startswith(device) and "inserted" in block:
            inserted = block["inserted"]
            snapshots = inserted["image"].get("snapshots", ())
            return inserted["node-name"], {snapshot["name"] for snapshot in snapshots}
    raise Refused("QEMU does not know the disk.")


def _monitor(domain: libvirt.virDomain, command: str, **arguments: str) -> Any:
    request: dict[str, Any] = {"execute": command}
    if arguments:
        request["arguments"] = arguments
    answer = json.loads(libvirt_qemu.qemuMonitorCommand(domain, json.dumps(request), 0))
    if "error" in answer:
        raise Refused(f"QEMU refused: {answer['error'].get('desc', '')}")
    return answer["return"]
