"""The certificates of a region in a box: its own authorities, renewed by ``up`` before they end."""

from __future__ import annotations

from pathlib import Path

from scloud.lab.plan import HostPlan, Lab, LabError, project_root
from scloud.pki import Holder, Kind, Pki, PkiError
from scloud.pki.store import point

#: What belongs on every host, in a lab or elsewhere.
INSTALL = project_root() / "compute/hypervisor/libvirt/install-certificates.sh"
CENTRE = "centre"


def of_host(host: HostPlan) -> Path:
    """The directory with a host's certificates, as it is installed."""
    return Pki(host.lab.pki).directory(Kind.HOST, host.name)


def of_centre(lab: Lab) -> Path:
    """The directory with the certificates of the OVN databases."""
    return Pki(lab.pki).directory(Kind.CENTRE, CENTRE)


def of_worker(lab: Lab) -> Path:
    """The directory with the certificates of the workers."""
    return Pki(lab.pki).directory(Kind.WORKER, "worker")


def of_gateway(lab: Lab) -> Path:
    """The directory with the certificates of the VNC processes."""
    return Pki(lab.pki).directory(Kind.GATEWAY, "gateway")


def ensure(lab: Lab) -> list[HostPlan]:
    """Have certificates for everybody; return the hosts that lack their own. LabError."""
    pki = Pki(lab.pki)
    try:
        pki.ensure(Holder(Kind.CENTRE, CENTRE, (lab.management_address,), (CENTRE,)))
        pki.ensure(Holder(Kind.WORKER, "worker"))
        pki.ensure(Holder(Kind.GATEWAY, "gateway"))
        # These are used where they are.
        for kind, name in (
            (Kind.CENTRE, CENTRE),
            (Kind.WORKER, "worker"),
            (Kind.GATEWAY, "gateway"),
        ):
            pki.installed(kind, name)
        for host in lab.hosts:
            pki.ensure(_holder(host))
        lacking = [host for host in lab.hosts if not pki.is_installed(Kind.HOST, host.name)]
    except (PkiError, OSError, ValueError) as error:
        raise LabError(f"certificates of lab {lab.name}: {error}") from error
    lab.run.mkdir(parents=True, exist_ok=True)
    # The state may be anywhere; URIs take short paths of plain letters.
    point(lab.run / "pki", str(lab.pki))
    return lacking


def installed(host: HostPlan) -> None:
    """Note that a host has its present files."""
    Pki(host.lab.pki).installed(Kind.HOST, host.name)


def _holder(host: HostPlan) -> Holder:
    return Holder(Kind.HOST, host.name, (host.address,), (host.hostname,), system_id=host.hostname)
