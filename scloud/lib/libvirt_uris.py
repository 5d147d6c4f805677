"""Which addresses of libvirt daemons are used: remote ones, with nothing in them that runs.

libvirt takes commands, programs, sockets and key files from the parameters of a URI
(``?command=``, ``netcat=``, ``proxy=``, ``socket=``, ``keyfile=``), and hands user and host to ssh.
Only what is known to be harmless passes. ``pkipath=`` names the directory of the certificates that
a connection by TLS uses.
"""

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

TRANSPORTS: Final = ("tls", "ssh", "tcp")
PATHS: Final = ("/system", "/session")
# Parameter -> the values that it may have.
PARAMETERS: Final = {
    "no_tty": ("1",),
    "mode": ("auto", "direct", "legacy"),
    "known_hosts_verify": ("normal",),
}
PKI_PATH: Final = "pkipath"
_PKI_PATH: Final = re.compile(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+", re.ASCII)
_HOST: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*",
    re.IGNORECASE | re.ASCII,
)
_USER: Final = re.compile(r"[a-z_][a-z0-9_.-]{0,31}", re.IGNORECASE | re.ASCII)
_CHARACTERS: Final = re.compile(r"[A-Za-z0-9._~:/?\[\]@&=+-]+", re.ASCII)


def problem_of(uri: str) -> str:
    """Return why an address of a libvirt daemon is not used; empty when it is."""
    # Nothing is escaped in a good one, so two readers of the text cannot differ about it.
    if _CHARACTERS.fullmatch(uri) is None:
        return "It has characters that no address of a host needs."
    try:
        parts = urlsplit(uri)
        port, host = parts.port, parts.hostname
    except ValueError:
        return "It is not a URI."
    driver, _, transport = parts.scheme.partition("+")
    if driver != "qemu" or transport not in TRANSPORTS:
        return "It must begin with qemu+tls://, qemu+ssh:// or qemu+tcp://."
    if host is None or not (_HOST.fullmatch(host) or _is_address(host)):
        return "It needs the name or address of a host."
    if port == 0:
        return "The port must be from 1 to 65535."
    if parts.password is not None or (
        parts.username is not None
        and (transport != "ssh" or _USER.fullmatch(parts.username) is None)
    ):
        return "Only qemu+ssh takes a user name, and no address takes a password."
    if parts.path not in PATHS:
        return "The path must be /system or /session."
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == PKI_PATH and transport == "tls":
            if _PKI_PATH.fullmatch(value) is None:
                return "The parameter pkipath must be the absolute path of a directory."
            continue
        if name not in PARAMETERS:
            return f"The parameter {name} is not allowed."
        if value not in PARAMETERS[name]:
            return f"The parameter {name} must be {' or '.join(PARAMETERS[name])}."
    return ""


def names_certificates(uri: str) -> bool:
    """Tell whether an address is reached by TLS with certificates of the platform.

    Addresses of ``qemu+tls`` without ``pkipath`` are older than those: libvirt finds certificates
    by itself then, and nothing is known of QEMU's.
    """
    parts = urlsplit(uri)
    return parts.scheme == "qemu+tls" and PKI_PATH in dict(parse_qsl(parts.query))


def for_other_hosts(uri: str) -> str:
    """Return the address as another host uses it: with certificates of its own, not with ours."""
    parts = urlsplit(uri)
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != PKI_PATH]
    return urlunsplit(parts._replace(query=urlencode(query)))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text
