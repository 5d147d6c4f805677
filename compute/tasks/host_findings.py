"""What a connection test says of what was seen of a host. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from compute.hypervisor.base import HostCapacity, HostCertificate, HostCpu
from compute.states.hosts import FindingLevel

OK, WARNING, ERROR = FindingLevel.OK, FindingLevel.WARNING, FindingLevel.ERROR

LONGEST: Final = 300
MOST_NAMES: Final = 10
_CERTIFICATES: Final = {
    "authority": gettext_lazy("The certificate of the authority ends on %(date)s."),
    "client": gettext_lazy("The certificate of the worker ends on %(date)s."),
    "host": gettext_lazy("The certificate of the host ends on %(date)s."),
}
#: Sooner than this a certificate should have been renewed.
ENDS_SOON: Final = timedelta(days=30)
#: A clock that differs by more is wrong; what is compared is up to two seconds old.
CLOCK_S: Final = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: what is so, and what to do where it is not as it should be."""

    code: str
    level: FindingLevel
    words: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return plain values of bounded length, without what no page can show."""
        return {
            "code": self.code,
            "level": str(self.level.value),
            "words": plain(self.words),
            "remedy": plain(self.remedy),
        }


@dataclass(frozen=True, slots=True)
class Peer:
    """Another host of the cluster; ``cpu`` is None where it was not asked or did not answer."""

    name: str
    version: str = ""
    cpu: HostCpu | None = None


@dataclass(frozen=True, slots=True)
class Beat:
    """What a host wrote to a pool: whether it changed while it was looked at.

    ``ahead_s`` is how many seconds the clock of the host is before the worker's; None where it does
    not say.
    """

    fresh: bool
    ahead_s: float | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a host. ``error`` says why it did not answer; then much is missing.

    ``same_name`` names another host with its host name. ``chassis_error`` is set where chassis
    could not be asked; ``chassis`` says of those with its host name whether each has answered.
    ``pools`` maps the region's pools to why a worker cannot use them (empty: it can), ``beats``
    those in which the host leaves its heartbeat.
    """

    now: datetime
    architecture: str
    reserved_memory_mib: int
    encrypted: bool
    error: str = ""
    capacity: HostCapacity | None = None
    cpu: HostCpu | None = None
    same_name: str = ""
    peers: tuple[Peer, ...] = ()
    certificates: tuple[HostCertificate, ...] = ()
    pools: Mapping[str, str] = field(default_factory=dict)
    beats: Mapping[str, Beat] = field(default_factory=dict)
    has_chassis: bool = True
    chassis_error: str = ""
    chassis: tuple[bool, ...] = ()


def version_of(capacity: HostCapacity) -> str:
    """Return the versions of QEMU and libvirt as hosts are shown with them."""
    return f"{capacity.hypervisor_version} / libvirt {capacity.libvirt_version}"


def plain(text: str) -> str:
    """A text of bounded length without control characters: some of it is a host's own."""
    return "".join(one for one in text[: 4 * LONGEST] if one.isprintable())[:LONGEST]


def findings_of(seen: Seen) -> list[Finding]:
    """Return the findings, in the order in which they are shown."""
    capacity = seen.capacity
    found: list[Finding] = []
    if capacity is None:
        found.append(
            Finding(
                "reachable",
                ERROR,
                _("The host does not answer: %(reason)s") % {"reason": seen.error},
                _("Check the URI, libvirt on the host, its firewall and the certificates."),
            )
        )
    else:
        found.append(Finding("reachable", OK, _("libvirt answers.")))
        found.extend(_of_machine(seen, capacity))
        found.extend(_of_peers(seen, capacity))
        found.append(_chassis(seen, capacity))
    found.extend(_pools(seen))
    if capacity is not None:
        found.extend(_heartbeat(seen))
    found.extend(_certificates(seen))
    return found


