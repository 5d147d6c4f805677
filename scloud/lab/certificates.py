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
    """Have certificates for everybody; return the hosts that have new ones. LabError."""
    pki = Pki(lab.pki)
    try:
        pki.ensure(Holder(Kind.CENTRE, CENTRE, (lab.management_address,), (CENTRE,)))
        pki.ensure(Holder(Kind.WORKER, "worker"))
        pki.ensure(Holder(Kind.GATEWAY, "gateway"))
        renewed = [host for host in lab.hosts if pki.ensure(_holder(host))]
    except (PkiError, OSError, ValueError) as error:
        raise LabError(f"certificates of lab {lab.name}: {error}") from error
    lab.run.mkdir(parents=True, exist_ok=True)
    # The state may be anywhere; URIs take short paths of plain letters.
    point(lab.run / "pki", str(lab.pki))
    return renewed


def _holder(host: HostPlan) -> Holder:
    return Holder(Kind.HOST, host.name, (host.address,), (host.hostname,), system_id=host.hostname)
