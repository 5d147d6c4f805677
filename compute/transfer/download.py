"""Fetching a file from a URL that a tenant gave, without becoming the tenant's arm.

Every address that a name resolves to is judged before a connection is made, and the connection is
made to the address that was judged: a name that answers differently the second time gains
nothing. The same holds for each redirection.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit

from scloud.lib.errors import HostError, InvalidInput, ScloudError

MAX_URL = 1000
MAX_REDIRECTS = 5
CHUNK_BYTES = 1024 * 1024
CONNECT_TIMEOUT_S = 15.0
READ_TIMEOUT_S = 60.0
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class Fetched:
    """A finished download."""

    size_bytes: int
    sha256: str


def check_url(url: str, *, field: str = "url") -> str:
    """Return the URL; InvalidInput unless it is a plain http or https one without credentials."""
    cleaned = url.strip()
    try:
        parts = urlsplit(cleaned)
        port = parts.port
    except ValueError as error:
        raise InvalidInput("This is not a URL.", code="url_invalid", field=field) from error
    if (
        len(cleaned) > MAX_URL
        or not cleaned.isascii()
        or not cleaned.isprintable()
        or " " in cleaned
        or parts.scheme not in ("http", "https")
        or not parts.hostname
        or port == 0
    ):
        raise InvalidInput(
            "Give an http or https URL.",
            code="url_invalid",
            field=field,
            remedy="Such as https://example.org/image.qcow2.",
        )
    if parts.username is not None or parts.password is not None:
        raise InvalidInput(
            "The URL must not hold a user name or password.", code="url_credentials", field=field
        )
    return cleaned


def is_allowed(address: Address, allowed: Sequence[str]) -> bool:
    """Tell whether the platform may connect to an address: a public one, or one of ``allowed``.

    ``allowed`` are networks such as ``192.0.2.0/24`` that an administrator named. Addresses that
    carry another one inside are judged by that one too.
    """
    networks = [ipaddress.ip_network(one, strict=False) for one in allowed]
    if any(address.version == net.version and address in net for net in networks):
        return True
    inner: Address | None = None
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address.teredo is not None:
            inner = address.teredo[1]
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if inner is not None:
        return is_allowed(inner, allowed)
    return address.is_global and not address.is_multicast and not address.is_reserved


def resolve(host: str, port: int, allowed: Sequence[str]) -> list[str]:
    """Return the addresses of a host; InvalidInput (``address_refused``) if one is not allowed.

    All of them must be: a name that mixes a public with a private address is up to something.
    Raises HostError when the name cannot be resolved.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise HostError(f"{host} cannot be resolved.", code="name_not_resolved") from error
    addresses = list(dict.fromkeys(str(entry[4][0]).split("%", 1)[0] for entry in found))
    for text in addresses:
        if not is_allowed(ipaddress.ip_address(text), allowed):
            raise InvalidInput(
                f"{host} is not a public address.",
                code="address_refused",
                field="url",
                remedy="Use a public address, or ask the operators to allow this one.",
            )
    return addresses


class _Connection(http.client.HTTPConnection):
    """Connects to the address that was judged, and speaks to the host by its name."""

    def __init__(self, parts: SplitResult, address: str, tls: ssl.SSLContext | None) -> None:
        port = parts.port or (443 if tls else 80)
        super().__init__(parts.hostname or "", port, timeout=CONNECT_TIMEOUT_S)
        self._address = address
        self._tls = tls

    def connect(self) -> None:
        raw = socket.create_connection((self._address, self.port), CONNECT_TIMEOUT_S)
        raw.settimeout(READ_TIMEOUT_S)
        try:
            self.sock = self._tls.wrap_socket(raw, server_hostname=self.host) if self._tls else raw
        except BaseException:
            raw.close()
            raise


def _open(url: str, allowed: Sequence[str]) -> tuple[http.client.HTTPResponse, _Connection]:
    parts = urlsplit(check_url(url))
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    last: Exception | None = None
    for address in resolve(parts.hostname or "", port, allowed):
        connection = _Connection(parts, address, tls)
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(
                "GET", path, headers={"User-Agent": "SCloud", "Accept-Encoding": "identity"}
            )
            return connection.getresponse(), connection
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise ScloudError(
                f"The certificate of {parts.hostname} is not valid: {error.verify_message}.",
                code="certificate_invalid",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            last = error
    raise HostError(
        f"{parts.hostname} does not answer ({type(last).__name__}).", code="download_failed"
    ) from last


def fetch(
    url: str,
    target: Path,
    *,
    max_bytes: int,
    allowed: Sequence[str] = (),
    deadline_s: float = 7200.0,
    report: Callable[[int, int | None], None] = lambda done, total: None,
) -> Fetched:
    """Download ``url`` into the new file ``target``; ``report`` gets bytes done and the total.

    A file that is there is overwritten; after an error there is none. Raises InvalidInput
    (``url_invalid``, ``address_refused``, ``download_too_large``), ScloudError for an answer that
    is no file, HostError (retryable) for what may pass.
    """
    end = time.monotonic() + deadline_s
    place = url
    for _ in range(MAX_REDIRECTS + 1):
        response, connection = _open(place, allowed)
        try:
            if response.status in (301, 302, 303, 307, 308):
                place = urljoin(place, response.getheader("Location") or "")
                continue
            if response.status != 200:
                _refuse_status(response.status)
            return _save(response, target, max_bytes=max_bytes, end=end, report=report)
        except (OSError, http.client.HTTPException) as error:
            target.unlink(missing_ok=True)
            raise HostError("The download broke off.", code="download_failed") from error
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        finally:
            response.close()
            connection.close()
    raise ScloudError("The URL redirects too often.", code="too_many_redirects")


def _refuse_status(status: int) -> None:
    message = f"The server answered {status}."
    if status >= 500 or status == 429:
        raise HostError(message, code="download_failed")
    raise ScloudError(message, code="download_refused", remedy="Check the URL.")


def _save(
    response: http.client.HTTPResponse,
    target: Path,
    *,
    max_bytes: int,
    end: float,
    report: Callable[[int, int | None], None],
) -> Fetched:
    length = response.getheader("Content-Length")
    total = int(length) if length is not None and length.isdigit() else None
    if total is not None and total > max_bytes:
        _too_large(max_bytes)
    digest, done, told = hashlib.sha256(), 0, 0.0
    # Nobody else may have prepared a link at this place.
    target.unlink(missing_ok=True)
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        while chunk := response.read(CHUNK_BYTES):
            done += len(chunk)
            if done > max_bytes:
                _too_large(max_bytes)
            if time.monotonic() > end:
                raise HostError("The download took too long.", code="download_failed")
            digest.update(chunk)
            file.write(chunk)
            if time.monotonic() - told > 1.0:
                told = time.monotonic()
                report(done, total)
        file.flush()
        os.fsync(file.fileno())
    if total is not None and done != total:
        raise HostError("The download broke off.", code="download_failed")
    return Fetched(done, digest.hexdigest())


def _too_large(max_bytes: int) -> None:
    raise InvalidInput(
        f"The file is larger than the {max_bytes // 1024**3} GB allowed.",
        code="download_too_large",
        field="url",
        numbers={"max_bytes": max_bytes},
    )