def _of_machine(seen: Seen, capacity: HostCapacity) -> Iterator[Finding]:
    name = capacity.hostname
    if seen.same_name:
        yield Finding(
            "hostname",
            ERROR,
            _("It calls itself %(name)s, as %(other)s does.")
            % {"name": name, "other": seen.same_name},
            _("Give each host a name of its own, or correct the URI: it may be the same host."),
        )
    else:
        yield Finding("hostname", OK, _("It calls itself %(name)s.") % {"name": name})
    if capacity.arch != seen.architecture:
        yield Finding(
            "architecture",
            ERROR,
            _("It is of architecture %(arch)s, the cluster of %(wanted)s.")
            % {"arch": capacity.arch, "wanted": seen.architecture},
            _("Put the host into a cluster of its architecture."),
        )
    if capacity.accelerated:
        yield Finding("acceleration", OK, _("VMs run on KVM."))
    else:
        yield Finding(
            "acceleration",
            WARNING,
            _("KVM is not available: VMs are emulated (TCG) and slow."),
            _("Turn virtualization on in the firmware, and load the module kvm_intel or kvm_amd."),
        )
    numbers = {
        "vcpus": capacity.vcpus,
        "memory": f"{capacity.memory_mib / 1024:.1f}",
        "free": f"{capacity.free_memory_mib / 1024:.1f}",
        "reserved": f"{seen.reserved_memory_mib / 1024:.1f}",
    }
    words = _(
        "%(vcpus)d CPUs, %(memory)s GB of memory (%(free)s GB free), %(reserved)s GB reserved."
    )
    if capacity.memory_mib > seen.reserved_memory_mib:
        yield Finding("capacity", OK, words % numbers)
    else:
        yield Finding("capacity", ERROR, words % numbers, _("Lower the reserved memory."))


def _of_peers(seen: Seen, capacity: HostCapacity) -> Iterator[Finding]:
    version = version_of(capacity)
    others = [one for one in seen.peers if one.version and one.version != version]
    if others:
        yield Finding(
            "versions",
            WARNING,
            _("QEMU %(version)s. Others have another version: %(names)s.")
            % {"version": version, "names": _names(others)},
            _("Install the same versions: VMs cannot move to a host with an older QEMU."),
        )
    else:
        yield Finding("versions", OK, _("QEMU %(version)s.") % {"version": version})
    if seen.cpu is None or not seen.cpu.model:
        yield Finding(
            "cpu",
            WARNING,
            _("libvirt does not name the CPU model."),
            _("Compare it with the other hosts of the cluster yourself."),
        )
        return
    different = [one for one in seen.peers if one.cpu is not None and one.cpu != seen.cpu]
    if different:
        yield Finding(
            "cpu",
            WARNING,
            _("CPU model %(model)s. Others have another CPU: %(names)s.")
            % {"model": seen.cpu.model, "names": _names(different)},
            _("VMs may not move between them without a stop. Use a cluster per CPU model."),
        )
        return
    asked = sum(one.cpu is not None for one in seen.peers)
    words = ngettext(
        "CPU model %(model)s, as %(count)d other host of the cluster that was asked.",
        "CPU model %(model)s, as %(count)d other hosts of the cluster that were asked.",
        asked,
    )
    if not asked:
        words = _("CPU model %(model)s. No other host of the cluster was asked.")
    yield Finding("cpu", OK, words % {"model": seen.cpu.model, "count": asked})


def _names(peers: list[Peer]) -> str:
    names = [
        one.name if one.cpu is None else f"{one.name} ({one.cpu.model})"
        for one in peers[:MOST_NAMES]
    ]
    return ", ".join([*names, "…"] if len(peers) > MOST_NAMES else names)


def _chassis(seen: Seen, capacity: HostCapacity) -> Finding:
    code, named = "chassis", {"name": capacity.hostname}
    if not seen.has_chassis:
        return Finding(
            code,
            WARNING,
            _("OVN chassis were not asked: the region has not both OVN databases set."),
            _("Enter them on the page of the region."),
        )
    if seen.chassis_error:
        return Finding(
            code,
            WARNING,
            _("OVN does not answer: %(reason)s") % {"reason": seen.chassis_error},
            _("Check the OVN databases of the region, and test again."),
        )
    if not seen.chassis:
        return Finding(
            code,
            ERROR,
            _("OVN knows no chassis with the host name %(name)s.") % named,
            _("Start ovn-controller on the host, and set external-ids of Open vSwitch."),
        )
    if len(seen.chassis) > 1:
        return Finding(
            code,
            ERROR,
            _("OVN knows several chassis with the host name %(name)s.") % named,
            _("Remove the ones that are gone with ovn-sbctl chassis-del."),
        )
    if not seen.chassis[0]:
        return Finding(
            code,
            ERROR,
            _("The chassis of %(name)s does not answer.") % named,
            _("Check ovn-controller on the host and its connection to the southbound database."),
        )
    return Finding(code, OK, _("The chassis of %(name)s answers.") % named)


