"""Where the platform may connect to when a tenant names the place: image URLs, later webhooks.

A tenant must not reach through the platform what it cannot reach itself. So every address that a
name resolves to is judged before a connection is made, and the caller connects to the judged
address. The list of networks is our own: what the standard library calls global changes with its
version, and leaves out the platform's own addresses.
"""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from django.conf import settings
from django.utils.translation import gettext as _

from scloud.lib.errors import HostError, InvalidInput

MAX_URL = 1000
RESOLVE_S = 15.0
DEFAULT_PORTS = {"http": 80, "https": 443}
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FORBIDDEN_V4 = tuple(
    ipaddress.IPv4Network(one)
    for one in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # between a carrier and its NAT; metadata of some clouds
        "127.0.0.0/8",  # this machine
        "168.63.129.16/32",  # a cloud's metadata behind a public address
        "169.254.0.0/16",  # link; metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; metadata of some clouds
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
# What carries an IPv4 address inside and is judged by that one.
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
# Only this is given to networks of the internet. It leaves out private (fc00::/7), link (fe80::/10)
# and site-local (fec0::/10) addresses, multicast, and translation prefixes for local use
# (64:ff9b:1::/48).
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
FORBIDDEN_V6 = tuple(
    ipaddress.IPv6Network(one)
    for one in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the internet at large.

    An address that carries an IPv4 address inside (mapped, 6to4, NAT64) is judged by that one.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in FORBIDDEN_V4)
    inner = carried(address)
    if inner is not None:
        return is_public(inner)
    return address in _GLOBAL_V6 and not any(address in network for network in FORBIDDEN_V6)


def carried(address: Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that packets to an IPv6 address end at, if it carries one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _MAPPED or address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address in _SIX_TO_FOUR:
            return ipaddress.IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    return None


def is_of_this_machine(address: Address) -> bool:
    """Whether this machine itself has the address, which may be a public one."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            # Sends nothing; the kernel chooses the address from which it would send.
            probe.connect((str(address), 9))
            return ipaddress.ip_address(probe.getsockname()[0]) == address
    except OSError:
        return False


@dataclass(frozen=True)
class Destinations:
    """What a tenant's URL may lead to.

    ``platform`` are the platform's own networks: never reached, whatever else is said. ``allowed``
    are networks that an operator opened besides the public ones. ``ports`` are those of the URL.
    ``resolve_s`` is for how long the look-up of a name may take, in seconds; ``RESOLVE_S`` if None.
    """

    allowed: tuple[Network, ...] = ()
    platform: tuple[Network, ...] = ()
    ports: frozenset[int] = frozenset(DEFAULT_PORTS.values())
    resolve_s: float | None = None

    def permits(self, address: Address) -> bool:
        """Whether the platform may connect to the address."""
        inner = carried(address)
        if inner is not None:
            return self.permits(inner)
        if _within(address, self.platform):
            return False
        if _within(address, self.allowed):
            return True
        return is_public(address) and not is_of_this_machine(address)

    def check_url(self, url: str, *, field: str = "url") -> str:
        """Return the URL without white space around it.

        Raises InvalidInput: ``url_invalid`` unless it is a plain http or https one,
        ``url_credentials``, ``url_port``.
        """
        cleaned = url.strip()
        try:
            parts = urlsplit(cleaned)
            port = parts.port
        except ValueError as error:
            raise InvalidInput(_("This is not a URL."), code="url_invalid", field=field) from error
        if (
            len(cleaned) > MAX_URL
            or not cleaned.isascii()
            or not cleaned.isprintable()
            or " " in cleaned
            or parts.scheme not in DEFAULT_PORTS
            or not parts.hostname
            or "%" in parts.hostname
            or port == 0
        ):
            raise InvalidInput(
                _("Enter an http or https URL."),
                code="url_invalid",
                field=field,
                remedy=_("Such as https://example.org/image.qcow2."),
            )
        if parts.username is not None or parts.password is not None:
            raise InvalidInput(
                _("The URL must not contain a user name or password."),
                code="url_credentials",
                field=field,
            )
        number = port or DEFAULT_PORTS[parts.scheme]
        if number not in self.ports:
            ports = ", ".join(str(one) for one in sorted(self.ports))
            raise InvalidInput(
                _("Port %(port)d is not allowed in a URL.") % {"port": number},
                code="url_port",
                field=field,
                remedy=_("Use one of the ports %(ports)s.") % {"ports": ports},
                numbers={"port": number, "allowed": sorted(self.ports)},
            )
        return cleaned

    def redirect(self, url: str, location: str, *, field: str = "url") -> str:
        """Return where a ``Location`` header leads, as :meth:`check_url` does.

        ``location`` as http.client gives it: one character per byte. Spaces and bytes outside of
        ASCII are percent-encoded, as browsers do it.
        """
        try:
            target = urljoin(url, encoded(location))
        except ValueError as error:
            raise InvalidInput(_("This is not a URL."), code="url_invalid", field=field) from error
        return self.check_url(target, field=field)

    def resolve(self, host: str, port: int, *, field: str = "url") -> list[str]:
        """Return the addresses of a host; InvalidInput (``address_refused``) if one may not be.

        All of them must be permitted: a name that mixes public with private addresses is meant to
        deceive. Raises HostError (``name_not_resolved``).
        """
        found = _look_up(host, port, self.resolve_s or RESOLVE_S)
        addresses = list(dict.fromkeys(str(entry[4][0]).split("%", 1)[0] for entry in found))
        for text in addresses:
            if not self.permits(ipaddress.ip_address(text)):
                raise InvalidInput(
                    _("%(host)s is not a public address.") % {"host": host},
                    code="address_refused",
                    field=field,
                    remedy=_("Use a public address, or ask the operators to allow this one."),
                )
        return addresses


def _look_up(host: str, port: int, limit_s: float) -> list[Any]:
    """Ask the resolver, which has no limit of its own, for at most ``limit_s`` seconds."""
    answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=limit_s)
    except queue.Empty:
        answer = TimeoutError("no answer")
    if isinstance(answer, Exception):
        raise HostError(
            _("%(host)s cannot be resolved.") % {"host": host}, code="name_not_resolved"
        ) from answer
    return answer


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == net.version and address in net for net in networks)


def encoded(location: str) -> str:
    """Return a header's URL, one character per byte, with only characters that a URL may have."""
    raw = location.strip().encode("latin-1", "replace")
    try:
        parts = urlsplit(raw.decode("utf-8"))
        if not parts.netloc.isascii():
            host = parts.netloc.encode("idna").decode("ascii")
            raw = urlunsplit(parts._replace(netloc=host)).encode("utf-8")
    except (UnicodeError, ValueError):
        pass  # Not what it seems to be; check_url says so.
    return quote(raw, safe="%!#$&'()*+,/:;=?@[]~")


_providers: list[Callable[[], Iterable[str]]] = []


def register_platform_addresses(provider: Callable[[], Iterable[str]]) -> None:
    """Add a function that returns addresses of the platform's own machines."""
    _providers.append(provider)


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return networks such as ``192.0.2.0/24``, or single addresses, from their texts."""
    return tuple(ipaddress.ip_network(one.strip(), strict=False) for one in texts if one.strip())


def _literals(hosts: Sequence[str]) -> list[str]:
    """Return those of the hosts that are addresses, without the unspecified ones."""
    found = []
    for host in hosts:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            continue
        if not address.is_unspecified and not address.is_loopback:
            found.append(str(address))
    return found


def configured() -> Destinations:
    """Return what the settings and the registered machines of the platform say."""
    own = [
        *settings.SCLOUD_PLATFORM_NETWORKS,
        *_literals([str(settings.DATABASES["default"].get("HOST") or "")]),
        *_literals([settings.SCLOUD_VNC_GATEWAY_ADDRESS]),
        *_literals([address for provider in _providers for address in provider()]),
    ]
    return Destinations(
        allowed=networks(settings.SCLOUD_IMPORT_ALLOWED_NETWORKS),
        platform=networks(own),
        ports=frozenset(int(port) for port in settings.SCLOUD_IMPORT_PORTS),
    )
