"""This machine's certificates for OVN's databases, where their addresses begin with ``ssl:``.

The library keeps one set for a whole process, so there is one here too: it serves every region.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from ovs.stream import Stream

SCHEME: Final = "ssl:"
_KEY: Final = "key.pem"
_CERTIFICATE: Final = "cert.pem"
_AUTHORITY: Final = "ca.pem"
_directory: Path | None = None


def use_certificates(directory: Path) -> None:
    """Take ``key.pem``, ``cert.pem`` and ``ca.pem`` of a directory. Reads nothing yet.

    They are read at each new connection, so that renewed ones count by themselves.
    """
    global _directory
    _directory = directory
    Stream.ssl_set_private_key_file(str(directory / _KEY))
    Stream.ssl_set_certificate_file(str(directory / _CERTIFICATE))
    Stream.ssl_set_ca_cert_file(str(directory / _AUTHORITY))


def context() -> ssl.SSLContext:
    """Return what verifies a database by its address. ValueError without certificates."""
    if _directory is None:
        raise ValueError("this process was given no certificates")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_verify_locations(_directory / _AUTHORITY)
    made.load_cert_chain(_directory / _CERTIFICATE, _directory / _KEY)
    return made


def options(address: str) -> list[str]:
    """Return what OVN's own programs need beside ``--db`` to reach an address."""
    if _directory is None or SCHEME not in address:
        return []
    return [
        f"--private-key={_directory / _KEY}",
        f"--certificate={_directory / _CERTIFICATE}",
        f"--ca-cert={_directory / _AUTHORITY}",
    ]