def _pools(seen: Seen) -> Iterator[Finding]:
    broken = {name: reason for name, reason in seen.pools.items() if reason}
    if broken:
        name, reason = next(iter(broken.items()))
        yield Finding(
            "pools",
            WARNING,
            _("%(broken)d of %(count)d storage pools cannot be used: %(name)s: %(reason)s")
            % {"broken": len(broken), "count": len(seen.pools), "name": name, "reason": reason},
            _("See the page of the storage pool."),
        )
    elif seen.pools:
        names = ", ".join([*list(seen.pools)[:MOST_NAMES]])
        yield Finding(
            "pools", OK, _("Workers reach the storage pools: %(names)s.") % {"names": names}
        )
    else:
        yield Finding(
            "pools",
            WARNING,
            _("The region has no storage pool."),
            _("Add a storage pool before VMs are made."),
        )


def _heartbeat(seen: Seen) -> Iterator[Finding]:
    fresh = [name for name, beat in seen.beats.items() if beat.fresh]
    if not fresh:
        words = (
            _("Its heartbeat does not change: %(names)s.") % {"names": ", ".join(seen.beats)}
            if seen.beats
            else _("It leaves no heartbeat in a storage pool of its region.")
        )
        yield Finding(
            "heartbeat",
            WARNING,
            words + " " + _("Whether it has the storage mounted is not known."),
            _("Mount the storage on the host, and run heartbeat.sh there with the pool's path."),
        )
    else:
        yield Finding(
            "heartbeat",
            OK,
            _("It leaves its heartbeat in: %(names)s.") % {"names": ", ".join(fresh)},
        )
    clocks = [
        beat.ahead_s for beat in seen.beats.values() if beat.fresh and beat.ahead_s is not None
    ]
    if not clocks:
        yield Finding(
            "clock",
            WARNING,
            _("Its clock cannot be compared: the heartbeat tells the time."),
            _("Run the heartbeat, or check time synchronization on the host yourself."),
        )
        return
    ahead_s = min(clocks, key=abs)
    if abs(ahead_s) > CLOCK_S:
        yield Finding(
            "clock",
            WARNING,
            _("Its clock differs from the worker's by %(seconds)d s.")
            % {"seconds": round(ahead_s)},
            _("Turn time synchronization on, on the host and on the machines of the platform."),
        )
    else:
        yield Finding("clock", OK, _("Its clock agrees with the worker's."))


def _certificates(seen: Seen) -> Iterator[Finding]:
    if not seen.encrypted:
        yield Finding(
            "encryption",
            WARNING,
            _("The connection to libvirt does not use certificates of the platform."),
            _("Issue certificates and use qemu+tls:// with pkipath (operations guide)."),
        )
        return
    for one in seen.certificates:
        words = str(_CERTIFICATES[one.holder]) % {"date": f"{one.ends_at:%Y-%m-%d}"}
        left = one.ends_at - seen.now
        if left <= timedelta():
            yield Finding("certificates", ERROR, words, _("Renew it with manage.py pki."))
        elif left < ENDS_SOON:
            yield Finding("certificates", WARNING, words, _("Renew it with manage.py pki."))
        else:
            yield Finding("certificates", OK, words)
    missing = {"authority", "client"} - {one.holder for one in seen.certificates}
    if missing:
        yield Finding(
            "certificates",
            ERROR,
            _("The worker has no certificate, or no authority, in the directory of the URI."),
            _("Install the worker's certificates there, or correct pkipath in the URI."),
        )
    elif seen.capacity is not None and not any(c.holder == "host" for c in seen.certificates):
        yield Finding(
            "certificates",
            WARNING,
            _("When the host's certificate ends could not be read."),
            _("See manage.py pki list."),
        )
