"""One host and its domains below the driver: look-up, ownership, traits."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar
from xml.etree import ElementTree

import libvirt

from compute.hypervisor.base import (
    Architecture,
    DomainNotFound,
    DomainNotRunning,
    HostRef,
    MachineTypes,
    Refused,
)
from compute.hypervisor.libvirt.build import ALIASES, CONSOLE_LOG_DIR, FAMILIES, HostTraits
from compute.hypervisor.libvirt.connection import connection_to
from compute.hypervisor.libvirt.parse import DomainXml, machine_types

T = TypeVar("T")

CALL_TIMEOUT_S = 20.0
# libvirt may look at QEMU anew to answer, which takes seconds.
CAPABILITIES_TIMEOUT_S = 30.0
MACHINES_FRESH_S = 60.0


class Host:
    """What the parts of the driver share: the connection and what is known of the host."""

    def __init__(self, ref: HostRef) -> None:
        self.ref = ref
        self._options = dict(ref.options)
        self._traits: HostTraits | None = None
        self._machines: dict[Architecture, tuple[float, MachineTypes]] = {}
        self._ours: set[str] = set()
        self._lock = threading.Lock()

    def call(
        self,
        function: Callable[[libvirt.virConnect], T],
        *,
        timeout_s: float = CALL_TIMEOUT_S,
        giving_up_breaks: bool = True,
    ) -> T:
        """Run `function` with the connection, bounded; raises the port's errors."""
        return connection_to(self.ref.uri).call(
            function, timeout_s=timeout_s, giving_up_breaks=giving_up_breaks
        )

    def with_domain(
        self,
        uuid: str,
        function: Callable[[libvirt.virDomain], T],
        *,
        timeout_s: float = CALL_TIMEOUT_S,
        giving_up_breaks: bool = True,
        running: bool = False,
    ) -> T:
        """Run `function` with one of our domains; raises `DomainNotFound`, `Refused`.

        With `running` a domain that does not run raises `DomainNotRunning`.
        """

        def work(conn: libvirt.virConnect) -> T:
            domain = self.find(conn, uuid)
            if domain is None:
                raise DomainNotFound("The host does not know this domain.")
            if running and not domain.isActive():
                raise DomainNotRunning("The domain is not running.")
            return function(domain)

        return self.call(work, timeout_s=timeout_s, giving_up_breaks=giving_up_breaks)

    def find(self, conn: libvirt.virConnect, uuid: str) -> libvirt.virDomain | None:
        """Our domain, None if there is none; raises `Refused` for a foreign one."""
        try:
            domain = conn.lookupByUUIDString(uuid)
            if uuid not in self._ours:
                if not DomainXml.parse(domain.XMLDesc(0)).owner:
                    raise Refused("A domain with this UUID exists and is not ours.")
                self._ours.add(uuid)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                self._ours.discard(uuid)
                return None
            raise
        return domain

    def traits(self) -> HostTraits:
        """What differs on this host; found once."""
        with self._lock:
            if self._traits is None:
                self._traits = HostTraits(
                    accelerated=self._accelerated(),
                    address=self.ref.address,
                    offloads=self.ref.offloads,
                    cpu_tuning=self._options.get("cpu_tuning", "on") == "on",
                    console_log_dir=self._options.get("console_log_dir", CONSOLE_LOG_DIR),
                )
            return self._traits

    def machine_types(self, arch: Architecture) -> MachineTypes:
        """What the host offers to guests of that architecture; asked again once a minute.

        Raises the port's errors. A host that is slow to look at QEMU is not distrusted for it.
        """
        with self._lock:
            kept = self._machines.get(arch)
        if kept is not None and time.monotonic() < kept[0]:
            return kept[1]
        text = self._capabilities(giving_up_breaks=False)
        try:
            found = machine_types(text, arch, alias=ALIASES[arch], family=FAMILIES[arch])
        except ElementTree.ParseError as error:
            raise Refused(f"What the host says of itself cannot be read: {error}") from error
        with self._lock:
            self._machines[arch] = (time.monotonic() + MACHINES_FRESH_S, found)
        return found

    def _capabilities(self, *, giving_up_breaks: bool = True) -> str:
        return self.call(
            lambda conn: conn.getCapabilities(),
            timeout_s=CAPABILITIES_TIMEOUT_S,
            giving_up_breaks=giving_up_breaks,
        )

    def _accelerated(self) -> bool:
        """Whether guests can run on KVM.

        The host's word counts, not the device's existence: libvirt lists KVM only if its own
        probe of QEMU could use it. `accelerator` in the host's options overrules it for machines
        where even that is too hopeful.
        """
        wanted = self._options.get("accelerator", "auto")
        if wanted != "auto":
            return wanted == "kvm"
        text = self._capabilities()
        root = ElementTree.fromstring(text)  # noqa: S314  written by libvirtd, not by people
        arch = root.findtext("host/cpu/arch", "x86_64")
        return root.find(f"guest/arch[@name='{arch}']/domain[@type='kvm']") is not None


def xml_of(domain: libvirt.virDomain, *, persistent: bool = False) -> DomainXml:
    """The running domain's XML, or the definition's with `persistent` (or when stopped)."""
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE if persistent else 0
    return DomainXml.parse(domain.XMLDesc(flags))


def both(domain: libvirt.virDomain) -> tuple[int, ...]:
    """The places that a change goes to: the definition, and first the running domain if it runs.

    Live first: if the guest refuses, the definition still says what is true.
    """
    if domain.isActive():
        return (libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    return (libvirt.VIR_DOMAIN_AFFECT_CONFIG,)
