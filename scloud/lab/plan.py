"""Names, addresses and directories of a lab, all derived from its name and index."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

KNOWN_INDEXES = {
    "demo": 0,
    "test": 1,
    "second": 2,
    "third": 3,
    "fourth": 4,
    "fifth": 5,
    "dev": 9,
}
MAX_HOSTS = 20
#: What the hosts call the network behind the external bridge in their bridge mappings.
PHYSICAL_NETWORK = "ext"
MAX_INDEX = 63


class LabError(Exception):
    """Something about the lab could not be done; the message says what and why."""


def project_root() -> Path:
    """Directory of the checkout."""
    return Path(__file__).resolve().parents[2]


def state_root() -> Path:
    """Directory below which labs and the private PostgreSQL keep their files."""
    return Path(os.environ.get("SCLOUD_STATE_DIR") or project_root() / ".scloud").resolve()


def cache_root() -> Path:
    """Directory of things that are expensive to build and safe to delete."""
    return Path(os.environ.get("SCLOUD_CACHE") or Path.home() / ".cache" / "scloud").resolve()


@dataclass(frozen=True)
class SegmentPlan:
    """An address range of the external network; the outer machine is its ``gateway``."""

    name: str
    cidr: str
    gateway: str
    #: What guests are told to reach by it; nothing means all.
    destinations: tuple[str, ...] = ()
    #: Where the VNC gateway on the outer machine listens; nothing for a range without.
    vnc_address: str = ""

    @property
    def gateway_interface(self) -> str:
        """The gateway with the range's prefix length."""
        return f"{self.gateway}/{self.cidr.partition('/')[2]}"

    @property
    def interfaces(self) -> list[str]:
        """The outer machine's addresses in the range, with its prefix length; the gateway first."""
        length = self.cidr.partition("/")[2]
        return [f"{one}/{length}" for one in (self.gateway, self.vnc_address) if one]


@dataclass(frozen=True)
class HostPlan:
    lab: Lab
    number: int

    @property
    def name(self) -> str:
        """Short name, unique in the lab."""
        return f"h{self.number}"

    @property
    def hostname(self) -> str:
        """Host name inside the namespace; also the OVN chassis name."""
        return f"{self.lab.name}-{self.name}"

    @property
    def netns(self) -> str:
        return f"scl-{self.lab.name}-{self.name}"

    @property
    def address(self) -> str:
        """Management address: libvirt, migration and VNC."""
        return f"10.99.{self.lab.index}.{10 + self.number}"

    @property
    def tunnel_address(self) -> str:
        return f"10.98.{self.lab.index}.{10 + self.number}"

    @property
    def controller_address(self) -> str:
        """Where the host's Redfish service listens, on the outer machine: it outlives the host."""
        return f"10.99.{self.lab.index}.{110 + self.number}"

    @property
    def controller(self) -> Path:
        """Directory with the service's certificate, key, and ``credentials.json``."""
        return self.state / "controller"

    @property
    def switched_off(self) -> Path:
        """The file that is there while the host is off by its power button."""
        return self.state / "switched-off"

    @property
    def uri(self) -> str:
        if not self.lab.tls:
            return self.plain_uri
        return f"qemu+tls://{self.address}/system?pkipath={self.lab.run}/pki/workers/worker"

    @property
    def plain_uri(self) -> str:
        """The address without TLS, which earlier releases used."""
        return f"qemu+tcp://{self.address}/system"

    @property
    def libvirt_port(self) -> int:
        return 16514 if self.lab.tls else 16509

    @property
    def uuid(self) -> str:
        """What libvirt calls the host's UUID; distinct, or migration refuses."""
        return f"5c10d000-0000-4000-8{self.lab.index:03d}-{self.number:012d}"

    @property
    def state(self) -> Path:
        return self.lab.state / "hosts" / self.name

    @property
    def run(self) -> Path:
        """The host's /run, seen from the outer machine."""
        return self.lab.run / self.name

    def link(self, role: str) -> str:
        """Outer end of the veth of ``role`` (m management, t tunnel, x external)."""
        return f"{self.lab.prefix}h{self.number}{role}"


