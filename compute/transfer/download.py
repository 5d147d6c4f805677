"""Fetching a file from a URL that a tenant gave, without becoming the tenant's arm.

Every address that a name resolves to is judged before a connection is made, and the connection is
made to the address that was judged: a name that answers differently the second time gains
nothing. The same holds for each redirection.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import math
import os
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from scloud.lib.errors import HostError, InvalidInput, ScloudError

MAX_URL = 1000
MAX_REDIRECTS = 5
CHUNK_BYTES = 1024 * 1024
# From the look-up of the name to the end of the headers, for each address; and without a byte.
ANSWER_S = 30.0
RESOLVE_S = 15.0
READ_TIMEOUT_S = 30.0
# A download that brings less than its minimum over so many seconds has stalled.
WINDOW_S = 60.0
# One that brings less lets others have a turn after each window, where it can be gone on with.
SLOW_BYTES_PER_S = 256 * 1024
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True)
class Fetched:
    """A finished download."""

    size_bytes: int


@dataclass(frozen=True)
class Partial:
    """The beginning of a file that was fetched, and what its server calls this version of it."""

    done_bytes: int
    validator: str


class Paused(Exception):
    """A slow download stopped after its turn; the file holds what came so far."""

    def __init__(self, partial: Partial) -> None:
        super().__init__(partial.done_bytes)
        self.partial = partial


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
    found = _look_up(host, port)
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


def _look_up(host: str, port: int) -> list[Any]:
    """Ask the resolver, which has no limit of its own, for at most ``RESOLVE_S`` seconds."""
    answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        answer = answers.get(timeout=RESOLVE_S)
    except queue.Empty:
        answer = TimeoutError("no answer")
    if isinstance(answer, Exception):
        raise HostError(f"{host} cannot be resolved.", code="name_not_resolved") from answer
    return answer


class _Reader(io.RawIOBase):
    """What comes in, with a limit on each read that also ends at the socket's deadline."""

    def __init__(self, sock: _Socket) -> None:
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.set_limit()
        return self._sock.raw.recv_into(buffer)


class _Socket:
    """A socket for http.client whose reads together end at a deadline.

    A time-out of a socket is one of each call: a peer that sends a byte a second never meets it.
    """

    def __init__(self, raw: socket.socket, end: float) -> None:
        self.raw = raw
        self.end = end

    def set_limit(self) -> None:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        self.raw.settimeout(min(READ_TIMEOUT_S, left))

    def sendall(self, data: Any) -> None:
        self.set_limit()
        self.raw.sendall(data)

    def makefile(self, mode: str = "rb", *_given: Any, **_names: Any) -> io.BufferedReader:
        """Return the side that http.client reads."""
        if mode != "rb":
            raise ValueError(mode)
        return io.BufferedReader(_Reader(self), 65536)

    def close(self) -> None:
        """Nothing yet: http.client calls it as soon as the headers of a last answer are read."""


class _Connection(http.client.HTTPConnection):
    """Connects to the address that was judged, and speaks to the host by its name."""

    def __init__(
        self, parts: SplitResult, address: str, tls: ssl.SSLContext | None, end: float
    ) -> None:
        port = parts.port or (443 if tls else 80)
        super().__init__(parts.hostname or "", port, timeout=ANSWER_S)
        self._address = address
        self._tls = tls
        self.link: _Socket | None = None
        self._end = end

    def connect(self) -> None:
        left = max(0.001, self._end - time.monotonic())
        raw = socket.create_connection((self._address, self.port), left)
        try:
            # One limit for the whole handshake, whatever number of reads it takes.
            raw.settimeout(max(0.001, self._end - time.monotonic()))
            if self._tls:
                raw = self._tls.wrap_socket(raw, server_hostname=self.host)
        except BaseException:
            raw.close()
            raise
        self.link = _Socket(raw, self._end)
        self.sock = self.link

    def hang_up(self) -> None:
        """Close the socket, whatever of the answer was read."""
        self.close()
        if self.link is not None:
            self.link.raw.close()


