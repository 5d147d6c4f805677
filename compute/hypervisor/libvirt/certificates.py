"""The certificates by which a libvirt daemon is reached, and when they end."""

from __future__ import annotations

import socket
import ssl
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from cryptography import x509

from compute.hypervisor.base import HostCertificate
from compute.hypervisor.libvirt.connection import CONNECT_TIMEOUT_S, DEFAULT_TLS_PORT
from scloud.lib import libvirt_uris as uris

# As libvirt calls them below its pkipath.
AUTHORITY: Final = "cacert.pem"
CERTIFICATE: Final = "clientcert.pem"
KEY: Final = "clientkey.pem"


def of(uri: str) -> tuple[HostCertificate, ...]:
    """Return the certificates of a connection; of one whose files are libvirt's own, none."""
    if uris.problem_of(uri) or not uris.names_certificates(uri):
        return ()
    parts = urlsplit(uri)
    folder = Path(dict(parse_qsl(parts.query))[uris.PKI_PATH])
    found = []
    if (ends_at := _end_of(folder / AUTHORITY)) is not None:
        found.append(HostCertificate("authority", ends_at))
    if (ends_at := _end_of(folder / CERTIFICATE)) is not None:
        found.append(HostCertificate("client", ends_at))
    if (ends_at := _end_of_host(folder, parts.hostname or "", parts.port)) is not None:
        found.append(HostCertificate("host", ends_at))
    return tuple(found)


def _end_of(file: Path) -> datetime | None:
    """Return when the first certificate of a file ends; several are an authority and its heir."""
    try:
        found = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError):
        return None
    return min(one.not_valid_after_utc for one in found)


def _end_of_host(folder: Path, host: str, port: int | None) -> datetime | None:
    try:
        context = ssl.create_default_context(cafile=str(folder / AUTHORITY))
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
        address = (host, port or DEFAULT_TLS_PORT)
        with (
            socket.create_connection(address, timeout=CONNECT_TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            shown = secured.getpeercert(binary_form=True)
    except (OSError, ValueError):  # TLS errors are errors of the system
        return None
    return None if shown is None else x509.load_der_x509_certificate(shown).not_valid_after_utc