@dataclass(frozen=True)
class Lab:
    """A lab's name, its index (0 to 63), how many hosts it has, and whether it has a Ceph."""

    name: str = "demo"
    index: int = 0
    host_count: int = 2
    ceph: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]{0,11}", self.name):
            raise LabError(f"lab name {self.name!r}: 1 to 12 lower-case letters or digits")
        if not 0 <= self.index <= MAX_INDEX:
            raise LabError(f"lab index {self.index}: 0 to {MAX_INDEX}")
        if not 1 <= self.host_count <= MAX_HOSTS:
            raise LabError(f"{self.host_count} hosts: 1 to {MAX_HOSTS}")

    @property
    def prefix(self) -> str:
        """First part of the names of the lab's network interfaces (15 characters at most)."""
        return f"scl{self.index}"

    @property
    def state(self) -> Path:
        return state_root() / "labs" / self.name

    @property
    def run(self) -> Path:
        """Directory of sockets; short, because a socket's path ends at 108 characters."""
        return Path("/run/scloud-lab") / self.name

    @property
    def tls(self) -> bool:
        """Whether libvirt, OVN and VNC are encrypted: not in one that runs since before that."""
        return self.encrypted.exists() or not self.saved.exists()

    @property
    def encrypted(self) -> Path:
        """The file that is there when the region was brought up with TLS."""
        return self.state / "tls"

    @property
    def saved(self) -> Path:
        """Index and number of hosts of the last ``up``."""
        return self.state / "lab.env"

    @property
    def pki(self) -> Path:
        """Authorities and certificates of the region; ``run``/pki is a short way there."""
        return self.state / "pki"

    @property
    def storage(self) -> Path:
        """Directory that every host sees at the same path."""
        return self.state / "storage"

    @property
    def hosts(self) -> list[HostPlan]:
        return [HostPlan(self, number) for number in range(1, self.host_count + 1)]

    def host(self, name: str) -> HostPlan:
        """The host called ``name`` (``h1``); LabError when the lab has none."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"lab {self.name} has no host {name}")

    @property
    def management_bridge(self) -> str:
        return f"{self.prefix}m"

    @property
    def tunnel_bridge(self) -> str:
        return f"{self.prefix}t"

    @property
    def external_bridge(self) -> str:
        return f"{self.prefix}x"

    @property
    def management_address(self) -> str:
        """The outer machine's address in the management network."""
        return f"10.99.{self.index}.1"

    @property
    def nb(self) -> str:
        return f"{'ssl' if self.tls else 'tcp'}:{self.management_address}:6641"

    @property
    def sb(self) -> str:
        return f"{'ssl' if self.tls else 'tcp'}:{self.management_address}:6642"

    @property
    def nb_options(self) -> tuple[str, ...]:
        """What ``ovn-nbctl`` needs to reach the northbound database over the network."""
        return (f"--db={self.nb}", *self._tls_options)

    @property
    def sb_options(self) -> tuple[str, ...]:
        """What ``ovn-sbctl`` needs to reach the southbound database, only to read with TLS."""
        return (f"--db={self.sb}", *self._tls_options)

    @property
    def _tls_options(self) -> tuple[str, ...]:
        if not self.tls:
            return ()
        files = f"{self.run}/pki/workers/worker/ovn"
        return (
            f"--private-key={files}/key.pem",
            f"--certificate={files}/cert.pem",
            f"--ca-cert={files}/ca.pem",
        )

    @property
    def segments(self) -> tuple[SegmentPlan, ...]:
        """The ranges of the external network: two of IPv4 and one of IPv6, on one wire."""
        # Of the shared address space (RFC 6598): the documentation ranges look unused, but a
        # machine that lives in a simulated network may well have its package mirror there.
        prefix = f"100.{64 + self.index}"
        return (
            SegmentPlan(
                "office", f"{prefix}.0.0/24", f"{prefix}.0.1", vnc_address=f"{prefix}.0.254"
            ),
            SegmentPlan(
                "partners", f"{prefix}.1.0/24", f"{prefix}.1.1", destinations=("192.0.2.0/24",)
            ),
            SegmentPlan(
                "office6",
                f"2001:db8:{113 + self.index}::/64",
                f"2001:db8:{113 + self.index}::1",
            ),
        )

    @property
    def marker(self) -> str:
        """Environment entry that every process of the lab carries: how leftovers are found."""
        return f"SCLOUD_LAB={self.name}"


def lab_named(
    name: str = "demo",
    index: int | None = None,
    host_count: int | None = None,
    ceph: bool | None = None,
) -> Lab:
    """The lab called ``name``; what is not given comes from its last ``up`` or the defaults.

    LabError when the name is new and no index is known for it.
    """
    saved = state_root() / "labs" / name / "lab.env"
    known: dict[str, int] = {}
    if saved.exists():
        for line in saved.read_text().splitlines():
            key, _, value = line.partition("=")
            known[key] = int(value)
    if index is None:
        index = known.get("index", KNOWN_INDEXES.get(name))
    if index is None:
        raise LabError(f"lab {name} is new: give its --index (1 to {MAX_INDEX})")
    if ceph is None:
        ceph = bool(known.get("ceph", 0))
    return Lab(name, index, host_count or known.get("hosts", 2), ceph)
