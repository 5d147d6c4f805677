"""Fetching a file from a URL that a tenant gave, without becoming the tenant's arm.

Every address that a name resolves to is judged before a connection is made, and the connection is
made to the address that was judged: a name that answers differently the second time gains
nothing. The same holds for each redirection.
"""

from __future__ import annotations

import http.client
import io
import math
import os
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import SplitResult, urlsplit

from django.utils.translation import gettext

from scloud.lib.destinations import Destinations
from scloud.lib.errors import HostError, InvalidInput, ScloudError

MAX_REDIRECTS = 5
CHUNK_BYTES = 1024 * 1024
# From the look-up of the name to the end of the headers, for each address; and without a byte.
ANSWER_S = 30.0
READ_TIMEOUT_S = 30.0
# A download that brings less than its minimum over so many seconds has stalled.
WINDOW_S = 60.0
# One that brings less lets others have a turn after each window, where it can be gone on with.
SLOW_BYTES_PER_S = 256 * 1024


@dataclass(frozen=True)
class Fetched:
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
    url: str, destinations: Destinations, end: float, partial: Partial | None
) -> tuple[http.client.HTTPResponse, _Connection]:
    parts = urlsplit(destinations.check_url(url))
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    last: Exception | None = None
    for address in destinations.resolve(parts.hostname or "", port):
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
                gettext("The certificate of %(hostname)s is not valid: %(verify_message)s.")
                % {"hostname": parts.hostname, "verify_message": error.verify_message},
                code="certificate_invalid",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            connection.hang_up()
            last = error
    raise HostError(
        gettext("%(hostname)s did not respond.") % {"hostname": parts.hostname},
        code="download_failed",
        detail=type(last).__name__,
    ) from last


def fetch(
    url: str,
    target: Path,
    *,
    max_bytes: int,
    destinations: Destinations,
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
    none. Raises InvalidInput (``url_invalid``, ``url_port``, ``address_refused``,
    ``download_too_large``), ScloudError for an answer that is no file, HostError (retryable) for
    what may pass.
    """
    end = math.inf if deadline_s is None else time.monotonic() + deadline_s
    place = url
    for _ in range(MAX_REDIRECTS + 1):
        response, connection = _open(place, destinations, end, partial)
        try:
            if response.status in (301, 302, 303, 307, 308):
                place = _next(place, response, destinations)
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
            raise HostError(gettext("The download stalled."), code="download_stalled") from error
        except (OSError, http.client.HTTPException) as error:
            target.unlink(missing_ok=True)
            raise HostError(
                gettext("The download was interrupted."), code="download_failed"
            ) from error
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        finally:
            response.close()
            connection.hang_up()
    raise ScloudError(gettext("Too many redirects."), code="too_many_redirects")


def _next(place: str, response: http.client.HTTPResponse, destinations: Destinations) -> str:
    location = response.getheader("Location")
    if not location:
        _refuse_status(response.status)
    return destinations.redirect(place, location)


def _refuse_status(status: int) -> NoReturn:
    message = gettext("The server responded with status %(status)s.") % {"status": status}
    if status >= 500 or status == 429:
        raise HostError(message, code="download_failed")
    raise ScloudError(message, code="download_refused", remedy=gettext("Check the URL."))


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
    total = int(length) if length is not None and length.isascii() and length.isdigit() else None
    done, told = 0, 0.0
    if partial is None:
        # Nobody else may have prepared a link at this place.
        target.unlink(missing_ok=True)
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    else:
        done = partial.done_bytes
        if not (response.getheader("Content-Range") or "").startswith(f"bytes {done}-"):
            raise HostError(gettext("The download was interrupted."), code="download_failed")
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
                    raise HostError(gettext("The download is too slow."), code="download_stalled")
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
        raise HostError(gettext("The download was interrupted."), code="download_failed")
    return Fetched(done)


def _validator(response: http.client.HTTPResponse) -> str:
    """Return what names this version of the file, if its server can send the rest of it later."""
    tag = response.getheader("ETag") or ""
    ranges = response.status == 206 or response.getheader("Accept-Ranges") == "bytes"
    # A weak one says that two versions mean the same, not that their bytes are.
    return tag if ranges and tag.startswith('"') and tag.isascii() and len(tag) <= 200 else ""


def _too_large(max_bytes: int) -> None:
    raise InvalidInput(
        gettext("The file is larger than the %(limit)s GB allowed.")
        % {"limit": max_bytes // 1024**3},
        code="download_too_large",
        field="url",
        numbers={"max_bytes": max_bytes},
    )