def _open(
    url: str, allowed: Sequence[str], end: float, partial: Partial | None
) -> tuple[http.client.HTTPResponse, _Connection]:
    parts = urlsplit(check_url(url))
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    last: Exception | None = None
    for address in resolve(parts.hostname or "", port, allowed):
        # The headers too: they may come a byte at a time.
        connection = _Connection(parts, address, tls, min(end, time.monotonic() + ANSWER_S))
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            headers = {"User-Agent": "SCloud", "Accept-Encoding": "identity"}
            if partial is not None:
                # The rest if it is still the same file, else the whole.
                headers["Range"] = f"bytes={partial.done_bytes}-"
                headers["If-Range"] = partial.validator
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            if connection.link is not None:
                connection.link.end = end
            return response, connection
        except ssl.SSLCertVerificationError as error:
            connection.hang_up()
            raise ScloudError(
                f"The certificate of {parts.hostname} is not valid: {error.verify_message}.",
                code="certificate_invalid",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            connection.hang_up()
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
    deadline_s: float | None = None,
    min_bytes_per_s: int = 0,
    takes_turns: bool = False,
    partial: Partial | None = None,
    report: Callable[[int, int | None], None] = lambda done, total: None,
) -> Fetched:
    """Download ``url`` into the new file ``target``; ``report`` gets bytes done and the total.

    It ends by a stall and not by its duration: when nothing comes for ``READ_TIMEOUT_S`` seconds,
    or less than ``min_bytes_per_s`` over ``WINDOW_S``. ``deadline_s`` bounds the whole where given.

    With ``takes_turns`` a slow one stops after a window with :class:`Paused`, if its server can go
    on later; its ``partial`` is to be given then.

    A file that is there is overwritten, unless it is the ``partial`` one; after an error there is
    none. Raises InvalidInput
    (``url_invalid``, ``address_refused``, ``download_too_large``), ScloudError for an answer that
    is no file, HostError (retryable) for what may pass.
    """
    end = math.inf if deadline_s is None else time.monotonic() + deadline_s
    place = url
    for _ in range(MAX_REDIRECTS + 1):
        response, connection = _open(place, allowed, end, partial)
        try:
            if response.status in (301, 302, 303, 307, 308):
                place = urljoin(place, response.getheader("Location") or "")
                continue
            if response.status != 200 and not (response.status == 206 and partial is not None):
                _refuse_status(response.status)
            return _save(
                response,
                target,
                max_bytes=max_bytes,
                least=min_bytes_per_s,
                turns=takes_turns,
                partial=partial if response.status == 206 else None,
                report=report,
            )
        except Paused:
            raise
        except TimeoutError as error:
            target.unlink(missing_ok=True)
            raise HostError("The download stalled.", code="download_stalled") from error
        except (OSError, http.client.HTTPException) as error:
            target.unlink(missing_ok=True)
            raise HostError("The download broke off.", code="download_failed") from error
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        finally:
            response.close()
            connection.hang_up()
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
    least: int,
    turns: bool,
    partial: Partial | None,
    report: Callable[[int, int | None], None],
) -> Fetched:
    length = response.getheader("Content-Length")
    total = int(length) if length is not None and length.isdigit() else None
    done, told = 0, 0.0
    if partial is None:
        # Nobody else may have prepared a link at this place.
        target.unlink(missing_ok=True)
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    else:
        done = partial.done_bytes
        if not (response.getheader("Content-Range") or "").startswith(f"bytes {done}-"):
            raise HostError("The download broke off.", code="download_failed")
        total = None if total is None else done + total
        handle = os.open(target, os.O_WRONLY | os.O_NOFOLLOW)
    if total is not None and total > max_bytes:
        os.close(handle)
        _too_large(max_bytes)
    validator = _validator(response) if turns else ""
    window_done, window_end = done, time.monotonic() + WINDOW_S
    with os.fdopen(handle, "wb") as file:
        file.truncate(done)
        file.seek(done)
        # What has come is looked at as it comes; a full chunk is not waited for.
        while chunk := response.read1(CHUNK_BYTES):
            done += len(chunk)
            if done > max_bytes:
                _too_large(max_bytes)
            if time.monotonic() > window_end:
                if done - window_done < least * WINDOW_S:
                    raise HostError("The download is too slow.", code="download_stalled")
                slow = done - window_done < SLOW_BYTES_PER_S * WINDOW_S
                if validator and slow:
                    file.write(chunk)
                    raise Paused(Partial(done, validator))
                window_done, window_end = done, time.monotonic() + WINDOW_S
            file.write(chunk)
            if time.monotonic() - told > 1.0:
                told = time.monotonic()
                report(done, total)
        file.flush()
        os.fsync(file.fileno())
    if total is not None and done != total:
        raise HostError("The download broke off.", code="download_failed")
    return Fetched(done)


def _validator(response: http.client.HTTPResponse) -> str:
    """Return what names this version of the file, if its server can send the rest of it later."""
    tag = response.getheader("ETag") or ""
    ranges = response.status == 206 or response.getheader("Accept-Ranges") == "bytes"
    # A weak one says that two versions mean the same, not that their bytes are.
    return tag if ranges and tag.startswith('"') and tag.isascii() and len(tag) <= 200 else ""


def _too_large(max_bytes: int) -> None:
    raise InvalidInput(
        f"The file is larger than the {max_bytes // 1024**3} GB allowed.",
        code="download_too_large",
        field="url",
        numbers={"max_bytes": max_bytes},
    )
