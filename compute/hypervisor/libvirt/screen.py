"""The domain's VNC server, and pictures of its screen."""

from datetime import datetime
from xml.etree import ElementTree

import libvirt

from compute.hypervisor.base import (
    MAX_VNC_PASSWORD_LENGTH,
    DomainNotRunning,
    Screenshot,
    VncEndpoint,
)
from compute.hypervisor.libvirt.build import vnc_time
from compute.hypervisor.libvirt.console import drained
from compute.hypervisor.libvirt.host import Host, xml_of


def endpoint(host: Host, uuid: str) -> VncEndpoint:
    """Address and port of the running domain's screen."""
    found = host.with_domain(uuid, lambda domain: xml_of(domain).vnc_endpoint(), running=True)
    if found is None:
        raise DomainNotRunning("The domain has no screen now.")
    return found


def set_password(host: Host, uuid: str, password: str, valid_until: datetime) -> None:
    """Set password and expiry of the running domain's screen."""
    if not 1 <= len(password) <= MAX_VNC_PASSWORD_LENGTH or not password.isascii():
        raise ValueError("A VNC password has 1 to 8 ASCII characters.")
    if valid_until.tzinfo is None:
        raise ValueError("The time must say its zone.")

    def work(domain: libvirt.virDomain) -> None:
        graphics = xml_of(domain).graphics()
        if graphics is None:
            raise DomainNotRunning("The domain has no screen.")
        graphics.set("passwd", password)
        graphics.set("passwdValidTo", vnc_time(valid_until))
        text = ElementTree.tostring(graphics, encoding="unicode")
        domain.updateDeviceFlags(text, libvirt.VIR_DOMAIN_AFFECT_LIVE)

    host.with_domain(uuid, work, running=True)


def screenshot(host: Host, uuid: str, *, max_bytes: int) -> Screenshot:
    """A picture of the running domain's first screen, in the format that the host prefers."""

    def work(domain: libvirt.virDomain) -> Screenshot:
        stream = domain.connect().newStream(0)
        mime_type = domain.screenshot(stream, 0, 0)
        return Screenshot(mime_type, drained(stream, max_bytes))

    return host.with_domain(uuid, work, running=True, giving_up_breaks=False)
