"""Requests to places that tenants name, without becoming the tenant's arm.

Every address that a name resolves to is judged before a connection is made, and the connection is
made to the address that was judged: a name that answers differently the second time gains nothing.
Nothing here follows a redirection.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.utils.translation import gettext

from scloud.lib.destinations import Destinations
from scloud.lib.errors import HostError, ScloudError

# From the look-up of the name to the end of the headers, for each address; and without a byte.
ANSWER_S = 30.0
READ_TIMEOUT_S = 30.0
#: Of an answer that is looked at and not kept.
MAX_ANSWER_BYTES = 64 * 1024


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


class Connection(http.client.HTTPConnection):
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


def send(
    method: str,
    url: str,
    destinations: Destinations,
    *,
    end: float,
    headers: Mapping[str, str],
    body: bytes | None = None,
    code: str = "request_failed",
) -> tuple[http.client.HTTPResponse, Connection]:
    """Send a request and return the answer, whose body is read until ``end`` at the latest.

    ``end`` is a time of ``time.monotonic``. The caller closes the answer and hangs up. Where
    nobody can be reached by one address the next one is tried; a body that was sent is sent again
    then. Raises InvalidInput (``url_invalid``, ``url_port``, ``address_refused``), ScloudError
    (``certificate_invalid``), HostError (``code``, ``name_not_resolved``).
    """
    parts = urlsplit(destinations.check_url(url))
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    last: Exception | None = None
    for address in destinations.resolve(parts.hostname or "", port):
        # The headers too: they may come a byte at a time.
        connection = Connection(parts, address, tls, min(end, time.monotonic() + ANSWER_S))
        try:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(method, path, body, {"User-Agent": "SCloud", **headers})
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
        code=code,
        detail=type(last).__name__,
    ) from last


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered: the status and the beginning of the body."""

    status: int
    body: bytes


def post(
    url: str,
    body: bytes,
    destinations: Destinations,
    *,
    headers: Mapping[str, str],
    limit_s: float,
) -> Answer:
    """Post a body and return the answer, of which `MAX_ANSWER_BYTES` are read and no more.

    The whole takes at most ``limit_s`` seconds beside the look-up of the name. Raises as
    :func:`send` does.
    """
    end = time.monotonic() + limit_s
    response, connection = send("POST", url, destinations, end=end, headers=headers, body=body)
    try:
        return Answer(response.status, _beginning(response))
    finally:
        response.close()
        connection.hang_up()


def _beginning(response: http.client.HTTPResponse) -> bytes:
    """Return what of a body came; who hangs up or dawdles after the headers has answered."""
    parts, size = [], 0
    try:
        while size < MAX_ANSWER_BYTES and (part := response.read1(MAX_ANSWER_BYTES - size)):
            parts.append(part)
            size += len(part)
    except (OSError, http.client.HTTPException):
        pass
    return b"".join(parts)
