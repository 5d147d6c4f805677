"""Fetching a file from a URL that a tenant gave; each redirection is judged as the URL was."""

from __future__ import annotations

import http.client
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from django.utils.translation import gettext

from scloud.lib import outgoing
from scloud.lib.destinations import Destinations
from scloud.lib.errors import HostError, InvalidInput, ScloudError
from scloud.lib.outgoing import Connection

MAX_REDIRECTS = 5
CHUNK_BYTES = 1024 * 1024
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


def _open(
    url: str, destinations: Destinations, end: float, partial: Partial | None
) -> tuple[http.client.HTTPResponse, Connection]:
    headers = {"Accept-Encoding": "identity"}
    if partial is not None:
        # The rest if it is still the same file, else the whole.
        headers["Range"] = f"bytes={partial.done_bytes}-"
        headers["If-Range"] = partial.validator
    return outgoing.send("GET", url, destinations, end=end, headers=headers, code="download_failed")


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

    It ends by a stall and not by its duration: when nothing comes for as long as
    :mod:`scloud.lib.outgoing` waits, or less than ``min_bytes_per_s`` over ``WINDOW_S``.
    ``deadline_s`` bounds the whole where given.

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
