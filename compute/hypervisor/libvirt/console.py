"""The end of the file in which a host keeps what a guest wrote to its serial port.

libvirt has no call for that file. A storage pool over its directory shows it like any volume, so it
is read by the same connection as everything else, from hosts near and far.
"""

import contextlib
from xml.etree import ElementTree

import libvirt

from compute.hypervisor.base import Refused
from compute.hypervisor.libvirt.host import Host, xml_of

POOL_NAME = "scloud-console"
_READ_TIMEOUT_S = 15.0
_CHUNK = 65536


def log_of(host: Host, uuid: str, *, max_bytes: int) -> bytes:
    """Return the last `max_bytes` of the domain's serial log; empty where there is none yet."""

    def work(domain: libvirt.virDomain) -> bytes:
        log = xml_of(domain).root.find("devices/serial/log")
        path = "" if log is None else log.get("file", "")
        if not path:
            raise Refused("The domain keeps no log of its serial port.")
        conn = domain.connect()
        volume = _volume(conn, path)
        if volume is None:
            return b""
        # The size that the file has: what it would be as an image of a disk is up to the guest.
        size = volume.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2]
        return _read(conn, volume, max(0, size - max_bytes), max_bytes)

    return host.with_domain(uuid, work, timeout_s=_READ_TIMEOUT_S, giving_up_breaks=False)


def _volume(conn: libvirt.virConnect, path: str) -> libvirt.virStorageVol | None:
    """The file as a volume; None when there is no such file."""
    found = _looked_up(conn, path)
    if found is None:
        # Files that came after the pool was looked at are not known to it.
        _pool(conn, path.rpartition("/")[0]).refresh(0)
        found = _looked_up(conn, path)
    return found


def _looked_up(conn: libvirt.virConnect, path: str) -> libvirt.virStorageVol | None:
    try:
        return conn.storageVolLookupByPath(path)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_VOL:
            return None
        raise


def _pool(conn: libvirt.virConnect, directory: str) -> libvirt.virStoragePool:
    """The active pool over the directory, whoever made it; a transient one where there is none."""
    root = ElementTree.Element("pool", type="dir")
    ElementTree.SubElement(root, "name").text = POOL_NAME
    target = ElementTree.SubElement(root, "target")
    ElementTree.SubElement(target, "path").text = directory
    text = ElementTree.tostring(root, encoding="unicode")
    try:
        return _active_pool(conn, directory) or conn.storagePoolCreateXML(text, 0)
    except libvirt.libvirtError:
        # Another worker was faster.
        found = _active_pool(conn, directory)
        if found is None:
            raise
        return found


def _active_pool(conn: libvirt.virConnect, directory: str) -> libvirt.virStoragePool | None:
    try:
        pool = conn.storagePoolLookupByTargetPath(directory)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_POOL:
            return None
        raise
    return pool if pool.isActive() else None


def _read(
    conn: libvirt.virConnect, volume: libvirt.virStorageVol, offset: int, length: int
) -> bytes:
    stream = conn.newStream(0)
    volume.download(stream, offset, length, 0)
    return drained(stream, length)


def drained(stream: libvirt.virStream, most: int) -> bytes:
    """Everything that a stream brings, at most `most` bytes; raises `Refused` for more."""
    parts: list[bytes] = []
    size = 0
    try:
        while part := stream.recv(_CHUNK):
            size += len(part)
            if size > most:
                raise Refused("The host sent more than was asked for.")
            parts.append(part)
    except BaseException:
        with contextlib.suppress(libvirt.libvirtError):
            stream.abort()
        raise
    stream.finish()
    return b"".join(parts)
