"""Keys with which a host opens disks of a Ceph cluster."""

import libvirt

from compute.hypervisor.libvirt.elements import CephSecret
from compute.hypervisor.libvirt.host import Host


def keep(host: Host, secret_uuid: str, value: bytes) -> None:
    """Define the secret unless it is there, and give it the value."""
    text = CephSecret(uuid=secret_uuid, usage=f"scloud {secret_uuid}").to_xml()

    def work(conn: libvirt.virConnect) -> None:
        # Defining one that is there with the same usage changes nothing.
        conn.secretDefineXML(text, 0).setValue(value, 0)

    host.call(work)
